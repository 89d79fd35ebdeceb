// Who may go on when the process ends.
#include "mioconv/activity.hpp"

#include <atomic>
#include <chrono>
#include <thread>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

mioconv::Activity activity;
mioconv::Api api;
std::atomic<bool> inside{false}, let_go{false}, came_back{false};

// A thread in a call, until it is let go; `work` is done then.
template <typename Work>
void call_in_a_thread(Work work) {
    std::thread([work] {
        mioconv::InFlight call;
        call.enter(api);
        inside = true;
        while (!let_go) std::this_thread::sleep_for(1ms);
        work();
    }).detach();
    while (!inside) std::this_thread::sleep_for(1ms);
}

void later_calls_pause() {
    activity.close(1);
    std::thread([] {
        mioconv::InFlight call;
        call.enter(api);
        came_back = true;
    }).detach();
    std::this_thread::sleep_for(300ms);
    CHECK(!came_back);
    mioconv::InFlight own;  // who ends the process may call
    own.enter(api);
}
void calls_in_flight_are_waited_for() {
    call_in_a_thread([] { came_back = true; });
    std::thread([] {
        std::this_thread::sleep_for(200ms);
        let_go = true;
    }).detach();
    activity.close(30);
    CHECK(came_back);
}
void but_not_for_ever() {
    call_in_a_thread([] {});
    const auto start = Clock::now();
    activity.close(1);
    CHECK(Clock::now() - start >= 900ms);
}
void a_call_within_a_call_goes_on() {
    call_in_a_thread([] {
        std::this_thread::sleep_for(200ms);  // it is closed by now
        mioconv::InFlight nested;
        nested.enter(api);
        came_back = true;
    });
    let_go = true;
    const auto start = Clock::now();
    activity.close(30);
    CHECK(came_back && Clock::now() - start < 10s);
}
void a_child_starts_anew() {
    call_in_a_thread([] {});
    activity.close(0);
    activity.reset();
    std::thread([] {
        mioconv::InFlight call;
        call.enter(api);
        came_back = true;
    }).join();
    CHECK(came_back);
    activity.close(30);  // of nobody
}

}  // namespace

int main(int, char** arguments) {
    api.activity = &activity;
    const int status = run_case(
        {{"later_calls_pause", later_calls_pause},
         {"calls_in_flight_are_waited_for", calls_in_flight_are_waited_for},
         {"but_not_for_ever", but_not_for_ever},
         {"a_call_within_a_call_goes_on", a_call_within_a_call_goes_on},
         {"a_child_starts_anew", a_child_starts_anew}},
        arguments[1]);
    _exit(status);
}
