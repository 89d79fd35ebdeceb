// The sum as MIOpen's naive solvers compute it: for every problem, without scratch memory, slowly.
#pragma once

#include "recipe.hpp"

namespace mioconv::cpu {

// Nothing fused. Any element type, strides, groups and rank.
bool naive_applies(const ConvProblem& problem);

// The name by which the solution is known from others: it is measured only where nothing else is.
constexpr const char* kNaive = "naive|asis";

Recipe make_naive_recipe(const ConvProblem& problem, int threads);

}  // namespace mioconv::cpu
