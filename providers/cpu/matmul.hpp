// Gradients of weights as matrix products with bounded scratch memory: the gradient of the output
// times columns of the input, written where the weights lie.
//
// oneDNN's own products for them gather all columns at once and keep a copy of the weights for
// each thread, since threads share out the pixels. Here they share out the columns: each gathers
// pieces of them that fit into its cache, and no sum is divided, so that nothing has to be added
// up. Taps that meet only padding are left out.
#pragma once

#include <dnnl.hpp>
#include <memory>

#include "recipe.hpp"

namespace mioconv::cpu {

// The gradient of the weights, not depthwise, of activations that are packed or channels-last. Half
// types are computed on copies in float32.
bool matmul_applies(const ConvProblem& problem);

// What oneDNN is asked for: the product of one piece, on one thread. Empty if it has none.
dnnl::matmul::primitive_desc matmul_product(const ConvProblem& problem, int threads);

Recipe make_matmul_recipe(
    const ConvProblem& problem, int threads, const dnnl::matmul::primitive_desc& product);

}  // namespace mioconv::cpu
