#include "activation.hpp"

#include "common/tensor_ops.hpp"
#include "elementwise.hpp"

using namespace mioconv::provider;

namespace mioconv::cpu {

void activate(const Activation& activation, float* values, std::int64_t count) noexcept {
    const float alpha = activation.alpha;
    // Comparisons are written so that NaN fails them and passes through.
    switch (activation.mode) {
        case miopenActivationRELU:
            for (std::int64_t i = 0; i < count; ++i) values[i] = values[i] <= 0 ? 0.f : values[i];
            break;
        case miopenActivationCLIPPEDRELU:
            for (std::int64_t i = 0; i < count; ++i) {
                const float low = values[i] <= 0 ? 0.f : values[i];
                values[i] = low > alpha ? alpha : low;
            }
            break;
        case miopenActivationLEAKYRELU:
            for (std::int64_t i = 0; i < count; ++i) {
                values[i] = values[i] <= 0 ? alpha * values[i] : values[i];
            }
            break;
        default: break;
    }
}

}  // namespace mioconv::cpu

namespace mioconv::provider {

void activate_tensor(
    miopenHandle&, const miopenTensorDescriptor& shape, const miopenActivationDescriptor& function,
    const Strided& y, const Strided& x) {
    const cpu::Activation activation{function.mode, static_cast<float>(function.alpha)};
    cpu::map_elements(shape, cpu::View(y), cpu::View(x), [=](float* values, std::int64_t count) {
        cpu::activate(activation, values, count);
    });
}

}  // namespace mioconv::provider
