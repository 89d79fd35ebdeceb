// Weights between the caller's plain layout and the blocked ones that compiled kernels read.
#pragma once

#include "recipe.hpp"

namespace mioconv::cpu {

// The reorder of float32 weights (`grouped`: their first dimension is the group) of which one side
// is plain and the other has 16 or more channels next to each other; its operands are the two. Null
// where it is another reorder, where oneDNN's is as fast, or without AVX-512. oneDNN's general
// reorder moves a float at a time, which takes longer than many a convolution of one image.
std::shared_ptr<const Routine> make_weight_reorder(
    const dnnl::memory::desc& from, const dnnl::memory::desc& to, bool grouped, int threads);

}  // namespace mioconv::cpu
