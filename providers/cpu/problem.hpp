// Problems as this provider sees them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/problem.hpp"
#include "threads.hpp"

namespace mioconv::cpu {

using provider::ConvProblem;
using provider::ConvProblemHash;
using provider::Dims;
using provider::Direction;
using provider::flops;
using provider::Fused;
using provider::is_depthwise;
using provider::kRoles;
using provider::Operands;
using provider::Role;
using provider::Spatial;

// The threads that pay for a problem: waking a second one costs more than a tiny problem does.
inline int threads_for(const ConvProblem& problem) noexcept {
    // Waking a second thread takes some 12 us. Measured, it pays from 3 MFLOP on, or where as long
    // is spent reading and writing: a product of a vector and 1.6 MB of weights takes 0.7 of the
    // time.
    constexpr double kFlopsPerThread = 1.5e6, kElementsPerThread = 1.5e5;
    double elements = 0;
    for (const provider::Dims* tensor : {&problem.src, &problem.wei, &problem.dst}) {
        double count = 1;
        for (int i = 0; i < problem.rank; ++i) count *= static_cast<double>((*tensor)[i]);
        elements += count;
    }
    const double useful = std::max(flops(problem) / kFlopsPerThread, elements / kElementsPerThread);
    if (useful < 2) return 1;
    return useful < problem.place ? static_cast<int>(useful) : problem.place;
}

// How far a kernel reaches beyond its first tap on an axis.
inline std::int64_t reach(const ConvProblem& problem, int axis) noexcept {
    return std::int64_t{problem.dilation[axis]} * (problem.wei[axis + 2] - 1) + 1;
}

// What of an axis lies behind its last element where a kernel gets to, just as the size of dst
// needs it, which was rounded down; negative where no kernel gets to the end.
inline std::int64_t padding_after(const ConvProblem& problem, int axis) noexcept {
    return (problem.dst[axis + 2] - 1) * std::int64_t{problem.stride[axis]} + reach(problem, axis) -
           problem.src[axis + 2] - problem.padding[axis];
}

}  // namespace mioconv::cpu
