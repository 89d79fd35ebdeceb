// Solutions that must not run, by id or by the look of their name.
#pragma once

#include <fnmatch.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "solution.hpp"
#include "solver_names.hpp"

namespace mioconv {

/// A solution's name; false where nobody knows it.
inline bool name_of(const Api& api, std::uint64_t id, char* name, std::size_t size) {
    if (api.mioconvGetSolutionName)
        return api.mioconvGetSolutionName(id, name, size) == miopenStatusSuccess;
    const char* known = api.provider == Provider::rocm ? solver_name(id) : nullptr;
    if (known) std::snprintf(name, size, "%s", known);
    return known != nullptr;
}

struct Exclusions {
    std::vector<std::uint64_t> ids;
    /// Shell patterns, upper and lower case alike, for the name of a solution or its algorithm.
    std::vector<std::string> patterns;

    bool excludes(const Api& api, const Solution& solution) const {
        if (std::find(ids.begin(), ids.end(), solution.id) != ids.end()) return true;
        if (patterns.empty()) return false;
        char name[256];
        if (!name_of(api, solution.id, name, sizeof name)) name[0] = '\0';
        return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
            return fnmatch(pattern.c_str(), name, FNM_CASEFOLD) == 0 ||
                   fnmatch(pattern.c_str(), algorithm_name(solution.algorithm), FNM_CASEFOLD) == 0;
        });
    }
};

}  // namespace mioconv
