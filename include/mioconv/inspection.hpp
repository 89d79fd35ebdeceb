// Looking at what a solution wrote: its results, and the memory around them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "guarded_memory.hpp"
#include "plan.hpp"
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
            std::uint32_t bits;
            std::memcpy(&bits, &value, sizeof bits);
            // These values have few digits: the upper half is the bfloat16, and float16 is exact.
            if (dtype == miopenFloat)
                floats_[i] = value;
            else
                halves_[i] = static_cast<std::uint16_t>(
                    dtype == miopenBFloat16 ? bits >> 16
                                            : (minus ? 0x8000 : 0) | (size == 1   ? 0x3c00
                                                                      : size == 2 ? 0x4000
                                                                                  : 0x4200));
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

/// Results of one problem on the same operands, by whatever solution.
class Inspection {
public:
    /// Reads operands that lie on a GPU to the host, and so waits for them.
    Status begin(
        const Plan& plan, const Operands& operands, hipStream_t stream, std::uint64_t seed,
        const CheckedEpilogue& epilogue = {}) {
        const Api& api = plan.device.api;
        std::array<HostElements, operand_count> elements;
        for (const Operand operand : {X, W, Y}) {
            if (operand == plan.result()) continue;
            const void* data = operands.data[operand];
            if (api.provider != Provider::cpu) {
                copies_.emplace_back(plan.params.bytes(operand));
                MIOCONV_TRY(MIOCONV_CALL(
                    api, hipMemcpyAsync, copies_.back().data(), data, copies_.back().size(),
                    hipMemcpyDeviceToHost, stream));
                data = copies_.back().data();
            }
            elements[operand] = HostElements(data, plan.params.dtype);
        }
        if (!copies_.empty()) MIOCONV_TRY(MIOCONV_CALL(api, hipStreamSynchronize, stream));
        check_ = std::make_unique<ResultCheck>(plan.params, elements, seed, epilogue);
        return {};
    }
    /// Operands that are the pattern.
    void begin(const Plan& plan, const Pattern& pattern, std::uint64_t seed) {
        std::array<HostElements, operand_count> elements;
        pattern_ = std::make_unique<Pattern>(pattern);
        elements.fill(pattern_->elements());
        check_ = std::make_unique<ResultCheck>(plan.params, elements, seed);
    }
    bool begun() const { return check_ != nullptr; }

    /// `fault`: what is wrong with a result, in words; empty: nothing that was looked at.
    Status look(
        const Plan& plan, const Solution& solution, const void* result, hipStream_t stream,
        std::string* fault) {
        const Api& api = plan.device.api;
        if (api.provider == Provider::cpu) {
            *fault = check_->judge(check_->read(result), solution);
            return {};
        }
        const std::size_t size = plan.params.dtype == miopenFloat ? 4 : 2;
        std::vector<char> found(check_->size() * size);
        for (std::size_t i = 0; i < check_->size(); ++i) {
            const char* const from = static_cast<const char*>(result) +
                                     check_->offset(i) * static_cast<std::int64_t>(size);
            MIOCONV_TRY(MIOCONV_CALL(
                api, hipMemcpyAsync, found.data() + i * size, from, size, hipMemcpyDeviceToHost,
                stream));
        }
        MIOCONV_TRY(MIOCONV_CALL(api, hipStreamSynchronize, stream));
        const HostElements elements(found.data(), plan.params.dtype);
        std::vector<double> got;
        for (std::size_t i = 0; i < check_->size(); ++i)
            got.push_back(elements[static_cast<std::int64_t>(i)]);
        *fault = check_->judge(got, solution);
        return {};
    }

private:
    std::vector<std::vector<char>> copies_;
    std::unique_ptr<Pattern> pattern_;
    std::unique_ptr<ResultCheck> check_;
};

/// Bytes of a result that is written between guards first.
constexpr std::size_t most_guarded = std::size_t{1} << 20;

/// Runs a solution between guards and looks at its result. `fault` is empty where nothing was found
/// wrong; else the result must not be used. `ran` is false where there was no memory to guard it.
///
/// A result of more than `most_guarded` bytes is written where it belongs: to copy it would cost
/// more than it tells.
inline Status run_inspected(
    const Plan& plan, miopenHandle_t handle, Operands operands, const Solution& solution,
    hipStream_t stream, std::uint64_t seed, bool* ran, std::string* fault) {
    *ran = false;
    const Api& api = plan.device.api;
    WorkspacePool& pool = plan.device.workspaces;
    const std::size_t bytes = plan.params.bytes(plan.result());
    GuardedMemory scratch, result;
    Inspection inspection;
    void* const target = operands.data[plan.result()];
    MIOCONV_TRY(scratch.lease(api, pool, solution.workspace, stream));
    if (bytes <= most_guarded) {
        MIOCONV_TRY(result.lease(api, pool, bytes, stream));
        operands.data[plan.result()] = result.data();
    }
    MIOCONV_TRY(inspection.begin(plan, operands, stream, seed));
    *ran = true;
    MIOCONV_TRY(plan.calls.run(
        handle, operands, plan.convolution(), scratch.data(), solution.workspace, solution.id));
    bool intact = true;
    MIOCONV_TRY(scratch.look(&intact));
    if (!intact) *fault = "it wrote outside of its scratch memory";
    if (intact && bytes <= most_guarded) {
        MIOCONV_TRY(result.look(&intact));
        if (!intact) *fault = "it wrote outside of its result";
    }
    if (intact)
        MIOCONV_TRY(inspection.look(plan, solution, operands.data[plan.result()], stream, fault));
    if (!fault->empty() || bytes > most_guarded) return {};
    if (api.provider == Provider::cpu) {
        std::memcpy(target, result.data(), bytes);
        return {};
    }
    return MIOCONV_CALL(
        api, hipMemcpyAsync, target, result.data(), bytes, hipMemcpyDeviceToDevice, stream);
}

}  // namespace mioconv
