// What a cache entry holds: descriptors made once, and the ranked solutions of one problem.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "convolution_params.hpp"
#include "device.hpp"
#include "exclusions.hpp"
#include "solution.hpp"

namespace mioconv {

/// What a call may use.
struct Choice {
    std::int64_t workspace_limit = -1;      ///< bytes; negative: none
    std::uint64_t pinned = 0;               ///< exactly this solution; 0: any
    const Exclusions* exclusions = nullptr; ///< null: none
    bool strict_accuracy = false;           ///< plain sums only: neither Winograd nor FFT
    std::vector<std::uint64_t> tried;       ///< not these: they failed in this call

    bool admits(const Api& api, const Solution& solution) const {
        if (workspace_limit >= 0 &&
            solution.workspace > static_cast<std::uint64_t>(workspace_limit))
            return false;
        if (std::find(tried.begin(), tried.end(), solution.id) != tried.end()) return false;
        if (exclusions && exclusions->excludes(api, solution)) return false;
        if (solution.wrong) return false;
        if (pinned) return solution.id == pinned;
        if (strict_accuracy && !solution.plain_sum()) return false;
        return !solution.failed && !solution.out_of_memory;
    }
};

class Entry {
public:
    Entry(Device& device, const ConvolutionParams& params)
        : device(device),
          params(params),
          calls(device.api, static_cast<Direction>(params.direction)),
          usual_workspace_(usual_workspace(device.api, params)) {}

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
        if (!by_planes(dims, params.shape[result()], params.strides[result()]))
            MIOCONV_TRY(set_pixels(api, dtype, dims, params.shape[result()], &result_pixels_));
        ConvolutionSettings settings;
        settings.spatial = static_cast<int>(params.spatial);
        settings.padding = params.padding;
        settings.stride = params.stride;
        settings.dilation = params.dilation;
        settings.groups = params.groups;
        settings.mode = static_cast<miopenConvolutionMode_t>(params.mode);
        settings.deterministic = params.deterministic != 0;
        settings.strict_math = params.allow_tf32 == 0;
        settings.packed_weights = params.packed_weights != 0;
        return convolution_.set(api, settings);
    }

    miopenConvolutionDescriptor_t convolution() const { return convolution_.get(); }

    miopenTensorDescriptor_t bias_descriptor() const { return bias_.get(); }
    miopenTensorDescriptor_t result_descriptor() const { return operands.descriptor[result()]; }
    /// The result for what works on one element, or one pixel, at a time; see `by_planes`.
    miopenTensorDescriptor_t result_elements() const {
        return result_pixels_.get() ? result_pixels_.get() : result_descriptor();
    }
    Operand result() const { return result_of(static_cast<Direction>(params.direction)); }

    /// result += bias over its channels.
    Status add_bias(miopenHandle_t handle, const void* bias, void* data) const {
        constexpr float one = 1, zero = 0;
        return MIOCONV_CALL_OPTIONAL(
            device.api, miopenConvolutionForwardBias, handle, &one, bias_.get(), bias, &zero,
            result_elements(), data);
    }

    /// result += alpha * z, where z lies as the result does.
    Status add_scaled(miopenHandle_t handle, float alpha, const void* z, void* data) const {
        constexpr float one = 1, zero = 0;
        return MIOCONV_CALL_OPTIONAL(
            device.api, miopenOpTensor, handle, miopenTensorOpAdd, &one, result_elements(), data,
            &alpha, result_elements(), z, &zero, result_elements(), data);
    }

    /// Bytes of a solution's packed weights; 0: it takes them as they are. For problems with packed
    /// weights.
    Status packed_size(miopenHandle_t handle, std::uint64_t id, std::size_t* bytes) const {
        return MIOCONV_CALL_OPTIONAL(
            device.api, mioconvGetPackedWeightsSize, handle, static_cast<int>(params.direction),
            operands.descriptor[W], operands.descriptor[X], convolution(), operands.descriptor[Y],
            id, bytes);
    }
    Status pack_weights(
        miopenHandle_t handle, std::uint64_t id, const void* weights, void* packed,
        std::size_t bytes) const {
        return MIOCONV_CALL_OPTIONAL(
            device.api, mioconvPackWeights, handle, static_cast<int>(params.direction),
            operands.descriptor[W], weights, operands.descriptor[X], convolution(),
            operands.descriptor[Y], packed, bytes, id);
    }

    /// The first admissible solution; false when there is none.
    bool choose(const Choice& choice, Solution* out) const {
        const std::lock_guard<std::mutex> lock(mutex_);
        const bool frugal = is_frugal(choice);
        for (const Solution& solution : ranked_) {
            if (!admits(choice, solution, frugal)) continue;
            *out = solution;
            return true;
        }
        return false;
    }

    /// The admissible solutions, best first.
    std::vector<Solution> admitted(const Choice& choice) const {
        const std::lock_guard<std::mutex> lock(mutex_);
        const bool frugal = is_frugal(choice);
        std::vector<Solution> found;
        for (const Solution& solution : ranked_)
            if (admits(choice, solution, frugal)) found.push_back(solution);
        return found;
    }

    /// Takes a list that the library answered, best first. What is known of a solution stays, and
    /// what was measured stays ahead of what was not.
    void rank(std::vector<Solution> listed) {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (Solution& solution : listed)
            for (const Solution& known : ranked_)
                if (known.id == solution.id) solution.keep(known);
        adopt(std::move(listed));
    }

    /// Takes what a search or an earlier process knows of the solutions; `complete`: also of those
    /// that the library did not list.
    void recall(const std::vector<Solution>& remembered, bool complete) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<Solution> solutions = ranked_;
        for (const Solution& known : remembered)
            if (known.source == Source::pinned) unpin(solutions);
        for (const Solution& known : remembered) {
            const auto place = std::find_if(
                solutions.begin(), solutions.end(),
                [&known](const Solution& s) { return s.id == known.id; });
            if (place != solutions.end())
                place->keep(known);
            else if (complete)
                solutions.push_back(known);
        }
        adopt(std::move(solutions));
    }

    /// Ranks one solution before all others from now on; false where it is not listed.
    bool pin(std::uint64_t id) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<Solution> solutions = ranked_;
        bool found = false;
        unpin(solutions);
        for (Solution& solution : solutions) {
            solution.searched = true;
            if (solution.id != id) continue;
            solution.source = Source::pinned;
            found = true;
        }
        if (found) adopt(std::move(solutions));
        return found;
    }
    /// Adds a solution that the library did not list, behind all that it did.
    void append(const Solution& solution) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<Solution> solutions = ranked_;
        solutions.push_back(solution);
        adopt(std::move(solutions));
    }
    /// Takes the library's word on a remembered solution: its workspace, or that it cannot run.
    void confirm(std::uint64_t id, bool applies, std::size_t workspace) {
        update([=](Solution& s) {
            if (s.id != id) return;
            s.listed = true;
            s.workspace = workspace;
            s.failed = s.failed || !applies;
        });
    }
    bool empty() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return ranked_.empty();
    }
    std::vector<Solution> solutions() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return ranked_;
    }
    /// Whether any solution has not failed yet, nor was wrong.
    bool any_runs() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::any_of(ranked_.begin(), ranked_.end(), [](const Solution& solution) {
            return !solution.failed && !solution.wrong;
        });
    }
    /// Whether none of the solutions mixes elements as Winograd and FFT do.
    bool sums_plainly() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::all_of(ranked_.begin(), ranked_.end(), [](const Solution& solution) {
            return solution.plain_sum();
        });
    }
    void mark_failed(std::uint64_t id) {
        update([id](Solution& s) { s.failed = s.failed || s.id == id; });
    }
    void mark_inspected(std::uint64_t id, int runs) {
        update([id, runs](Solution& s) { s.inspected += s.id == id ? runs : 0; });
    }
    /// A solution whose results are wrong is not chosen any more, whatever is asked for.
    void set_aside(std::uint64_t id, const std::string& fault) {
        update([id](Solution& s) { s.wrong = s.wrong || s.id == id; });
        const std::lock_guard<std::mutex> lock(mutex_);
        faults_[id] = fault;
    }
    /// What was found wrong with a solution; empty: nothing.
    std::string fault(std::uint64_t id) const {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = faults_.find(id);
        return found == faults_.end() ? std::string() : found->second;
    }
    void mark_out_of_memory(std::uint64_t id) {
        update([id](Solution& s) { s.out_of_memory = s.out_of_memory || s.id == id; });
    }
    /// Lets what lacked memory be tried again; whether there was any.
    bool forget_out_of_memory() {
        bool any = false;
        update([&any](Solution& s) {
            any = any || s.out_of_memory;
            s.out_of_memory = false;
        });
        return any;
    }

    enum class Turn : int { nothing = 0, mine, later };

    /// Makes the calling thread the one that searches among the solutions that `choice` admits and
    /// no search has looked at; whoever comes meanwhile waits, and is sent back to come again from
    /// time to time. Nothing: there is nothing to search (any more), or this very thread is
    /// searching. No lock is held during the search.
    Turn begin_search(const Choice& choice) {
        if (settled_.load(std::memory_order_acquire)) return Turn::nothing;
        std::unique_lock<std::mutex> lock(mutex_);
        if (!searchable(choice)) return Turn::nothing;
        if (searching_) {
            if (searcher_ == std::this_thread::get_id()) return Turn::nothing;
            search_ended_.wait_for(lock, std::chrono::milliseconds(50));
            return Turn::later;
        }
        searching_ = true;
        searcher_ = std::this_thread::get_id();
        return Turn::mine;
    }
    void end_search() {
        const std::lock_guard<std::mutex> lock(mutex_);
        searching_ = false;
        search_ended_.notify_all();
    }

    Device& device;
    const ConvolutionParams params;
    const DirectionCalls calls;
    Operands operands;  ///< descriptors only; each call fills in its own copy's pointers

private:
    /// An earlier pin gives way to a new one.
    static void unpin(std::vector<Solution>& solutions) {
        for (Solution& solution : solutions)
            if (solution.source == Source::pinned)
                solution.source = solution.measured ? Source::measured : Source::heuristic;
    }
    /// On a CPU, where scratch memory is the caller's own, what needs much more of it than the
    /// tensors do is left out, unless a limit or the solution was asked for or nothing needs less
    /// but what is much slower, as the sum by its definition, which there always is.
    bool is_frugal(const Choice& choice) const {
        if (choice.pinned != 0 || choice.workspace_limit >= 0) return false;
        constexpr float much_slower = 10;
        return std::any_of(ranked_.begin(), ranked_.end(), [&](const Solution& solution) {
            return solution.time_ms <= much_slower * fastest_ms_ && admits(choice, solution, true);
        });
    }
    bool admits(const Choice& choice, const Solution& solution, bool frugal) const {
        if (frugal && solution.workspace > usual_workspace_ && solution.source != Source::pinned)
            return false;
        return choice.admits(device.api, solution);
    }
    bool searchable(const Choice& choice) const {
        const bool frugal = is_frugal(choice);
        return std::any_of(ranked_.begin(), ranked_.end(), [&](const Solution& solution) {
            return !solution.searched && admits(choice, solution, frugal);
        });
    }
    /// Twice what the tensors take, and never less than a small problem may have; of half types
    /// three times what they take as float32, in which they are computed on copies, in blocks of
    /// channels.
    static std::size_t usual_workspace(const Api& api, const ConvolutionParams& params) {
        if (api.provider != Provider::cpu) return SIZE_MAX;
        constexpr std::size_t least = 64 << 10;
        const std::size_t times = params.dtype == miopenFloat ? 2 : 6;
        return std::max(least, times * (params.bytes(X) + params.bytes(W) + params.bytes(Y)));
    }
    void adopt(std::vector<Solution> solutions) {
        order_by_source(solutions);
        ranked_ = std::move(solutions);
        fastest_ms_ = std::numeric_limits<float>::max();
        for (const Solution& solution : ranked_)
            fastest_ms_ = std::min(fastest_ms_, solution.time_ms);
        settled_.store(
            std::all_of(
                ranked_.begin(), ranked_.end(), [](const Solution& s) { return s.searched; }),
            std::memory_order_release);
    }
    template <typename F>
    void update(F&& change) {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (Solution& solution : ranked_) change(solution);
    }

    const std::size_t usual_workspace_;
    TensorDescriptor tensors_[operand_count], bias_, result_pixels_;
    ConvolutionDescriptor convolution_;
    mutable std::mutex mutex_;
    std::condition_variable search_ended_;
    std::vector<Solution> ranked_;  ///< best first
    std::map<std::uint64_t, std::string> faults_;
    float fastest_ms_ = 0;  ///< of those, measured or the library's estimate
    bool searching_ = false;
    std::thread::id searcher_;
    std::atomic<bool> settled_{false};  ///< nothing is left to search, whatever is admitted
};

}  // namespace mioconv
