// A tensor as it lies in memory, whoever owns it: shapes, strides, layouts, packing on the host.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "convolution_params.hpp"

namespace mioconv {

struct TensorView {
    void* data = nullptr;
    std::int64_t ndim = 0;  ///< may exceed max_dims in a tensor that is about to be refused
    std::array<std::int64_t, max_dims> shape{}, strides{};  ///< strides in elements
    miopenDataType_t dtype = miopenFloat;
    int device_type = 0;  ///< DLPack's number
    int device_id = 0;
    bool read_only = false;

    std::int64_t count() const {
        std::int64_t product = 1;
        for (int i = 0; i < ndim; ++i) product *= shape[i];
        return product;
    }
    std::int64_t itemsize() const { return dtype == miopenFloat ? 4 : 2; }
    std::int64_t bytes() const { return count() * itemsize(); }
    std::int64_t alignment() const {
        const auto address = reinterpret_cast<std::uintptr_t>(data);
        return static_cast<std::int64_t>(std::min<std::uintptr_t>(address & (~address + 1), 16));
    }
    /// Lowest byte, and one past the highest, that an element occupies.
    void extent(const char** begin, const char** end) const {
        std::int64_t low = 0, high = 0;
        for (int i = 0; i < ndim; ++i) {
            const std::int64_t reach = (shape[i] - 1) * strides[i];
            (reach < 0 ? low : high) += reach;
        }
        *begin = static_cast<const char*>(data) + low * itemsize();
        *end = static_cast<const char*>(data) + (high + 1) * itemsize();
    }
};

/// Strides of a tensor without gaps in the given layout.
inline std::array<std::int64_t, max_dims> dense_strides(
    std::int64_t ndim, const std::array<std::int64_t, max_dims>& shape, Layout layout) {
    std::array<std::int64_t, max_dims> strides{};
    std::int64_t step = 1;
    const auto place = [&](std::int64_t i) {
        strides[i] = step;
        step *= shape[i];
    };
    if (layout == Layout::channels_last) {
        place(1);
        for (std::int64_t i = ndim - 1; i >= 2; --i) place(i);
        place(0);
    } else {
        for (std::int64_t i = ndim - 1; i >= 0; --i) place(i);
    }
    return strides;
}

/// Whether the elements lie densely in `layout`. Strides of dimensions of size 1 say nothing.
inline bool lies_in(const TensorView& tensor, Layout layout) {
    const auto dense = dense_strides(tensor.ndim, tensor.shape, layout);
    for (int i = 0; i < tensor.ndim; ++i)
        if (tensor.shape[i] != 1 && tensor.strides[i] != dense[i]) return false;
    return true;
}

/// Dense in channels-last order and in no other.
inline bool only_channels_last(const TensorView& tensor) {
    return lies_in(tensor, Layout::channels_last) && !lies_in(tensor, Layout::packed);
}

/// Makes the strides those of `layout`, also where a dimension of size 1 left them arbitrary.
inline void set_dense_strides(TensorView& tensor, Layout layout) {
    tensor.strides = dense_strides(tensor.ndim, tensor.shape, layout);
}

/// Enters an operand into the key. The tensor must be dense.
inline void describe_operand(ConvolutionParams& params, Operand operand, const TensorView& tensor) {
    params.shape[operand] = tensor.shape;
    params.strides[operand] = tensor.strides;
    params.alignment[operand] = tensor.alignment();
}

inline bool extents_overlap(const TensorView& a, const TensorView& b) {
    if (a.count() == 0 || b.count() == 0) return false;
    const char *a_begin, *a_end, *b_begin, *b_end;
    a.extent(&a_begin, &a_end);
    b.extent(&b_begin, &b_end);
    return a_begin < b_end && b_begin < a_end;
}

namespace detail {

template <typename T>
void copy_strided(const T* from, const std::int64_t* from_strides, T* to,
                  const std::int64_t* to_strides, const std::int64_t* shape, int ndim) {
    if (ndim == 1) {
        const std::int64_t a = from_strides[0], b = to_strides[0], n = shape[0];
        if (a == 1 && b == 1) {
            std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
        } else {
            for (std::int64_t i = 0; i < n; ++i) to[i * b] = from[i * a];
        }
        return;
    }
    for (std::int64_t i = 0; i < shape[0]; ++i)
        copy_strided(from + i * from_strides[0], from_strides + 1, to + i * to_strides[0],
                     to_strides + 1, shape + 1, ndim - 1);
}

}  // namespace detail

/// Copies element by element between host tensors of one shape and dtype, any strides (negative and
/// zero ones in `from` too). The loops run in the order of `to`'s strides, so that writes are local.
inline void copy_on_host(const TensorView& from, const TensorView& to) {
    std::array<int, max_dims> order{};
    const int ndim = static_cast<int>(to.ndim);
    for (int i = 0; i < ndim; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.begin() + ndim, [&](int a, int b) {
        return std::abs(to.strides[a]) > std::abs(to.strides[b]);
    });
    std::array<std::int64_t, max_dims> shape{}, from_strides{}, to_strides{};
    for (int i = 0; i < ndim; ++i) {
        shape[i] = to.shape[order[i]];
        from_strides[i] = from.strides[order[i]];
        to_strides[i] = to.strides[order[i]];
    }
    if (to.count() == 0) return;
    if (to.itemsize() == 4)
        detail::copy_strided(static_cast<const std::uint32_t*>(from.data), from_strides.data(),
                             static_cast<std::uint32_t*>(to.data), to_strides.data(), shape.data(),
                             ndim);
    else
        detail::copy_strided(static_cast<const std::uint16_t*>(from.data), from_strides.data(),
                             static_cast<std::uint16_t*>(to.data), to_strides.data(), shape.data(),
                             ndim);
}

}  // namespace mioconv
