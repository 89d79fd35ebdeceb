#include "host_memory.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace mioconv::cpu {

void* allocate_host(std::size_t bytes) noexcept {
    constexpr std::size_t kCacheLine = 64, kHugePage = std::size_t{2} << 20;
    constexpr std::size_t kLarge = 2 * kHugePage;
    if (bytes > PTRDIFF_MAX - kHugePage) return nullptr;
    void* memory = nullptr;
    const std::size_t alignment = bytes < kLarge ? kCacheLine : kHugePage;
    if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
    // Only a wish; the pages that are ours from end to end.
    if (bytes >= kLarge) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
    return memory;
}

void require_address_space(int threads) {
    // The most that one primitive, or the first run of a product, was seen to take is a quarter.
    constexpr std::size_t kCode = std::size_t{64} << 20, kStack = std::size_t{8} << 20;
    const std::size_t bytes = kCode + static_cast<std::size_t>(threads) * kStack;
    void* const room =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) throw std::bad_alloc();
    munmap(room, bytes);
}

}  // namespace mioconv::cpu
