#include "host_memory.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

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

}  // namespace mioconv::cpu
