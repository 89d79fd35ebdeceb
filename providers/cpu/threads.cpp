#include "threads.hpp"

#include <dlfcn.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "common/export.hpp"
#include "common/guard.hpp"
#include "mioconv/abi/provider.h"

namespace mioconv::cpu {
namespace {

thread_local int limit = 0;           // of the calling thread; 0: the machine's
std::atomic<int> machine_count{0};    // 0: not asked for yet
std::atomic<bool> forked_child{false};

int machine_threads() noexcept {
    int count = 1;
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        count = CPU_COUNT(&allowed);
    } else {
        count = omp_get_num_procs();  // more cores than cpu_set_t has bits
    }
    if (const char* text = std::getenv("OMP_NUM_THREADS")) {
        const long wanted = std::strtol(text, nullptr, 10);
        if (wanted > 0) count = static_cast<int>(std::min<long>(wanted, count));
    }
    return std::max(count, 1);
}

// Whether this process was forked and has run no other program since, by the kernel's own flag.
bool is_forked() {
    std::ifstream file("/proc/self/stat");
    std::string text;
    std::getline(file, text);
    const std::size_t name_end = text.rfind(')');  // a name may contain anything
    if (name_end == std::string::npos) return false;
    std::istringstream fields(text.substr(name_end + 1));
    std::string skipped;  // state, parent, group, session, terminal, its group
    for (int i = 0; i < 6; ++i) fields >> skipped;
    unsigned long flags = 0;
    constexpr unsigned long forked_no_exec = 0x40;  // PF_FORKNOEXEC
    return (fields >> flags) && (flags & forked_no_exec) != 0;
}

// Where the library of a function begins in this process, as the lines of /proc/PID/maps begin.
std::string place_of_library(void* function) {
    Dl_info info{};
    if (dladdr(function, &info) == 0) return {};
    std::ostringstream text;
    text << std::hex << reinterpret_cast<std::uintptr_t>(info.dli_fbase) << '-';
    return text.str();
}

// Whether a parent may have left us an OpenMP pool without its threads: whoever uses that waits for
// ever. Not if the parent, known by where its C library lies, has no OpenMP where ours is. A parent
// that is gone says nothing.
bool inherits_openmp() {
    if (!is_forked()) return false;
    const std::string openmp = place_of_library(reinterpret_cast<void*>(&omp_get_num_procs));
    const std::string libc = place_of_library(reinterpret_cast<void*>(&getppid));
    std::ifstream maps("/proc/" + std::to_string(getppid()) + "/maps");
    bool is_parent = false;
    for (std::string line; std::getline(maps, line);) {
        if (line.rfind(openmp, 0) == 0) return true;
        is_parent = is_parent || line.rfind(libc, 0) == 0;
    }
    return !is_parent;
}

// Runs when the library is loaded: a fork may come at any time after, or have come before.
[[gnu::constructor]] void watch_forks() {
    forked_child.store(inherits_openmp(), std::memory_order_relaxed);
    pthread_atfork(nullptr, nullptr, [] { forked_child.store(true, std::memory_order_relaxed); });
}

}  // namespace

int thread_limit() noexcept {
    if (__builtin_expect(forked_child.load(std::memory_order_relaxed), 0)) return 1;
    // The threads of the caller's own parallel region are the parallelism there.
    if (__builtin_expect(omp_in_parallel() || omp_get_max_active_levels() < 1, 0)) return 1;
    if (limit > 0) return std::min(limit, omp_get_thread_limit());
    int threads = machine_count.load(std::memory_order_relaxed);
    if (__builtin_expect(threads == 0, 0)) {
        threads = machine_threads();
        machine_count.store(threads, std::memory_order_relaxed);
    }
    return std::min(threads, omp_get_thread_limit());
}

ThreadScope::ThreadScope(int threads) noexcept
    : previous_(omp_get_max_threads()),
      changed_(previous_ != threads),
      dynamic_(omp_get_dynamic() != 0) {
    if (changed_) omp_set_num_threads(threads);
    if (dynamic_) omp_set_dynamic(0);
}

ThreadScope::~ThreadScope() {
    if (changed_) omp_set_num_threads(previous_);
    if (dynamic_) omp_set_dynamic(1);
}

}  // namespace mioconv::cpu

using namespace mioconv::provider;

MIOCONV_EXPORT miopenStatus_t mioconvSetNumThreads(int threads) {
    return guarded({__func__}, [&] {
        require(threads >= 0);
        mioconv::cpu::limit = threads;
    });
}

MIOCONV_EXPORT miopenStatus_t mioconvGetNumThreads(int* threads) {
    return guarded({__func__}, [&] { deref(threads) = mioconv::cpu::thread_limit(); });
}
