#include "depthwise.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>

#include "common/strides.hpp"
#include "depthwise_source.hpp"
#include "half_source.hpp"

namespace mioconv::cuda {
namespace {

using provider::Dims;
using provider::Direction;
using provider::Role;

// As in kDepthwiseSource.
struct Parameters {
    std::uint32_t images, channels;
    std::int32_t xh, xw, yh, yw;
    std::uint32_t strips, across, items;
    std::uint32_t has_bias, has_sum, rectifies;
    float sum_scale, slope;
};

constexpr std::int64_t kThreads = 128, kElements = 8;
// Sums and weights are held in registers.
constexpr std::int64_t kMostTaps = 25, kMostStride = 3;

std::int64_t elements(const Dims& dims) noexcept { return dims[0] * dims[1] * dims[2] * dims[3]; }

std::int64_t ceil_div(std::int64_t a, std::int64_t b) noexcept { return (a + b - 1) / b; }

bool lies(const ConvProblem& problem, bool last) noexcept {
    const auto as_wanted = [&](const Dims& dims, const Dims& strides) {
        const Dims wanted = provider::packed_strides(problem.rank, dims, last);
        for (int i = 0; i < problem.rank; ++i) {
            if (dims[i] > 1 && strides[i] != wanted[i]) return false;
        }
        return true;
    };
    return as_wanted(problem.src, problem.src_strides) &&
           as_wanted(problem.wei, problem.wei_strides) &&
           as_wanted(problem.dst, problem.dst_strides);
}

bool is_gradient_of_weights(const ConvProblem& problem) noexcept {
    return problem.direction == Direction::backward_weights;
}

bool suits(const ConvProblem& problem, bool last) {
    if (problem.dtype != miopenHalf && problem.dtype != miopenBFloat16) return false;
    if (problem.rank != 4 || !provider::is_depthwise(problem)) return false;
    if (problem.wei[0] != problem.src[1]) return false;
    if (problem.wei[2] * problem.wei[3] > kMostTaps) return false;
    for (int i = 0; i < 2; ++i) {
        if (problem.stride[i] > kMostStride || problem.dilation[i] > kMostStride) return false;
    }
    constexpr std::int64_t kMost = INT32_MAX;  // the kernels count so far
    if (elements(problem.src) > kMost || elements(problem.dst) > kMost) return false;
    if (last && (problem.src[1] % 2 != 0 || problem.alignment < 4)) return false;
    return lies(problem, last);
}

// What a thread has: results, and with the channels last 2 or 4 of those.
struct Tile {
    std::int64_t columns, rows, lanes;
};

// The convolution as the kernels see it: y has one place for each kernel, x is read everywhere.
struct Filter {
    Dims x, y;
    std::array<std::int64_t, 2> step{1, 1}, up{1, 1}, padding{};
    bool turned;
};

Filter filter_of(const ConvProblem& problem) {
    Filter filter{};
    filter.turned = problem.direction == Direction::backward_data;
    filter.x = filter.turned ? problem.dst : problem.src;
    filter.y = filter.turned ? problem.src : problem.dst;
    for (int i = 0; i < 2; ++i) {
        const std::int64_t reach = problem.dilation[i] * (problem.wei[2 + i] - 1);
        filter.padding[i] = filter.turned ? reach - problem.padding[i] : problem.padding[i];
        filter.step[i] = filter.turned ? 1 : problem.stride[i];
        filter.up[i] = filter.turned ? problem.stride[i] : 1;
    }
    return filter;
}

// Elements that may be loaded or stored at once where rows of `width` are cut into pieces.
std::int64_t word(const ConvProblem& problem, std::int64_t width, std::int64_t piece) noexcept {
    return std::gcd(std::gcd(width, piece), std::min<std::int64_t>(4, problem.alignment / 2));
}

// Threads side by side with channels of their own: as many as leave the fewest idle.
std::int64_t threads_across(std::int64_t threads) noexcept {
    std::int64_t best = 32;
    for (const std::int64_t fewer : {16, 8, 4}) {
        if (ceil_div(threads, fewer) * fewer < ceil_div(threads, best) * best) best = fewer;
    }
    return best;
}

// Into how many parts the sum over images and pixels is cut, where a block does `at_once` items of
// `channels` at once: enough blocks for the device, enough work for each.
std::int64_t parts(
    const ConvProblem& problem, std::int64_t items, std::int64_t channels,
    std::int64_t at_once) noexcept {
    constexpr std::int64_t kBlocks = 2112, kMost = 528;  // 132 processors
    constexpr std::int64_t kLeastItems = 2, kTimesLess = 4;
    const std::int64_t groups = ceil_div(problem.src[1], channels);
    // Sums are written and read again.
    const std::int64_t bytes = 2 * (elements(problem.src) + elements(problem.dst));
    const std::int64_t of_a_part = 4 * elements(problem.wei);
    return std::max<std::int64_t>(
        1, std::min(
               {kMost, kBlocks / groups, items / (at_once * kLeastItems),
                bytes / (kTimesLess * of_a_part)}));
}

// As for cuDNN's engines, an H100's rates.
float estimate(const ConvProblem& problem, std::size_t rank) noexcept {
    constexpr double kBytesPerMs = 2e9, kLaunchMs = 0.003, kTotalMs = 0.0015;
    double ms =
        2.0 * static_cast<double>(elements(problem.src) + elements(problem.dst)) / kBytesPerMs;
    if (is_gradient_of_weights(problem)) {
        const double taps = static_cast<double>(problem.wei[2] * problem.wei[3]);
        ms = ms * std::max(1.0, taps / 16) + kTotalMs;
    }
    return static_cast<float>((ms + kLaunchMs) * (1 + 0.03 * static_cast<double>(rank)));
}

class Depthwise final : public OwnKernel {
public:
    Depthwise(const ConvProblem& problem, const Tile& tile) : direction_(problem.direction) {
        const Filter filter = filter_of(problem);
        const Dims &x = filter.x, &y = filter.y;
        Parameters s{};
        s.images = static_cast<std::uint32_t>(x[0]);
        s.channels = static_cast<std::uint32_t>(x[1]);
        s.xh = static_cast<std::int32_t>(x[2]);
        s.xw = static_cast<std::int32_t>(x[3]);
        s.yh = static_cast<std::int32_t>(y[2]);
        s.yw = static_cast<std::int32_t>(y[3]);
        s.strips = static_cast<std::uint32_t>(ceil_div(y[2], tile.rows));
        s.across = static_cast<std::uint32_t>(ceil_div(y[3], tile.columns));
        const std::int64_t items = y[0] * s.strips * s.across;
        s.items = static_cast<std::uint32_t>(items);
        s.has_bias = problem.has_bias != 0;
        s.has_sum = problem.has_sum != 0;
        s.rectifies = problem.fused != provider::Fused::none;
        s.sum_scale = problem.sum_scale;
        s.slope = problem.fused == provider::Fused::leaky_relu ? problem.slope : 0;

        const auto define = [](const char* name, std::int64_t value) {
            return std::string("-D") + name + "=" + std::to_string(value);
        };
        const bool last = tile.lanes > 1;
        const std::int64_t across = last ? threads_across(x[1] / tile.lanes) : 1;
        const std::int64_t piece = tile.columns * filter.step[1] / filter.up[1];
        const std::vector<std::string> options = {
            define("BFLOAT", problem.dtype == miopenBFloat16),
            define("KH", problem.wei[2]),
            define("KW", problem.wei[3]),
            define("DH", problem.dilation[0]),
            define("DW", problem.dilation[1]),
            define("PH", filter.padding[0]),
            define("PW", filter.padding[1]),
            define("SH", filter.step[0]),
            define("SW", filter.step[1]),
            define("UH", filter.up[0]),
            define("UW", filter.up[1]),
            define("TURNED", filter.turned),
            define("ROWS", tile.rows),
            define("COLUMNS", tile.columns),
            define("X_WORD", last ? 1 : word(problem, x[3], piece)),
            define("Y_WORD", last ? 1 : word(problem, y[3], tile.columns)),
            define("LAST", last),
            define("LANES", tile.lanes),
            define("ACROSS", across),
            define("WHOLE", y[2] % tile.rows == 0 && y[3] % tile.columns == 0)};
        static const Source source{"mioconv_depthwise.cu", {kHalfSource, kDepthwiseSource}};
        const auto prepare = [&](const char* name, std::int64_t blocks, std::int64_t down,
                                 auto... values) {
            return Launch(
                find_kernel(source, name, options),
                dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(down)),
                dim3(static_cast<unsigned>(kThreads)), 0, values...);
        };
        if (is_gradient_of_weights(problem)) {
            const std::int64_t channels = tile.lanes * across;
            const std::int64_t count = parts(problem, items, channels, kThreads / across);
            launch_ = prepare("weights", ceil_div(x[1], channels), count, s);
            if (count > 1) {
                const std::int64_t size = elements(problem.wei);
                workspace_ = static_cast<std::size_t>(size * count) * sizeof(float);
                total_ = prepare(
                    "total", ceil_div(size, kElements), 1, static_cast<std::uint32_t>(count),
                    static_cast<std::uint32_t>(size));
            }
        } else {
            launch_ = prepare("filter", ceil_div(items * (x[1] / tile.lanes), kThreads), 1, s);
        }
    }

    miopenConvAlgorithm_t algorithm() const noexcept override {
        return miopenConvolutionAlgoDirect;
    }

    std::size_t workspace() const noexcept override { return workspace_; }

    void run(const Operands& operands, void* workspace, cudaStream_t stream) const override {
        const void *const src = operands[Role::src], *const wei = operands[Role::wei],
                          *const dst = operands[Role::dst];
        const bool forward = direction_ == Direction::forward;
        if (direction_ != Direction::backward_weights) {
            launch_(
                stream, wei, forward ? src : dst, forward ? dst : src, operands[Role::bias],
                operands[Role::z]);
            return;
        }
        launch_(stream, src, dst, wei, static_cast<const void*>(workspace));
        if (total_) total_(stream, static_cast<const void*>(workspace), wei);
    }

private:
    const Direction direction_;
    std::size_t workspace_ = 0;
    Launch launch_, total_;
};

// The first is what to run unmeasured. As they were fastest for the layers of MobileNetV2 and
// EfficientNet-B0 on an H100.
std::vector<Tile> tiles(const ConvProblem& problem, bool last) {
    const Filter filter = filter_of(problem);
    const Dims& y = filter.y;
    std::vector<Tile> found;
    const auto add = [&](std::int64_t columns, std::int64_t rows, std::int64_t lanes) {
        columns = ceil_div(columns, filter.up[1]) * filter.up[1];
        rows = ceil_div(rows, filter.up[0]) * filter.up[0];
        if (!found.empty() && rows >= 2 * y[2]) return;  // half of it idle
        found.push_back({columns, rows, lanes});
    };
    if (is_gradient_of_weights(problem)) {
        const bool wide = problem.src[1] % 4 == 0 && problem.alignment >= 8 &&
                          problem.wei[2] * problem.wei[3] <= 9;
        if (last && wide) {
            add(2, 7, 4);
            add(4, 2, 4);
            add(1, 7, 2);
        } else if (last) {
            add(2, 7, 2);
            add(1, 7, 2);
            add(2, 4, 2);
        } else if (y[3] % 2 == 0) {
            const std::int64_t columns = y[3] % 4 == 0 ? 4 : 2;
            for (const std::int64_t rows : {7, 4, 2}) add(columns, rows, 1);
        } else {
            add(1, 7, 1);
            add(2, 2, 1);
            add(1, 4, 1);
        }
    } else if (last) {
        for (const std::int64_t rows : {4, 2}) add(4, rows, 2);
        add(2, 7, 2);
    } else if (y[3] % 2 == 0) {
        const std::int64_t columns = y[3] % 4 == 0 ? 4 : 2;
        for (const std::int64_t rows : {4, 7, 2}) add(columns, rows, 1);
    } else {
        add(1, 4, 1);
        add(2, 2, 1);
        add(1, 7, 1);
    }
    return found;
}

std::string name_of(const Tile& tile) {
    std::string name = "depthwise" + std::to_string(tile.columns) + "x" + std::to_string(tile.rows);
    if (tile.lanes > 1) name += "x" + std::to_string(tile.lanes);
    return name;
}

}  // namespace

std::vector<OwnCandidate> depthwise_candidates(const ConvProblem& problem) {
    const bool last = !suits(problem, false);
    std::vector<OwnCandidate> candidates;
    if (last && !suits(problem, true)) return candidates;
    for (const Tile& tile : tiles(problem, last)) {
        candidates.push_back({name_of(tile), estimate(problem, candidates.size()), [problem, tile] {
                                  return std::make_shared<const Depthwise>(problem, tile);
                              }});
    }
    return candidates;
}

}  // namespace mioconv::cuda
