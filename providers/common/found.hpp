// What Find found, kept by the handle that it ran on: executing an algorithm runs what was found.
#pragma once

#include <unordered_map>
#include <vector>

#include "problem.hpp"

namespace mioconv::provider {

// The fastest solution of each algorithm, for one problem.
class Found {
public:
    struct Best {
        miopenConvAlgoPerf_t result;
        std::uint64_t solution_id;
    };

    void offer(
        miopenConvAlgorithm_t algorithm, float ms, std::size_t workspace,
        std::uint64_t solution_id);
    bool empty() const noexcept { return best_.empty(); }
    // Fastest first; returns how many.
    int copy(int most, miopenConvAlgoPerf_t* results) const;
    // NULL: it was not found.
    const Best* of(int algorithm) const noexcept;

private:
    std::vector<Best> best_;  // fastest first
};

class FoundProblems {
public:
    void keep(const ConvProblem& problem, Found found);
    // The solution that Find found for this algorithm. UnknownError, MIOpen's answer, where none
    // was found on this handle, or the workspace is too small for it.
    std::uint64_t solution(const ConvProblem& problem, int algorithm, std::size_t workspace) const;

private:
    std::unordered_map<ConvProblem, Found, ConvProblemHash> problems_;
};

}  // namespace mioconv::provider
