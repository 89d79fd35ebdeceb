// 1x1 convolutions of packed tensors as matrix products, by a kernel of our own: cuDNN transposes
// such tensors where a row of pixels is no multiple of 16 bytes, or where it skips pixels.
#pragma once

#include <vector>

#include "own_kernel.hpp"

namespace mioconv::cuda {

// What computes a problem on the current device, best first; none where the kernel does not.
std::vector<OwnCandidate> matmul_candidates(const ConvProblem& problem);

}  // namespace mioconv::cuda
