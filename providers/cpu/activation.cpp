#include "activation.hpp"

#include "common/descriptors.hpp"
#include "common/export.hpp"
#include "common/guard.hpp"
#include "common/profile.hpp"
#include "common/scalars.hpp"
#include "elementwise.hpp"

using namespace mioconv::provider;

namespace mioconv::cpu {

void require_supported(miopenActivationMode_t mode) {
    require(
        mode == miopenActivationPASTHRU || mode == miopenActivationRELU ||
            mode == miopenActivationCLIPPEDRELU || mode == miopenActivationLEAKYRELU,
        miopenStatusUnsupportedOp);
}

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

using namespace mioconv::cpu;

MIOCONV_EXPORT miopenStatus_t miopenActivationForward(
    miopenHandle_t handle, const miopenActivationDescriptor_t activDesc, const void* alpha,
    const miopenTensorDescriptor_t xDesc, const void* x, const void* beta,
    const miopenTensorDescriptor_t yDesc, void* y) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && x != nullptr && y != nullptr);
        const KernelTimer timer(handle);
        const auto& descriptor = deref(activDesc);
        const auto& from = deref(xDesc);
        const auto& to = deref(yDesc);
        require_supported(from);
        mioconv::cpu::require_supported(descriptor.mode);
        require(from.rank == to.rank && from.dims == to.dims && from.dtype == to.dtype);
        require_plain(alpha, beta);
        const Activation activation{descriptor.mode, static_cast<float>(descriptor.alpha)};
        map_elements(to, View(to, y), View(from, x), [=](float* values, std::int64_t count) {
            activate(activation, values, count);
        });
    });
}
