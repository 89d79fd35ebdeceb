// Activation functions on runs of floats.
#pragma once

#include <cstdint>

#include "mioconv/abi/miopen.h"

namespace mioconv::cpu {

struct Activation {
    miopenActivationMode_t mode = miopenActivationPASTHRU;
    float alpha = 0;
};

// PASTHRU, RELU, CLIPPEDRELU (to alpha) or LEAKYRELU (slope alpha), in place.
// NaN stays NaN, as in the array libraries.
void activate(const Activation& activation, float* values, std::int64_t count) noexcept;

}  // namespace mioconv::cpu
