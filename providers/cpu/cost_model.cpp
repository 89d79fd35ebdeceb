#include "cost_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "direct_rows.hpp"
#include "implementation_name.hpp"
#include "naive.hpp"

namespace mioconv::cpu {
namespace {

// --- fitted to measurements ----------------------------------------------------------------------
// float32 on AVX-512: the logarithm of a time as a quadratic in logarithms of sizes, one for each
// class of solutions. bench/fit_cost_model.py makes the tables and has the twin of this code.

constexpr int kSizes = 7;
constexpr int kFeatures = 25;
// Below this, what a step costs beside its arithmetic decides, and the formula has that.
constexpr double kLeastFittedFlops = 1e5;

struct FittedClass {
    const char* name;
    float coefficients[kFeatures];
};

#include "cost_model_data.inc"

std::array<float, kSizes> sizes_of(const ConvProblem& problem) {
    double outputs = 1, inputs = 1, taps = 1;
    for (int i = 2; i < problem.rank; ++i) {
        outputs *= static_cast<double>(problem.dst[i]);
        inputs *= static_cast<double>(problem.src[i]);
        taps *= static_cast<double>(problem.wei[i]);
    }
    const std::array<double, kSizes> values = {
        static_cast<double>(problem.dst[0]) * outputs,
        static_cast<double>(problem.wei[1]),
        static_cast<double>(problem.dst[1] / problem.groups),
        static_cast<double>(problem.groups),
        taps,
        inputs / outputs,
        static_cast<double>(problem.dst[problem.rank - 1])};
    std::array<float, kSizes> logs{};
    for (int i = 0; i < kSizes; ++i) {
        // Outside of what was measured a quadratic says nothing: the nearest problem has to serve.
        logs[i] = std::clamp(
            static_cast<float>(std::log(values[i])), kFittedRange[i][0], kFittedRange[i][1]);
    }
    return logs;
}

std::array<float, kFeatures> features_of(const ConvProblem& problem) {
    const auto logs = sizes_of(problem);
    const float positions = logs[0], channels = logs[1], outputs = logs[2], groups = logs[3];
    const float taps = logs[4], shrink = logs[5], width = logs[6];
    const float vector = std::log(16.f), cached = std::log(262144.f);
    std::array<float, kFeatures> features = {
        1.f,
        logs[0],
        logs[1],
        logs[2],
        logs[3],
        logs[4],
        logs[5],
        logs[6],
        std::min(channels, vector),
        std::min(outputs, vector),
        std::min(width, vector)};
    std::size_t next = 11;
    const std::array<float, 4> squared = {positions, channels, outputs, taps};
    for (std::size_t i = 0; i < squared.size(); ++i) {
        for (std::size_t j = i; j < squared.size(); ++j) features[next++] = squared[i] * squared[j];
    }
    features[next++] = taps == 0 ? 1.f : 0.f;
    for (const float elements :
         {positions + outputs + groups, positions + shrink + channels + groups,
          channels + outputs + groups + taps}) {
        features[next++] = std::max(0.f, elements - cached);
    }
    return features;
}

// The caller's layout in the tables' words; empty where activations lie in two.
const char* layout_of(const ConvProblem& problem) {
    const auto both = [&](bool last) {
        const auto lies = [&](Role role) {
            const Dims& dims = dims_of(problem, role);
            return strides_of(problem, role) == packed_strides(problem.rank, dims, last) ||
                   (last && is_channels_last(problem, role));
        };
        return lies(Role::src) && lies(Role::dst);
    };
    return both(false) ? "packed" : both(true) ? "channels_last" : "";
}

std::string class_of(const ConvProblem& problem, const std::string& name) {
    static const char* const kDirections[] = {"forward", "backward_input", "backward_weight"};
    const std::size_t bar = name.find('|');
    std::string kind = kind_of(name.substr(0, bar));
    if (kind.rfind("winograd", 0) == 0 || kind.rfind("matmul", 0) == 0) {
        kind.resize(kind.find(':'));  // whatever oneDNN's product is called
    }
    // The provider's own kernel goes about any problem in the same way.
    const bool depthwise = is_depthwise(problem) && kind != "depthwise";
    return kind + name.substr(bar) + "|" + layout_of(problem) + "|" +
           kDirections[static_cast<int>(problem.direction)] + (depthwise ? "|depthwise" : "");
}

// Milliseconds on the calling thread's share of a machine; 0 where nothing was fitted.
double fitted_ms(const ConvProblem& problem, const std::string& name, int threads) {
    const auto sets = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto wide = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
    if (problem.dtype != miopenFloat || (sets & wide) != wide) return 0;
    if (flops(problem) < kLeastFittedFlops) return 0;
    const std::string key = class_of(problem, name);
    const auto* const found = std::find_if(
        std::begin(kFitted), std::end(kFitted),
        [&](const FittedClass& fitted) { return key == fitted.name; });
    if (found == std::end(kFitted)) return 0;
    const auto features = features_of(problem);
    double sum = 0;
    for (int i = 0; i < kFeatures; ++i) sum += double{found->coefficients[i]} * features[i];
    return std::exp(sum) * kFittedThreads / threads;
}

// --- from rates ----------------------------------------------------------------------------------
// Where nothing was fitted: half types, other instruction sets, activations in two layouts.

// Rates of one core, in 1e9 a second. Only their ratios rank. Measured on Zen 4 with oneDNN 3.2, on
// the layers of ResNet-50 and MobileNet at batch 1 and 8.
constexpr double kPeakFlops = 125;
constexpr double kDepthwiseFlops = 40;
constexpr double kOwnDepthwiseFlops = 45;
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
    if (problem.direction == Direction::backward_weights && !image && has(name, "jit:avx2") &&
        !has(name, "|blocked")) {
        // Other channels lie between those of a block, so that long rows do not stay in the cache.
        best *= std::pow(32 / std::max(count(problem.dst[problem.rank - 1]), 32.0), 0.25);
    }
    return best * std::max(fill, 0.06);
}

// The products of Winograd's tiles, transforms included, per multiplication of the direct sum.
constexpr double kWinogradFlops = 150;

constexpr double kNaiveFlops = 2;

double flops_rate(const std::string& name, const ConvProblem& problem) {
    if (has(name, "winograd")) return kWinogradFlops;
    if (has(name, "ref")) return 1e-3 * kPeakFlops;
    if (name.rfind("depthwise", 0) == 0) return kOwnDepthwiseFlops;
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

namespace {

// Nothing has to be set up, but loops of a few rounds are started over and over.
double small_direct_ms(const ConvProblem& problem) {
    constexpr double kCall = 40, kLoop = 6, kMeeting = 3, kMultiplication = 0.6;  // nanoseconds
    const double positions = spatial_size(problem), taps = kernel_size(problem);
    const double images = count(problem.dst[0]), outputs = count(problem.dst[1]);
    const double channels = count(problem.wei[1]);
    double loops, meetings;
    if (problem.direction == Direction::forward) {
        loops = images * outputs * (1 + positions);
        meetings = images * outputs * positions * taps;
    } else if (problem.direction == Direction::backward_data) {
        loops = images * channels * problem.groups * (2 + positions);
        meetings = images * channels * problem.groups * positions * taps;
    } else {
        loops = outputs * channels * (1 + taps * images);
        meetings = images * outputs * channels * positions * taps;
    }
    const double nanoseconds =
        kCall + kLoop * loops + kMeeting * meetings + kMultiplication * flops(problem) / 2;
    return nanoseconds / 1e6;
}

// Cycles are counted, and the weights are read once. Measured on Zen 5.
double direct_rows_ms(const ConvProblem& problem, int threads) {
    constexpr double kCycles = 3.7e9, kWeights = 5e9, kStart = 4e-6;  // a second and core; seconds
    const double weights = count(problem.wei[0]) * count(problem.wei[1]) * kernel_size(problem);
    const double busy = std::max(direct_rows_cycles(problem) / kCycles, weights / kWeights);
    return (busy / threads + kStart) * 1e3;
}

double estimate_from_rates(
    const ConvProblem& problem, const std::string& name, const Traffic& traffic, int threads) {
    if (has(name, "small_direct")) return small_direct_ms(problem);
    if (has(name, "direct_rows")) return direct_rows_ms(problem, threads);
    if (name == kNaive) return flops(problem) / (kNaiveFlops * 1e6 * threads) + 1e-3;
    double busy = flops(problem) / flops_rate(name, problem) +
                  traffic.blocked_bytes / kBlockedBytes +
                  traffic.transposed_bytes / kTransposedBytes +
                  traffic.weight_bytes / kWeightBytes + traffic.converted_bytes / kConvertedBytes;
    const double fixed =
        (has(name, "gemm") ? kGemmSeconds : kKernelSeconds) + kStepSeconds * traffic.extra_steps;
    return (busy / (1e9 * threads) + fixed) * 1e3;
}

}  // namespace

// What packing the weights takes, in 1e9 bytes a second and core, read and written, on ResNet-50's
// layers (bench/constant_weights.py); oneDNN's reorders depend on what they reorder to.
constexpr double kPackedBytes = 28;
constexpr double kPackedBrgBytes = 11;
constexpr double kPackedGemmBytes = 9;
constexpr double kTransformedBytes = 9;  // Winograd's, written
// What of a fitted time is left at least once the packing is taken out of it.
constexpr double kLeastUnpacked = 0.3;

double packing_ms(const std::string& name, const Traffic& traffic, int threads) {
    const double rate = has(name, "brg")    ? kPackedBrgBytes
                        : has(name, "gemm") ? kPackedGemmBytes
                                            : kPackedBytes;
    return (traffic.packed_bytes / rate + traffic.transformed_bytes / kTransformedBytes) /
           (1e6 * threads);
}

float estimate_ms(
    const ConvProblem& problem, const std::string& name, const Traffic& traffic, int threads) {
    double ms = fitted_ms(problem, name, threads);
    const bool fitted = ms != 0;
    if (!fitted) ms = estimate_from_rates(problem, name, traffic, threads);
    // What was measured packs its weights in every call.
    if (fitted) ms = std::max(ms - packing_ms(name, traffic, threads), kLeastUnpacked * ms);
    if (problem.fused != Fused::none && has(name, "gemm") && !has(name, "winograd")) {
        ms += kGemmActivation * count(problem.dst[0] * problem.dst[1]) * spatial_size(problem) /
              (1e6 * threads);
    }
    return static_cast<float>(ms);
}

}  // namespace mioconv::cpu
