// The table of MIOpen and HIP functions of one loaded provider, and what is known of what was
 // loaded.
#pragma once

#include <atomic>
#include <cstdint>

#include "abi/provider.h"

namespace mioconv {

/// Who stands behind the seam. The values are part of the cache key and of the Python interface.
enum class Provider : int { cpu = 0, rocm = 1, cuda = 2 };
constexpr int provider_count = 3;

/// Where a pointer lives, whatever HIP's major calls it.
enum class MemoryType { unregistered, host, device, managed, other };

class Activity;

struct Api {
#define MIOCONV_FUNCTION(library, need, since, name) decltype(&::name) name = nullptr;
#include "abi/functions.def"
#undef MIOCONV_FUNCTION

    Provider provider = Provider::cpu;
    int hip_version = 0;  ///< major * 10'000'000 + minor * 100'000 + patch, as HIP says it
    std::uint64_t miopen_version = 0;  ///< major * 1'000'000 + minor * 1'000 + patch

    Activity* activity = nullptr;  ///< of all providers together
    /// Set once this library has refused MIOPEN_CONVOLUTION_ATTRIB_MATH_TYPE; null: not known.
    std::atomic<bool>* no_math_type = nullptr;

    int hip_major() const { return hip_version / 10'000'000; }

    /// Packed tensors of different layouts may meet in one call: our cpu provider reorders inside;
    /// the GPU libraries want all operands in one layout.
    bool mixed_layouts() const { return provider == Provider::cpu; }

    /// Whether a channels-last tensor of that shape is taken for something else. MIOpen before 3.5
    /// tells NDHWC by the order of the strides, and finds none where channels and width are one.
    bool mistakes_channels_last(std::int64_t ndim, const std::int64_t* shape) const {
        return provider == Provider::rocm && miopen_version < 3'005'000 && ndim == 5 &&
               shape[1] == 1 && shape[4] == 1;
    }

    /// From 3.2 on MIOpen runs the modes for groups and depthwise convolutions as the ordinary one,
    /// and means to remove them; the group count says all.
    bool maps_modes() const { return provider == Provider::rocm && miopen_version >= 3'002'000; }

    /// Whether constant weights can be packed ahead. Our cuda provider has the calls, and no use
    /// for them.
    bool packs_weights() const {
        return provider == Provider::cpu && mioconvSetPackedWeights &&
               mioconvGetPackedWeightsSize && mioconvPackWeights;
    }

    MemoryType memory_type(int hip_memory_type) const {
        if (hip_major() >= 6) {
            switch (hip_memory_type) {
                case hipMemoryTypeUnregistered_6: return MemoryType::unregistered;
                case hipMemoryTypeHost_6: return MemoryType::host;
                case hipMemoryTypeDevice_6: return MemoryType::device;
                case hipMemoryTypeManaged_6:
                case hipMemoryTypeUnified_6: return MemoryType::managed;
                default: return MemoryType::other;
            }
        }
        switch (hip_memory_type) {
            case hipMemoryTypeHost_5: return MemoryType::host;
            case hipMemoryTypeDevice_5: return MemoryType::device;
            case hipMemoryTypeUnified_5: return MemoryType::managed;
            default: return MemoryType::other;
        }
    }
};

}  // namespace mioconv
