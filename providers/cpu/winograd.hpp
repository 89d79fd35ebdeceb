// Winograd's minimal filtering: a 3x3 convolution of stride 1 by fewer multiplications.
//
// Tiles of m x m results come from tiles of t x t = (m + 2) x (m + 2) inputs: transformed tiles and
// transformed weights meet in t * t matrix products over the channels, which oneDNN's matmul does.
// m = 4 needs a quarter of the direct sum's multiplications, m = 2 needs 4/9.
//
// The price is accuracy. An error is bounded by the largest values of a tensor and not by those
// that enter an element, and the transforms amplify it: docs/performance.md derives by how much. A
// NaN or an infinity spreads over its tile.
#pragma once

#include <dnnl.hpp>
#include <memory>

#include "recipe.hpp"

namespace mioconv::cpu {

// Whether these algorithms apply: float32, a 3x3 kernel (or 1x3x3: depth counts as batch), stride
// and dilation 1, one group, and channels that fill a vector. What is fused is done where the tiles
// are transformed back.
bool winograd_applies(const ConvProblem& problem);

// What oneDNN is asked for: t * t products of one block of tiles, on one thread. Empty if it has no
// implementation but the reference.
dnnl::matmul::primitive_desc winograd_product(const ConvProblem& problem, int m, int threads);

// What the filter needs of the weights; not for their gradient.
WeightTransform winograd_transform(const ConvProblem& problem, int m, int threads);

// The recipe on channels-last activations, with reorders where the caller's are packed.
Recipe make_winograd_recipe(
    const ConvProblem& problem, int m, int threads, const dnnl::matmul::primitive_desc& product);

}  // namespace mioconv::cpu
