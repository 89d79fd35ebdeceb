// Convolutions on cuDNN, all three directions by one implementation.
#include "common/convolution.hpp"

#include <algorithm>
#include <limits>

#include "common/scalars.hpp"
#include "common/status.hpp"
#include "handle.hpp"
#include "kernels.hpp"
#include "memory.hpp"

namespace mioconv::provider {
namespace {

using cuda::check;
using cuda::Executable;
using cuda::Extent;
using cuda::kBestSolution;
using cuda::lookup;
using cuda::Ranked;
using cuda::Solution;
using cuda::StreamMemory;

ConvProblem problem_of(miopenHandle_t handle, const ConvCall& call) {
    return make_problem(
        deref(handle).device, call.direction, deref(call.x), deref(call.w), deref(call.conv),
        deref(call.y));
}

Operands operands_of(const ConvCall& call, const ConvPointers& pointers) {
    require(pointers.x != nullptr && pointers.w != nullptr && pointers.y != nullptr);
    const bool turned = call.conv->transposed();
    Operands operands;
    operands[Role::src] = turned ? pointers.y : pointers.x;
    operands[Role::wei] = pointers.w;
    operands[Role::dst] = turned ? pointers.x : pointers.y;
    return operands;
}

// What the operands lie at multiples of.
void set_alignment(ConvProblem& problem, const Operands& operands) {
    std::uintptr_t bits = 16;
    for (const Role role : {Role::src, Role::wei, Role::dst, Role::z}) {
        bits |= reinterpret_cast<std::uintptr_t>(operands[role]);
    }
    problem.alignment = static_cast<std::int32_t>(bits & (~bits + 1));
}

std::size_t available(const Workspace& workspace) noexcept {
    return workspace.memory == nullptr ? 0 : workspace.size;
}

bool fits(const Solution& solution, const Workspace& workspace) noexcept {
    return solution.workspace() <= available(workspace);
}

// Runs one solution on a handle whose mutex is held.
void run_locked(
    miopenHandle& handle, const ConvProblem& problem, const Operands& operands, Workspace workspace,
    uint64_t solution_id) {
    Executable& executable = handle.executable(problem, solution_id);
    require(fits(executable.solution(), workspace), kWorkspaceTooSmall);
    executable.run(operands, workspace.memory, handle.cudnn(), cuda::to_cuda(handle.stream()));
}

// The same; a workspace that is too small is replaced by memory in stream order.
void run_with_room(
    miopenHandle& handle, const ConvProblem& problem, const Operands& operands, Workspace given,
    uint64_t solution_id) {
    const std::size_t needed = handle.executable(problem, solution_id).solution().workspace();
    if (given.memory != nullptr && given.size >= needed) {
        return run_locked(handle, problem, operands, given, solution_id);
    }
    const StreamMemory own(needed, cuda::to_cuda(handle.stream()));
    run_locked(handle, problem, operands, {own.get(), needed}, solution_id);
}

// Whether a solution copies operands that it does not when it is listed: the caller's workspace has
// no room for them.
bool copies_more(const ConvProblem& problem) noexcept {
    return problem.alignment < cuda::kOperandAlignment;
}

class Event {
public:
    Event() { check(cuda::runtime().cudaEventCreateWithFlags(&event_, cudaEventDefault)); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    ~Event() { cuda::runtime().cudaEventDestroy(event_); }
    cudaEvent_t get() const noexcept { return event_; }

private:
    cudaEvent_t event_ = nullptr;
};

// Warms up, then takes the fastest of a few measurements. A solution that is already beaten after
// its first timed run is not repeated.
class Stopwatch {
public:
    float measure(
        miopenHandle& handle, Executable& executable, const Operands& operands, void* workspace) {
        const auto run = [&] {
            executable.run(operands, workspace, handle.cudnn(), cuda::to_cuda(handle.stream()));
        };
        const cudaStream_t stream = cuda::to_cuda(handle.stream());
        run();
        float best = std::numeric_limits<float>::infinity();
        int at_once = 1;
        for (int i = 0; i < kRepeats; ++i) {
            cuda::hold(kHoldMicroseconds * at_once, stream);
            check(cuda::runtime().cudaEventRecord(start_.get(), stream));
            for (int k = 0; k < at_once; ++k) run();
            check(cuda::runtime().cudaEventRecord(stop_.get(), stream));
            check(cuda::runtime().cudaEventSynchronize(stop_.get()));
            float ms = 0;
            check(cuda::runtime().cudaEventElapsedTime(&ms, start_.get(), stop_.get()));
            best = std::min(best, ms / static_cast<float>(at_once));
            if (best > kHopeless * fastest_) break;
            // Events resolve half a microsecond, which is much of a short kernel.
            if (best < kShortMs) at_once = kAtOnce;
        }
        fastest_ = std::min(fastest_, best);
        return best;
    }

private:
    static constexpr int kRepeats = 4;
    static constexpr int kAtOnce = 5;
    static constexpr float kShortMs = 0.1f;
    static constexpr float kHopeless = 1.5f;
    static constexpr int kHoldMicroseconds = 40;  // what queueing one run takes, and more
    Event start_, stop_;
    float fastest_ = std::numeric_limits<float>::infinity();
};

// From a tensor's first byte to its last, gaps included.
std::size_t reach(const ConvProblem& problem, Role role) {
    std::int64_t last = 0;
    for (int i = 0; i < problem.rank; ++i) {
        last += (cuda::dims_of(problem, role)[i] - 1) * cuda::strides_of(problem, role)[i];
    }
    return static_cast<std::size_t>(last + 1) * (problem.dtype == miopenFloat ? 4 : 2);
}

// Loading a kernel at its first launch would break a graph that is being captured: launch it now,
// on memory of our own. What has no room for that is loaded later.
void warm_up(miopenHandle& handle, const ConvProblem& problem, uint64_t solution_id) {
    Executable& executable = handle.executable(problem, solution_id);
    const cudaStream_t stream = cuda::to_cuda(handle.stream());
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    check(cuda::runtime().cudaStreamIsCapturing(stream, &capturing));
    if (capturing != cudaStreamCaptureStatusNone) return;
    try {
        const auto make = [&](bool wanted, std::size_t bytes) {
            auto memory = std::make_unique<StreamMemory>(wanted ? bytes : 0, stream);
            if (wanted) check(cuda::runtime().cudaMemsetAsync(memory->get(), 0, bytes, stream));
            return memory;
        };
        const auto src = make(true, reach(problem, Role::src));
        const auto wei = make(true, reach(problem, Role::wei));
        const auto dst = make(true, reach(problem, Role::dst));
        const auto z = make(problem.has_sum != 0, reach(problem, Role::dst));
        const auto bias =
            make(problem.has_bias != 0, static_cast<std::size_t>(problem.dst[1]) * sizeof(float));
        const StreamMemory workspace(executable.solution().workspace(), stream);
        Operands operands;
        operands[Role::src] = src->get();
        operands[Role::wei] = wei->get();
        operands[Role::dst] = dst->get();
        operands[Role::bias] = bias->get();
        operands[Role::z] = z->get();
        executable.run(operands, workspace.get(), handle.cudnn(), stream);
    } catch (const HipError& failure) {
        if (failure.error() != hipErrorOutOfMemory) throw;
    }
}

}  // namespace

std::vector<miopenConvSolution_t> list_solutions(miopenHandle_t handle, const ConvCall& call) {
    std::vector<miopenConvSolution_t> listed;
    for (const Ranked& each : lookup(problem_of(handle, call))->ranked(Extent::first)) {
        const Solution& solution = *each.solution;
        listed.push_back({each.ms, solution.workspace(), solution.id(), solution.algorithm()});
    }
    return listed;
}

Basis basis_of(miopenHandle_t handle, const ConvCall& call, uint64_t solution_id) {
    const auto solution = lookup(problem_of(handle, call))->find(solution_id);
    require(solution != nullptr);
    return solution->basis();
}

void solution_workspace(
    miopenHandle_t handle, const ConvCall& call, uint64_t solution_id, size_t* bytes) {
    require(handle != nullptr && bytes != nullptr);
    const auto solution = lookup(problem_of(handle, call))->find(solution_id);
    require(solution != nullptr);
    *bytes = solution->workspace();
}

// Every solution takes the weights as they are: what copies some make of them is cheap on a GPU.
void packed_weights_size(miopenHandle_t handle, const ConvCall&, uint64_t, size_t* bytes) {
    require(handle != nullptr && bytes != nullptr);
    *bytes = 0;
}

void pack_weights(miopenHandle_t, const ConvCall&, const void*, Workspace, uint64_t) {
    throw StatusError(miopenStatusNotImplemented);
}

void compile_solution(miopenHandle_t handle, const ConvCall& call, uint64_t solution_id) {
    require(solution_id != kBestSolution);
    const ConvProblem problem = problem_of(handle, call);
    std::lock_guard lock(handle->mutex);
    warm_up(*handle, problem, solution_id);
}

void run_immediate(
    miopenHandle_t handle, const ConvCall& call, const ConvPointers& pointers, Workspace workspace,
    uint64_t solution_id) {
    require(solution_id != kBestSolution);
    ConvProblem problem = problem_of(handle, call);
    const Operands operands = operands_of(call, pointers);
    set_alignment(problem, operands);
    std::lock_guard lock(handle->mutex);
    if (copies_more(problem)) {
        return run_with_room(*handle, problem, operands, workspace, solution_id);
    }
    run_locked(*handle, problem, operands, workspace, solution_id);
}

// Asked before a search: every solution counts.
void max_workspace(miopenHandle_t handle, const ConvCall& call, size_t* bytes) {
    require(handle != nullptr && bytes != nullptr);
    std::size_t largest = 0;
    for (const Ranked& item : lookup(problem_of(handle, call))->ranked(Extent::all)) {
        largest = std::max(largest, item.solution->workspace());
    }
    *bytes = largest;
}

void find_algorithms(
    miopenHandle_t handle, const ConvCall& call, const ConvPointers& pointers, int max_count,
    int* count, miopenConvAlgoPerf_t* results, Workspace workspace) {
    require(handle != nullptr && max_count >= 1 && count != nullptr && results != nullptr);
    const ConvProblem listed = problem_of(handle, call);
    const Operands operands = operands_of(call, pointers);
    ConvProblem problem = listed;
    set_alignment(problem, operands);
    const auto entry = lookup(listed);
    const auto candidates = entry->ranked(Extent::all);
    require(!candidates.empty(), miopenStatusNotImplemented);

    Found best;
    bool fitted = false;
    {
        std::lock_guard lock(handle->mutex);
        Stopwatch stopwatch;
        for (const Ranked& candidate : candidates) {
            const Solution& solution = *candidate.solution;
            if (!fits(solution, workspace)) continue;
            fitted = true;
            float ms = 0;
            try {
                Executable& executable = handle->executable(problem, solution.id());
                const StreamMemory more(
                    copies_more(problem) ? executable.solution().workspace() : 0,
                    cuda::to_cuda(handle->stream()));
                ms = stopwatch.measure(
                    *handle, executable, operands,
                    more.get() != nullptr ? more.get() : workspace.memory);
            } catch (const StatusError&) {
                // An engine that fails at its run is not listed again; kernels of ours may only
                // lack the alignment.
                if (problem.alignment == listed.alignment) entry->remove(solution.id());
                continue;
            }
            entry->set_measured(solution.id(), ms);
            best.offer(solution.algorithm(), ms, solution.workspace(), solution.id());
        }
    }
    require(!best.empty(), fitted ? miopenStatusInternalError : kWorkspaceTooSmall);
    *count = best.copy(max_count, results);
    std::lock_guard lock(handle->mutex);
    handle->found.keep(listed, std::move(best));
}

void run_algorithm(
    miopenHandle_t handle, const void* alpha, const void* beta, const ConvCall& call,
    const ConvPointers& pointers, int algorithm, Workspace workspace) {
    require(handle != nullptr);
    require_plain(alpha, beta);
    const ConvProblem listed = problem_of(handle, call);
    const Operands operands = operands_of(call, pointers);
    ConvProblem problem = listed;
    set_alignment(problem, operands);
    std::lock_guard lock(handle->mutex);
    const auto solution = handle->found.solution(listed, algorithm, available(workspace));
    if (copies_more(problem)) {
        return run_with_room(*handle, problem, operands, workspace, solution);
    }
    run_locked(*handle, problem, operands, workspace, solution);
}

std::int32_t place_of(miopenHandle_t handle) { return deref(handle).device; }

void prepare_fused(miopenHandle_t handle, const ConvProblem& problem) {
    std::lock_guard lock(deref(handle).mutex);
    warm_up(*handle, problem, kBestSolution);
}

// Neither fused call needs to hand over a workspace: what is missing is allocated in stream order.
void run_fused(
    miopenHandle_t handle, const ConvProblem& fused, const Operands& operands, Workspace given) {
    // A bias is not copied, and engines may end the context over one that lies otherwise.
    const auto bias = reinterpret_cast<std::uintptr_t>(operands[Role::bias]);
    require(bias % cuda::kOperandAlignment == 0, miopenStatusUnsupportedOp);
    ConvProblem problem = fused;
    set_alignment(problem, operands);
    std::lock_guard lock(deref(handle).mutex);
    run_with_room(*handle, problem, operands, given, kBestSolution);
}

}  // namespace mioconv::provider
