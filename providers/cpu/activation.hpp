// Activation functions on runs of floats.
#pragma once

#include <cstdint>

#include "mioconv/abi/miopen.h"

namespace mioconv::cpu {

struct Activation {
    miopenActivationMode_t mode = miopenActivationPASTHRU;
    float alpha = 0;
};

// Modes that ActivationForward knows: PASTHRU, RELU, CLIPPEDRELU (to alpha), LEAKYRELU (slope
// alpha). Others are UnsupportedOp.
void require_supported(miopenActivationMode_t mode);

// NaN stays NaN, as in the array libraries.
void activate(const Activation& activation, float* values, std::int64_t count) noexcept;

}  // namespace mioconv::cpu
