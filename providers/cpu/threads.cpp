#include "threads.hpp"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

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

// Runs when the library is loaded: a fork may come at any time after.
[[gnu::constructor]] void watch_forks() {
    pthread_atfork(nullptr, nullptr, [] { forked_child.store(true, std::memory_order_relaxed); });
}

}  // namespace

int thread_limit() noexcept {
    if (__builtin_expect(forked_child.load(std::memory_order_relaxed), 0)) return 1;
    if (limit > 0) return limit;
    int threads = machine_count.load(std::memory_order_relaxed);
    if (__builtin_expect(threads == 0, 0)) {
        threads = machine_threads();
        machine_count.store(threads, std::memory_order_relaxed);
    }
    return threads;
}

ThreadScope::ThreadScope(int threads) noexcept
    : previous_(omp_get_max_threads()), changed_(previous_ != threads) {
    if (changed_) omp_set_num_threads(threads);
}

ThreadScope::~ThreadScope() {
    if (changed_) omp_set_num_threads(previous_);
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
