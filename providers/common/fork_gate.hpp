// What a fork waits for: the child has none of the threads that were inside, and would find their
// locks taken for ever.
#pragma once

#include <shared_mutex>

namespace mioconv::provider {

/// Held by whoever is inside code with a lock that outlives a call: our own tables, or oneDNN
/// making primitives. Any number of threads hold it together, and a thread may hold it twice. It is
/// off the path of a call whose problem is known.
class ForkGate {
public:
    ForkGate();
    ForkGate(const ForkGate&) = delete;
    ForkGate& operator=(const ForkGate&) = delete;

private:
    std::shared_lock<std::shared_mutex> lock_;
};

}  // namespace mioconv::provider
