// Timing on a table of functions of our own: how long the stream is held, and what counts as
// disturbed. The one argument names the case; what does not hold is printed, and the exit status is 1.
#include "mioconv/timing.hpp"

#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace {

std::int64_t clock_us = 0;
long involuntary = 0;
float elapsed_ms = 1;
std::vector<int> holds;
miopenStatus_t hold_answer = miopenStatusSuccess;
bool failed = false;

void check(bool holds_true, const char* what, int line) {
    if (holds_true) return;
    std::printf("line %d: %s\n", line, what);
    failed = true;
}
#define CHECK(what) check(what, #what, __LINE__)

mioconv::Api table(mioconv::Provider provider) {
    mioconv::Api api;
    api.provider = provider;
    api.hipEventCreateWithFlags = [](hipEvent_t* event, unsigned) {
        return *event = reinterpret_cast<hipEvent_t>(1), hipSuccess;
    };
    api.hipEventDestroy = [](hipEvent_t) { return hipSuccess; };
    api.hipEventRecord = [](hipEvent_t, hipStream_t) { return hipSuccess; };
    api.hipEventSynchronize = [](hipEvent_t) {
        clock_us += 1'000'000;  // waiting is not queueing
        return hipSuccess;
    };
    api.hipEventElapsedTime = [](float* ms, hipEvent_t, hipEvent_t) {
        return *ms = elapsed_ms, hipSuccess;
    };
    api.mioconvHoldStream = [](hipStream_t, int us) { return holds.push_back(us), hold_answer; };
    return api;
}

struct Sample {
    explicit Sample(mioconv::Provider provider) : api(table(provider)) {
        CHECK(timing.make(api).ok());
    }
    // One of so many calls, which take the host so long; whether it was disturbed.
    bool operator()(int calls, std::int64_t host_us, long switches = 0) {
        CHECK(timing.begin(nullptr, calls).ok());
        clock_us += host_us;
        involuntary += switches;
        float ms = 0;
        CHECK(timing.end(nullptr, &ms).ok());
        CHECK(ms == elapsed_ms);
        return timing.disturbed();
    }

    mioconv::Api api;
    mioconv::Timing timing{[] { return clock_us; }};
};

void quick_host() {
    Sample sample(mioconv::Provider::cuda);
    CHECK(!sample(9, 50));
    CHECK(!sample(9, 200));  // as long as the hold, and no longer
    CHECK((holds == std::vector<int>{200, 200}));
}
void slow_host() {
    Sample sample(mioconv::Provider::cuda);
    CHECK(sample(9, 500));
    CHECK(holds.back() == 200);
    CHECK(!sample(9, 500));
    CHECK(holds.back() > 500 && holds.back() < 1000);
    CHECK(!sample(1, 20));  // for each call, whatever their number
    CHECK(holds.back() > 100 && holds.back() < 200);
    CHECK(!sample(9, 50));  // and shorter again once the host is faster
    CHECK(holds.back() == 200);
}
void longest_hold() {
    Sample sample(mioconv::Provider::cuda);
    CHECK(sample(4, 10'000'000));
    CHECK(sample(4, 10'000'000));
    CHECK(holds.back() == 200 * 5);
}
void failing_hold() {
    Sample sample(mioconv::Provider::cuda);
    hold_answer = miopenStatusInternalError;
    CHECK(!sample(9, 1'000));
    hold_answer = miopenStatusSuccess;
    CHECK(!sample(9, 1'000));
    CHECK(holds.size() == 2);
}
void no_hold() {
    Sample sample(mioconv::Provider::rocm);
    sample.api.mioconvHoldStream = nullptr;
    CHECK(!sample(9, 1'000'000, 100));
    CHECK(holds.empty());
}
void cpu() {
    Sample sample(mioconv::Provider::cpu);
    CHECK(!sample(1, 1'000'000));
    CHECK(sample(1, 0, 1));
    elapsed_ms = 100;
    CHECK(!sample(1, 0, 5));  // one in 20 ms is usual
    CHECK(sample(1, 0, 6));
    CHECK(holds.empty());
}
void switches_on_a_gpu() {
    Sample sample(mioconv::Provider::cuda);
    CHECK(!sample(1, 0, 100));
}

}  // namespace

// In the place of the C library's.
extern "C" int getrusage(__rusage_who_t, struct rusage* usage) noexcept {
    *usage = {};
    usage->ru_nivcsw = involuntary;
    return 0;
}

int main(int, char** arguments) {
    const std::map<std::string, std::function<void()>> cases{
        {"quick_host", quick_host},     {"slow_host", slow_host},
        {"longest_hold", longest_hold}, {"failing_hold", failing_hold},
        {"no_hold", no_hold},           {"cpu", cpu},
        {"switches_on_a_gpu", switches_on_a_gpu}};
    cases.at(arguments[1])();
    return failed;
}
