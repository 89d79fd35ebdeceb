// miopenOpTensor, SetTensor, ScaleTensor and TransformTensor.
#include "common/export.hpp"
#include "common/guard.hpp"
#include "common/profile.hpp"
#include "common/scalars.hpp"
#include "elementwise.hpp"

using namespace mioconv::cpu;
using namespace mioconv::provider;

namespace {

bool same_shape(const miopenTensorDescriptor& a, const miopenTensorDescriptor& b) {
    return a.rank == b.rank && a.dims == b.dims;
}

// `tensor` with dimensions of size 1 stretched to those of `shape`.
View broadcast(
    const miopenTensorDescriptor& tensor, const void* memory, const miopenTensorDescriptor& shape) {
    require(tensor.rank == shape.rank);
    View view(tensor, memory);
    for (int i = 0; i < shape.rank; ++i) {
        require(tensor.dims[i] == shape.dims[i] || tensor.dims[i] == 1);
        if (tensor.dims[i] == 1) view.strides[i] = 0;
    }
    return view;
}

float combine(miopenTensorOp_t op, float a, float b) noexcept {
    switch (op) {
        case miopenTensorOpAdd: return a + b;
        case miopenTensorOpMul: return a * b;
        case miopenTensorOpMin: return a != a || a < b ? a : b;  // NaN of either side stays
        default: return a != a || a > b ? a : b;
    }
}

struct OpScalars {
    float alpha1, alpha2, beta;
};

template <miopenTensorOp_t op>
void op_tensor(
    const miopenTensorDescriptor& shape, const View& c, const View& a, const View& b,
    const OpScalars& scalars) {
    // With beta = 0 what C holds is not read: it may be anything, NaN included.
    const bool reads_c = scalars.beta != 0;
    combine_elements(
        shape, c, a, b, reads_c,
        [=](float* values, const float* others, const float* before, std::int64_t count) {
            for (std::int64_t i = 0; i < count; ++i) {
                values[i] = combine(op, scalars.alpha1 * values[i], scalars.alpha2 * others[i]);
            }
            if (!reads_c) return;
            for (std::int64_t i = 0; i < count; ++i) values[i] += scalars.beta * before[i];
        });
}

}  // namespace

// C = op(alpha1 * A, alpha2 * B) + beta * C, B broadcast along its dimensions of size 1.
MIOCONV_EXPORT miopenStatus_t miopenOpTensor(
    miopenHandle_t handle, miopenTensorOp_t tensorOp, const void* alpha1,
    const miopenTensorDescriptor_t aDesc, const void* A, const void* alpha2,
    const miopenTensorDescriptor_t bDesc, const void* B, const void* beta,
    const miopenTensorDescriptor_t cDesc, void* C) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && A != nullptr && B != nullptr && C != nullptr);
        const KernelTimer timer(handle);
        const auto& shape = deref(cDesc);
        const auto& a = deref(aDesc);
        const auto& b = deref(bDesc);
        for (const auto* tensor : {&a, &b, &shape}) require_supported(*tensor);
        require(same_shape(a, shape) && a.dtype == shape.dtype && b.dtype == shape.dtype);
        const View other = broadcast(b, B, shape);
        const OpScalars scalars{scalar(alpha1), scalar(alpha2), scalar(beta)};
        const auto run = [&](auto op) {
            op_tensor<decltype(op)::value>(shape, View(shape, C), View(a, A), other, scalars);
        };
        switch (tensorOp) {
            case miopenTensorOpAdd:
                return run(std::integral_constant<miopenTensorOp_t, miopenTensorOpAdd>{});
            case miopenTensorOpMul:
                return run(std::integral_constant<miopenTensorOp_t, miopenTensorOpMul>{});
            case miopenTensorOpMin:
                return run(std::integral_constant<miopenTensorOp_t, miopenTensorOpMin>{});
            case miopenTensorOpMax:
                return run(std::integral_constant<miopenTensorOp_t, miopenTensorOpMax>{});
        }
        throw StatusError(miopenStatusBadParm);
    });
}

// The scalar of SetTensor and ScaleTensor has the tensor's dtype, unlike everywhere else.
MIOCONV_EXPORT miopenStatus_t miopenSetTensor(
    miopenHandle_t handle, const miopenTensorDescriptor_t yDesc, void* y, const void* alpha) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && y != nullptr && alpha != nullptr);
        const KernelTimer timer(handle);
        const auto& tensor = deref(yDesc);
        require_supported(tensor);
        const float value = load_float(tensor.dtype, alpha);
        const View view(tensor, y);
        strided_loop<1>(
            tensor.rank, tensor.dims, {tensor.strides}, threads_for_elements(tensor.elements()),
            [&](const Run<1>& run) {
                float values[kMaxRun];
                std::fill_n(values, run.count, value);
                view.store(values, run.offset[0], run.stride[0], run.count);
            });
    });
}

MIOCONV_EXPORT miopenStatus_t miopenScaleTensor(
    miopenHandle_t handle, const miopenTensorDescriptor_t yDesc, void* y, const void* alpha) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && y != nullptr && alpha != nullptr);
        const KernelTimer timer(handle);
        const auto& tensor = deref(yDesc);
        require_supported(tensor);
        const float factor = load_float(tensor.dtype, alpha);
        const View view(tensor, y);
        map_elements(tensor, view, view, [factor](float* values, std::int64_t count) {
            for (std::int64_t i = 0; i < count; ++i) values[i] *= factor;
        });
    });
}

// A copy into another layout or type.
MIOCONV_EXPORT miopenStatus_t miopenTransformTensor(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t xDesc, const void* x,
    const void* beta, const miopenTensorDescriptor_t yDesc, void* y) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && x != nullptr && y != nullptr);
        const KernelTimer timer(handle);
        const auto& from = deref(xDesc);
        const auto& to = deref(yDesc);
        require_supported(from);
        require_supported(to);
        require(same_shape(from, to));
        require_plain(alpha, beta);
        map_elements(to, View(to, y), View(from, x), [](float*, std::int64_t) {});
    });
}
