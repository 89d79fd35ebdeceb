// One way to solve a problem, and what is known of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "error.hpp"

namespace mioconv {

/// How a solution's place in the ranking came about.
enum class Source : int {
    heuristic = 0,  ///< the library's own estimate
    measured = 1,   ///< timed by us, in this process or an earlier one
    pinned = 2,     ///< put first by the user
};

struct Solution {
    std::uint64_t id = 0;
    float time_ms = 0;
    std::size_t workspace = 0;
    miopenConvAlgorithm_t algorithm = miopenConvolutionAlgoGEMM;
    Source source = Source::heuristic;
    bool measured = false;       ///< `time_ms` was timed
    bool listed = false;  ///< the library itself named it for this problem, and its workspace
    bool searched = false;  ///< a search has looked at it, whether or not it came to be timed
    bool failed = false;  ///< answered with an error at run time
    bool out_of_memory = false;  ///< its workspace could not be had; forgotten by empty_cache()
    bool wrong = false;  ///< its results were; `Entry::fault` has the words
    int inspected = 0;   ///< runs whose results were looked at and found right

    /// Whether an element's error is that of the products which enter it. Winograd and FFT mix
    /// elements, so that theirs depends on the largest values of a tensor.
    bool plain_sum() const {
        return algorithm != miopenConvolutionAlgoWinograd && algorithm != miopenConvolutionAlgoFFT;
    }

    /// Takes over what is known of the same solution from before. Its workspace is the library's
    /// to say.
    void keep(const Solution& known) {
        searched = searched || known.searched;
        failed = failed || known.failed;
        out_of_memory = out_of_memory || known.out_of_memory;
        wrong = wrong || known.wrong;
        inspected = std::max(inspected, known.inspected);
        if (known.measured) {
            measured = true;
            time_ms = known.time_ms;
        }
        if (known.source != Source::heuristic) source = known.source;
    }
};

inline const char* algorithm_name(miopenConvAlgorithm_t algorithm) {
    switch (algorithm) {
        case miopenConvolutionAlgoGEMM: return "GEMM";
        case miopenConvolutionAlgoDirect: return "Direct";
        case miopenConvolutionAlgoFFT: return "FFT";
        case miopenConvolutionAlgoWinograd: return "Winograd";
        case miopenConvolutionAlgoImplicitGEMM: return "ImplicitGEMM";
        default: return "unknown";
    }
}

/// Pinned before measured, those by their time, before the others in the order they had.
inline void order_by_source(std::vector<Solution>& solutions) {
    std::stable_sort(solutions.begin(), solutions.end(), [](const Solution& a, const Solution& b) {
        if (a.source != b.source) return a.source > b.source;
        return a.source == Source::measured && a.time_ms < b.time_ms;
    });
}

}  // namespace mioconv
