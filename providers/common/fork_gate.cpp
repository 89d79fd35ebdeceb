#include "fork_gate.hpp"

#include <pthread.h>

#include <new>

namespace mioconv::provider {
namespace {

std::shared_mutex& gate() {
    // Never destroyed: a process may fork while it ends.
    static auto* const instance = new std::shared_mutex;
    return *instance;
}

// Runs when the library is loaded: a fork may come at any time after.
[[gnu::constructor]] void watch_forks() {
    // The child is another thread to the lock than the one that took it, so it makes a new one.
    pthread_atfork(
        [] { gate().lock(); }, [] { gate().unlock(); }, [] { new (&gate()) std::shared_mutex; });
}

}  // namespace

ForkGate::ForkGate() : lock_(gate()) {}

}  // namespace mioconv::provider
