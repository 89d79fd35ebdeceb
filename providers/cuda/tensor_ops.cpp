// Operations on whole tensors: kernels of our own, on the handle's stream.
#include "common/tensor_ops.hpp"
#include "common/guard.hpp"
#include "copies.hpp"
#include "handle.hpp"
#include "kernels.hpp"

namespace mioconv::cuda {
namespace {

using provider::StatusError;
using provider::Strided;

View view_of(const Strided& tensor) { return {tensor.dtype, tensor.memory, tensor.strides}; }

cudaStream_t stream_of(miopenHandle& handle) {
    std::lock_guard lock(handle.mutex);
    return to_cuda(handle.stream());
}

Map map_of(miopenActivationMode_t mode) {
    switch (mode) {
        case miopenActivationPASTHRU: return Map::copy;
        case miopenActivationRELU: return Map::relu;
        case miopenActivationCLIPPEDRELU: return Map::clipped_relu;
        case miopenActivationLEAKYRELU: return Map::leaky_relu;
        default: throw StatusError(miopenStatusUnsupportedOp);
    }
}

void map_in_place(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& y, Map op,
    float value) {
    const View view = view_of(y);
    map_elements(shape.rank, shape.dims, view, view, op, value, stream_of(handle));
}

}  // namespace
}  // namespace mioconv::cuda

namespace mioconv::provider {

using namespace mioconv::cuda;

void op_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape, miopenTensorOp_t op,
    const OpScalars& scalars, const Strided& c, const Strided& a, const Strided& b) {
    combine_elements(
        shape.rank, shape.dims, view_of(c), view_of(a), view_of(b), op, scalars.alpha1,
        scalars.alpha2, scalars.beta, stream_of(handle));
}

void set_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& y, float value) {
    map_in_place(handle, shape, y, Map::set, value);
}

void scale_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& y, float factor) {
    map_in_place(handle, shape, y, Map::scale, factor);
}

void transform_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& y, const Strided& x) {
    const cudaStream_t stream = stream_of(handle);
    if (x.dtype == y.dtype && shape.rank >= 3) {
        copy_layout(shape.rank, shape.dims, view_of(y), view_of(x), stream);
    } else {
        map_elements(shape.rank, shape.dims, view_of(y), view_of(x), Map::copy, 0, stream);
    }
}

void activate_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape,
    const miopenActivationDescriptor& function, const Strided& y, const Strided& x) {
    map_elements(
        shape.rank, shape.dims, view_of(y), view_of(x), map_of(function.mode),
        static_cast<float>(function.alpha), stream_of(handle));
}

void sum_channels(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& dy, const Strided& db,
    std::int64_t step) {
    cuda::sum_channels(shape.rank, shape.dims, view_of(dy), view_of(db), step, stream_of(handle));
}

}  // namespace mioconv::provider
