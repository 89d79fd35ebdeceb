#include "kernels.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/strides.hpp"
#include "kernels_source.hpp"
#include "memory.hpp"

namespace mioconv::cuda {
namespace {

using provider::HipError;
using provider::kMaxDims;
using provider::require;

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

// ---- compiling

void check_compiler(nvrtcResult result) {
    if (result != NVRTC_SUCCESS) throw HipError(hipErrorNoBinaryForGpu);
}

CUlibrary compile(const std::string& architecture) {
    const Compiler& nvrtc = compiler();
    nvrtcProgram program = nullptr;
    check_compiler(nvrtc.nvrtcCreateProgram(
        &program, kKernelSource, "mioconv_kernels.cu", 0, nullptr, nullptr));
    struct Guard {
        nvrtcProgram* program;
        ~Guard() { compiler().nvrtcDestroyProgram(program); }
    } guard{&program};
    const std::string target = "--gpu-architecture=" + architecture;
    const char* const options[] = {target.c_str(), "--std=c++17"};
    check_compiler(nvrtc.nvrtcCompileProgram(program, 2, options));
    std::size_t size = 0;
    check_compiler(nvrtc.nvrtcGetCUBINSize(program, &size));
    std::vector<char> binary(size);
    check_compiler(nvrtc.nvrtcGetCUBIN(program, binary.data()));
    CUlibrary library = nullptr;
    check(driver().cuLibraryLoadData(
        &library, binary.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    return library;
}

// The kernels of one architecture. A library belongs to no context: it serves every device.
struct Module {
    CUlibrary library = nullptr;
    std::unordered_map<std::string, CUkernel> kernels;
};

struct Modules {
    std::mutex mutex;
    std::unordered_map<int, Module*> of_device;
    std::unordered_map<std::string, Module> of_architecture;
};

Modules& modules() {
    static auto* const instance = new Modules;
    return *instance;
}

// Needs the mutex held.
Module& module_of(int device) {
    Modules& all = modules();
    Module*& known = all.of_device[device];
    if (known == nullptr) {
        int major = 0, minor = 0;
        check(runtime().cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
        check(runtime().cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
        const std::string architecture = "sm_" + std::to_string(major) + std::to_string(minor);
        Module& module = all.of_architecture[architecture];
        if (module.library == nullptr) module.library = compile(architecture);
        known = &module;
    }
    return *known;
}

CUfunction kernel(const std::string& name) {
    const int device = current_device();
    Modules& all = modules();
    std::lock_guard lock(all.mutex);
    Module& module = module_of(device);
    CUkernel& found = module.kernels[name];
    if (found == nullptr) {
        check(driver().cuLibraryGetKernel(&found, module.library, name.c_str()));
    }
    // The driver takes either where it takes a function.
    return reinterpret_cast<CUfunction>(found);
}

template <class... Arguments>
void launch(
    const std::string& name, dim3 grid, dim3 block, cudaStream_t stream, Arguments... arguments) {
    // The runtime makes its context the thread's at the first call that needs one; the driver's
    // functions do not.
    thread_local bool has_context = false;
    if (!has_context) {
        check(runtime().cudaSetDevice(current_device()));
        has_context = true;
    }
    void* pointers[] = {&arguments...};
    check(driver().cuLaunchKernel(
        kernel(name), grid.x, grid.y, grid.z, block.x, block.y, block.z, 0, stream, pointers,
        nullptr));
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

bool is_packed(int rank, const Dims& dims, const Dims& strides, bool channels_last) {
    const Dims wanted = provider::packed_strides(rank, dims, channels_last);
    for (int i = 0; i < rank; ++i) {
        if (dims[i] > 1 && strides[i] != wanted[i]) return false;
    }
    return true;
}

// The most elements, of `bytes` each, that one access may have.
unsigned widest(const void* pointer, std::int64_t length, unsigned bytes) {
    unsigned width = 16 / bytes;
    while (width > 1 && (length % width != 0 ||
                         reinterpret_cast<std::uintptr_t>(pointer) % (width * bytes) != 0)) {
        width /= 2;
    }
    return width;
}

// One side is so short that tiles would be half empty, or their last ones.
bool transpose_short(
    std::int64_t batch, std::int64_t rows, std::int64_t columns, const View& out, const View& in,
    cudaStream_t stream) {
    const unsigned bytes = in.dtype == miopenFloat ? 4 : 2;
    const bool gathers = columns < rows;  // from runs of columns
    const std::int64_t longs = std::max(rows, columns), shorts = std::min(rows, columns);
    const std::int64_t most = 16384 / bytes;
    std::int64_t depth = 64;
    while (depth > 8 && (depth + 2) * shorts > most) depth /= 2;
    if ((depth + 2) * shorts > most || longs < depth) return false;
    const std::int64_t pieces = (longs + depth - 1) / depth;
    if (longs > INT32_MAX || pieces > INT32_MAX / batch) return false;
    // depth is a multiple of 8: what divides the whole divides every piece.
    const void* const run = gathers ? in.data : out.data;
    const void* const strips = gathers ? out.data : in.data;
    unsigned wide_strips = widest(strips, longs, bytes);
    unsigned wide_slab = widest(run, longs * shorts, bytes);
    // The combinations that are compiled.
    const unsigned full = 16 / bytes;
    if (wide_slab < full || wide_strips < full / 2) {
        wide_slab = wide_strips = std::min(wide_slab, wide_strips) >= full / 2 ? full / 2 : 1;
    }
    launch(
        std::string(gathers ? "gather_" : "scatter_") + std::to_string(bytes) + "_" +
            std::to_string(wide_slab) + "_" + std::to_string(wide_strips),
        dim3(static_cast<unsigned>(pieces * batch)), dim3(kThreads), stream, in.data,
        const_cast<void*>(out.data), static_cast<unsigned>(longs), static_cast<unsigned>(shorts),
        static_cast<unsigned>(depth), static_cast<unsigned>(pieces));
    return true;
}

// [batch][rows][columns] to [batch][columns][rows]; false where neither kernel pays or can count so
// far.
bool transpose(
    std::int64_t batch, std::int64_t rows, std::int64_t columns, const View& out, const View& in,
    cudaStream_t stream) {
    constexpr std::int64_t kTile = 64, kNarrow = 8, kShort = 256;
    const std::int64_t shorter = std::min(rows, columns);
    if (shorter >= 2 && (shorter < kTile || (shorter < kShort && shorter % kTile != 0)) &&
        transpose_short(batch, rows, columns, out, in, stream)) {
        return true;
    }
    if (shorter < kNarrow) return false;
    const unsigned bytes = in.dtype == miopenFloat ? 4 : 2;
    const std::int64_t tiles_r = (rows + kTile - 1) / kTile,
                       tiles_c = (columns + kTile - 1) / kTile;
    if (rows > INT32_MAX || columns > INT32_MAX || tiles_r * tiles_c > INT32_MAX / batch) {
        return false;
    }
    const std::string name = "transpose_" + std::to_string(bytes) + "_" +
                             std::to_string(widest(in.data, columns, bytes)) + "_" +
                             std::to_string(widest(out.data, rows, bytes));
    launch(
        name, dim3(static_cast<unsigned>(tiles_r * tiles_c * batch)), dim3(kThreads), stream,
        in.data, const_cast<void*>(out.data), static_cast<unsigned>(rows),
        static_cast<unsigned>(columns), static_cast<unsigned>(tiles_r),
        static_cast<unsigned>(tiles_c));
    return true;
}

}  // namespace

void prepare_kernels() { kernel("map_float_to_float"); }

void map_elements(
    int rank, const Dims& dims, const View& out, const View& in, Map op, float alpha,
    cudaStream_t stream) {
    const Walk walk = make_walk(rank, dims, {&out.strides, &in.strides});
    const std::string name =
        std::string("map_") + type_name(in.dtype) + "_to_" + type_name(out.dtype);
    launch(
        name, dim3(blocks_for(walk.count)), dim3(kThreads), stream, walk,
        const_cast<void*>(out.data), in.data, Scalars{alpha, 0, 0, static_cast<int>(op)});
}

void combine_elements(
    int rank, const Dims& dims, const View& out, const View& a, const View& b, miopenTensorOp_t op,
    float alpha1, float alpha2, float beta, cudaStream_t stream) {
    const Walk walk = make_walk(rank, dims, {&out.strides, &a.strides, &b.strides});
    launch(
        std::string("combine_") + type_name(out.dtype), dim3(blocks_for(walk.count)),
        dim3(kThreads), stream, walk, const_cast<void*>(out.data), a.data, b.data,
        Scalars{alpha1, alpha2, beta, static_cast<int>(op)});
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
    launch(
        "partials_" + type, dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(chunks)),
        dim3(across, down), stream, walk, in.data, channels, in.strides[1], rows, partial.get());
    launch(
        "totals_" + type, dim3(static_cast<unsigned>((channels + kThreads - 1) / kThreads)),
        dim3(kThreads), stream, partial.get(), channels, chunks, out_stride,
        const_cast<void*>(out.data));
}

void copy_layout(int rank, const Dims& dims, const View& out, const View& in, cudaStream_t stream) {
    std::int64_t pixels = 1;
    for (int i = 2; i < rank; ++i) pixels *= dims[i];
    if (is_packed(rank, dims, in.strides, false) && is_packed(rank, dims, out.strides, true) &&
        transpose(dims[0], dims[1], pixels, out, in, stream)) {
        return;
    }
    if (is_packed(rank, dims, in.strides, true) && is_packed(rank, dims, out.strides, false) &&
        transpose(dims[0], pixels, dims[1], out, in, stream)) {
        return;
    }
    map_elements(rank, dims, out, in, Map::copy, 0, stream);
}

void pad_channels(
    int rank, const Dims& out_dims, const View& out, const Dims& dims, const View& in,
    cudaStream_t stream) {
    const std::int64_t bytes = in.dtype == miopenFloat ? 4 : 2;
    const std::int64_t at_once = out_dims[1] % (16 / bytes) == 0 ? 16 / bytes : 8 / bytes;
    std::int64_t pixels = 1;
    for (int i = 2; i < rank; ++i) pixels *= dims[i];
    const std::int64_t image = pixels * out_dims[1];
    auto* const start = static_cast<char*>(const_cast<void*>(out.data));
    // The kernel steps through an image by one stride.
    const bool second = is_packed(rank, dims, in.strides, false);
    if (second || is_packed(rank, dims, in.strides, true)) {
        const std::int64_t vectors = out_dims[1] / at_once;
        launch(
            "pad_" + std::to_string(bytes) + "_" + std::to_string(at_once),
            dim3(blocks_for(dims[0] * pixels * vectors)), dim3(kThreads), stream, in.data,
            const_cast<void*>(out.data), dims[0], pixels, dims[1], vectors,
            second ? pixels : std::int64_t{1}, second ? std::int64_t{1} : dims[1]);
        if (out_dims[0] > dims[0]) {
            check(runtime().cudaMemsetAsync(
                start + dims[0] * image * bytes, 0,
                static_cast<std::size_t>((out_dims[0] - dims[0]) * image * bytes), stream));
        }
        return;
    }
    check(runtime().cudaMemsetAsync(
        start, 0, static_cast<std::size_t>(out_dims[0] * image * bytes), stream));
    map_elements(rank, dims, out, in, Map::copy, 0, stream);
}

void hold(int microseconds, cudaStream_t stream) {
    launch("hold", dim3(1), dim3(1), stream, std::int64_t{1000} * microseconds);
}

}  // namespace mioconv::cuda
