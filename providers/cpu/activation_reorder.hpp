// Activations between the caller's packed layout and those with channels next to each other.
#pragma once

#include "recipe.hpp"

namespace mioconv::cpu {

// The reorder of float32 activations of which one side has its channels second, the pixels of a
// channel next to each other, and the other has them last or in blocks; its operands are the two.
// Null where it is another reorder, where oneDNN's is as fast, or without AVX-512.
std::shared_ptr<const Routine> make_activation_reorder(
    const dnnl::memory::desc& from, const dnnl::memory::desc& to, int threads);

}  // namespace mioconv::cpu
