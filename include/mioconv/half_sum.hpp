// A sum of half-type tensors on the host: in float32, rounded once.
#pragma once

#include <cstdint>
#include <vector>

#include "half_types.hpp"

namespace mioconv {

class HalfSum {
public:
    /// `count` elements of float16 or bfloat16, all zero.
    void begin(miopenDataType_t dtype, std::int64_t count) {
        dtype_ = dtype;
        sums_.assign(static_cast<std::size_t>(count), 0.0f);
        elements_.resize(sums_.size());
    }
    /// Where the next summand, or the result, lies: `bytes()` of it.
    void* data() { return elements_.data(); }
    std::size_t bytes() const { return elements_.size() * sizeof(std::uint16_t); }

    void add() {
        for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += widen_half(dtype_, elements_[i]);
    }
    void round() {
        for (std::size_t i = 0; i < sums_.size(); ++i)
            elements_[i] = narrow_to_half(dtype_, sums_[i]);
    }

private:
    miopenDataType_t dtype_ = miopenHalf;
    std::vector<float> sums_;
    std::vector<std::uint16_t> elements_;
};

}  // namespace mioconv
