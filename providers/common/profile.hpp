// What miopenGetKernelTime answers: how long the work of a handle's last call took.
#pragma once

#include <atomic>

#include "mioconv/abi/miopen.h"

namespace mioconv::provider {

// A member of every handle.
struct Profile {
    std::atomic<bool> on{false};
    std::atomic<float> ms{0};
};

// Each provider defines it: it knows its handle.
Profile& profile_of(miopenHandle& handle) noexcept;

// Times what is queued on the handle's stream while it lives, and waits for it; does nothing where
// profiling is off. Made before the handle is locked.
class KernelTimer {
public:
    explicit KernelTimer(miopenHandle_t handle) noexcept;
    ~KernelTimer();
    KernelTimer(const KernelTimer&) = delete;
    KernelTimer& operator=(const KernelTimer&) = delete;

private:
    miopenHandle_t handle_ = nullptr;  // NULL: nothing is timed
    hipStream_t stream_ = nullptr;
    hipEvent_t start_ = nullptr, stop_ = nullptr;
};

}  // namespace mioconv::provider
