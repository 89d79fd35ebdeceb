// A tensor as it lies in memory, whoever owns it: shapes, strides, layouts, packing on the host.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
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
    int array_library = 0;  ///< whose operations may copy it on a GPU: Kind of _borrow/loan.pxd

    std::int64_t count() const {
        std::int64_t product = 1;
        for (int i = 0; i < ndim; ++i) product *= shape[i];
        return product;
    }
    std::int64_t itemsize() const { return dtype == miopenFloat ? 4 : 2; }
    std::int64_t bytes() const { return count() * itemsize(); }
    /// Whether the number of bytes does not fit; an empty batch counts as one.
    bool too_large() const {
        std::int64_t product = itemsize();
        for (int i = 0; i < ndim; ++i)
            if (__builtin_mul_overflow(product, std::max<std::int64_t>(shape[i], 1), &product))
                return true;
        return false;
    }
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

/// Strides of a tensor without gaps in the given layout. Sizes that nobody has checked yet may make
/// them wrap around.
inline std::array<std::int64_t, max_dims> dense_strides(
    std::int64_t ndim, const std::array<std::int64_t, max_dims>& shape, Layout layout) {
    std::array<std::int64_t, max_dims> strides{};
    std::int64_t step = 1;
    const auto place = [&](std::int64_t i) {
        strides[i] = step;
        (void)__builtin_mul_overflow(step, shape[i], &step);
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
    return !lies_in(tensor, Layout::packed) && lies_in(tensor, Layout::channels_last);
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

/// The dimensions from the longest stride to the shortest; equal ones keep their order.
inline std::array<int, max_dims> by_stride(const TensorView& tensor) {
    std::array<int, max_dims> order{};
    for (int i = 0; i < tensor.ndim; ++i) {
        int place = i;
        for (;
             place > 0 && std::abs(tensor.strides[order[place - 1]]) < std::abs(tensor.strides[i]);
             --place)
            order[place] = order[place - 1];
        order[place] = i;
    }
    return order;
}

/// Whether two elements of the tensor may share memory. Exact for what slicing, transposing and
/// broadcasting make: each dimension must step over all that the smaller steps reach.
inline bool overlaps_itself(const TensorView& tensor) {
    const auto order = by_stride(tensor);
    std::int64_t reach = 0;
    for (int i = static_cast<int>(tensor.ndim) - 1; i >= 0; --i) {
        if (tensor.shape[order[i]] < 2) continue;
        const std::int64_t step = std::abs(tensor.strides[order[i]]);
        if (step <= reach) return tensor.count() > 0;
        reach += (tensor.shape[order[i]] - 1) * step;
    }
    return false;
}

/// Whether two tensors may have memory in common. Disjoint extents do not; nor do interleaved views
/// of one buffer (slices of an array along any dimension) whose elements fall into different places
/// of every period that both step by.
inline bool may_overlap(const TensorView& a, const TensorView& b) {
    if (a.count() == 0 || b.count() == 0) return false;
    const char *a_begin, *a_end, *b_begin, *b_end;
    a.extent(&a_begin, &a_end);
    b.extent(&b_begin, &b_end);
    if (a_end <= b_begin || b_end <= a_begin) return false;
    // For a period p that divides every longer stride of both: the shorter ones keep each tensor
    // within a window of p. Windows that do not meet, modulo p, separate them.
    const std::int64_t size = a.itemsize();
    for (const TensorView* source : {&a, &b}) {
        for (int i = 0; i < source->ndim; ++i) {
            const std::int64_t period = std::abs(source->strides[i]) * size;
            if (source->shape[i] < 2 || period == 0) continue;
            std::int64_t window[2] = {size, size};
            std::int64_t low[2] = {0, 0};
            bool divides = true;
            int which = 0;
            for (const TensorView* tensor : {&a, &b}) {
                for (int j = 0; j < tensor->ndim; ++j) {
                    const std::int64_t step = tensor->strides[j] * size;
                    if (tensor->shape[j] < 2) continue;
                    if (std::abs(step) >= period) {
                        divides = divides && step % period == 0;
                    } else {
                        const std::int64_t reach = (tensor->shape[j] - 1) * step;
                        window[which] += std::abs(reach);
                        if (reach < 0) low[which] += reach;
                    }
                }
                ++which;
            }
            if (!divides) continue;
            const std::int64_t distance = (static_cast<const char*>(b.data) + low[1]) -
                                          (static_cast<const char*>(a.data) + low[0]);
            const std::int64_t offset = ((distance % period) + period) % period;
            if (window[0] <= offset && offset + window[1] <= period) return false;
        }
    }
    return true;
}

/// Whether two tensors of one shape and dtype are the same elements in the same places.
inline bool same_memory(const TensorView& a, const TensorView& b) {
    bool same = a.data == b.data && a.ndim == b.ndim;
    for (int i = 0; same && i < a.ndim; ++i)
        same = a.shape[i] == b.shape[i] && (a.shape[i] == 1 || a.strides[i] == b.strides[i]);
    return same;
}

/// A checksum of a dense tensor on the host. Of up to 256 KiB every value counts; of a larger one
/// the first 64 bytes of each KiB and the last 64: what rewrites all of it, or a KiB in a row, is
/// seen.
inline std::uint64_t checksum(const TensorView& tensor) {
    constexpr std::size_t kLine = 64, kAll = 256 << 10, kStep = 1024;
    const auto bytes = static_cast<std::size_t>(tensor.count() * tensor.itemsize());
    const auto* const data = static_cast<const char*>(tensor.data);
    // Eight columns, each mixed word by word: differences that cancel in a sum do not here.
    std::uint64_t state[8] = {}, line[8];
    const auto mixed = [](std::uint64_t word) {
        word *= 0x9FB21C651E98DF25u;
        return word ^ (word >> 32);
    };
    const auto add = [&](std::size_t from, std::size_t count) {
        std::memcpy(line, data + from, count);
        for (int i = 0; i < 8; ++i) state[i] = mixed(state[i] ^ line[i]);
    };
    const std::size_t step = bytes <= kAll ? kLine : kStep;
    std::size_t at = 0;
    for (; at + kLine <= bytes; at += step) add(at, kLine);
    if (bytes > kAll) {
        add(bytes - kLine, kLine);
    } else if (at < bytes) {
        std::memset(line, 0, sizeof line);
        add(at, bytes - at);
    }
    std::uint64_t sum = 0;
    for (const std::uint64_t column : state) sum = mixed(sum ^ column);
    return sum;
}

namespace detail {

template <typename T>
void copy_strided(
    const T* from, const std::int64_t* from_strides, T* to, const std::int64_t* to_strides,
    const std::int64_t* shape, int ndim) {
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
        copy_strided(
            from + i * from_strides[0], from_strides + 1, to + i * to_strides[0], to_strides + 1,
            shape + 1, ndim - 1);
}

}  // namespace detail

/// Copies element by element between host tensors of one shape and dtype, any strides (negative and
/// zero ones in `from` too). The loops run in the order of `to`'s strides, so that writes are
/// local.
inline void copy_on_host(const TensorView& from, const TensorView& to) {
    const auto order = by_stride(to);
    const int ndim = static_cast<int>(to.ndim);
    std::array<std::int64_t, max_dims> shape{}, from_strides{}, to_strides{};
    for (int i = 0; i < ndim; ++i) {
        shape[i] = to.shape[order[i]];
        from_strides[i] = from.strides[order[i]];
        to_strides[i] = to.strides[order[i]];
    }
    if (to.count() == 0) return;
    if (to.itemsize() == 4)
        detail::copy_strided(
            static_cast<const std::uint32_t*>(from.data), from_strides.data(),
            static_cast<std::uint32_t*>(to.data), to_strides.data(), shape.data(), ndim);
    else
        detail::copy_strided(
            static_cast<const std::uint16_t*>(from.data), from_strides.data(),
            static_cast<std::uint16_t*>(to.data), to_strides.data(), shape.data(), ndim);
}

}  // namespace mioconv
