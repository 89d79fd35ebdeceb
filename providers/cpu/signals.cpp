#include "signals.hpp"

#include <omp.h>

#include <initializer_list>

namespace mioconv::cpu {
namespace {

void block(sigset_t* before) noexcept {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
        sigdelset(&all, fault);
    }
    pthread_sigmask(SIG_BLOCK, &all, before);
}

// Threads of the pool begin with the signals of whoever made it, which may have been somebody else.
void block_in_pool(int threads) noexcept {
    thread_local bool blocked = false;
#pragma omp parallel num_threads(threads)
    if (omp_get_thread_num() > 0 && !blocked) {
        block(nullptr);
        blocked = true;
    }
}

}  // namespace

NoSignals::NoSignals(int threads) noexcept {
    block(&before_);
    if (threads > 1) block_in_pool(threads);
}

NoSignals::~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

}  // namespace mioconv::cpu
