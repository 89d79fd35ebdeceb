// Tensors in other layouts: the same elements, transposed, padded, or of any strides.
#pragma once

#include <vector>

#include "compiling.hpp"
#include "kernels.hpp"

namespace mioconv::cuda {

// One tensor's copy. `out_dims` may be larger in the first two dimensions, and then there are zeros
// beyond; the copy is packed with the channels last in that case, and its channels are a multiple
// of 8 bytes.
struct Copy {
    int rank;
    miopenDataType_t dtype;
    Dims out_dims, out_strides;
    Dims dims, strides;
};

// Several copies, ready to be queued; those between packed tensors share launches.
class Copies {
public:
    // The addresses tell how wide accesses may be: what is given later must be a multiple of as
    // much. Compiles for the current device.
    Copies(const std::vector<Copy>& copies, std::int64_t out_alignment, std::int64_t in_alignment);

    void run(void* const* out, const void* const* in, cudaStream_t stream) const;

private:
    static constexpr std::size_t kMostJobs = 3;

    // As in kCopiesSource.
    struct Job {
        const void* in;
        void* out;
        std::int64_t size[6];
        std::uint32_t blocks;
    };
    struct Jobs {
        Job job[kMostJobs];
    };
    struct Batch {
        Jobs jobs{};
        std::array<std::size_t, kMostJobs> which{};  // of the copies
        std::array<int, kMostJobs> kind{};
        std::size_t count = 0;
        CUfunction function = nullptr;
        std::uint32_t blocks = 0;
    };
    struct Clear {
        std::size_t which, offset, bytes;
    };

    // The kind of a copy's job, and the job; 0 where none is made for such strides.
    static int make_job(const Copy& copy, std::int64_t out, std::int64_t in, Job& job);

    std::vector<Copy> copies_;
    std::vector<Batch> batches_;
    std::vector<Clear> clears_;
    std::vector<std::size_t> others_;  // element by element
};

// One copy without padding, now.
void copy_layout(int rank, const Dims& dims, const View& out, const View& in, cudaStream_t stream);

}  // namespace mioconv::cuda
