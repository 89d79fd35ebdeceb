// The entry guard: the one try/catch between a caller in C and our C++.
#pragma once

#include <new>
#include <utility>

#include "counters.hpp"
#include "faults.hpp"
#include "status.hpp"

namespace mioconv::provider {

// Turns the exception in flight into a status. Each provider defines it: only it knows the
// exceptions of the library behind it.
miopenStatus_t status_of_current_exception() noexcept;

// HIP keeps the last error of each thread until it is asked for.
void set_last_hip_error(hipError_t error) noexcept;

// What the library behind the provider calls an error that HIP's own list has no text for; NULL if
// it has no words either.
const char* foreign_error_text(hipError_t error) noexcept;

// Runs the body of an exported MIOpen function. `call` says what a fault may match.
template <class Body>
miopenStatus_t guarded(const CallInfo& call, Body&& body) noexcept {
    if (__builtin_expect(watched(), 0)) {
        int status = 0;
        if (note_call(call, status)) return static_cast<miopenStatus_t>(status);
    }
    try {
        std::forward<Body>(body)();
        return miopenStatusSuccess;
    } catch (...) {
        return status_of_current_exception();
    }
}

// The same for a HIP function, whose body returns hipError_t (hipErrorNotReady is no exception).
template <class Body>
hipError_t hip_guarded(const CallInfo& call, Body&& body) noexcept {
    hipError_t error = hipSuccess;
    int injected = 0;
    if (__builtin_expect(watched(), 0) && note_call(call, injected)) {
        error = static_cast<hipError_t>(injected);
    } else {
        try {
            error = std::forward<Body>(body)();
        } catch (const HipError& failure) {
            error = failure.error();
        } catch (const std::bad_alloc&) {
            error = hipErrorOutOfMemory;
        } catch (...) {
            error = hipErrorUnknown;
        }
    }
    if (error != hipSuccess) set_last_hip_error(error);
    return error;
}

}  // namespace mioconv::provider
