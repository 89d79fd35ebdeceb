// Counts the signals whose handler found itself anywhere else than on its thread's stack: a kernel
// had pointed the stack pointer at other memory, which the handler then wrote over.

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace {

std::atomic<long> handled{0}, astray{0};
pthread_t starter;
std::uintptr_t low, high;  // of its stack

void handle(int) {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    handled.fetch_add(1);
    bool inside = here >= low && here < high;
    if (!pthread_equal(pthread_self(), starter)) {
        // The C library keeps what describes a thread at the upper end of its stack.
        const auto top = static_cast<std::uintptr_t>(pthread_self());
        inside = here < top && top - here < (std::uintptr_t{8} << 20);
    }
    if (!inside) astray.fetch_add(1);
}

int set_timer(long microseconds) {
    const itimerval interval{{0, microseconds}, {0, microseconds}};
    return setitimer(ITIMER_REAL, &interval, nullptr);
}

}  // namespace

extern "C" {

// From now on a signal every so many microseconds, on the stack that it finds.
int start(long microseconds) {
    pthread_attr_t attributes;
    void* base = nullptr;
    std::size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return -1;
    pthread_attr_getstack(&attributes, &base, &size);
    pthread_attr_destroy(&attributes);
    low = reinterpret_cast<std::uintptr_t>(base);
    high = low + size;
    starter = pthread_self();
    struct sigaction action {};
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART;
    if (sigaction(SIGALRM, &action, nullptr) != 0) return -1;
    return set_timer(microseconds);
}

void stop() { set_timer(0); }

// Since the last time.
long take_handled() { return handled.exchange(0); }
long take_astray() { return astray.exchange(0); }
}
