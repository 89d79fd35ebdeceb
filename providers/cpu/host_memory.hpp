// The host memory that stands for a device's, and the scratch memory of handles.
#pragma once

#include <cstddef>

namespace mioconv::cpu {

// `bytes` bytes, not set to anything, at a multiple of a cache line, for std::free; null if there
// are not as many. Large ones lie in huge pages where the system has some: scratch memory is
// written from end to end, and each small page costs a fault and an entry of the TLB.
void* allocate_host(std::size_t bytes) noexcept;

// Throws std::bad_alloc where the process has little address space left, of which nobody would
// tell. Code that oneDNN has no memory for is missing where it is run (3.2), and from then on it
// makes none in this thread. OpenMP ends the process where there is none for the stacks of so many
// threads.
void require_address_space(int threads);

}  // namespace mioconv::cpu
