#include "executable.hpp"

#include <cstdint>

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
    const auto dtype = static_cast<miopenDataType_t>(problem_.dtype);
    for (const Staged& staged : solution_->layout().staged) {
        Copy copy{};
        copy.role = staged.role;
        copy.result = staged.role == result_of(problem_);
        copy.padded = staged.dims != dims_of(problem_, staged.role);
        copy.dims = staged.dims;
        copy.inside = {dtype, nullptr, staged.strides};
        copy.outside = {dtype, nullptr, strides_of(problem_, staged.role)};
        copy.offset = staged.offset;
        copy.slot =
            static_cast<int>(std::find(roles_.begin(), roles_.end(), staged.role) - roles_.begin());
        copies_.push_back(copy);
    }
}

Executable::~Executable() {
    if (arguments_ != nullptr) cudnn().cudnnBackendDestroyDescriptor(arguments_);
}

void Executable::bind(const std::array<const void*, kMostArguments>& pointers, void* workspace) {
    if (arguments_ != nullptr && bound_workspace_ == workspace && bound_ == pointers) return;
    const Cudnn& library = cudnn();
    if (arguments_ != nullptr) {
        library.cudnnBackendDestroyDescriptor(arguments_);
        arguments_ = nullptr;
    }
    cudnnBackendDescriptor_t made = nullptr;
    check(library.cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &made));
    const auto count = static_cast<std::int64_t>(roles_.size());
    const auto set = [&](cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         std::int64_t items, const void* values) {
        return library.cudnnBackendSetAttribute(made, name, type, items, values);
    };
    cudnnStatus_t status =
        set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers.data());
    if (status == CUDNN_STATUS_SUCCESS) {
        status = set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids_.data());
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    }
    if (status == CUDNN_STATUS_SUCCESS) status = library.cudnnBackendFinalize(made);
    if (status != CUDNN_STATUS_SUCCESS) {
        library.cudnnBackendDestroyDescriptor(made);
        check(status);
    }
    arguments_ = made;
    bound_ = pointers;
    bound_workspace_ = workspace;
}

void Executable::run(
    const Operands& operands, void* workspace, cudnnHandle_t handle, cudaStream_t stream) {
    const auto address = reinterpret_cast<std::uintptr_t>(workspace);
    char* const start =
        reinterpret_cast<char*>((address + kAlignment - 1) / kAlignment * kAlignment);
    std::array<const void*, kMostArguments> pointers{};
    for (std::size_t i = 0; i < roles_.size(); ++i) pointers[i] = operands[roles_[i]];
    for (Copy& copy : copies_) {
        copy.outside.data = operands[copy.role];
        copy.inside.data = start + copy.offset;
        pointers[copy.slot] = copy.inside.data;
        if (copy.result) continue;
        const Dims& dims = dims_of(problem_, copy.role);
        if (copy.padded) {
            pad_channels(problem_.rank, copy.dims, copy.inside, dims, copy.outside, stream);
        } else {
            copy_layout(problem_.rank, dims, copy.inside, copy.outside, stream);
        }
    }
    bind(pointers, start + solution_->layout().staged_bytes);
    if (solution_->compiled_at_run_time() && !kept_for_graphs_) {
        cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
        check(runtime().cudaStreamIsCapturing(stream, &capturing));
        if (capturing != cudaStreamCaptureStatusNone) {
            keep_for_ever(solution_);
            kept_for_graphs_ = true;
        }
    }
    check(cudnn().cudnnBackendExecute(handle, solution_->plan(), arguments_));
    for (const Copy& copy : copies_) {
        if (!copy.result) continue;
        copy_layout(problem_.rank, dims_of(problem_, copy.role), copy.outside, copy.inside, stream);
    }
}

}  // namespace mioconv::cuda
