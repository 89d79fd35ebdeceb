// What a provider computes: convolutions, all three directions by one implementation. It defines
// these functions; convolution_api.cpp and fusion_run.cpp call them.
#pragma once

#include <vector>

#include "problem.hpp"
#include "regions.hpp"

namespace mioconv::provider {

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

// The status where the caller's workspace is NULL or too small: MIOpen's own.
constexpr miopenStatus_t kWorkspaceTooSmall = miopenStatusUnknownError;

// Best first; at least the best that are known without a search.
std::vector<miopenConvSolution_t> list_solutions(miopenHandle_t handle, const ConvCall& call);
void solution_workspace(
    miopenHandle_t handle, const ConvCall& call, uint64_t solution_id, size_t* bytes);
Basis basis_of(miopenHandle_t handle, const ConvCall& call, uint64_t solution_id);
void compile_solution(miopenHandle_t handle, const ConvCall& call, uint64_t solution_id);
void run_immediate(
    miopenHandle_t handle, const ConvCall& call, const ConvPointers& pointers, Workspace workspace,
    uint64_t solution_id);

// Bytes of the solution's packed weights; 0: it takes the caller's as they are.
void packed_weights_size(
    miopenHandle_t handle, const ConvCall& call, uint64_t solution_id, size_t* bytes);
void pack_weights(
    miopenHandle_t handle, const ConvCall& call, const void* weights, Workspace packed,
    uint64_t solution_id);

// The largest workspace of any solution: with it, Find can measure them all.
void max_workspace(miopenHandle_t handle, const ConvCall& call, size_t* bytes);
void find_algorithms(
    miopenHandle_t handle, const ConvCall& call, const ConvPointers& pointers, int max_count,
    int* count, miopenConvAlgoPerf_t* results, Workspace workspace);
// What Find has found of that algorithm on this handle.
void run_algorithm(
    miopenHandle_t handle, const void* alpha, const void* beta, const ConvCall& call,
    const ConvPointers& pointers, int algorithm, Workspace workspace);

// `place` of the problems of a handle.
std::int32_t place_of(miopenHandle_t handle);
// Makes the best solution of a fused problem ready; UnsupportedOp if there is none.
void prepare_fused(miopenHandle_t handle, const ConvProblem& problem);
// Runs it. A workspace that is too small is replaced by one of the handle's.
void run_fused(
    miopenHandle_t handle, const ConvProblem& problem, const Operands& operands,
    Workspace workspace);

}  // namespace mioconv::provider
