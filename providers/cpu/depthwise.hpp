// Depthwise convolutions and their gradients, 16 channels at a time.
//
// oneDNN's kernels for them want channels-last or blocked tensors, so that packed ones are copied
// whole before and after; and it has a kernel for the gradient of the weights only for 3x3, others
// gather matrices for products that have one row. Here channels-last tensors are read where they
// lie, and of others pieces that fit into a core's cache are transposed as they are needed.
#pragma once

#include "recipe.hpp"

namespace mioconv::cpu {

// float32, one input channel a group, nothing fused, any strides. Not the gradient of the input
// where an input channel has several outputs, nor, but for the gradient of the weights, what is
// channels-last throughout.
bool depthwise_applies(const ConvProblem& problem);

Recipe make_depthwise_recipe(const ConvProblem& problem, int threads);

}  // namespace mioconv::cpu
