#include "executable.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "common/fork_gate.hpp"
#include "common/status.hpp"
#include "defects.hpp"
#include "dnnl_error.hpp"
#include "half.hpp"
#include "host_memory.hpp"
#include "signals.hpp"
#include "strided_loop.hpp"
#include "threads.hpp"

namespace mioconv::cpu {
namespace {

void convert(const Conversion& conversion, const void* from, void* to, int threads) {
    const auto dtype = static_cast<miopenDataType_t>(conversion.dtype);
    const auto wide_size = static_cast<std::int64_t>(sizeof(float));
    const std::array<Dims, 2> strides = {conversion.narrow_strides, conversion.wide_strides};
    strided_loop<2>(conversion.rank, conversion.dims, strides, threads, [&](const Run<2>& run) {
        // Both sides have one order of dimensions, so the wide one is contiguous where the run is;
        // only then are there runs longer than one. Otherwise go element by element.
        const auto narrow_at = run.offset[0] * 2;
        const auto wide_at = run.offset[1] * wide_size;
        float buffer[kMaxRun];
        if (conversion.widens) {
            const auto* source = static_cast<const char*>(from) + narrow_at;
            auto* target = reinterpret_cast<float*>(static_cast<char*>(to) + wide_at);
            if (run.stride[1] == 1) {
                load_floats(dtype, source, run.stride[0], run.count, target);
            } else {
                load_floats(dtype, source, run.stride[0], run.count, buffer);
                store_floats(miopenFloat, buffer, run.count, target, run.stride[1]);
            }
        } else {
            const auto* source =
                reinterpret_cast<const float*>(static_cast<const char*>(from) + wide_at);
            auto* target = static_cast<char*>(to) + narrow_at;
            const float* values = source;
            if (run.stride[1] != 1) {
                load_floats(miopenFloat, source, run.stride[1], run.count, buffer);
                values = buffer;
            }
            store_floats(dtype, values, run.count, target, run.stride[0]);
        }
    });
}

}  // namespace

Executable::Executable(SolutionPtr solution)
    : solution_(std::move(solution)),
      bears_signals_(!moves_stack(solution_->name())),
      primitives_(solution_->compile()) {
    const Recipe& recipe = solution_->recipe();
    memories_.reserve(recipe.buffers.size());
    for (const Buffer& buffer : recipe.buffers) {
        memories_.emplace_back(buffer.desc, engine(), static_cast<void*>(DNNL_MEMORY_NONE));
    }
    address_.assign(recipe.buffers.size(), nullptr);
    for (const Step& step : recipe.steps) {
        BoundStep bound;
        bound.fetches_z = step.fetches_z;
        if (step.routine != nullptr) {
            bound.routine = step.routine->bind(
                step.primitive < 0 ? dnnl::primitive()
                                   : primitives_[static_cast<std::size_t>(step.primitive)]);
            for (const Argument& argument : step.arguments) {
                bound.operands.push_back(argument.buffer);
            }
        } else if (step.primitive >= 0) {
            bound.primitive = primitives_[static_cast<std::size_t>(step.primitive)].get();
            for (const Argument& argument : step.arguments) {
                bound.arguments.push_back({argument.name, memories_[argument.buffer].get()});
                if (argument.name == DNNL_ARG_FROM) bound.from = &address_[argument.buffer];
                if (argument.name == DNNL_ARG_TO) bound.to = &address_[argument.buffer];
                if (argument.name == DNNL_ARG_SCRATCHPAD &&
                    reads_scratch_memory(solution_->name())) {
                    bound.cleared = &address_[argument.buffer];
                    bound.cleared_bytes = recipe.buffers[argument.buffer].desc.get_size();
                }
            }
        } else {
            bound.conversion = step.conversion;
            bound.from = &address_[step.from];
            bound.to = &address_[step.to];
        }
        steps_.push_back(std::move(bound));
    }
}

void Executable::bind(const Operands& operands, void* workspace) {
    const auto start =
        (reinterpret_cast<std::uintptr_t>(workspace) + kAlignment - 1) / kAlignment * kAlignment;
    const auto& buffers = solution_->recipe().buffers;
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        const Buffer& buffer = buffers[i];
        const void* const address = buffer.role >= 0
                                        ? operands.pointer[buffer.role]
                                        : reinterpret_cast<const void*>(start + buffer.offset);
        if (address == address_[i]) continue;
        check(dnnl_memory_set_data_handle(memories_[i].get(), const_cast<void*>(address)));
        address_[i] = address;
    }
}

// z that lies in the output's own place needs no fetching: a copy, oneDNN's. Routines and
// conversions change the layout or the type on the way to scratch memory.
bool Executable::already_there(const BoundStep& step) noexcept {
    return step.primitive != nullptr && *step.from == *step.to;
}

template <class Visit>
void Executable::each_gap(const Visit& visit) const {
    const Recipe& recipe = solution_->recipe();
    for (std::size_t i = 0; i < recipe.buffers.size(); ++i) {
        if (recipe.buffers[i].role >= 0) continue;
        // Scratchpads share one place, which is as large as the largest of them.
        std::size_t bytes = recipe.buffers[i].desc.get_size();
        for (const Buffer& other : recipe.buffers) {
            if (other.role < 0 && other.offset == recipe.buffers[i].offset) {
                bytes = std::max(bytes, other.desc.get_size());
            }
        }
        visit(static_cast<char*>(const_cast<void*>(address_[i])) + bytes, recipe.gap);
    }
}

void Executable::run(const Operands& operands, void* workspace, dnnl_stream_t stream) {
    // oneDNN's products make their code when they first run, under its locks.
    std::optional<provider::ForkGate> gate;
    if (__builtin_expect(!ran_, 0)) {
        require_address_space(solution_->threads());
        gate.emplace();
    }
    bind(operands, workspace);
    const bool has_gaps = solution_->recipe().gap != 0;
    constexpr int kUntouched = 0xa5;
    if (__builtin_expect(has_gaps, 0)) {
        each_gap([](char* start, std::size_t bytes) { std::memset(start, kUntouched, bytes); });
    }
    run_steps(stream);
    ran_ = true;
    if (__builtin_expect(!has_gaps, 1)) return;
    each_gap([](const char* start, std::size_t bytes) {
        provider::require(
            std::all_of(
                start, start + bytes,
                [](char byte) { return static_cast<unsigned char>(byte) == kUntouched; }),
            miopenStatusInternalError);
    });
}

void Executable::run_steps(dnnl_stream_t stream) {
    ThreadScope scope(solution_->threads());
    std::optional<NoSignals> no_signals;
    if (!bears_signals_) no_signals.emplace(solution_->threads());
    for (const BoundStep& step : steps_) {
        if (step.fetches_z && already_there(step)) continue;
        if (step.routine != nullptr) {
            operands_.clear();
            for (const int buffer : step.operands) operands_.push_back(address_[buffer]);
            step.routine->run(operands_.data(), stream);
        } else if (step.primitive != nullptr) {
            if (step.cleared != nullptr) {
                std::memset(const_cast<void*>(*step.cleared), 0, step.cleared_bytes);
            }
            check(dnnl_primitive_execute(
                step.primitive, stream, static_cast<int>(step.arguments.size()),
                step.arguments.data()));
        } else {
            convert(step.conversion, *step.from, const_cast<void*>(*step.to), solution_->threads());
        }
    }
}

}  // namespace mioconv::cpu
