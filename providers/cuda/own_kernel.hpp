// What a kernel of our own looks like to the rest.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "common/problem.hpp"
#include "compiling.hpp"

namespace mioconv::cuda {

using provider::ConvProblem;
using provider::Operands;

// One way to compute a problem on the caller's tensors, ready to run on the device that was current
// when it was made.
class OwnKernel {
public:
    OwnKernel() = default;
    OwnKernel(const OwnKernel&) = delete;
    OwnKernel& operator=(const OwnKernel&) = delete;
    virtual ~OwnKernel() = default;

    virtual miopenConvAlgorithm_t algorithm() const noexcept = 0;
    // Bytes, for floats.
    virtual std::size_t workspace() const noexcept { return 0; }
    virtual void run(const Operands& operands, void* workspace, cudaStream_t stream) const = 0;
};

// One that can be had.
struct OwnCandidate {
    std::string name;
    float estimate_ms;
    std::function<std::shared_ptr<const OwnKernel>()> make;  // compiles
};

}  // namespace mioconv::cuda
