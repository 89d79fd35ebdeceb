// A problem as the classes that implementations tell apart: what the regions in which they were
// found right are made of.
#pragma once

#include <array>
#include <cstdint>

#include "problem.hpp"

namespace mioconv::provider {

// Name and number of classes of each feature. "width" is the last spatial axis, which kernels treat
// in a way of its own; "rest" is the largest value of the other axes.
#define MIOCONV_FEATURES(FEATURE)                                                           \
    FEATURE(rank, 3) /* 1-D, 2-D, 3-D */                                                    \
    FEATURE(width_stride, 4) /* 1, 2, 3 or 4, more */                                       \
    FEATURE(width_dilation, 3) /* 1, 2, more */                                             \
    FEATURE(width_taps, 5) /* 1, to 3, to 7, to 15, more */                                 \
    FEATURE(width_padding, 4) /* none, to half of the kernel's reach, less than it, more */ \
    FEATURE(width_end, 4) /* behind: input left over, none, as before, more than before */  \
    FEATURE(rest_stride, 4)                                                                 \
    FEATURE(rest_dilation, 3)                                                               \
    FEATURE(rest_taps, 5)                                                                   \
    FEATURE(rest_padding, 4)                                                                \
    FEATURE(rest_end, 4)                                                                    \
    FEATURE(depth_padding, 3) /* none, to the stride, more */                               \
    FEATURE(only_padding, 2) /* a tap or an output that meets nothing else */               \
    FEATURE(in_channels, 8) /* of a group: see channel_class */                             \
    FEATURE(out_channels, 8)                                                                \
    FEATURE(grouping, 5) /* 1 group; depthwise: x 16, other, multiplier; grouped */         \
    FEATURE(width_out, 6) /* 1, below 8, 16, 32, 64, more */                                \
    FEATURE(rest_out, 3) /* 1, below 8, more */                                             \
    FEATURE(batch, 3) /* 1, below 8, more */                                                \
    FEATURE(threads, 3) /* 1, 2, more */

enum class Feature : int {
#define MIOCONV_FEATURE(name, classes) name,
    MIOCONV_FEATURES(MIOCONV_FEATURE)
#undef MIOCONV_FEATURE
        count
};
constexpr int kFeatures = static_cast<int>(Feature::count);

// The class of each feature.
using Classes = std::array<std::uint8_t, kFeatures>;

// `threads`: those that will compute it.
Classes classes_of(const ConvProblem& problem, int threads) noexcept;

}  // namespace mioconv::provider
