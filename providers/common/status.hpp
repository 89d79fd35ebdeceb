// How code behind the seam reports failure: by throwing StatusError, caught by the entry guard.
#pragma once

#include <exception>

#include "mioconv/abi/miopen.h"

namespace mioconv::provider {

// A failure with the status that the caller is to see. It carries no text: the ABI has no call that
// would hand one out.
class StatusError : public std::exception {
public:
    explicit StatusError(miopenStatus_t status) noexcept : status_(status) {}
    miopenStatus_t status() const noexcept { return status_; }
    const char* what() const noexcept override { return miopenGetErrorString(status_); }

private:
    miopenStatus_t status_;
};

class HipError : public std::exception {
public:
    explicit HipError(hipError_t error) noexcept : error_(error) {}
    hipError_t error() const noexcept { return error_; }
    const char* what() const noexcept override { return hipGetErrorString(error_); }

private:
    hipError_t error_;
};

inline void require(bool condition, miopenStatus_t otherwise = miopenStatusBadParm) {
    if (__builtin_expect(!condition, 0)) throw StatusError(otherwise);
}

inline void hip_require(bool condition, hipError_t otherwise = hipErrorInvalidValue) {
    if (__builtin_expect(!condition, 0)) throw HipError(otherwise);
}

// A pointer argument that must not be NULL, as a reference. (MIOpen crashes on many of them.)
template <class T>
T& deref(T* pointer) {
    require(pointer != nullptr);
    return *pointer;
}

}  // namespace mioconv::provider
