// Depthwise convolutions in half types by kernels of our own: packed ones, which cuDNN is slow at,
// and gradients of weights, which its fast kernel adds up in the result's type.
#pragma once

#include <vector>

#include "own_kernel.hpp"

namespace mioconv::cuda {

// What computes a problem on the current device; none where the kernels do not.
std::vector<OwnCandidate> depthwise_candidates(const ConvProblem& problem);

}  // namespace mioconv::cuda
