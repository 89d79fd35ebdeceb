#include "cost_model.hpp"

#include <algorithm>

namespace mioconv::cpu {
namespace {

// Rates of one core, in units of 1e9 a second. Absolute values matter little: what ranks is their
// ratios. Measured on Zen 4 with oneDNN 3.2 (bench/, lessons.md).
constexpr double kPeakFlops = 125;
constexpr double kDepthwiseFlops = 20;
constexpr double kReorderBytes = 6;  // read and written
constexpr double kConvertBytes = 10;
constexpr double kStepSeconds = 0.4e-6;  // one more primitive

bool has(const std::string& name, const char* part) {
    return name.find(part) != std::string::npos;
}

double efficiency(const std::string& name, const ConvProblem& problem) {
    const bool one_by_one = problem.wei[2] == 1 && problem.wei[3] == 1 && problem.wei[4] <= 1;
    const double channels = static_cast<double>(problem.wei[1]);  // per group
    const double outputs = static_cast<double>(problem.dst[1]) / problem.groups;
    if (has(name, "ref")) return 1e-3;
    if (has(name, "gemm:")) {
        // im2col through memory; for 1x1 there is nothing to gather.
        const double work = channels * static_cast<double>(problem.wei[2] * problem.wei[3]);
        const double fill = std::min({1.0, work / 32, outputs / 16});
        return (one_by_one ? 0.60 : 0.55) * std::max(fill, 0.02);
    }
    const double fill = std::min(1.0, channels / 16) * std::min(1.0, outputs / 16);
    if (has(name, "brg")) return 0.93 * std::max(fill, 0.06);
    if (has(name, "jit_1x1") || has(name, "jit_bf16_1x1")) return 0.85 * std::max(fill, 0.06);
    return (one_by_one ? 0.6 : 0.85) * std::max(fill, 0.06);
}

}  // namespace

float estimate_ms(
    const ConvProblem& problem, const std::string& name, const Traffic& traffic, int threads) {
    const bool depthwise = problem.groups > 1 && problem.wei[1] == 1;
    double rate;
    if (depthwise) {
        const bool made_for_it = has(name, "_dw");
        rate = kDepthwiseFlops * (made_for_it ? 1.0 : has(name, "gemm") ? 0.1 : 0.3);
    } else {
        rate = kPeakFlops * efficiency(name, problem);
    }
    const double cores = threads;
    double seconds = flops(problem) / (rate * 1e9 * cores);
    seconds += traffic.reordered_bytes / (kReorderBytes * 1e9 * cores);
    seconds += traffic.converted_bytes / (kConvertBytes * 1e9 * cores);
    seconds += kStepSeconds * traffic.extra_steps;
    // Bare calls: 0.36 us for compiled kernels, 1 us for gemm.
    seconds += has(name, "gemm") ? 1.0e-6 : 0.36e-6;
    return static_cast<float>(seconds * 1e3);
}

}  // namespace mioconv::cpu
