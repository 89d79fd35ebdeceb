// An operator new, to be preloaded, that fails when mioconv's compiled modules ask for memory, at
// the time that a test has set. Other libraries always get theirs.

#include <dlfcn.h>
#include <unwind.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

std::atomic<long> left{0};  // requests until the one that fails; 0: none does

// The file of the nearest caller outside of this library and the C++ library.
_Unwind_Reason_Code look_at(_Unwind_Context* frame, void* result) {
    Dl_info info{};
    if (dladdr(reinterpret_cast<void*>(_Unwind_GetIP(frame)), &info) == 0) return _URC_END_OF_STACK;
    if (std::strstr(info.dli_fname, "libstdc++") != nullptr ||
        std::strstr(info.dli_fname, "failing_new") != nullptr)
        return _URC_NO_REASON;
    *static_cast<const char**>(result) = info.dli_fname;
    return _URC_END_OF_STACK;
}

bool asked_by_mioconv() {
    const char* file = nullptr;
    _Unwind_Backtrace(look_at, &file);
    if (file == nullptr) return false;
    const char* name = std::strrchr(file, '/');
    return name != nullptr && std::strstr(file, "/mioconv/") != nullptr &&
           std::strncmp(name, "/lib", 4) != 0;
}

bool must_fail() { return left.load() > 0 && asked_by_mioconv() && left.fetch_sub(1) == 1; }

}  // namespace

extern "C" void fail_after(long requests) { left.store(requests); }
extern "C" long requests_left() { return left.load(); }

void* operator new(std::size_t size) {
    void* memory = must_fail() ? nullptr : std::malloc(size != 0 ? size : 1);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
