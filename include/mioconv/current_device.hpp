// The device that the runtime's calls of this thread are about.
#pragma once

#include "error.hpp"

namespace mioconv {

/// Makes a device current for the length of a call and restores the one before.
class CurrentDevice {
public:
    CurrentDevice() = default;
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;
    ~CurrentDevice() {
        if (api_) api_->hipSetDevice(previous_);
    }

    Status set(const Api& api, int device) {
        MIOCONV_TRY(MIOCONV_CALL(api, hipGetDevice, &previous_));
        if (previous_ == device) return {};
        MIOCONV_TRY(MIOCONV_CALL(api, hipSetDevice, device));
        api_ = &api;
        return {};
    }

private:
    const Api* api_ = nullptr;
    int previous_ = 0;
};

}  // namespace mioconv
