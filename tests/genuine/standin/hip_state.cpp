// A HIP runtime for a machine without a GPU, under which AMD's genuine libMIOpen runs.
//
// One imaginary device (or more), whose memory is host memory; everything is done at once, in the
// calling thread. Kernels that kernels.cpp knows are computed on the host, others are refused or
// skipped. Built against HIP's own headers (Debian: libamdhip64-dev), so that each prototype is
// checked; hip.map gives the symbols the versions that libMIOpen asks for.
//
//   STANDIN_ARCH=gfx90a:sramecc+:xnack-   the device's architecture
//   STANDIN_CUS=104        its compute units
//   STANDIN_DEVICES=1      how many; 0: hipErrorNoDevice
//   STANDIN_MEMORY=bytes   of each device (64 GiB, never touched until used)
//   STANDIN_UNKNOWN=fail   a kernel that kernels.cpp does not know: fail (its launch is refused),
//                          missing (hipModuleGetFunction says NotFound) or noop (skipped)
//   STANDIN_FAIL=function:n[+][:status],…   the nth call of a function (and all after it) fails
//   STANDIN_JOURNAL=file   one line for each kernel looked up and launched, appended
//   STANDIN_REPORT=file    at exit: what is still alive, kernels run and refused, misuse
//   STANDIN_FILL=byte      fresh device memory has this value (255: NaN); 0 by default
#include "hip_state.hpp"

namespace standin {

const char* setting(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value && *value ? value : otherwise;
}
std::uint64_t number(const char* name, std::uint64_t otherwise) {
    const char* value = setting(name);
    return *value ? std::strtoull(value, nullptr, 0) : otherwise;
}

// Never destroyed: libraries call this one from destructors of their own.
State& state() {
    static auto* const all = new State;
    return *all;
}
thread_local hipError_t last_error = hipSuccess;
thread_local int current = 0;

int devices() { return static_cast<int>(number("STANDIN_DEVICES", 1)); }
std::size_t memory_of_a_device() { return number("STANDIN_MEMORY", std::uint64_t{64} << 30); }

void misuse(const std::string& what) {
    if (!state().misuse[what]++) std::fprintf(stderr, "[standin] MISUSE: %s\n", what.c_str());
}

hipError_t done(hipError_t status) {
    if (status != hipSuccess && status != hipErrorNotReady) last_error = status;
    return status;
}

hipError_t injected(const char* name) {
    static const std::string wanted = std::string(",") + setting("STANDIN_FAIL") + ",";
    if (wanted.size() == 2) return hipSuccess;
    const auto at = wanted.find("," + std::string(name) + ":");
    if (at == wanted.npos) return hipSuccess;
    char* end;
    const auto nth = std::strtoull(&wanted[at + std::strlen(name) + 2], &end, 10);
    const bool on = *end == '+';
    if (on) ++end;
    const int status = *end == ':' ? std::atoi(end + 1) : static_cast<int>(hipErrorUnknown);
    Lock lock(state().mutex);
    const auto now = ++state().calls[name];
    return now == nth || (on && now > nth) ? static_cast<hipError_t>(status) : hipSuccess;
}
bool alive(void* object, const char* what) {
    Lock lock(state().mutex);
    if (state().alive.count(object)) return true;
    misuse(std::string("use of a dead ") + what);
    return false;
}
bool dies(void* object, const char* what) {
    Lock lock(state().mutex);
    if (state().alive.erase(object)) return true;
    misuse(std::string("second end of a ") + what);
    return false;
}
bool valid(hipStream_t stream) {
    return reinterpret_cast<std::uintptr_t>(stream) <= 2 || alive(stream, "stream");
}

bool guard_intact(const char* p, const Allocation& a) {
    return std::all_of(p + a.bytes, p + a.bytes + kGuard, [](char c) { return c == '\xC5'; });
}

void journal(const std::string& line) {
    static const char* const path = setting("STANDIN_JOURNAL");
    if (!*path) return;
    Lock lock(state().mutex);
    if (FILE* file = std::fopen(path, "a")) {
        std::fprintf(file, "%s\n", line.c_str());
        std::fclose(file);
    }
}

namespace {

void report() {
    const char* path = setting("STANDIN_REPORT");
    FILE* file = *path ? std::fopen(path, "a") : nullptr;
    if (!file) return;
    auto& s = state();
    std::size_t count = 0, bytes = 0;
    for (auto& [p, a] : s.memory) {
        if (!guard_intact(p, a)) s.misuse["bytes written past the end of a live allocation"]++;
        ++count, bytes += a.bytes;
    }
    std::map<std::string, std::size_t> kinds;
    for (auto& [object, kind] : s.alive) ++kinds[kind];
    std::fprintf(file, "alive: %zu allocations (%zu bytes), %zu streams, %zu events, %zu modules; peak %zu bytes\n",
                 count, bytes, kinds["stream"], kinds["event"], kinds["module"], s.peak);
    for (auto& [name, n] : s.ran) std::fprintf(file, "ran %llu %s\n", (unsigned long long)n, name.c_str());
    for (auto& [name, n] : s.refused)
        std::fprintf(file, "refused %llu %s\n", (unsigned long long)n, name.c_str());
    for (auto& [what, n] : s.misuse) std::fprintf(file, "MISUSE %d %s\n", n, what.c_str());
    std::fclose(file);
}
__attribute__((destructor)) void at_exit() { report(); }


}  // namespace

}  // namespace standin
