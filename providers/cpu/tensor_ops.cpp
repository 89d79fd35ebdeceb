// Operations on whole tensors, element by element.
#include "common/tensor_ops.hpp"
#include "common/status.hpp"
#include "elementwise.hpp"

namespace mioconv::cpu {
namespace {

using provider::OpScalars;
using provider::StatusError;

float combine(miopenTensorOp_t op, float a, float b) noexcept {
    switch (op) {
        case miopenTensorOpAdd: return a + b;
        case miopenTensorOpMul: return a * b;
        case miopenTensorOpMin: return a != a || a < b ? a : b;  // NaN of either side stays
        default: return a != a || a > b ? a : b;
    }
}

template <miopenTensorOp_t op>
void combine_as(
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
}  // namespace mioconv::cpu

namespace mioconv::provider {

using namespace mioconv::cpu;

void op_tensor(
    miopenHandle&, const miopenTensorDescriptor& shape, miopenTensorOp_t op,
    const OpScalars& scalars, const Strided& c, const Strided& a, const Strided& b) {
    const auto run = [&](auto which) {
        combine_as<decltype(which)::value>(shape, View(c), View(a), View(b), scalars);
    };
    switch (op) {
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
}

void set_tensor(miopenHandle&, const miopenTensorDescriptor& shape, const Strided& y, float value) {
    const View view(y);
    strided_loop<1>(
        shape.rank, shape.dims, {shape.strides}, threads_for_elements(shape.elements()),
        [&](const Run<1>& run) {
            float values[kMaxRun];
            std::fill_n(values, run.count, value);
            view.store(values, run.offset[0], run.stride[0], run.count);
        });
}

void scale_tensor(
    miopenHandle&, const miopenTensorDescriptor& shape, const Strided& y, float factor) {
    const View view(y);
    map_elements(shape, view, view, [factor](float* values, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i) values[i] *= factor;
    });
}

void transform_tensor(
    miopenHandle&, const miopenTensorDescriptor& shape, const Strided& y, const Strided& x) {
    map_elements(shape, View(y), View(x), [](float*, std::int64_t) {});
}

}  // namespace mioconv::provider
