// Solutions that must not run, by id or by the look of their name.
#pragma once

#include <fnmatch.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "solution.hpp"

namespace mioconv {

struct Exclusions {
    std::vector<std::uint64_t> ids;
    /// Shell patterns, upper and lower case alike, for the name of a solution or its algorithm. The
    /// vendor's library tells no names, so that there the algorithm is what a pattern can match.
    std::vector<std::string> patterns;

    bool excludes(const Api& api, const Solution& solution) const {
        if (std::find(ids.begin(), ids.end(), solution.id) != ids.end()) return true;
        if (patterns.empty()) return false;
        char name[256];
        if (!api.mioconvGetSolutionName ||
            api.mioconvGetSolutionName(solution.id, name, sizeof name) != miopenStatusSuccess)
            name[0] = '\0';
        return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
            return fnmatch(pattern.c_str(), name, FNM_CASEFOLD) == 0 ||
                   fnmatch(pattern.c_str(), algorithm_name(solution.algorithm), FNM_CASEFOLD) == 0;
        });
    }
};

}  // namespace mioconv
