// miopenConvolutionForwardBias and miopenConvolutionBackwardBias.
#include "common/export.hpp"
#include "common/guard.hpp"
#include "common/profile.hpp"
#include "common/scalars.hpp"
#include "elementwise.hpp"

using namespace mioconv::cpu;
using namespace mioconv::provider;

namespace {

// A bias descriptor is [1, C, 1, ...] as MIOpen has it, or plain [C].
std::int64_t channel_stride(const miopenTensorDescriptor& bias, std::int64_t channels) {
    const int channel_dim = bias.rank == 1 ? 0 : 1;
    for (int i = 0; i < bias.rank; ++i) {
        require(bias.dims[i] == (i == channel_dim ? channels : 1));
    }
    return channels == 1 ? 1 : bias.strides[channel_dim];
}

// Channels that one task sums: enough to read whole cache lines of a channels-last tensor.
constexpr std::int64_t kBlock = 64;

// The sums of channels [first, first + count) over all other dimensions.
void sum_channels(
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

// y += b, broadcast along the channels. alpha must be 1 and beta 0, which here means just that: it
// is what MIOpen computes.
MIOCONV_EXPORT miopenStatus_t miopenConvolutionForwardBias(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t bDesc, const void* b,
    const void* beta, const miopenTensorDescriptor_t yDesc, void* y) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && b != nullptr && y != nullptr);
        const KernelTimer timer(handle);
        const auto& bias = deref(bDesc);
        const auto& tensor = deref(yDesc);
        require_supported(bias);
        require_supported(tensor);
        require(tensor.rank >= 2 && bias.dtype == tensor.dtype);
        require_plain(alpha, beta);
        View repeated(bias, b);
        repeated.strides = {};
        repeated.strides[1] = channel_stride(bias, tensor.dims[1]);
        const View view(tensor, y);
        combine_elements(
            tensor, view, view, repeated, false,
            [](float* values, const float* others, const float*, std::int64_t count) {
                for (std::int64_t i = 0; i < count; ++i) values[i] += others[i];
            });
    });
}

// db = the sum of dy over all dimensions but the channels; sums in double, rounded once.
MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardBias(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const void* beta, const miopenTensorDescriptor_t dbDesc, void* db) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && dy != nullptr && db != nullptr);
        const KernelTimer timer(handle);
        const auto& tensor = deref(dyDesc);
        const auto& bias = deref(dbDesc);
        require_supported(tensor);
        require_supported(bias);
        require(tensor.rank >= 2 && bias.dtype == tensor.dtype);
        require_plain(alpha, beta);
        const std::int64_t channels = tensor.dims[1];
        const std::int64_t step = channel_stride(bias, channels);
        const View from(tensor, dy), to(bias, db);
        const int threads = threads_for_elements(tensor.elements());
        // Blocks do not depend on the thread count, nor then does any sum.
        const std::int64_t block =
            tensor.strides[1] == 1 ? kBlock : std::min<std::int64_t>(kBlock, 4);
        const std::int64_t blocks = (channels + block - 1) / block;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && blocks > 1)
        for (std::int64_t i = 0; i < blocks; ++i) {
            const std::int64_t first = i * block;
            const std::int64_t count = std::min(block, channels - first);
            double sums[kBlock];
            float rounded[kBlock];
            sum_channels(tensor, from, first, count, sums);
            std::copy_n(sums, count, rounded);
            to.store(rounded, first * step, step, count);
        }
    });
}
