// Arithmetic on strides.
#pragma once

#include <array>

#include "descriptors.hpp"

namespace mioconv::provider {

// The dimensions larger than 1, smallest stride first; returns how many. Insertion sort: there are
// at most five, they are nearly sorted, and this is on the path of every call.
inline int order_by_stride(
    int rank, const Dims& dims, const Dims& strides, std::array<int, kMaxDims>& order) noexcept {
    int used = 0;
    for (int dim = rank - 1; dim >= 0; --dim) {
        if (dims[dim] == 1) continue;
        int at = used++;
        for (; at > 0 && strides[order[at - 1]] > strides[dim]; --at) order[at] = order[at - 1];
        order[at] = dim;
    }
    return used;
}

// Strides of a packed tensor, channels second (N, C, D, H, W) or last (N, D, H, W, C).
inline Dims packed_strides(int rank, const Dims& dims, bool channels_last) noexcept {
    Dims strides{};
    std::int64_t step = 1;
    if (channels_last) {
        strides[1] = step;
        step *= dims[1];
    }
    for (int i = rank - 1; i >= 0; --i) {
        if (channels_last && i == 1) continue;
        strides[i] = step;
        step *= dims[i];
    }
    return strides;
}

}  // namespace mioconv::provider
