// Problems as this provider sees them.
#pragma once

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
    // Waking a second thread takes some 12 us: measured, it pays from 3 MFLOP on.
    constexpr double kFlopsPerThread = 1.5e6;
    const double useful = flops(problem) / kFlopsPerThread;
    if (useful < 2) return 1;
    return useful < problem.place ? static_cast<int>(useful) : problem.place;
}

}  // namespace mioconv::cpu
