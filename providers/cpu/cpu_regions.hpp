// Where oneDNN's implementations were found right.
#pragma once

#include <string>

#include "common/regions.hpp"

namespace mioconv::cpu {

// The name of an implementation that tells what code runs: oneDNN's own, and the instruction set
// where that does not say it.
std::string region_name(const std::string& implementation);

provider::Admission admission_of(
    const std::string& implementation, const provider::ConvProblem& problem, provider::Form form,
    const provider::Classes& classes);

}  // namespace mioconv::cpu
