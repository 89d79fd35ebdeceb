// Convolutions of short rows by long kernels, whose weights are most of the memory that is read.
//
// oneDNN's kernels want the weights in blocks, and to lay them out takes longer than to multiply
// where there are few results for each of them. Here they are read once, where they lie and in
// their order: a weight multiplies 16 neighbouring results of a row.
#pragma once

#include "recipe.hpp"

namespace mioconv::cpu {

// float32, forward and the gradient of the input, stride 1, rows without gaps between elements, and
// long kernels; of packed weights only where a group has few channels. What is fused is done here.
bool direct_rows_applies(const ConvProblem& problem);

// What the sums take with AVX-512, in cycles of all threads together: they are bound by arithmetic.
double direct_rows_cycles(const ConvProblem& problem);

Recipe make_direct_rows_recipe(const ConvProblem& problem, int threads);

}  // namespace mioconv::cpu
