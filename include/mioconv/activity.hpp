// Who is inside native code, so that the process can end without pulling it from under them.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "api.hpp"

namespace mioconv {

/// The native libraries have static objects, which are destroyed while threads that nobody joins
/// may still be using them. When the interpreter ends, it closes this: calls in flight are waited
/// for, and threads that come later stay where they are until the process is gone.
class Activity {
public:
    /// Without the GIL: a thread that must not go on never comes back.
    void enter() {
        calls_.fetch_add(1);
        if (!closed_.load() || closer_ == std::this_thread::get_id()) return;
        calls_.fetch_sub(1);
        for (;;) ::pause();
    }
    void leave() { calls_.fetch_sub(1); }

    /// Waits for calls in flight, `seconds` at most.
    void close(int seconds) {
        closer_ = std::this_thread::get_id();
        closed_.store(true);
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
        while (calls_.load() > 0 && std::chrono::steady_clock::now() < end)
            std::this_thread::sleep_for(std::chrono::microseconds(200));
    }

    /// A forked child has none of the threads that were inside.
    void reset() {
        calls_.store(0);
        closed_.store(false);
    }

private:
    std::atomic<int> calls_{0};
    std::atomic<bool> closed_{false};
    std::thread::id closer_;
};

/// One call in flight, from `enter` until it ends. Calls do not nest.
class InFlight {
public:
    InFlight() = default;
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;
    ~InFlight() {
        if (activity_) activity_->leave();
    }
    void enter(const Api& api) {
        api.activity->enter();
        activity_ = api.activity;
    }

private:
    Activity* activity_ = nullptr;
};

}  // namespace mioconv
