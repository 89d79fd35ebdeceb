// A solution made ready to run on one handle.
#pragma once

#include <array>

#include "error.hpp"
#include "kernels.hpp"
#include "solution.hpp"

namespace mioconv::cuda {

// Keeps cuDNN's argument list as long as the pointers stay the same. Not for two threads at a time
// (a handle has its own).
class Executable {
public:
    Executable(const ConvProblem& problem, SolutionPtr solution);
    ~Executable();
    Executable(const Executable&) = delete;
    Executable& operator=(const Executable&) = delete;

    const Solution& solution() const noexcept { return *solution_; }

    // `workspace` must have solution().workspace() bytes, from any address.
    void run(const Operands& operands, void* workspace, cudnnHandle_t handle, cudaStream_t stream);

private:
    struct Copy {
        Role role;
        bool result;
        bool padded;
        Dims dims;  // of the copy
        View inside;  // its data is set at each run
        View outside;
        std::size_t offset;
        int slot;
    };
    static constexpr int kMostArguments = provider::kRoles;

    void bind(const std::array<const void*, kMostArguments>& pointers, void* workspace);

    const ConvProblem problem_;
    SolutionPtr solution_;
    std::vector<Copy> copies_;
    std::vector<Role> roles_;          // of the arguments, in their order
    std::array<std::int64_t, kMostArguments> uids_{};
    std::array<const void*, kMostArguments> bound_{};
    void* bound_workspace_ = nullptr;
    cudnnBackendDescriptor_t arguments_ = nullptr;
    bool kept_for_graphs_ = false;
};

}  // namespace mioconv::cuda
