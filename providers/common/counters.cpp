#include "counters.hpp"

#include "export.hpp"
#include "faults.hpp"

namespace mioconv::provider::detail {
Counters counters;
}

MIOCONV_EXPORT miopenStatus_t mioconvGetObjectCounts(mioconvObjectCounts_t* counts) {
    mioconv::provider::watch();
    if (counts == nullptr) return miopenStatusBadParm;
    const auto& c = mioconv::provider::counters();
    *counts = {
        c.handles.read(),
        c.tensor_descriptors.read(),
        c.convolution_descriptors.read(),
        c.activation_descriptors.read(),
        c.fusion_plans.read(),
        c.operator_args.read(),
        c.streams.read(),
        c.events.read(),
        c.allocations.read(),
        c.bytes_allocated.load(std::memory_order_relaxed),
        c.native_calls.load(std::memory_order_relaxed)};
    return miopenStatusSuccess;
}
