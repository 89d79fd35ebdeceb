// Gradients of the weights of depthwise convolutions: sums over the positions of one channel.
//
// oneDNN has compiled kernels for 3x3 only; what it has for others gathers matrices for products
// that have one row. Here 16 channels fill a vector, and the sums of several taps stay in
// registers. Channels-last tensors are read where they lie; from others, pieces that fit into the
// second-level cache are transposed as they are needed.
#pragma once

#include "recipe.hpp"

namespace mioconv::cpu {

// float32, one input channel a group (as many outputs of it as there are), any strides.
bool depthwise_applies(const ConvProblem& problem);

Recipe make_depthwise_recipe(const ConvProblem& problem, int threads);

}  // namespace mioconv::cpu
