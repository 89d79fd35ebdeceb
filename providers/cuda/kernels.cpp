#include "kernels.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "common/strides.hpp"
#include "compiling.hpp"
#include "kernels_source.hpp"
#include "memory.hpp"

namespace mioconv::cuda {
namespace {

using provider::kMaxDims;

constexpr unsigned kThreads = 256;

// As in kKernelSource.
struct Walk {
    std::int64_t count;
    std::int64_t size[kMaxDims];
    std::int64_t stride[3][kMaxDims];
    int rank;
};
struct Scalars {
    float a, b, c;
    int op;
};

CUfunction kernel(const std::string& name) {
    static const Source source{"mioconv_kernels.cu", {kKernelSource}};
    return find_kernel(source, name);
}

unsigned blocks_for(std::int64_t count) {
    // Each thread goes on until the end: more blocks than this only wait.
    constexpr std::int64_t kMost = 1 << 16;
    return static_cast<unsigned>(
        std::clamp<std::int64_t>((count + kThreads - 1) / kThreads, 1, kMost));
}

const char* type_name(miopenDataType_t dtype) {
    switch (dtype) {
        case miopenHalf: return "half";
        case miopenFloat: return "float";
        case miopenBFloat16: return "bfloat";
        default: throw provider::StatusError(miopenStatusNotImplemented);
    }
}

// ---- walking

// The dimensions in the order of the first tensor's memory, those that all tensors have side by
// side made one.
Walk make_walk(int rank, const Dims& dims, std::initializer_list<const Dims*> strides) {
    std::array<int, kMaxDims> order{};
    const int used = provider::order_by_stride(rank, dims, **strides.begin(), order);
    Walk walk{};
    walk.count = 1;
    for (int i = used - 1; i >= 0; --i) {  // outermost first
        const int dim = order[i];
        walk.count *= dims[dim];
        const int last = walk.rank - 1;
        bool joins = last >= 0;
        int k = 0;
        for (const Dims* each : strides) {
            joins = joins && walk.stride[k++][last] == (*each)[dim] * dims[dim];
        }
        const int to = joins ? last : walk.rank++;
        walk.size[to] = joins ? walk.size[to] * dims[dim] : dims[dim];
        k = 0;
        for (const Dims* each : strides) walk.stride[k++][to] = (*each)[dim];
    }
    return walk;
}

}  // namespace

void prepare_kernels() { kernel("map_float_to_float"); }

void map_elements(
    int rank, const Dims& dims, const View& out, const View& in, Map op, float alpha,
    cudaStream_t stream) {
    const Walk walk = make_walk(rank, dims, {&out.strides, &in.strides});
    const std::string name =
        std::string("map_") + type_name(in.dtype) + "_to_" + type_name(out.dtype);
    Launch(
        kernel(name), dim3(blocks_for(walk.count)), dim3(kThreads), 0, walk,
        Scalars{alpha, 0, 0, static_cast<int>(op)})(stream, out.data, in.data);
}

void combine_elements(
    int rank, const Dims& dims, const View& out, const View& a, const View& b, miopenTensorOp_t op,
    float alpha1, float alpha2, float beta, cudaStream_t stream) {
    const Walk walk = make_walk(rank, dims, {&out.strides, &a.strides, &b.strides});
    Launch(
        kernel(std::string("combine_") + type_name(out.dtype)), dim3(blocks_for(walk.count)),
        dim3(kThreads), 0, walk,
        Scalars{alpha1, alpha2, beta, static_cast<int>(op)})(stream, out.data, a.data, b.data);
}

void sum_channels(
    int rank, const Dims& dims, const View& in, const View& out, std::int64_t out_stride,
    cudaStream_t stream) {
    const std::int64_t channels = dims[1];
    Dims others = dims;
    others[1] = 1;
    const Walk walk = make_walk(rank, others, {&in.strides});
    // Side by side where the channels are; otherwise each block walks one channel.
    const unsigned across = in.strides[1] == 1 && channels > 1 ? 32 : 1;
    const unsigned down = kThreads / across;
    const std::int64_t tiles = (channels + across - 1) / across;
    constexpr std::int64_t kBlocks = 1024, kRowsOfThread = 16, kMostChunks = 256;
    const std::int64_t wanted =
        std::min<std::int64_t>(kMostChunks, std::max<std::int64_t>(1, kBlocks / tiles));
    const std::int64_t useful = (walk.count + down * kRowsOfThread - 1) / (down * kRowsOfThread);
    const std::int64_t rows =
        (walk.count + std::min(wanted, useful) - 1) / std::min(wanted, useful);
    const std::int64_t chunks = (walk.count + rows - 1) / rows;
    const std::string type = type_name(in.dtype);
    const StreamMemory partial(
        static_cast<std::size_t>(chunks * channels) * sizeof(double), stream);
    Launch(
        kernel("partials_" + type),
        dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(chunks)), dim3(across, down), 0,
        walk, channels, in.strides[1], rows)(stream, in.data, partial.get());
    Launch(
        kernel("totals_" + type), dim3(static_cast<unsigned>((channels + kThreads - 1) / kThreads)),
        dim3(kThreads), 0, channels, chunks, out_stride)(stream, partial.get(), out.data);
}

void hold(int microseconds, cudaStream_t stream) {
    Launch(kernel("hold"), dim3(1), dim3(1), 0, std::int64_t{1000} * microseconds)(stream);
}

}  // namespace mioconv::cuda
