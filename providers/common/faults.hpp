// What tests see of calls: how many there were, and mioconvInjectFault, which makes one fail.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mioconv::provider {

// What an exported function knows of its own call when it asks whether it is to fail.
struct CallInfo {
    const char* function;
    std::size_t bytes = 0;          // allocation functions
    std::uint64_t solution_id = 0;  // functions that take one
};

namespace detail {
extern std::atomic<bool> watched;
}

// Whether anybody has asked for counts or set a fault: all that a call costs until then. Counting
// always would have all threads write to one place.
inline bool watched() noexcept { return detail::watched.load(std::memory_order_relaxed); }
inline void watch() noexcept { detail::watched.store(true, std::memory_order_relaxed); }

// Counts the call, also against a fault's `nth`. True when it is to fail, with `status`.
bool note_call(const CallInfo& call, int& status) noexcept;

}  // namespace mioconv::provider
