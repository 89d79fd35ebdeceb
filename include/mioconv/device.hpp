// What is kept for each device that was used: its handles, its scratch memory, what it is.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "current_device.hpp"
#include "handle.hpp"
#include "workspace.hpp"

namespace mioconv {

struct DeviceInfo {
    std::string name;
    std::string architecture;  ///< gcnArchName; the instruction set on the CPU
    std::int64_t compute_units = 0;
    std::int64_t total_memory = 0;
};

/// Reads the properties by the symbol that fills the layout which we know: the plain one fills HIP
/// 5's, also in later majors; the R0600 one appeared with HIP 6.
inline Status read_device_info(const Api& api, int device, DeviceInfo* info) {
    const auto fill = [info](const auto& properties) {
        info->name.assign(properties.name, strnlen(properties.name, sizeof properties.name));
        info->architecture.assign(
            properties.gcnArchName, strnlen(properties.gcnArchName, sizeof properties.gcnArchName));
        info->compute_units = properties.multiProcessorCount;
        info->total_memory = static_cast<std::int64_t>(properties.totalGlobalMem);
    };
    // The library may fill a struct of a later release that is larger than the one we know.
    if (api.hipGetDevicePropertiesR0600) {
        union {
            hipDeviceProp_tR0600 properties;
            char room[8192];
        } u;
        std::memset(&u, 0, sizeof u);
        MIOCONV_TRY(MIOCONV_CALL(api, hipGetDevicePropertiesR0600, &u.properties, device));
        fill(u.properties);
        return {};
    }
    if (api.hipGetDeviceProperties) {
        union {
            hipDeviceProp_t properties;
            char room[8192];
        } u;
        std::memset(&u, 0, sizeof u);
        MIOCONV_TRY(MIOCONV_CALL(api, hipGetDeviceProperties, &u.properties, device));
        fill(u.properties);
    }
    return {};
}

class Device {
public:
    Device(
        const Api& api, int index, DeviceInfo info, bool memory_pools, const Allocator* allocator)
        : api(api),
          index(index),
          info(std::move(info)),
          architecture_hash(hash(this->info)),
          handles(api),
          workspaces(
              api, index, memory_pools && api.hipMallocAsync && api.hipFreeAsync, allocator) {}

    const Api& api;
    const int index;
    const DeviceInfo info;
    const std::int64_t architecture_hash;
    HandlePool handles;
    WorkspacePool workspaces;

private:
    static std::int64_t hash(const DeviceInfo& info) {
        std::uint64_t value = 0xCBF29CE484222325u;
        for (const unsigned char c : info.architecture) value = (value ^ c) * 0x100000001B3u;
        return static_cast<std::int64_t>(
            (value ^ static_cast<std::uint64_t>(info.compute_units)) * 0x100000001B3u);
    }
};

/// All devices used so far, for the rest of the process. The owner never destroys it: at exit other
/// threads may still compute, and the native libraries are torn down before this one.
class Devices {
public:
    Status get(const Api& api, int index, Device** out) {
        const auto provider = static_cast<std::size_t>(api.provider);
        const bool near = index >= 0 && index < static_cast<int>(known_[provider].size());
        if (near) {
            *out = known_[provider][index].load(std::memory_order_acquire);
            if (*out) return {};
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        auto& devices = devices_[provider];
        auto place = devices.find(index);
        if (place == devices.end()) {
            DeviceInfo info;
            MIOCONV_TRY(read_device_info(api, index, &info));
            int pools = 0;
            if (api.hipDeviceGetAttribute(&pools, hipDeviceAttributeMemoryPoolsSupported, index) !=
                hipSuccess) {
                api.hipGetLastError();  // an unknown attribute is an answer, not an error to leave
                                        // behind
                pools = 0;
            }
            place = devices
                        .emplace(
                            index, std::make_unique<Device>(
                                       api, index, std::move(info), pools != 0, allocator_))
                        .first;
        }
        *out = place->second.get();
        if (near) known_[provider][index].store(*out, std::memory_order_release);
        return {};
    }

    std::vector<Device*> all() {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<Device*> found;
        for (auto& provider : devices_)
            for (auto& entry : provider) found.push_back(entry.second.get());
        return found;
    }

    /// Where scratch memory of all devices comes from; null: from the device itself.
    void set_allocator(const Allocator* allocator) {
        const std::lock_guard<std::mutex> lock(mutex_);
        allocator_ = allocator;
        for (auto& provider : devices_)
            for (auto& entry : provider) entry.second->workspaces.set_allocator(allocator);
    }

private:
    std::mutex mutex_;
    const Allocator* allocator_ = nullptr;
    std::array<std::unordered_map<int, std::unique_ptr<Device>>, provider_count> devices_;
    /// The first few of each provider, for looking up without the lock.
    std::array<std::array<std::atomic<Device*>, 16>, provider_count> known_{};
};

}  // namespace mioconv
