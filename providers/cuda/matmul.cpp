#include "matmul.hpp"

#include <algorithm>
#include <cstdint>

#include "common/strides.hpp"
#include "half_source.hpp"
#include "matmul_source.hpp"

namespace mioconv::cuda {
namespace {

using provider::Dims;
using provider::Direction;
using provider::Role;

// What a block computes, how many warps share it, and how many steps are loaded ahead.
struct Tile {
    int m, n, k, warps_m, warps_n, stages;
};

constexpr Tile kTiles[] = {
    {128, 128, 32, 2, 4, 4},
    {128, 64, 32, 4, 2, 4},
    {64, 128, 32, 2, 4, 4},
    {128, 128, 64, 2, 4, 3}};

// As in kMatmulSource.
struct Parameters {
    std::uint32_t m, k, columns, pixels, width, height;
    std::uint32_t tiles_m;
    std::uint32_t has_bias, has_sum, rectifies;
    float sum_scale, slope;
    std::int64_t from_image, from_channel, to_image, to_channel;
    std::int64_t from_step[3], to_step[3];
};

std::int64_t product(const Dims& dims, int first, int rank) noexcept {
    std::int64_t count = 1;
    for (int i = first; i < rank; ++i) count *= dims[i];
    return count;
}

bool is_strided(const ConvProblem& problem) noexcept {
    for (int i = 0; i < problem.rank - 2; ++i) {
        if (problem.stride[i] != 1) return true;
    }
    return false;
}

bool lies_packed(const ConvProblem& problem, const Dims& dims, const Dims& strides) noexcept {
    const Dims wanted = provider::packed_strides(problem.rank, dims, false);
    for (int i = 0; i < problem.rank; ++i) {
        if (dims[i] > 1 && strides[i] != wanted[i]) return false;
    }
    return true;
}

bool suits(const ConvProblem& problem) {
    if (problem.dtype != miopenHalf && problem.dtype != miopenBFloat16) return false;
    if (problem.direction == Direction::backward_weights || problem.groups != 1) return false;
    for (int i = 0; i < problem.rank - 2; ++i) {
        if (problem.wei[2 + i] != 1 || problem.padding[i] != 0) return false;
    }
    // The weights are read 16 bytes at once along what is summed or, turned, along the result's
    // channels; what is summed comes in whole steps of 8.
    if (problem.alignment < 16 || problem.wei[0] % 8 != 0 || problem.wei[1] % 8 != 0) return false;
    constexpr std::int64_t kMost = INT32_MAX;  // the kernel counts so far
    const std::int64_t pixels = product(problem.dst, 2, problem.rank);
    return pixels <= kMost && problem.dst[0] <= kMost / pixels &&
           lies_packed(problem, problem.src, problem.src_strides) &&
           lies_packed(problem, problem.wei, problem.wei_strides) &&
           lies_packed(problem, problem.dst, problem.dst_strides);
}

std::int64_t rows(const ConvProblem& problem) noexcept {
    return problem.direction == Direction::forward ? problem.wei[0] : problem.wei[1];
}

std::int64_t blocks(const ConvProblem& problem, const Tile& tile) noexcept {
    const std::int64_t columns = problem.dst[0] * product(problem.dst, 2, problem.rank);
    return (rows(problem) + tile.m - 1) / tile.m * ((columns + tile.n - 1) / tile.n);
}

// Shared memory holds the steps that are loaded ahead, then the result in float.
std::size_t shared_bytes(const Tile& tile, bool turned) noexcept {
    const int weights = turned ? tile.k * (tile.m + 8) : tile.m * (tile.k + 8);
    const int stage = (weights + tile.k * (tile.n + 8)) * 2;
    return static_cast<std::size_t>(std::max(tile.stages * stage, tile.m * (tile.n + 8) * 4));
}

// Bytes of an access to rows of so many pixels that lie side by side.
int access_bytes(std::int64_t pixels) noexcept {
    int bytes = 16;
    while (pixels * 2 % bytes != 0) bytes /= 2;
    return bytes;
}

// The steps of a pixel along width, height and depth in a tensor whose every so many are used.
void set_steps(
    const ConvProblem& problem, const Dims& dims, bool skips, std::int64_t (&step)[3]) noexcept {
    std::int64_t size = 1;
    for (int i = 0; i < problem.rank - 2; ++i) {
        const int spatial = problem.rank - 3 - i;
        step[i] = size * (skips ? problem.stride[spatial] : 1);
        size *= dims[2 + spatial];
    }
}

// As the solution's name has it.
std::string name_of(const Tile& tile) {
    return "matmul" + std::to_string(tile.m) + "x" + std::to_string(tile.n) + "x" +
           std::to_string(tile.k);
}

// A rough time, in ms.
float estimate(const ConvProblem& problem, const Tile& tile) {
    // An H100's rates, as for cuDNN's engines. Small blocks load more for what they compute.
    constexpr double kBlocksAtOnce = 264, kFlopsPerMs = 2e11, kBytesPerMs = 2e9;
    const double size = static_cast<double>(tile.m) * tile.n;
    const std::int64_t pixels = product(problem.dst, 2, problem.rank);
    const bool one_by_one = is_strided(problem) || access_bytes(pixels) == 2;
    const double pace = (size < 16384 ? 0.85 : 1) * (one_by_one ? 0.6 : 1);
    const double summed = static_cast<double>(
        problem.direction == Direction::forward ? problem.wei[1] : problem.wei[0]);
    const double block_ms = 2 * size * summed / (kFlopsPerMs / kBlocksAtOnce * pace);
    const double waves = std::max(1.0, static_cast<double>(blocks(problem, tile)) / kBlocksAtOnce);
    const double bytes =
        2.0 * static_cast<double>(
                  product(problem.src, 0, problem.rank) + product(problem.dst, 0, problem.rank));
    return static_cast<float>(std::max(waves * block_ms, bytes / kBytesPerMs) + 0.005);
}

class Matmul final : public OwnKernel {
public:
    Matmul(const ConvProblem& problem, const Tile& tile) {
        const bool turned = problem.direction == Direction::backward_data;
        const bool strided = is_strided(problem);
        from_ = turned ? Role::dst : Role::src;
        to_ = turned ? Role::src : Role::dst;
        const Dims& from = turned ? problem.dst : problem.src;
        const Dims& to = turned ? problem.src : problem.dst;
        const std::int64_t pixels = product(problem.dst, 2, problem.rank);
        Parameters s{};
        s.m = static_cast<std::uint32_t>(rows(problem));
        s.k = static_cast<std::uint32_t>(turned ? problem.wei[0] : problem.wei[1]);
        s.columns = static_cast<std::uint32_t>(pixels * problem.dst[0]);
        s.pixels = static_cast<std::uint32_t>(pixels);
        s.width = static_cast<std::uint32_t>(problem.dst[problem.rank - 1]);
        s.height = static_cast<std::uint32_t>(problem.dst[problem.rank - 2]);
        s.tiles_m = static_cast<std::uint32_t>((rows(problem) + tile.m - 1) / tile.m);
        s.has_bias = problem.has_bias != 0;
        s.has_sum = problem.has_sum != 0;
        s.rectifies = problem.fused != provider::Fused::none;
        s.sum_scale = problem.sum_scale;
        s.slope = problem.fused == provider::Fused::leaky_relu ? problem.slope : 0;
        s.from_channel = product(from, 2, problem.rank);
        s.from_image = s.from_channel * from[1];
        s.to_channel = product(to, 2, problem.rank);
        s.to_image = s.to_channel * to[1];
        set_steps(problem, from, strided && !turned, s.from_step);
        set_steps(problem, to, strided && turned, s.to_step);
        if (strided && turned) {
            clear_bytes_ = static_cast<std::size_t>(product(to, 0, problem.rank)) * 2;
        }
        const auto define = [](const char* name, int value) {
            return std::string("-D") + name + "=" + std::to_string(value);
        };
        static const Source source{"mioconv_matmul.cu", {kHalfSource, kMatmulSource}};
        const std::size_t shared = shared_bytes(tile, turned);
        const CUfunction kernel = find_kernel(
            source, "matmul",
            {define("BFLOAT", problem.dtype == miopenBFloat16), define("TILE_M", tile.m),
             define("TILE_N", tile.n), define("TILE_K", tile.k), define("WARPS_M", tile.warps_m),
             define("WARPS_N", tile.warps_n), define("STAGES", tile.stages),
             define("READ", strided && !turned ? 2 : access_bytes(pixels)),
             define("WRITE", strided && turned ? 2 : access_bytes(pixels)),
             define("TURNED", turned)},
            shared);
        launch_ = Launch(
            kernel, dim3(static_cast<unsigned>(blocks(problem, tile))),
            dim3(static_cast<unsigned>(32 * tile.warps_m * tile.warps_n)), shared, s);
    }

    miopenConvAlgorithm_t algorithm() const noexcept override { return miopenConvolutionAlgoGEMM; }

    void run(const Operands& operands, void*, cudaStream_t stream) const override {
        void* const to = const_cast<void*>(operands[to_]);
        if (clear_bytes_ > 0) check(runtime().cudaMemsetAsync(to, 0, clear_bytes_, stream));
        launch_(
            stream, operands[Role::wei], operands[from_], static_cast<const void*>(to),
            operands[Role::bias], operands[Role::z]);
    }

private:
    Role from_, to_;
    std::size_t clear_bytes_ = 0;  // of the result, where not every pixel is written
    Launch launch_;
};

}  // namespace

std::vector<OwnCandidate> matmul_candidates(const ConvProblem& problem) {
    if (!suits(problem)) return {};
    int major = 0, most = 0;
    check(
        runtime().cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, problem.place));
    check(runtime().cudaDeviceGetAttribute(
        &most, cudaDevAttrMaxSharedMemoryPerBlockOptin, problem.place));
    if (major < 8) return {};
    std::vector<OwnCandidate> candidates;
    for (const Tile& tile : kTiles) {
        if (static_cast<int>(shared_bytes(tile, true)) <= most &&
            static_cast<int>(shared_bytes(tile, false)) <= most) {
            candidates.push_back({name_of(tile), estimate(problem, tile), [problem, tile] {
                                      return std::make_shared<const Matmul>(problem, tile);
                                  }});
        }
    }
    std::stable_sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
        return a.estimate_ms < b.estimate_ms;
    });
    return candidates;
}

}  // namespace mioconv::cuda
