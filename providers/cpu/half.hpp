// Conversions between float and the two 16-bit types, rounding to nearest even.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mioconv/abi/miopen.h"

namespace mioconv::cpu {

inline std::size_t size_of(miopenDataType_t dtype) noexcept { return dtype == miopenFloat ? 4 : 2; }

// `count` elements that lie `stride` elements apart, to and from contiguous floats. `dtype` is
// miopenFloat, miopenHalf or miopenBFloat16.
void load_floats(
    miopenDataType_t dtype, const void* from, std::int64_t stride, std::int64_t count,
    float* to) noexcept;
void store_floats(
    miopenDataType_t dtype, const float* from, std::int64_t count, void* to,
    std::int64_t stride) noexcept;

float load_float(miopenDataType_t dtype, const void* from) noexcept;

}  // namespace mioconv::cpu
