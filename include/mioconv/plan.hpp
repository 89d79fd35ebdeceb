// What a cache entry holds: descriptors made once, and the ranked solutions of one problem.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "convolution_params.hpp"
#include "device.hpp"

namespace mioconv {

/// How a solution's place in the ranking came about.
enum class Source : int {
    heuristic = 0,  ///< the library's own estimate
    measured = 1,   ///< timed here
};

struct Solution {
    std::uint64_t id = 0;
    float time_ms = 0;
    std::size_t workspace = 0;
    miopenConvAlgorithm_t algorithm = miopenConvolutionAlgoGEMM;
    Source source = Source::heuristic;
    bool failed = false;         ///< answered with an error at run time
    bool out_of_memory = false;  ///< its workspace could not be had; forgotten by empty_cache()
};

/// Measured solutions by their time, then the others in the order they had.
inline void order_measured_first(std::vector<Solution>& solutions) {
    std::stable_sort(solutions.begin(), solutions.end(), [](const Solution& a, const Solution& b) {
        if (a.source != b.source) return a.source == Source::measured;
        return a.source == Source::measured && a.time_ms < b.time_ms;
    });
}

/// What a call may use.
struct Choice {
    std::int64_t workspace_limit = -1;  ///< bytes; negative: none
    std::uint64_t pinned = 0;           ///< exactly this solution; 0: any
    std::vector<std::uint64_t> tried;   ///< not these: they failed in this call

    bool admits(const Solution& solution) const {
        if (workspace_limit >= 0 &&
            solution.workspace > static_cast<std::uint64_t>(workspace_limit))
            return false;
        if (std::find(tried.begin(), tried.end(), solution.id) != tried.end()) return false;
        if (pinned) return solution.id == pinned;
        return !solution.failed && !solution.out_of_memory;
    }
};

class Plan {
public:
    Plan(Device& device, const ConvolutionParams& params)
        : device(device),
          params(params),
          calls(device.api, static_cast<Direction>(params.direction)) {}

    /// Makes the descriptors of `params`; a call that hits the cache creates nothing.
    Status describe() {
        const Api& api = device.api;
        const auto dtype = static_cast<miopenDataType_t>(params.dtype);
        const int dims = 2 + static_cast<int>(params.spatial);
        for (int i = 0; i < operand_count; ++i) {
            MIOCONV_TRY(tensors_[i].set(
                api, dtype, dims, params.shape[i].data(), params.strides[i].data()));
            operands.descriptor[i] = tensors_[i].get();
        }
        const std::int64_t channels = params.shape[result()][1];
        const std::array<std::int64_t, max_dims> bias_shape{1, channels, 1, 1, 1};
        const std::array<std::int64_t, max_dims> bias_strides{channels, 1, 1, 1, 1};
        MIOCONV_TRY(bias_.set(api, dtype, dims, bias_shape.data(), bias_strides.data()));
        ConvolutionSettings settings;
        settings.spatial = static_cast<int>(params.spatial);
        settings.padding = params.padding;
        settings.stride = params.stride;
        settings.dilation = params.dilation;
        settings.groups = params.groups;
        settings.mode = static_cast<miopenConvolutionMode_t>(params.mode);
        settings.deterministic = params.deterministic != 0;
        settings.strict_math = params.allow_tf32 == 0;
        return convolution_.set(api, settings);
    }

    miopenConvolutionDescriptor_t convolution() const { return convolution_.get(); }

    miopenTensorDescriptor_t bias_descriptor() const { return bias_.get(); }
    miopenTensorDescriptor_t result_descriptor() const { return operands.descriptor[result()]; }
    Operand result() const { return result_of(static_cast<Direction>(params.direction)); }

    /// result += bias over its channels.
    Status add_bias(miopenHandle_t handle, const void* bias, void* data) const {
        constexpr float one = 1, zero = 0;
        return MIOCONV_CALL_OPTIONAL(
            device.api, miopenConvolutionForwardBias, handle, &one, bias_.get(), bias, &zero,
            result_descriptor(), data);
    }

    /// result += alpha * z, where z lies as the result does.
    Status add_scaled(miopenHandle_t handle, float alpha, const void* z, void* data) const {
        constexpr float one = 1, zero = 0;
        return MIOCONV_CALL_OPTIONAL(
            device.api, miopenOpTensor, handle, miopenTensorOpAdd, &one, result_descriptor(), data,
            &alpha, result_descriptor(), z, &zero, result_descriptor(), data);
    }

    /// The first admissible solution; false when there is none.
    bool choose(const Choice& choice, Solution* out) const {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (const Solution& solution : ranked_) {
            if (!choice.admits(solution)) continue;
            *out = solution;
            return true;
        }
        return false;
    }

    /// Replaces the ranking; what is known of a solution's failures stays.
    void rank(std::vector<Solution> solutions) {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (Solution& solution : solutions)
            for (const Solution& known : ranked_)
                if (known.id == solution.id) {
                    solution.failed = solution.failed || known.failed;
                    solution.out_of_memory = solution.out_of_memory || known.out_of_memory;
                }
        ranked_ = std::move(solutions);
    }
    bool empty() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return ranked_.empty();
    }
    std::vector<Solution> solutions() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return ranked_;
    }
    template <typename F>
    void update(F&& change) {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (Solution& solution : ranked_) change(solution);
    }
    void mark_failed(std::uint64_t id) {
        update([id](Solution& s) { s.failed = s.failed || s.id == id; });
    }
    void mark_out_of_memory(std::uint64_t id) {
        update([id](Solution& s) { s.out_of_memory = s.out_of_memory || s.id == id; });
    }
    void forget_out_of_memory() {
        update([](Solution& s) { s.out_of_memory = false; });
    }

    Device& device;
    const ConvolutionParams params;
    const DirectionCalls calls;
    Operands operands;  ///< descriptors only; each call fills in its own copy's pointers

    std::atomic<bool> measured{false};  ///< a search has ranked this entry
    std::mutex searching;               ///< held by the one thread that searches

private:
    TensorDescriptor tensors_[operand_count], bias_;
    ConvolutionDescriptor convolution_;
    mutable std::mutex mutex_;
    std::vector<Solution> ranked_;  ///< best first
};

}  // namespace mioconv
