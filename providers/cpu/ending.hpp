// What is fused behind a forward convolution, done where a kernel of our own has its sums in
// registers: result = act(sum + bias + scale * z), where z lies in the result's place.
#pragma once

#include "problem.hpp"
#include "vectors.hpp"

namespace mioconv::cpu {

struct Ending {
    Fused activation;
    float slope, scale;
    bool sum;

    explicit Ending(const ConvProblem& problem)
        : activation(problem.fused),
          slope(problem.slope),
          scale(problem.sum_scale),
          sum(problem.has_sum != 0) {}
};

// Of `old`, what lies in the result's place, the first `done` lanes are results already. `bias` may
// be null.
MIOCONV_INLINE void finish(
    const Ending& ending, const Vector* bias, const float* old, std::int64_t done, Vector& value) {
    Vector given{};
    if (bias != nullptr) value += *bias;
    if (ending.sum) {
        load(old, given);
        value += ending.scale * given;
    }
    const Vector zero{};
    // A NaN is not less than zero, and stays; -0 becomes 0.
    if (ending.activation == Fused::relu) value = (value < zero ? zero : value) + zero;
    if (ending.activation == Fused::leaky_relu) value = value < zero ? ending.slope * value : value;
    if (ending.sum) {
        for (std::int64_t lane = 0; lane < done; ++lane) value[lane] = given[lane];
    }
}

}  // namespace mioconv::cpu
