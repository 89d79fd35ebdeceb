// Convolutions, all three directions by one implementation.
#pragma once

#include "handle.hpp"
#include "problem.hpp"

namespace mioconv::cpu {

// The descriptors of one call, by their roles in the forward convolution.
struct ConvCall {
    Direction direction;
    const miopenTensorDescriptor* x;
    const miopenTensorDescriptor* w;
    const miopenConvolutionDescriptor* conv;
    const miopenTensorDescriptor* y;
};

struct ConvPointers {
    const void* x;
    const void* w;
    const void* y;
};

struct Workspace {
    void* memory;
    std::size_t size;
};

// The status where the caller's workspace is NULL or too small.
constexpr miopenStatus_t kWorkspaceTooSmall = miopenStatusBadParm;

void solution_count(miopenHandle_t handle, const ConvCall& call, size_t* count);
void get_solutions(
    miopenHandle_t handle, const ConvCall& call, size_t max_count, size_t* count,
    miopenConvSolution_t* solutions);
void solution_workspace(
    miopenHandle_t handle, const ConvCall& call, uint64_t solution_id, size_t* bytes);
void compile_solution(miopenHandle_t handle, const ConvCall& call, uint64_t solution_id);
void run_immediate(
    miopenHandle_t handle, const ConvCall& call, const ConvPointers& pointers, Workspace workspace,
    uint64_t solution_id);

// The largest workspace of any solution: with it, Find can measure them all.
void max_workspace(miopenHandle_t handle, const ConvCall& call, size_t* bytes);
void find_algorithms(
    miopenHandle_t handle, const ConvCall& call, const ConvPointers& pointers, int max_count,
    int* count, miopenConvAlgoPerf_t* results, Workspace workspace);
// The best solution of that algorithm whose workspace fits.
void run_algorithm(
    miopenHandle_t handle, const void* alpha, const void* beta, const ConvCall& call,
    const ConvPointers& pointers, int algorithm, Workspace workspace);

// Runs one solution on a handle whose mutex is held.
void run_locked(
    miopenHandle& handle, const ConvProblem& problem, const Operands& operands, Workspace workspace,
    uint64_t solution_id);

}  // namespace mioconv::cpu
