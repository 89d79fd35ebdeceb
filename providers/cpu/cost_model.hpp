// Guesses how long a solution takes, to rank solutions that were never measured.
#pragma once

#include <string>

#include "recipe.hpp"

namespace mioconv::cpu {

float estimate_ms(
    const ConvProblem& problem, const std::string& name, const Traffic& traffic, int threads);

}  // namespace mioconv::cpu
