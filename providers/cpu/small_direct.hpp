// The sum as it is written down, for problems so small that calling oneDNN takes longer than they
// do: its arguments, hash tables and the reorder of the weights cost some 0.5 us a call.
#pragma once

#include "recipe.hpp"

namespace mioconv::cpu {

// float32, nothing fused, and a few thousand operations at most. Any strides.
bool small_direct_applies(const ConvProblem& problem);

Recipe make_small_direct_recipe(const ConvProblem& problem);

}  // namespace mioconv::cpu
