// Counts of the objects that cross the seam, so that tests can prove that nothing leaks.
#pragma once

#include <atomic>
#include <cstdint>

#include "mioconv/abi/provider.h"

namespace mioconv::provider {

struct ObjectCounter {
    std::atomic<std::uint64_t> created{0};
    std::atomic<std::uint64_t> destroyed{0};

    void add() noexcept { created.fetch_add(1, std::memory_order_relaxed); }
    void remove() noexcept { destroyed.fetch_add(1, std::memory_order_relaxed); }
    mioconvObjectCount_t read() const noexcept {
        return {created.load(std::memory_order_relaxed), destroyed.load(std::memory_order_relaxed)};
    }
};

struct Counters {
    ObjectCounter handles, tensor_descriptors, convolution_descriptors, activation_descriptors,
        fusion_plans, operator_args, streams, events, allocations;
    std::atomic<std::uint64_t> bytes_allocated{0};
    std::atomic<std::uint64_t> native_calls{0};

    void count_call() noexcept { native_calls.fetch_add(1, std::memory_order_relaxed); }
};

namespace detail {
extern Counters counters;
}

inline Counters& counters() noexcept { return detail::counters; }

// A base that counts the lives of the objects derived from it.
template <ObjectCounter Counters::*member>
class Counted {
public:
    Counted() noexcept { (counters().*member).add(); }
    Counted(const Counted&) noexcept : Counted() {}
    Counted& operator=(const Counted&) noexcept { return *this; }
    ~Counted() { (counters().*member).remove(); }
};

}  // namespace mioconv::provider
