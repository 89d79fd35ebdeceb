// Element-by-element operations on tensors of any strides and of float, half or bfloat16: runs are
// brought into floats, worked on, and rounded once on the way back.
#pragma once

#include "common/tensor_ops.hpp"
#include "half.hpp"
#include "strided_loop.hpp"
#include "threads.hpp"

namespace mioconv::cpu {

// A tensor's memory with what is needed to walk it. Strides of 0 repeat an element (broadcasting).
struct View {
    miopenDataType_t dtype;
    char* data;
    Dims strides;

    explicit View(const provider::Strided& tensor)
        : dtype(tensor.dtype),
          data(static_cast<char*>(const_cast<void*>(tensor.memory))),
          strides(tensor.strides) {}

    char* at(std::int64_t offset) const noexcept {
        return data + offset * static_cast<std::int64_t>(size_of(dtype));
    }
    void load(
        std::int64_t offset, std::int64_t stride, std::int64_t count, float* to) const noexcept {
        load_floats(dtype, at(offset), stride, count, to);
    }
    void store(const float* from, std::int64_t offset, std::int64_t stride, std::int64_t count)
        const noexcept {
        store_floats(dtype, from, count, at(offset), stride);
    }
};

// Waking threads pays from some 64 Ki elements on.
inline int threads_for_elements(std::int64_t elements) noexcept {
    return static_cast<int>(
        std::min<std::int64_t>(thread_limit(), std::max<std::int64_t>(1, elements >> 15)));
}

// out = op(in), of `shape`; `op` works on `count` floats in place.
template <class Op>
void map_elements(const miopenTensorDescriptor& shape, const View& out, const View& in, Op op) {
    strided_loop<2>(
        shape.rank, shape.dims, {out.strides, in.strides}, threads_for_elements(shape.elements()),
        [&](const Run<2>& run) {
            float values[kMaxRun];
            in.load(run.offset[1], run.stride[1], run.count, values);
            op(values, run.count);
            out.store(values, run.offset[0], run.stride[0], run.count);
        });
}

// out = op(a, b): `op` works on `count` floats of a in place, and may read those of out itself.
template <class Op>
void combine_elements(
    const miopenTensorDescriptor& shape, const View& out, const View& a, const View& b,
    bool reads_out, Op op) {
    strided_loop<3>(
        shape.rank, shape.dims, {out.strides, a.strides, b.strides},
        threads_for_elements(shape.elements()), [&](const Run<3>& run) {
            float values[kMaxRun], others[kMaxRun], before[kMaxRun];
            a.load(run.offset[1], run.stride[1], run.count, values);
            b.load(run.offset[2], run.stride[2], run.count, others);
            if (reads_out) out.load(run.offset[0], run.stride[0], run.count, before);
            op(values, others, before, run.count);
            out.store(values, run.offset[0], run.stride[0], run.count);
        });
}

}  // namespace mioconv::cpu
