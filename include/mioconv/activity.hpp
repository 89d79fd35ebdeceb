// Who is inside native code, so that the process can end without pulling it from under them.
#pragma once

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "api.hpp"

namespace mioconv {

/// The native libraries have static objects, which are destroyed while threads that nobody joins
/// may still be using them. When the interpreter ends, it closes this: calls in flight are waited
/// for, and threads that come later stay where they are until the process is gone.
class Activity {
public:
    // Each extension module has thread-local variables of its own; a key is the process's.
    Activity() noexcept { has_depth_ = pthread_key_create(&depth_, nullptr) == 0; }
    Activity(const Activity&) = delete;
    Activity& operator=(const Activity&) = delete;

    /// Without the GIL: a thread that must not go on never comes back. A call within a call, from a
    /// callback, goes on: it is waited for already.
    void enter() noexcept {
        calls_.fetch_add(1);
        const bool nested = deepen(1) > 1;
        if (!closed_.load() || nested || closer_ == std::this_thread::get_id()) return;
        calls_.fetch_sub(1);
        for (;;) ::pause();
    }
    void leave() noexcept {
        deepen(-1);
        calls_.fetch_sub(1);
    }

    /// Waits for calls in flight, `seconds` at most.
    void close(int seconds) noexcept {
        closer_ = std::this_thread::get_id();
        closed_.store(true);
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
        while (calls_.load() > 0 && std::chrono::steady_clock::now() < end)
            std::this_thread::sleep_for(std::chrono::microseconds(200));
    }

    /// A forked child has none of the threads that were inside.
    void reset() noexcept {
        calls_.store(0);
        closed_.store(false);
    }

private:
    /// How many calls this thread is in, after one more or less.
    std::intptr_t deepen(int by) noexcept {
        if (!has_depth_) return 0;
        const auto depth = reinterpret_cast<std::intptr_t>(pthread_getspecific(depth_)) + by;
        pthread_setspecific(depth_, reinterpret_cast<void*>(depth));
        return depth;
    }

    pthread_key_t depth_{};
    bool has_depth_ = false;
    std::atomic<int> calls_{0};
    std::atomic<bool> closed_{false};
    std::thread::id closer_;
};

/// One call in flight, from `enter` until it ends.
class InFlight {
public:
    InFlight() = default;
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;
    ~InFlight() {
        if (activity_) activity_->leave();
    }
    void enter(const Api& api) noexcept {
        api.activity->enter();
        activity_ = api.activity;
    }

private:
    Activity* activity_ = nullptr;
};

}  // namespace mioconv
