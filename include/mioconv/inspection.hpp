// Looking at what a solution wrote: its results, and the memory around them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "entry.hpp"
#include "guarded_memory.hpp"
#include "result_check.hpp"

namespace mioconv {

/// Numbers for operands that are ours to choose: small integers, of which no sum hides a lost or a
/// wrong term, and, where sums are not too long for float16, mostly positive ones, so that who adds
/// up in a half type shows.
class Pattern {
public:
    static constexpr std::int64_t period = 4093;  ///< a prime: strides do not meet it

    explicit Pattern(std::int64_t dtype, bool positive) : dtype_(dtype) {
        std::uint64_t state = 0x9E3779B97F4A7C15u;
        for (std::int64_t i = 0; i < period; ++i) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            const int size = 1 + static_cast<int>(state % 3);
            const bool minus = (state >> 32) % (positive ? 6 : 2) == 0;
            const float value = static_cast<float>(minus ? -size : size);
            if (dtype == miopenFloat)
                floats_[i] = value;
            else
                halves_[i] = narrow_to_half(dtype, value);
        }
    }
    HostElements elements() const { return HostElements(data(), dtype_, period); }

    /// Fills memory of the device with it, in the order of `stream`.
    Status fill(const Api& api, void* target, std::size_t bytes, hipStream_t stream) const {
        const std::size_t once = period * (dtype_ == miopenFloat ? 4 : 2);
        std::size_t done = std::min(bytes, once);
        MIOCONV_TRY(
            MIOCONV_CALL(api, hipMemcpyAsync, target, data(), done, hipMemcpyHostToDevice, stream));
        while (done < bytes) {
            const std::size_t more = std::min(done, bytes - done);
            MIOCONV_TRY(MIOCONV_CALL(
                api, hipMemcpyAsync, static_cast<char*>(target) + done, target, more,
                hipMemcpyDeviceToDevice, stream));
            done += more;
        }
        // The copy from the host may still be under way.
        return MIOCONV_CALL(api, hipStreamSynchronize, stream);
    }

private:
    const void* data() const {
        return dtype_ == miopenFloat ? static_cast<const void*>(floats_) : halves_;
    }

    const std::int64_t dtype_;
    union {
        float floats_[period];
        std::uint16_t halves_[period];
    };
};

/// The pattern in memory of our own, in the place of a problem's operands.
class PatternOperands {
public:
    /// Points `operands` to it, but for the result. `weight_bytes`: of packed weights, which may be
    /// larger than the problem's.
    Status lease(
        const Entry& entry, Operands* operands, hipStream_t stream, std::size_t weight_bytes = 0) {
        // Sums of 8000 small numbers stay in float16's range.
        pattern_ = std::make_unique<Pattern>(entry.params.dtype, longest_sum(entry.params) < 8000);
        for (const Operand operand : {X, W, Y}) {
            if (operand == entry.result()) continue;
            const std::size_t bytes =
                std::max(entry.params.bytes(operand), operand == W ? weight_bytes : 0);
            MIOCONV_TRY(memory_[operand].lease(entry.device.workspaces, bytes, stream));
            MIOCONV_TRY(pattern_->fill(entry.device.api, memory_[operand].data(), bytes, stream));
        }
        for (const Operand operand : {X, W, Y})
            if (operand != entry.result()) operands->data[operand] = memory_[operand].data();
        return {};
    }
    /// More of it, for what follows a convolution.
    Status lease_more(
        const Entry& entry, Workspace* memory, std::size_t bytes, hipStream_t stream) const {
        MIOCONV_TRY(memory->lease(entry.device.workspaces, bytes, stream));
        return pattern_->fill(entry.device.api, memory->data(), bytes, stream);
    }
    HostElements elements() const { return pattern_->elements(); }

private:
    std::unique_ptr<Pattern> pattern_;
    Workspace memory_[operand_count];
};

/// Results of one problem on the same operands, by whatever solution.
class Inspection {
public:
    /// Reads operands that lie on a GPU to the host, and so waits for them.
    Status begin(
        const Entry& entry, const Operands& operands, hipStream_t stream, std::uint64_t seed,
        const CheckedEpilogue& epilogue = {}) {
        const Api& api = entry.device.api;
        std::array<HostElements, operand_count> elements;
        for (const Operand operand : {X, W, Y}) {
            if (operand == entry.result()) continue;
            const void* data = operands.data[operand];
            if (api.provider != Provider::cpu) {
                copies_.emplace_back(entry.params.bytes(operand));
                MIOCONV_TRY(MIOCONV_CALL(
                    api, hipMemcpyAsync, copies_.back().data(), data, copies_.back().size(),
                    hipMemcpyDeviceToHost, stream));
                data = copies_.back().data();
            }
            elements[operand] = HostElements(data, entry.params.dtype);
        }
        if (!copies_.empty()) MIOCONV_TRY(MIOCONV_CALL(api, hipStreamSynchronize, stream));
        check_ = std::make_unique<ResultCheck>(entry.params, elements, seed, epilogue);
        return {};
    }
    /// Operands that are the pattern, which must stay.
    void begin(
        const Entry& entry, const PatternOperands& operands, std::uint64_t seed,
        const CheckedEpilogue& epilogue = {}) {
        std::array<HostElements, operand_count> elements;
        elements.fill(operands.elements());
        check_ = std::make_unique<ResultCheck>(entry.params, elements, seed, epilogue);
    }
    bool begun() const { return check_ != nullptr; }
    /// See ResultCheck.
    bool tells() const { return check_->tells(); }

    /// `fault`: what is wrong with a result, in words; empty: nothing that was looked at.
    Status look(
        const Entry& entry, const Solution& solution, const void* result, hipStream_t stream,
        std::string* fault) {
        const Api& api = entry.device.api;
        if (api.provider == Provider::cpu) {
            *fault = check_->judge(check_->read(result), solution);
            return {};
        }
        const std::size_t size = entry.params.dtype == miopenFloat ? 4 : 2;
        std::vector<char> found(check_->size() * size);
        for (std::size_t i = 0; i < check_->size(); ++i) {
            const char* const from = static_cast<const char*>(result) +
                                     check_->offset(i) * static_cast<std::int64_t>(size);
            MIOCONV_TRY(MIOCONV_CALL(
                api, hipMemcpyAsync, found.data() + i * size, from, size, hipMemcpyDeviceToHost,
                stream));
        }
        MIOCONV_TRY(MIOCONV_CALL(api, hipStreamSynchronize, stream));
        const HostElements elements(found.data(), entry.params.dtype);
        std::vector<double> got;
        for (std::size_t i = 0; i < check_->size(); ++i)
            got.push_back(elements[static_cast<std::int64_t>(i)]);
        *fault = check_->judge(got, solution);
        return {};
    }

private:
    std::vector<std::vector<char>> copies_;
    std::unique_ptr<ResultCheck> check_;
};

/// Runs of a solution that are looked at: one may be right until it meets what its first run left
/// behind.
constexpr int first_runs = 2;

/// Bytes of a result that is written between guards first. To copy a larger one would cost more
/// than it tells: it is written where it belongs.
constexpr std::size_t most_guarded = std::size_t{1} << 20;

/// Lets `calculate(scratch, target)` write a result, and looks at it. `fault` is empty where
/// nothing was found wrong; else the result must not be used. `ran` is false where there was no
/// memory for guards.
///
/// `apart`: into guarded memory, and from there to `result`, unless that is null.
template <typename Calculate>
Status run_guarded(
    const Entry& entry, Inspection& inspection, const Solution& solution, void* result, bool apart,
    hipStream_t stream, bool* ran, std::string* fault, const Calculate& calculate) {
    *ran = false;
    const Api& api = entry.device.api;
    const std::size_t bytes = entry.params.bytes(entry.result());
    GuardedMemory scratch, guarded;
    MIOCONV_TRY(scratch.lease(api, entry.device.workspaces, solution.workspace, stream));
    if (apart) MIOCONV_TRY(guarded.lease(api, entry.device.workspaces, bytes, stream, result));
    void* const target = apart ? guarded.data() : result;
    *ran = true;
    MIOCONV_TRY(calculate(scratch.data(), target));
    bool intact = true;
    MIOCONV_TRY(scratch.look(&intact));
    if (!intact) *fault = "it wrote outside of its scratch memory";
    if (intact) MIOCONV_TRY(guarded.look(&intact));
    if (!intact && fault->empty()) *fault = "it wrote outside of its result";
    if (intact) MIOCONV_TRY(inspection.look(entry, solution, target, stream, fault));
    if (!fault->empty() || !apart || result == nullptr) return {};
    if (api.provider == Provider::cpu) {
        std::memcpy(result, target, bytes);
        return {};
    }
    return MIOCONV_CALL(
        api, hipMemcpyAsync, result, target, bytes, hipMemcpyDeviceToDevice, stream);
}

/// A solution on the pattern, for those who will call it with nobody looking.
inline Status run_on_pattern(
    const Entry& entry, miopenHandle_t handle, const Solution& solution, hipStream_t stream,
    std::string* fault) {
    Operands operands = entry.operands;
    PatternOperands given;
    MIOCONV_TRY(given.lease(entry, &operands, stream));
    Workspace packed;
    std::size_t bytes = 0;
    if (entry.params.packed_weights) MIOCONV_TRY(entry.packed_size(handle, solution.id, &bytes));
    if (bytes != 0) {
        MIOCONV_TRY(packed.lease(entry.device.workspaces, bytes, stream));
        MIOCONV_TRY(
            entry.pack_weights(handle, solution.id, operands.data[W], packed.data(), bytes));
        operands.data[W] = packed.data();
    }
    Inspection inspection;
    inspection.begin(entry, given, solution.id);
    for (int i = 0; i < first_runs && fault->empty(); ++i) {
        bool ran;
        MIOCONV_TRY(run_guarded(
            entry, inspection, solution, nullptr, true, stream, &ran, fault,
            [&](void* scratch, void* target) {
                operands.data[entry.result()] = target;
                return entry.calls.run(
                    handle, operands, entry.convolution(), scratch, solution.workspace,
                    solution.id);
            }));
    }
    return {};
}

/// A solution on the caller's operands; on the pattern first, and that alone, where the caller's
/// show nothing. `looks`: how many runs were looked at.
inline Status run_inspected(
    const Entry& entry, miopenHandle_t handle, Operands operands, const Solution& solution,
    hipStream_t stream, std::uint64_t seed, bool* ran, int* looks, std::string* fault) {
    *ran = false;
    Inspection inspection;
    MIOCONV_TRY(inspection.begin(entry, operands, stream, seed));
    *looks = 1;
    if (solution.inspected < first_runs && !inspection.tells()) {
        *looks = first_runs;
        return run_on_pattern(entry, handle, solution, stream, fault);
    }
    return run_guarded(
        entry, inspection, solution, operands.data[entry.result()],
        entry.params.bytes(entry.result()) <= most_guarded, stream, ran, fault,
        [&](void* scratch, void* target) {
            operands.data[entry.result()] = target;
            return entry.calls.run(
                handle, operands, entry.convolution(), scratch, solution.workspace, solution.id);
        });
}

}  // namespace mioconv
