// Where oneDNN's implementations were found right.
#pragma once

#include <string>

#include "common/regions.hpp"

namespace mioconv::cpu {

// The name of an implementation that tells what code runs: oneDNN's own, and the instruction set
// where that does not say it.
std::string region_name(const std::string& implementation);

// `basis` has the name by region_name.
provider::Admission admission_of(
    const provider::Basis& basis, const provider::ConvProblem& problem);

// Whether the fuzz has run on this machine's instruction set.
bool is_fuzzed_here();

}  // namespace mioconv::cpu
