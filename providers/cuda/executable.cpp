#include "executable.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace mioconv::cuda {
namespace {

// What a CUDA graph may have recorded, whose end nobody tells us.
void keep_for_ever(const SolutionPtr& solution) {
    static auto* const mutex = new std::mutex;
    static auto* const kept = new std::vector<SolutionPtr>;
    std::lock_guard lock(*mutex);
    kept->push_back(solution);
}

}  // namespace

Executable::Executable(const ConvProblem& problem, SolutionPtr solution)
    : problem_(problem), solution_(std::move(solution)) {
    roles_ = {Role::src, Role::wei, Role::dst};
    if (problem_.has_bias != 0) roles_.push_back(Role::bias);
    if (problem_.has_sum != 0) roles_.push_back(Role::z);
    for (std::size_t i = 0; i < roles_.size(); ++i) uids_[i] = uid_of(roles_[i]);
    stage(before_, false);
    stage(after_, true);
}

void Executable::stage(Staging& staging, bool results) {
    const auto dtype = static_cast<miopenDataType_t>(problem_.dtype);
    std::vector<Copy> copies;
    for (const Staged& staged : solution_->layout().staged) {
        if ((staged.role == result_of(problem_)) != results) continue;
        const bool gathers = solution_->layout().gathers && staged.role == Role::src;
        const Dims& dims = gathers ? staged.dims : dims_of(problem_, staged.role);
        Dims strides = strides_of(problem_, staged.role);
        for (int i = 0; gathers && i < problem_.rank - 2; ++i) {
            strides[2 + i] *= problem_.stride[i];
        }
        staging.roles.push_back(staged.role);
        staging.offsets.push_back(staged.offset);
        copies.push_back(
            results ? Copy{problem_.rank, dtype, dims, strides, dims, staged.strides}
                    : Copy{problem_.rank, dtype, staged.dims, staged.strides, dims, strides});
    }
    if (copies.empty()) return;
    const std::int64_t outside = problem_.alignment;
    staging.copies.emplace(
        copies, results ? outside : std::int64_t{16}, results ? std::int64_t{16} : outside);
}

Executable::Arguments::Arguments(
    std::int64_t count, const Addresses& addresses,
    const std::array<std::int64_t, kMostArguments>& uids, void* workspace) {
    const Cudnn& library = cudnn();
    check(
        library.cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &descriptor_));
    const auto set = [&](cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         std::int64_t items, const void* values) {
        return library.cudnnBackendSetAttribute(descriptor_, name, type, items, values);
    };
    cudnnStatus_t status =
        set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, addresses.data());
    if (status == CUDNN_STATUS_SUCCESS) {
        status = set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids.data());
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    }
    if (status == CUDNN_STATUS_SUCCESS) status = library.cudnnBackendFinalize(descriptor_);
    if (status != CUDNN_STATUS_SUCCESS) {
        library.cudnnBackendDestroyDescriptor(descriptor_);
        check(status);
    }
}

Executable::Arguments::~Arguments() { cudnn().cudnnBackendDestroyDescriptor(descriptor_); }

cudnnBackendDescriptor_t Executable::bind(const Addresses& addresses, void* workspace) {
    const auto is_this = [&](const Binding& binding) {
        return binding.arguments != nullptr && binding.workspace == workspace &&
               binding.addresses == addresses;
    };
    if (!is_this(bindings_[last_])) {
        const auto found = std::find_if(bindings_.begin(), bindings_.end(), is_this);
        if (found != bindings_.end()) {
            last_ = static_cast<std::size_t>(found - bindings_.begin());
        } else {
            auto made = std::make_unique<Arguments>(
                static_cast<std::int64_t>(roles_.size()), addresses, uids_, workspace);
            last_ = next_;
            next_ = (next_ + 1) % bindings_.size();
            bindings_[last_] = {addresses, workspace, std::move(made)};
        }
    }
    return bindings_[last_].arguments->get();
}

void Executable::keep_for_graphs(cudaStream_t stream) {
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    check(runtime().cudaStreamIsCapturing(stream, &capturing));
    if (capturing != cudaStreamCaptureStatusNone) {
        keep_for_ever(solution_);
        kept_for_graphs_ = true;
    }
}

void Executable::run(
    const Operands& operands, void* workspace, cudnnHandle_t handle, cudaStream_t stream) {
    const auto address = reinterpret_cast<std::uintptr_t>(workspace);
    char* const start =
        reinterpret_cast<char*>((address + kAlignment - 1) / kAlignment * kAlignment);
    if (const OwnKernel* const own = solution_->own()) return own->run(operands, start, stream);
    Addresses addresses{};
    for (std::size_t i = 0; i < roles_.size(); ++i) addresses[i] = operands[roles_[i]];
    std::array<const void*, kMostArguments> outside{};
    std::array<void*, kMostArguments> inside{};
    const auto place = [&](const Staging& staging) {
        for (std::size_t i = 0; i < staging.roles.size(); ++i) {
            outside[i] = operands[staging.roles[i]];
            inside[i] = start + staging.offsets[i];
            const auto slot = std::find(roles_.begin(), roles_.end(), staging.roles[i]);
            addresses[static_cast<std::size_t>(slot - roles_.begin())] = inside[i];
        }
    };
    if (before_.copies) {
        place(before_);
        before_.copies->run(inside.data(), outside.data(), stream);
    }
    if (after_.copies) place(after_);
    if (solution_->compiled_at_run_time() && !kept_for_graphs_) keep_for_graphs(stream);
    check(cudnn().cudnnBackendExecute(
        handle, solution_->plan(), bind(addresses, start + solution_->layout().staged_bytes)));
    if (after_.copies) {
        const void* const from = inside[0];
        void* const to = const_cast<void*>(outside[0]);
        after_.copies->run(&to, &from, stream);
    }
}

}  // namespace mioconv::cuda
