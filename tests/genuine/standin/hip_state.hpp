// What the parts of the HIP runtime share: settings, what is alive, faults, misuse.
#pragma once
#include <hip/hip_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "kernel.h"

// Named so that hip_runtime_api.h's opaque handles are ours.
struct ihipStream_t { int device; unsigned flags; };
struct ihipEvent_t {
    std::chrono::steady_clock::time_point at;
    bool recorded = false;
    unsigned flags = 0;
};
struct ihipModule_t { standin::Options options; std::string source; };
struct ihipModuleSymbol_t { std::string name; standin::Kernel kernel; ihipModule_t* module; };

namespace standin {

// A variable of the environment, and as a number.
const char* setting(const char* name, const char* otherwise = "");
std::uint64_t number(const char* name, std::uint64_t otherwise);

constexpr std::size_t kGuard = 64;  // bytes behind each allocation that nobody may write

struct Allocation {
    std::size_t bytes;
    int device;
    bool host;
};

struct State {
    std::mutex mutex;
    std::map<char*, Allocation> memory;
    std::map<void*, const char*> alive;  // streams, events, modules, functions, by kind
    std::map<std::string, std::uint64_t> calls, ran, refused;
    std::map<std::string, int> misuse;
    std::size_t peak = 0, live = 0;
};
State& state();
using Lock = std::lock_guard<std::mutex>;

extern thread_local hipError_t last_error;
extern thread_local int current;

int devices();
std::size_t memory_of_a_device();
inline bool exists(int device) { return device >= 0 && device < devices(); }

void misuse(const std::string& what);
void journal(const std::string& line);
bool guard_intact(const char* p, const Allocation& a);

// Remembers an error as HIP does.
hipError_t done(hipError_t status);
// The status that STANDIN_FAIL wants this call of `name` to give, or success.
hipError_t injected(const char* name);
#define MAY_FAIL                                                       \
    do {                                                               \
        if (const auto e = injected(__func__)) return done(e);         \
        if (devices() == 0) return done(hipErrorNoDevice);             \
    } while (0)

template <typename T>
T* born(T* object, const char* what) {
    Lock lock(state().mutex);
    state().alive[object] = what;
    return object;
}
bool alive(void* object, const char* what);
bool dies(void* object, const char* what);
// Null is the default stream; 1 and 2 are the legacy and the per-thread one.
bool valid(hipStream_t stream);

}  // namespace standin
