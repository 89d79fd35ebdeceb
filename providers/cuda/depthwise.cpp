#include "depthwise.hpp"

#include <algorithm>
#include <cstdint>

#include "common/strides.hpp"
#include "depthwise_source.hpp"

namespace mioconv::cuda {
namespace {

using provider::Dims;
using provider::Direction;
using provider::Role;

// As in kDepthwiseSource.
struct Parameters {
    std::uint32_t images, channels;
    std::int32_t xh, xw, yh, yw, ph, pw;
    std::uint32_t strips, items, cells_down, cells_across;
    std::uint32_t has_bias, has_sum, rectifies;
    float sum_scale, slope;
};

constexpr std::int64_t kRows = 7, kThreads = 128, kAcross = 32, kElements = 8;
// Sums and weights are held in registers.
constexpr std::int64_t kMostTaps = 25, kMostRows = 3;

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
        if (problem.stride[i] > kMostRows || problem.dilation[i] > kMostRows) return false;
    }
    constexpr std::int64_t kMost = INT32_MAX;  // the kernels count so far
    if (elements(problem.src) > kMost || elements(problem.dst) > kMost) return false;
    // Two channels are loaded at once.
    if (last && (problem.src[1] % 2 != 0 || problem.alignment < 4)) return false;
    return lies(problem, last);
}

std::int64_t strips(const ConvProblem& problem) noexcept { return ceil_div(problem.dst[2], kRows); }

// A block's channels, and into how many parts the sum over images and pixels is cut: enough blocks
// for the device, enough work for each.
std::int64_t groups_of_channels(const ConvProblem& problem, bool last) noexcept {
    return last ? ceil_div(problem.src[1], 2 * kAcross) : problem.src[1];
}
std::int64_t parts(const ConvProblem& problem, bool last) noexcept {
    constexpr std::int64_t kBlocks = 2112, kMost = 528;  // 132 processors
    constexpr std::int64_t kLeastItems = 2, kTimesLess = 4;
    const std::int64_t at_once = last ? kThreads / kAcross : kThreads;
    const std::int64_t items = problem.dst[0] * strips(problem) * problem.dst[3];
    // Sums are written and read again.
    const std::int64_t bytes = 2 * (elements(problem.src) + elements(problem.dst));
    const std::int64_t of_a_part = 4 * elements(problem.wei);
    return std::max<std::int64_t>(
        1, std::min(
               {kMost, kBlocks / groups_of_channels(problem, last), items / (at_once * kLeastItems),
                bytes / (kTimesLess * of_a_part)}));
}

float estimate(const ConvProblem& problem) noexcept {
    // An H100's rates, as for cuDNN's engines.
    constexpr double kBytesPerMs = 1.5e9, kLaunchMs = 0.004;
    const double taps = static_cast<double>(problem.wei[2] * problem.wei[3]);
    const double bytes = 2.0 * static_cast<double>(elements(problem.src) + elements(problem.dst));
    return static_cast<float>(bytes / kBytesPerMs * std::max(1.0, taps / 16) + kLaunchMs);
}

class Depthwise final : public OwnKernel {
public:
    Depthwise(const ConvProblem& problem, bool last) : direction_(problem.direction) {
        const bool strided = problem.stride[0] != 1 || problem.stride[1] != 1;
        const bool turned = direction_ == Direction::backward_data;
        Parameters s{};
        s.images = static_cast<std::uint32_t>(problem.src[0]);
        s.channels = static_cast<std::uint32_t>(problem.src[1]);
        // Without strides the gradient of the input is the filter turned round.
        const bool filters = turned && !strided;
        const Dims& x = filters ? problem.dst : problem.src;
        const Dims& y = filters ? problem.src : problem.dst;
        s.xh = static_cast<std::int32_t>(x[2]);
        s.xw = static_cast<std::int32_t>(x[3]);
        s.yh = static_cast<std::int32_t>(y[2]);
        s.yw = static_cast<std::int32_t>(y[3]);
        const auto pad = [&](int i) {
            const std::int64_t reach = problem.dilation[i] * (problem.wei[2 + i] - 1);
            return static_cast<std::int32_t>(
                filters ? reach - problem.padding[i] : problem.padding[i]);
        };
        s.ph = pad(0);
        s.pw = pad(1);
        s.strips = static_cast<std::uint32_t>(ceil_div(y[2], kRows));
        s.items = static_cast<std::uint32_t>(y[0] * s.strips * y[3]);
        const auto cells = [&](int i) {
            const std::int64_t first = problem.padding[i] / problem.stride[i];
            const std::int64_t last_one = (x[2 + i] - 1 + problem.padding[i]) / problem.stride[i];
            return static_cast<std::uint32_t>(last_one - first + 1);
        };
        s.cells_down = cells(0);
        s.cells_across = cells(1);
        s.has_bias = problem.has_bias != 0;
        s.has_sum = problem.has_sum != 0;
        s.rectifies = problem.fused != provider::Fused::none;
        s.sum_scale = problem.sum_scale;
        s.slope = problem.fused == provider::Fused::leaky_relu ? problem.slope : 0;

        const auto define = [](const char* name, std::int64_t value) {
            return std::string("-D") + name + "=" + std::to_string(value);
        };
        const std::vector<std::string> options = {
            define("BFLOAT", problem.dtype == miopenBFloat16),
            define("KH", problem.wei[2]),
            define("KW", problem.wei[3]),
            define("SH", problem.stride[0]),
            define("SW", problem.stride[1]),
            define("DH", problem.dilation[0]),
            define("DW", problem.dilation[1]),
            define("TURNED", filters),
            define("PAIRS", last)};
        static const Source source{"mioconv_depthwise.cu", {kDepthwiseSource}};
        const auto prepare = [&](const char* name, std::int64_t across, std::int64_t down,
                                 auto... values) {
            return Launch(
                find_kernel(source, name, options),
                dim3(static_cast<unsigned>(across), static_cast<unsigned>(down)),
                dim3(static_cast<unsigned>(kThreads)), 0, values...);
        };
        if (is_gradient_of_weights(problem)) {
            const std::int64_t count = parts(problem, last);
            launch_ = prepare("weights", groups_of_channels(problem, last), count, s);
            if (count > 1) {
                const std::int64_t size = problem.wei[0] * problem.wei[2] * problem.wei[3];
                workspace_ = static_cast<std::size_t>(size * count) * sizeof(float);
                total_ = prepare(
                    "total", ceil_div(size, kElements), 1, static_cast<std::uint32_t>(count),
                    static_cast<std::uint32_t>(size));
            }
        } else if (turned && strided) {
            launch_ = prepare(
                "scatter", ceil_div(y[0] * y[1] * s.cells_down * s.cells_across, kThreads), 1, s);
        } else {
            const std::int64_t threads = y[0] * y[1] * s.strips * y[3];
            launch_ = prepare("filter", ceil_div(threads, kThreads), 1, s);
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

}  // namespace

std::vector<OwnCandidate> depthwise_candidates(const ConvProblem& problem) {
    // With the channels last, cuDNN's filters are as fast as the memory.
    const bool packed = suits(problem, false);
    const bool last = !packed && is_gradient_of_weights(problem) && suits(problem, true);
    if (!packed && !last) return {};
    return {{"depthwise", estimate(problem), [problem, last] {
                 return std::make_shared<const Depthwise>(problem, last);
             }}};
}

}  // namespace mioconv::cuda
