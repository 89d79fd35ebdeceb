#include "cost_model.hpp"

#include <algorithm>

namespace mioconv::cpu {
namespace {

// Rates of one core, in 1e9 a second. Only their ratios rank. Measured on Zen 4 with oneDNN 3.2, on
// the layers of ResNet-50 and MobileNet at batch 1 and 8.
constexpr double kPeakFlops = 125;
constexpr double kDepthwiseFlops = 40;
constexpr double kBlockedBytes = 12;
constexpr double kTransposedBytes = 4;
constexpr double kWeightBytes = 7;
constexpr double kConvertedBytes = 10;
// gemm applies an activation element by element, in scalar code: nanoseconds each.
constexpr double kGemmActivation = 25;
// Fixed costs in seconds: a bare call of a compiled kernel and of gemm, and each further step.
constexpr double kKernelSeconds = 0.36e-6;
constexpr double kGemmSeconds = 0.8e-6;
constexpr double kStepSeconds = 0.25e-6;

bool has(const std::string& name, const char* part) { return name.find(part) != std::string::npos; }

double count(std::int64_t value) { return static_cast<double>(value); }

double spatial_size(const ConvProblem& problem) {
    double size = 1;
    for (int i = 2; i < problem.rank; ++i) size *= count(problem.dst[i]);
    return size;
}

double kernel_size(const ConvProblem& problem) {
    double size = 1;
    for (int i = 2; i < problem.rank; ++i) size *= count(problem.wei[i]);
    return size;
}

// im2col goes through memory; a 1x1 kernel has nothing to gather, but its matrices are narrow where
// images are small.
double gemm_efficiency(const ConvProblem& problem, double channels, double outputs) {
    const double taps = kernel_size(problem);
    const double fill = std::min({1.0, channels * taps / 32, outputs / 16});
    double best = 0.5;
    if (taps == 1) {
        const double size = spatial_size(problem);
        const bool strided = *std::max_element(problem.stride.begin(), problem.stride.end()) > 1;
        const bool forward = problem.direction == Direction::forward;
        best = size < 128 ? 0.6 : size > 2048 && forward && !strided ? 0.87 : 0.75;
        if (strided && forward)
            best = std::min(best, 0.66);  // the skipped pixels are gathered first
    }
    if (problem.dtype == miopenBFloat16) best *= 0.7;  // its other kernels gain more from the type
    return best * std::max(fill, 0.02);
}

// Compiled kernels work on blocks of 16 channels. Those for the first layer of a network take an
// image's few channels as they are, but do not give its gradient so.
double kernel_efficiency(
    const std::string& name, const ConvProblem& problem, double channels, double outputs) {
    const bool image = problem.groups == 1 && channels <= 3 && !has(name, "brg") &&
                       problem.direction != Direction::backward_data;
    const double fill = (image ? 0.7 : std::min(1.0, channels / 16)) * std::min(1.0, outputs / 16);
    const bool small = spatial_size(problem) < 64;
    double best = 0.84;
    if (has(name, "1x1")) {
        const bool back = problem.direction == Direction::backward_data;
        best = has(name, "brg") ? (small ? 0.62 : back ? 0.85 : 0.83) : 0.84;
    } else if (has(name, "brg")) {
        best = small ? 0.76 : 0.86;
    } else if (kernel_size(problem) == 1) {
        best = 0.75;
    } else if (
        problem.direction == Direction::backward_weights && !image && !has(name, "|blocked") &&
        problem.stride[0] > 1) {
        best = 0.65;
    }
    return best * std::max(fill, 0.06);
}

double flops_rate(const std::string& name, const ConvProblem& problem) {
    if (has(name, "ref")) return 1e-3 * kPeakFlops;
    if (is_depthwise(problem)) {
        if (has(name, "jit_dw")) return kDepthwiseFlops;
        if (has(name, "brdgmm")) return 0.8 * kDepthwiseFlops;
        return 0.07 * kDepthwiseFlops;
    }
    const double channels = count(problem.wei[1]);  // of one group
    const double outputs = count(problem.dst[1]) / problem.groups;
    return kPeakFlops * (has(name, "gemm") ? gemm_efficiency(problem, channels, outputs)
                                           : kernel_efficiency(name, problem, channels, outputs));
}

}  // namespace

float estimate_ms(
    const ConvProblem& problem, const std::string& name, const Traffic& traffic, int threads) {
    if (has(name, "winograd")) return 1e6f;
    double busy = flops(problem) / flops_rate(name, problem) +
                  traffic.blocked_bytes / kBlockedBytes +
                  traffic.transposed_bytes / kTransposedBytes +
                  traffic.weight_bytes / kWeightBytes + traffic.converted_bytes / kConvertedBytes;
    if (problem.fused != Fused::none && has(name, "gemm")) {
        busy += kGemmActivation * count(problem.dst[0] * problem.dst[1]) * spatial_size(problem);
    }
    const double fixed =
        (has(name, "gemm") ? kGemmSeconds : kKernelSeconds) + kStepSeconds * traffic.extra_steps;
    return static_cast<float>((busy / (1e9 * threads) + fixed) * 1e3);
}

}  // namespace mioconv::cpu
