// The gradient of a bias: sums in double, rounded once.
#include "elementwise.hpp"

namespace mioconv::cpu {
namespace {

// Channels that one task sums: enough to read whole cache lines of a channels-last tensor.
constexpr std::int64_t kBlock = 64;

// The sums of channels [first, first + count) over all other dimensions.
void sum_block(
    const miopenTensorDescriptor& shape, const View& view, std::int64_t first, std::int64_t count,
    double* sums) {
    Dims dims = shape.dims;
    dims[1] = count;
    std::fill_n(sums, count, 0.0);
    const std::int64_t base = first * shape.strides[1];
    // Without the channel dimension, walk the rest; along it, where channels are what is
// contiguous.
    const bool along_channels = shape.strides[1] == 1 && count > 1;
    float values[kMaxRun];
    if (along_channels) {
        dims[1] = 1;
        strided_loop<1>(shape.rank, dims, {shape.strides}, 1, [&](const Run<1>& run) {
            for (std::int64_t i = 0; i < run.count; ++i) {
                view.load(base + run.offset[0] + i * run.stride[0], 1, count, values);
                for (std::int64_t c = 0; c < count; ++c) sums[c] += values[c];
            }
        });
        return;
    }
    dims[1] = 1;
    for (std::int64_t c = 0; c < count; ++c) {
        const std::int64_t start = base + c * shape.strides[1];
        strided_loop<1>(shape.rank, dims, {shape.strides}, 1, [&](const Run<1>& run) {
            view.load(start + run.offset[0], run.stride[0], run.count, values);
            // Sixteen partial sums: the compiler may keep them in one vector.
            float partial[16] = {};
            std::int64_t i = 0;
            for (; i + 16 <= run.count; i += 16) {
                for (int lane = 0; lane < 16; ++lane) partial[lane] += values[i + lane];
            }
            for (; i < run.count; ++i) partial[0] += values[i];
            for (const float part : partial) sums[c] += part;
        });
    }
}

}  // namespace
}  // namespace mioconv::cpu

namespace mioconv::provider {

using namespace mioconv::cpu;

void sum_channels(
    miopenHandle&, const miopenTensorDescriptor& shape, const Strided& dy, const Strided& db,
    std::int64_t step) {
    const std::int64_t channels = shape.dims[1];
    const View from(dy), to(db);
    const int threads = threads_for_elements(shape.elements());
    // Blocks do not depend on the thread count, nor then does any sum.
    const std::int64_t block = shape.strides[1] == 1 ? kBlock : std::min<std::int64_t>(kBlock, 4);
    const std::int64_t blocks = (channels + block - 1) / block;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && blocks > 1)
    for (std::int64_t i = 0; i < blocks; ++i) {
        const std::int64_t first = i * block;
        const std::int64_t count = std::min(block, channels - first);
        double sums[kBlock];
        float rounded[kBlock];
        sum_block(shape, from, first, count, sums);
        std::copy_n(sums, count, rounded);
        to.store(rounded, first * step, step, count);
    }
}

}  // namespace mioconv::provider
