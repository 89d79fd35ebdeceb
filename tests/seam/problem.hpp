// One convolution in one direction, with every call that there is for it.
#pragma once

#include "library.hpp"

namespace seam {

enum Way { kForward, kData, kWeights };
inline const char* const kWays[] = {"forward", "data", "weights"};

// One problem in one direction, with its memory. `first`, `second` and `out` are the tensors in the
// order of the query calls; Find and execute take forward's first two the other way round.
struct Problem {
    Way way;
    miopenHandle_t handle = nullptr;
    Convolution conv;
    Tensor x, w, y;
    Memory mx, mw, my;

    Problem(
        Way direction, const std::vector<int>& dx, const std::vector<int>& dw,
        const std::vector<int>& dy, const Setting& setting, miopenDataType_t dtype = miopenFloat,
        miopenDataType_t dtype_y = miopenFloat)
        : way(direction),
          x(dtype, dx),
          w(dtype, dw),
          y(dtype == miopenFloat ? dtype_y : dtype, dy),
          mx(bytes_of(dx)),
          mw(bytes_of(dw)),
          my(bytes_of(dy)) {
        CALL(miopenCreate)(&handle);
        apply(conv, std::min(static_cast<int>(dx.size()) - 2, 3), setting);
    }
    ~Problem() { CALL(miopenDestroy)(handle); }
    Problem(const Problem&) = delete;
    Problem& operator=(const Problem&) = delete;

    static std::size_t bytes_of(const std::vector<int>& dims) {
        std::size_t count = 8;
        for (const int dim : dims) count *= static_cast<std::size_t>(std::max(dim, 1));
        return count;
    }

    miopenStatus_t count(std::size_t* out) const {
        switch (way) {
            case kForward:
                return CALL(miopenConvolutionForwardGetSolutionCount)(
                    handle, w.get, x.get, conv.get, y.get, out);
            case kData:
                return CALL(miopenConvolutionBackwardDataGetSolutionCount)(
                    handle, y.get, w.get, conv.get, x.get, out);
            default:
                return CALL(miopenConvolutionBackwardWeightsGetSolutionCount)(
                    handle, y.get, x.get, conv.get, w.get, out);
        }
    }

    miopenStatus_t solutions(std::vector<miopenConvSolution_t>& out) const {
        std::size_t n = 0;
        miopenStatus_t status{};
        switch (way) {
            case kForward:
                status = CALL(miopenConvolutionForwardGetSolution)(
                    handle, w.get, x.get, conv.get, y.get, out.size(), &n, out.data());
                break;
            case kData:
                status = CALL(miopenConvolutionBackwardDataGetSolution)(
                    handle, y.get, w.get, conv.get, x.get, out.size(), &n, out.data());
                break;
            default:
                status = CALL(miopenConvolutionBackwardWeightsGetSolution)(
                    handle, y.get, x.get, conv.get, w.get, out.size(), &n, out.data());
        }
        out.resize(status == miopenStatusSuccess ? n : 0);
        return status;
    }

    miopenStatus_t workspace(std::size_t* out) const {
        switch (way) {
            case kForward:
                return CALL(miopenConvolutionForwardGetWorkSpaceSize)(
                    handle, w.get, x.get, conv.get, y.get, out);
            case kData:
                return CALL(miopenConvolutionBackwardDataGetWorkSpaceSize)(
                    handle, y.get, w.get, conv.get, x.get, out);
            default:
                return CALL(miopenConvolutionBackwardWeightsGetWorkSpaceSize)(
                    handle, y.get, x.get, conv.get, w.get, out);
        }
    }

    miopenStatus_t solution_workspace(std::uint64_t id, std::size_t* out) const {
        switch (way) {
            case kForward:
                return CALL(miopenConvolutionForwardGetSolutionWorkspaceSize)(
                    handle, w.get, x.get, conv.get, y.get, id, out);
            case kData:
                return CALL(miopenConvolutionBackwardDataGetSolutionWorkspaceSize)(
                    handle, y.get, w.get, conv.get, x.get, id, out);
            default:
                return CALL(miopenConvolutionBackwardWeightsGetSolutionWorkspaceSize)(
                    handle, y.get, x.get, conv.get, w.get, id, out);
        }
    }

    miopenStatus_t compile(std::uint64_t id) const {
        switch (way) {
            case kForward:
                return CALL(miopenConvolutionForwardCompileSolution)(
                    handle, w.get, x.get, conv.get, y.get, id);
            case kData:
                return CALL(miopenConvolutionBackwardDataCompileSolution)(
                    handle, y.get, w.get, conv.get, x.get, id);
            default:
                return CALL(miopenConvolutionBackwardWeightsCompileSolution)(
                    handle, y.get, x.get, conv.get, w.get, id);
        }
    }

    miopenStatus_t immediate(std::uint64_t id, void* space, std::size_t size) const {
        switch (way) {
            case kForward:
                return CALL(miopenConvolutionForwardImmediate)(
                    handle, w.get, mw.get, x.get, mx.get, conv.get, y.get, my.get, space, size, id);
            case kData:
                return CALL(miopenConvolutionBackwardDataImmediate)(
                    handle, y.get, my.get, w.get, mw.get, conv.get, x.get, mx.get, space, size, id);
            default:
                return CALL(miopenConvolutionBackwardWeightsImmediate)(
                    handle, y.get, my.get, x.get, mx.get, conv.get, w.get, mw.get, space, size, id);
        }
    }

    miopenStatus_t find(
        std::vector<miopenConvAlgoPerf_t>& out, void* space, std::size_t size) const {
        int n = 0;
        const int wanted = static_cast<int>(out.size());
        miopenStatus_t status{};
        switch (way) {
            case kForward:
                status = CALL(miopenFindConvolutionForwardAlgorithm)(
                    handle, x.get, mx.get, w.get, mw.get, conv.get, y.get, my.get, wanted, &n,
                    out.data(), space, size, false);
                break;
            case kData:
                status = CALL(miopenFindConvolutionBackwardDataAlgorithm)(
                    handle, y.get, my.get, w.get, mw.get, conv.get, x.get, mx.get, wanted, &n,
                    out.data(), space, size, false);
                break;
            default:
                status = CALL(miopenFindConvolutionBackwardWeightsAlgorithm)(
                    handle, y.get, my.get, x.get, mx.get, conv.get, w.get, mw.get, wanted, &n,
                    out.data(), space, size, false);
        }
        out.resize(status == miopenStatusSuccess ? static_cast<std::size_t>(n) : 0);
        return status;
    }

    miopenStatus_t run(
        int algorithm, void* space, std::size_t size, float alpha = 1, float beta = 0) const {
        switch (way) {
            case kForward:
                return CALL(miopenConvolutionForward)(
                    handle, &alpha, x.get, mx.get, w.get, mw.get, conv.get,
                    static_cast<miopenConvFwdAlgorithm_t>(algorithm), &beta, y.get, my.get, space,
                    size);
            case kData:
                return CALL(miopenConvolutionBackwardData)(
                    handle, &alpha, y.get, my.get, w.get, mw.get, conv.get,
                    static_cast<miopenConvBwdDataAlgorithm_t>(algorithm), &beta, x.get, mx.get,
                    space, size);
            default:
                return CALL(miopenConvolutionBackwardWeights)(
                    handle, &alpha, y.get, my.get, x.get, mx.get, conv.get,
                    static_cast<miopenConvBwdWeightsAlgorithm_t>(algorithm), &beta, w.get, mw.get,
                    space, size);
        }
    }
};

struct Shape {
    const char* name;
    std::vector<int> x, w, y;
    Setting setting;
    miopenDataType_t dtype;
};

// x, w, y, then padding, stride, dilation, groups, mode.
inline const std::vector<Shape>& shapes() {
    static const std::vector<Shape> all = {
        {"3x3", {1, 3, 8, 8}, {2, 3, 3, 3}, {1, 2, 8, 8}, {1}, miopenFloat},
        {"1x1", {2, 4, 6, 6}, {5, 4, 1, 1}, {2, 5, 6, 6}, {}, miopenFloat},
        {"1x1 stride", {2, 4, 6, 6}, {5, 4, 1, 1}, {2, 5, 3, 3}, {0, 2}, miopenFloat},
        {"5x5 stride", {1, 2, 9, 9}, {4, 2, 5, 5}, {1, 4, 5, 5}, {2, 2}, miopenFloat},
        {"dilation", {1, 4, 9, 9}, {4, 4, 3, 3}, {1, 4, 9, 9}, {2, 1, 2}, miopenFloat},
        {"groups", {2, 4, 7, 7}, {6, 2, 3, 3}, {2, 6, 7, 7}, {1, 1, 1, 2}, miopenFloat},
        {"depthwise", {1, 4, 7, 7}, {4, 1, 3, 3}, {1, 4, 7, 7}, {1, 1, 1, 4}, miopenFloat},
        {"wide", {1, 16, 12, 12}, {32, 16, 3, 3}, {1, 32, 12, 12}, {1}, miopenFloat},
        {"one channel", {1, 1, 8, 8}, {1, 1, 3, 3}, {1, 1, 6, 6}, {}, miopenFloat},
        {"rows", {2, 3, 1, 20}, {4, 3, 1, 5}, {2, 4, 1, 16}, {}, miopenFloat},
        {"volume", {1, 2, 5, 6, 7}, {3, 2, 3, 3, 3}, {1, 3, 5, 6, 7}, {1}, miopenFloat},
        {"transposed",
         {1, 4, 5, 5},
         {4, 3, 3, 3},
         {1, 3, 9, 9},
         {1, 2, 1, 1, miopenTranspose},
         miopenFloat},
        {"half", {1, 4, 8, 8}, {4, 4, 3, 3}, {1, 4, 8, 8}, {1}, miopenHalf},
        {"bfloat16", {1, 4, 8, 8}, {4, 4, 3, 3}, {1, 4, 8, 8}, {1}, miopenBFloat16},
    };
    return all;
}

}  // namespace seam
