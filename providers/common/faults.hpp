// Fault injection for tests: mioconvInjectFault makes an exported function fail.
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
extern std::atomic<bool> faults_armed;
}

// All that a call costs while no fault is set.
inline bool faults_armed() noexcept { return detail::faults_armed.load(std::memory_order_relaxed); }

// True when this call is to fail, with `status`. Counts the call against `nth`.
bool take_fault(const CallInfo& call, int& status) noexcept;

}  // namespace mioconv::provider
