// A solution made ready to run on one handle.
#pragma once

#include <array>
#include <optional>

#include "copies.hpp"
#include "error.hpp"
#include "solution.hpp"

namespace mioconv::cuda {

// Keeps cuDNN's argument lists of the addresses that it met last. Not for two threads at a time (a
// handle has its own).
class Executable {
public:
    Executable(const ConvProblem& problem, SolutionPtr solution);
    Executable(const Executable&) = delete;
    Executable& operator=(const Executable&) = delete;

    const Solution& solution() const noexcept { return *solution_; }

    // `workspace` must have solution().workspace() bytes, from any address.
    void run(const Operands& operands, void* workspace, cudnnHandle_t handle, cudaStream_t stream);

private:
    static constexpr int kMostArguments = provider::kRoles;
    using Addresses = std::array<const void*, kMostArguments>;

    struct Staging {
        std::vector<Role> roles;
        std::vector<std::size_t> offsets;
        std::optional<Copies> copies;
    };

    // cuDNN's argument list.
    class Arguments {
    public:
        Arguments(
            std::int64_t count, const Addresses& addresses,
            const std::array<std::int64_t, kMostArguments>& uids, void* workspace);
        ~Arguments();
        Arguments(const Arguments&) = delete;
        Arguments& operator=(const Arguments&) = delete;
        cudnnBackendDescriptor_t get() const noexcept { return descriptor_; }

    private:
        cudnnBackendDescriptor_t descriptor_ = nullptr;
    };

    struct Binding {
        Addresses addresses{};
        void* workspace = nullptr;
        std::unique_ptr<Arguments> arguments;
    };

    void stage(Staging& staging, bool results);
    cudnnBackendDescriptor_t bind(const Addresses& addresses, void* workspace);
    void keep_for_graphs(cudaStream_t stream);

    const ConvProblem problem_;
    SolutionPtr solution_;
    Staging before_, after_;
    std::vector<Role> roles_;  // of the arguments, in their order
    std::array<std::int64_t, kMostArguments> uids_{};
    std::array<Binding, 8> bindings_;  // layers of one shape take turns
    std::size_t last_ = 0, next_ = 0;
    bool kept_for_graphs_ = false;
};

}  // namespace mioconv::cuda
