// The host memory that stands for a device's, and the scratch memory of handles.
#pragma once

#include <cstddef>

namespace mioconv::cpu {

// `bytes` bytes, not set to anything, at a multiple of a cache line, for std::free; null if there
// are not as many. Large ones lie in huge pages where the system has some: scratch memory is
// written from end to end, and each small page costs a fault and an entry of the TLB.
void* allocate_host(std::size_t bytes) noexcept;

}  // namespace mioconv::cpu
