// MIOpen's convolution functions: each names its arguments' roles and hands over.
//
// Argument orders differ. Queries and immediate calls take Forward (w, x, conv, y), Find and
// execute Forward (x, w, conv, y); the gradients are (dy, w, conv, dx) and (dy, x, conv, dw)
// everywhere.
#include "convolution.hpp"

#include <algorithm>

#include "export.hpp"
#include "guard.hpp"
#include "profile.hpp"
#include "solution_names.hpp"

using namespace mioconv::provider;

namespace {

ConvCall forward(
    miopenTensorDescriptor_t x, miopenTensorDescriptor_t w, miopenConvolutionDescriptor_t conv,
    miopenTensorDescriptor_t y) {
    return {Direction::forward, x, w, conv, y};
}

ConvCall backward_data(
    miopenTensorDescriptor_t dy, miopenTensorDescriptor_t w, miopenConvolutionDescriptor_t conv,
    miopenTensorDescriptor_t dx) {
    return {Direction::backward_data, dx, w, conv, dy};
}

ConvCall backward_weights(
    miopenTensorDescriptor_t dy, miopenTensorDescriptor_t x, miopenConvolutionDescriptor_t conv,
    miopenTensorDescriptor_t dw) {
    return {Direction::backward_weights, x, dw, conv, dy};
}

ConvCall with_weights(
    int direction, miopenTensorDescriptor_t x, miopenTensorDescriptor_t w,
    miopenConvolutionDescriptor_t conv, miopenTensorDescriptor_t y) {
    require(direction == 0 || direction == 1);
    return {direction == 0 ? Direction::forward : Direction::backward_data, x, w, conv, y};
}

void solution_count(miopenHandle_t handle, const ConvCall& call, size_t* count) {
    require(handle != nullptr && count != nullptr);
    const std::size_t found = list_solutions(handle, call).size();
    require(found > 0, miopenStatusNotImplemented);
    *count = found;
}

void get_solutions(
    miopenHandle_t handle, const ConvCall& call, size_t max_count, size_t* count,
    miopenConvSolution_t* solutions) {
    require(handle != nullptr && count != nullptr && (solutions != nullptr || max_count == 0));
    const auto listed = list_solutions(handle, call);
    *count = std::min(max_count, listed.size());
    std::copy_n(listed.begin(), *count, solutions);
}

}  // namespace

MIOCONV_EXPORT miopenStatus_t mioconvDescribeSolution(
    miopenHandle_t handle, int direction, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, uint64_t solution_id, char* text, size_t size) {
    return guarded({__func__, 0, solution_id}, [&] {
        require(handle != nullptr && 0 <= direction && direction <= 2);
        const ConvCall call{static_cast<Direction>(direction), xDesc, wDesc, convDesc, yDesc};
        const Basis basis = basis_of(handle, call, solution_id);
        static const char* const kForms[] = {" packed", " channels_last", " blocked"};
        std::string words = basis.implementation + kForms[static_cast<int>(basis.form)];
        for (const int value : basis.classes) words += " " + std::to_string(value);
        copy_text(words, text, size);
    });
}

// ---- packed weights

MIOCONV_EXPORT miopenStatus_t mioconvGetPackedWeightsSize(
    miopenHandle_t handle, int direction, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, uint64_t solution_id, size_t* size) {
    return guarded({__func__, 0, solution_id}, [&] {
        packed_weights_size(
            handle, with_weights(direction, xDesc, wDesc, convDesc, yDesc), solution_id, size);
    });
}

MIOCONV_EXPORT miopenStatus_t mioconvPackWeights(
    miopenHandle_t handle, int direction, const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, void* packed, size_t size, uint64_t solution_id) {
    return guarded({__func__, size, solution_id}, [&] {
        pack_weights(
            handle, with_weights(direction, xDesc, wDesc, convDesc, yDesc), w, {packed, size},
            solution_id);
    });
}

// ---- forward

MIOCONV_EXPORT miopenStatus_t miopenConvolutionForwardGetSolutionCount(
    miopenHandle_t handle, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, size_t* solutionCount) {
    return guarded({__func__}, [&] {
        solution_count(handle, forward(xDesc, wDesc, convDesc, yDesc), solutionCount);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionForwardGetSolution(
    miopenHandle_t handle, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, const size_t maxSolutionCount, size_t* solutionCount,
    miopenConvSolution_t* solutions) {
    return guarded({__func__}, [&] {
        get_solutions(
            handle, forward(xDesc, wDesc, convDesc, yDesc), maxSolutionCount, solutionCount,
            solutions);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionForwardGetSolutionWorkspaceSize(
    miopenHandle_t handle, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, const uint64_t solution_id, size_t* workSpaceSize) {
    return guarded({__func__, 0, solution_id}, [&] {
        solution_workspace(
            handle, forward(xDesc, wDesc, convDesc, yDesc), solution_id, workSpaceSize);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionForwardCompileSolution(
    miopenHandle_t handle, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, const uint64_t solution_id) {
    return guarded({__func__, 0, solution_id}, [&] {
        compile_solution(handle, forward(xDesc, wDesc, convDesc, yDesc), solution_id);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionForwardImmediate(
    miopenHandle_t handle, const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenTensorDescriptor_t xDesc, const void* x,
    const miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t yDesc, void* y,
    void* workSpace, size_t workSpaceSize, const uint64_t solution_id) {
    return guarded({__func__, 0, solution_id}, [&] {
        const KernelTimer timer(handle);
        run_immediate(
            handle, forward(xDesc, wDesc, convDesc, yDesc), {x, w, y}, {workSpace, workSpaceSize},
            solution_id);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionForwardGetWorkSpaceSize(
    miopenHandle_t handle, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, size_t* workSpaceSize) {
    return guarded({__func__}, [&] {
        max_workspace(handle, forward(xDesc, wDesc, convDesc, yDesc), workSpaceSize);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenFindConvolutionForwardAlgorithm(
    miopenHandle_t handle, const miopenTensorDescriptor_t xDesc, const void* x,
    const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t yDesc, void* y,
    const int requestAlgoCount, int* returnedAlgoCount, miopenConvAlgoPerf_t* perfResults,
    void* workSpace, size_t workSpaceSize, bool exhaustiveSearch) {
    return guarded({__func__}, [&] {
        (void)exhaustiveSearch;  // every solution is measured in any case
        const KernelTimer timer(handle);
        find_algorithms(
            handle, forward(xDesc, wDesc, convDesc, yDesc), {x, w, y}, requestAlgoCount,
            returnedAlgoCount, perfResults, {workSpace, workSpaceSize});
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionForward(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t xDesc, const void* x,
    const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenConvolutionDescriptor_t convDesc, miopenConvFwdAlgorithm_t algo, const void* beta,
    const miopenTensorDescriptor_t yDesc, void* y, void* workSpace, size_t workSpaceSize) {
    return guarded({__func__}, [&] {
        const KernelTimer timer(handle);
        run_algorithm(
            handle, alpha, beta, forward(xDesc, wDesc, convDesc, yDesc), {x, w, y}, algo,
            {workSpace, workSpaceSize});
    });
}

// ---- backward data

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardDataGetSolutionCount(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t wDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dxDesc, size_t* solutionCount) {
    return guarded({__func__}, [&] {
        solution_count(handle, backward_data(dyDesc, wDesc, convDesc, dxDesc), solutionCount);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardDataGetSolution(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t wDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dxDesc, const size_t maxSolutionCount, size_t* solutionCount,
    miopenConvSolution_t* solutions) {
    return guarded({__func__}, [&] {
        get_solutions(
            handle, backward_data(dyDesc, wDesc, convDesc, dxDesc), maxSolutionCount, solutionCount,
            solutions);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardDataGetSolutionWorkspaceSize(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t wDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dxDesc, const uint64_t solution_id, size_t* workSpaceSize) {
    return guarded({__func__, 0, solution_id}, [&] {
        solution_workspace(
            handle, backward_data(dyDesc, wDesc, convDesc, dxDesc), solution_id, workSpaceSize);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardDataCompileSolution(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t wDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dxDesc, const uint64_t solution_id) {
    return guarded({__func__, 0, solution_id}, [&] {
        compile_solution(handle, backward_data(dyDesc, wDesc, convDesc, dxDesc), solution_id);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardDataImmediate(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t dxDesc, void* dx,
    void* workSpace, size_t workSpaceSize, const uint64_t solution_id) {
    return guarded({__func__, 0, solution_id}, [&] {
        const KernelTimer timer(handle);
        run_immediate(
            handle, backward_data(dyDesc, wDesc, convDesc, dxDesc), {dx, w, dy},
            {workSpace, workSpaceSize}, solution_id);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardDataGetWorkSpaceSize(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t wDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dxDesc, size_t* workSpaceSize) {
    return guarded({__func__}, [&] {
        max_workspace(handle, backward_data(dyDesc, wDesc, convDesc, dxDesc), workSpaceSize);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenFindConvolutionBackwardDataAlgorithm(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t dxDesc, void* dx,
    const int requestAlgoCount, int* returnedAlgoCount, miopenConvAlgoPerf_t* perfResults,
    void* workSpace, size_t workSpaceSize, bool exhaustiveSearch) {
    return guarded({__func__}, [&] {
        (void)exhaustiveSearch;  // every solution is measured in any case
        const KernelTimer timer(handle);
        find_algorithms(
            handle, backward_data(dyDesc, wDesc, convDesc, dxDesc), {dx, w, dy}, requestAlgoCount,
            returnedAlgoCount, perfResults, {workSpace, workSpaceSize});
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardData(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenConvolutionDescriptor_t convDesc, miopenConvBwdDataAlgorithm_t algo,
    const void* beta, const miopenTensorDescriptor_t dxDesc, void* dx, void* workSpace,
    size_t workSpaceSize) {
    return guarded({__func__}, [&] {
        const KernelTimer timer(handle);
        run_algorithm(
            handle, alpha, beta, backward_data(dyDesc, wDesc, convDesc, dxDesc), {dx, w, dy}, algo,
            {workSpace, workSpaceSize});
    });
}

// ---- backward weights

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardWeightsGetSolutionCount(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dwDesc, size_t* solutionCount) {
    return guarded({__func__}, [&] {
        solution_count(handle, backward_weights(dyDesc, xDesc, convDesc, dwDesc), solutionCount);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardWeightsGetSolution(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dwDesc, const size_t maxSolutionCount, size_t* solutionCount,
    miopenConvSolution_t* solutions) {
    return guarded({__func__}, [&] {
        get_solutions(
            handle, backward_weights(dyDesc, xDesc, convDesc, dwDesc), maxSolutionCount,
            solutionCount, solutions);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardWeightsGetSolutionWorkspaceSize(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dwDesc, const uint64_t solution_id, size_t* workSpaceSize) {
    return guarded({__func__, 0, solution_id}, [&] {
        solution_workspace(
            handle, backward_weights(dyDesc, xDesc, convDesc, dwDesc), solution_id, workSpaceSize);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardWeightsCompileSolution(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dwDesc, const uint64_t solution_id) {
    return guarded({__func__, 0, solution_id}, [&] {
        compile_solution(handle, backward_weights(dyDesc, xDesc, convDesc, dwDesc), solution_id);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardWeightsImmediate(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const miopenTensorDescriptor_t xDesc, const void* x,
    const miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t dwDesc, void* dw,
    void* workSpace, size_t workSpaceSize, const uint64_t solution_id) {
    return guarded({__func__, 0, solution_id}, [&] {
        const KernelTimer timer(handle);
        run_immediate(
            handle, backward_weights(dyDesc, xDesc, convDesc, dwDesc), {x, dw, dy},
            {workSpace, workSpaceSize}, solution_id);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardWeightsGetWorkSpaceSize(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t dwDesc, size_t* workSpaceSize) {
    return guarded({__func__}, [&] {
        max_workspace(handle, backward_weights(dyDesc, xDesc, convDesc, dwDesc), workSpaceSize);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenFindConvolutionBackwardWeightsAlgorithm(
    miopenHandle_t handle, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const miopenTensorDescriptor_t xDesc, const void* x,
    const miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t dwDesc, void* dw,
    const int requestAlgoCount, int* returnedAlgoCount, miopenConvAlgoPerf_t* perfResults,
    void* workSpace, size_t workSpaceSize, bool exhaustiveSearch) {
    return guarded({__func__}, [&] {
        (void)exhaustiveSearch;  // every solution is measured in any case
        const KernelTimer timer(handle);
        find_algorithms(
            handle, backward_weights(dyDesc, xDesc, convDesc, dwDesc), {x, dw, dy},
            requestAlgoCount, returnedAlgoCount, perfResults, {workSpace, workSpaceSize});
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardWeights(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const miopenTensorDescriptor_t xDesc, const void* x,
    const miopenConvolutionDescriptor_t convDesc, miopenConvBwdWeightsAlgorithm_t algo,
    const void* beta, const miopenTensorDescriptor_t dwDesc, void* dw, void* workSpace,
    size_t workSpaceSize) {
    return guarded({__func__}, [&] {
        const KernelTimer timer(handle);
        run_algorithm(
            handle, alpha, beta, backward_weights(dyDesc, xDesc, convDesc, dwDesc), {x, dw, dy},
            algo, {workSpace, workSpaceSize});
    });
}
