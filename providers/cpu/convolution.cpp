#include "common/convolution.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

#include "common/scalars.hpp"
#include "common/status.hpp"
#include "database.hpp"
#include "handle.hpp"

namespace mioconv::provider {
namespace {

using cpu::Executable;
using cpu::kBestSolution;
using cpu::lookup;
using cpu::Ranked;
using cpu::Solution;
using cpu::SolutionPtr;

ConvProblem problem_of(const ConvCall& call) {
    const ConvProblem problem = collapsed(make_problem(
        cpu::thread_limit(), call.direction, deref(call.x), deref(call.w), deref(call.conv),
        deref(call.y)));
    require(problem.packed_weights == 0 || problem.direction != Direction::backward_weights);
    return problem;
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

SolutionPtr find_solution(const ConvProblem& problem, std::uint64_t id) {
    SolutionPtr solution = lookup(problem)->find(id);
    require(solution != nullptr);
    return solution;
}

std::size_t available(const Workspace& workspace) noexcept {
    return workspace.memory == nullptr ? 0 : workspace.size;
}

bool fits(const Solution& solution, const Workspace& workspace) noexcept {
    return solution.workspace() <= available(workspace);
}

// Warms up, then takes the fastest of a few runs. A solution that is already beaten after its first
// timed run is not repeated.
class Stopwatch {
public:
    float measure(
        Executable& executable, const Operands& operands, void* workspace, dnnl_stream_t stream) {
        executable.run(operands, workspace, stream);
        float best = std::numeric_limits<float>::infinity();
        float spent = 0;
        for (int i = 0; i < kRepeats && spent < kBudgetMs; ++i) {
            const auto start = Clock::now();
            executable.run(operands, workspace, stream);
            const std::chrono::duration<float, std::milli> elapsed = Clock::now() - start;
            best = std::min(best, elapsed.count());
            spent += elapsed.count();
            if (best > kHopeless * fastest_) break;
        }
        fastest_ = std::min(fastest_, best);
        return best;
    }

private:
    using Clock = std::chrono::steady_clock;
    static constexpr int kRepeats = 3;
    static constexpr float kBudgetMs = 50;
    static constexpr float kHopeless = 1.5f;
    float fastest_ = std::numeric_limits<float>::infinity();
};

// Runs one solution on a handle whose mutex is held.
void run_locked(
    miopenHandle& handle, const ConvProblem& problem, const Operands& operands, Workspace workspace,
    uint64_t solution_id) {
    Executable& executable = handle.executable(problem, solution_id);
    require(fits(executable.solution(), workspace), kWorkspaceTooSmall);
    executable.run(operands, workspace.memory, handle.dnnl_stream());
}

}  // namespace

std::vector<miopenConvSolution_t> list_solutions(miopenHandle_t, const ConvCall& call) {
    std::vector<miopenConvSolution_t> listed;
    for (const Ranked& each : lookup(problem_of(call))->ranked()) {
        const Solution& solution = *each.solution;
        listed.push_back({each.ms, solution.workspace(), solution.id(), solution.algorithm()});
    }
    return listed;
}

void solution_workspace(
    miopenHandle_t handle, const ConvCall& call, uint64_t solution_id, size_t* bytes) {
    require(handle != nullptr && bytes != nullptr);
    *bytes = find_solution(problem_of(call), solution_id)->workspace();
}

Basis basis_of(miopenHandle_t handle, const ConvCall& call, uint64_t solution_id) {
    require(handle != nullptr);
    return find_solution(problem_of(call), solution_id)->basis();
}

void packed_weights_size(
    miopenHandle_t handle, const ConvCall& call, uint64_t solution_id, size_t* bytes) {
    require(handle != nullptr && bytes != nullptr && deref(call.conv).packed_weights);
    *bytes = find_solution(problem_of(call), solution_id)->packed_bytes();
}

void pack_weights(
    miopenHandle_t handle, const ConvCall& call, const void* weights, Workspace packed,
    uint64_t solution_id) {
    auto& owner = deref(handle);
    require(weights != nullptr && packed.memory != nullptr && deref(call.conv).packed_weights);
    const SolutionPtr solution = find_solution(problem_of(call), solution_id);
    require(solution->packing() != nullptr && packed.size >= solution->packed_bytes());
    Operands operands;
    operands[Role::wei] = weights;
    operands[Role::dst] = packed.memory;
    // Done once: neither is kept.
    cpu::ScratchMemory scratch;
    Executable executable(solution->packing());
    std::lock_guard lock(owner.mutex);
    const std::size_t needed = solution->packing()->workspace();
    executable.run(operands, scratch.at_least(needed), owner.dnnl_stream());
    require(scratch.intact(needed), miopenStatusInternalError);
}

void compile_solution(miopenHandle_t handle, const ConvCall& call, uint64_t solution_id) {
    auto& owner = deref(handle);
    require(solution_id != kBestSolution);
    const ConvProblem problem = problem_of(call);
    std::lock_guard lock(owner.mutex);
    owner.executable(problem, solution_id);
}

void run_immediate(
    miopenHandle_t handle, const ConvCall& call, const ConvPointers& pointers, Workspace workspace,
    uint64_t solution_id) {
    auto& owner = deref(handle);
    require(solution_id != kBestSolution);
    const ConvProblem problem = problem_of(call);
    const Operands operands = operands_of(call, pointers);
    std::lock_guard lock(owner.mutex);
    run_locked(owner, problem, operands, workspace, solution_id);
}

void max_workspace(miopenHandle_t handle, const ConvCall& call, size_t* bytes) {
    require(handle != nullptr && bytes != nullptr);
    std::size_t largest = 0;
    for (const Ranked& item : lookup(problem_of(call))->ranked()) {
        largest = std::max(largest, item.solution->workspace());
    }
    *bytes = largest;
}

void find_algorithms(
    miopenHandle_t handle, const ConvCall& call, const ConvPointers& pointers, int max_count,
    int* count, miopenConvAlgoPerf_t* results, Workspace workspace) {
    auto& owner = deref(handle);
    require(max_count >= 1 && count != nullptr && results != nullptr);
    const ConvProblem problem = problem_of(call);
    const Operands operands = operands_of(call, pointers);
    const auto entry = lookup(problem);
    const auto candidates = entry->ranked();
    require(!candidates.empty(), miopenStatusNotImplemented);

    Found best;
    {
        std::lock_guard lock(owner.mutex);
        Stopwatch stopwatch;
        for (const Ranked& candidate : candidates) {
            const Solution& solution = *candidate.solution;
            if (!fits(solution, workspace)) continue;
            if (solution.last_resort() && !best.empty()) continue;
            Executable& executable = owner.executable(problem, solution.id());
            const float ms =
                stopwatch.measure(executable, operands, workspace.memory, owner.dnnl_stream());
            entry->set_measured(solution.id(), ms);
            best.offer(solution.algorithm(), ms, solution.workspace(), solution.id());
        }
    }
    require(!best.empty(), kWorkspaceTooSmall);
    *count = best.copy(max_count, results);
    std::lock_guard lock(owner.mutex);
    owner.found.keep(problem, std::move(best));
}

void run_algorithm(
    miopenHandle_t handle, const void* alpha, const void* beta, const ConvCall& call,
    const ConvPointers& pointers, int algorithm, Workspace workspace) {
    auto& owner = deref(handle);
    require_plain(alpha, beta);
    const ConvProblem problem = problem_of(call);
    require(problem.packed_weights == 0);  // those of which solution?
    const Operands operands = operands_of(call, pointers);
    std::lock_guard lock(owner.mutex);
    const auto solution = owner.found.solution(problem, algorithm, available(workspace));
    run_locked(owner, problem, operands, workspace, solution);
}

std::int32_t place_of(miopenHandle_t) { return cpu::thread_limit(); }

void prepare_fused(miopenHandle_t handle, const ConvProblem& fused) {
    auto& owner = deref(handle);
    const ConvProblem problem = collapsed(fused);
    require(problem.packed_weights == 0, miopenStatusUnsupportedOp);
    std::lock_guard lock(owner.mutex);
    owner.executable(problem, kBestSolution);
}

// Neither fused call needs to hand over a workspace: what is missing comes from the handle.
void run_fused(
    miopenHandle_t handle, const ConvProblem& fused, const Operands& operands, Workspace given) {
    auto& owner = deref(handle);
    const ConvProblem problem = collapsed(fused);
    require(problem.packed_weights == 0, miopenStatusUnsupportedOp);
    std::lock_guard lock(owner.mutex);
    const std::size_t needed = owner.executable(problem, kBestSolution).solution().workspace();
    if (needed == 0 || (given.memory != nullptr && given.size >= needed)) {
        return run_locked(owner, problem, operands, given, kBestSolution);
    }
    run_locked(owner, problem, operands, {owner.scratch.at_least(needed), needed}, kBestSolution);
    require(owner.scratch.intact(needed), miopenStatusInternalError);
}

}  // namespace mioconv::provider
