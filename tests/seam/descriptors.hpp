// What is asked of descriptors: sections of answers.cpp.
#pragma once

#include <climits>

#include "library.hpp"

namespace seam {

// ---- tensor descriptors

inline void say_tensor(const std::string& what, const Tensor& tensor) {
    int rank = -1;
    const auto status = CALL(miopenGetTensorDescriptorSize)(tensor.get, &rank);
    say(what + ".size", "%d %d", static_cast<int>(status), rank);
    if (rank < 1 || rank > 16) return;
    miopenDataType_t dtype{};
    std::vector<int> dims(16, -7), strides(16, -7);
    const auto got =
        CALL(miopenGetTensorDescriptor)(tensor.get, &dtype, dims.data(), strides.data());
    dims.resize(static_cast<std::size_t>(rank));
    strides.resize(static_cast<std::size_t>(rank));
    say(what + ".get", "%d type %d dims %s strides %s", static_cast<int>(got),
        static_cast<int>(dtype), list_of(dims).c_str(), list_of(strides).c_str());
}

inline void tensor_types() {
    for (const int dtype : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99, -1}) {
        Tensor tensor;
        const auto type = static_cast<miopenDataType_t>(dtype);
        const auto status = tensor.set(type, {2, 3, 4, 5});
        say_status(text("type %d", dtype), status);
        std::size_t bytes = 0;
        if (status != miopenStatusSuccess) continue;
        const auto asked = CALL(miopenGetTensorNumBytes)(tensor.get, &bytes);
        say(text("type %d.bytes", dtype), "%d %zu", static_cast<int>(asked), bytes);
    }
}

inline void tensor_ranks() {
    for (const int rank : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}) {
        Tensor tensor;
        const std::vector<int> dims(static_cast<std::size_t>(rank), 2);
        const auto status = tensor.set(miopenFloat, dims);
        say_status(text("rank %d", rank), status);
        if (status == miopenStatusSuccess) say_tensor(text("rank %d", rank), tensor);
    }
    const int dims[4] = {1, 2, 3, 4};
    for (const int rank : {0, -1, INT_MIN}) {
        Tensor tensor;
        say_status(
            text("rank %d", rank),
            CALL(miopenSetTensorDescriptor)(tensor.get, miopenFloat, rank, dims, nullptr));
    }
    say_tensor("unset", Tensor());
}

inline void tensor_strides() {
    const std::vector<int> dims{2, 3, 6, 8};
    const struct {
        const char* name;
        std::vector<int> strides;
    } cases[] = {
        {"packed", {144, 48, 8, 1}},    {"channels last", {144, 1, 24, 3}},
        {"gaps", {400, 100, 10, 1}},    {"one zero", {0, 48, 8, 1}},
        {"zeros", {0, 0, 0, 0}},        {"inner zero", {144, 48, 8, 0}},
        {"negative", {-144, 48, 8, 1}}, {"all negative", {-1, -1, -1, -1}},
        {"ones", {1, 1, 1, 1}},         {"overlapping", {48, 48, 8, 1}},
    };
    for (const auto& c : cases) {
        Tensor tensor;
        const auto status = tensor.set(miopenFloat, dims, c.strides);
        say_status(c.name, status);
        if (status == miopenStatusSuccess) say_tensor(c.name, tensor);
    }
    const struct {
        const char* name;
        std::vector<std::size_t> dims, strides;
    } wide[] = {
        {"V2 packed", {2, 3, 6, 8}, {144, 48, 8, 1}},
        {"V2 no strides", {2, 3, 6, 8}, {}},
        {"V2 zeros", {2, 3, 6, 8}, {0, 0, 0, 0}},
        {"V2 one zero", {2, 3, 6, 8}, {0, 48, 8, 1}},
        {"V2 minus one", {2, 3, 6, 8}, {static_cast<std::size_t>(-1), 48, 8, 1}},
        {"V2 no size", {2, 0, 6, 8}, {144, 48, 8, 1}},
        {"V2 size minus one", {static_cast<std::size_t>(-1), 3, 6, 8}, {144, 48, 8, 1}},
    };
    for (const auto& c : wide) {
        Tensor tensor;
        const auto status = CALL(miopenSetTensorDescriptorV2)(
            tensor.get, miopenFloat, static_cast<int>(c.dims.size()), c.dims.data(),
            c.strides.empty() ? nullptr : c.strides.data());
        say_status(c.name, status);
        if (status == miopenStatusSuccess) say_tensor(c.name, tensor);
    }
    for (const std::vector<int>& bad :
         {std::vector<int>{0, 3, 6, 8}, {2, 3, 6, 0}, {-1, 3, 6, 8}, {INT_MIN, 3, 6, 8}}) {
        Tensor tensor;
        say_status("sizes " + list_of(bad), tensor.set(miopenFloat, bad));
        say_status("sizes and strides " + list_of(bad), tensor.set(miopenFloat, bad, {1, 1, 1, 1}));
    }
}

inline void tensor_twins() {
    Tensor tensor;
    say_status("4d", CALL(miopenSet4dTensorDescriptor)(tensor.get, miopenHalf, 2, 3, 4, 5));
    say_tensor("4d", tensor);
    say_status("4d zero", CALL(miopenSet4dTensorDescriptor)(tensor.get, miopenHalf, 2, 0, 4, 5));
    say_status(
        "4dEx",
        CALL(miopenSet4dTensorDescriptorEx)(tensor.get, miopenFloat, 2, 3, 4, 5, 60, 1, 15, 3));
    say_tensor("4dEx", tensor);
    int v[8] = {};
    miopenDataType_t dtype{};
    const auto got = CALL(miopenGet4dTensorDescriptor)(
        tensor.get, &dtype, v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7);
    say("get4d", "%d type %d %s", static_cast<int>(got), static_cast<int>(dtype),
        list_of(std::vector<int>(v, v + 8)).c_str());
    const auto set_ex = [&](int n, int c, int h, int w) {
        return CALL(miopenSet4dTensorDescriptorEx)(tensor.get, miopenFloat, 2, 3, 4, 5, n, c, h, w);
    };
    say_status("4dEx zeros", set_ex(0, 0, 0, 0));
    say_status("4dEx negative", set_ex(-60, 20, 5, 1));
    const int dims[5] = {2, 3, 4, 5, 6};
    for (const int layout : {0, 1, 7, 8}) {
        const auto status = CALL(miopenSetNdTensorDescriptorWithLayout)(
            tensor.get, miopenFloat, static_cast<miopenTensorLayout_t>(layout), dims,
            layout < 7 ? 4 : 5);
        say_status(text("layout %d", layout), status);
        say_tensor(text("layout %d", layout), tensor);
    }
    std::size_t bytes = 0;
    tensor.set(miopenFloat, {2, 3, 4, 5}, {200, 60, 12, 2});
    const auto asked = CALL(miopenGetTensorNumBytes)(tensor.get, &bytes);
    say("bytes of gaps", "%d %zu", static_cast<int>(asked), bytes);
}

// ---- convolution descriptors

inline void convolution_settings() {
    const struct {
        const char* name;
        int v[6];  // padding, stride, dilation
    } cases[] = {
        {"plain", {0, 0, 1, 1, 1, 1}},        {"padding -1", {-1, 0, 1, 1, 1, 1}},
        {"stride 0", {0, 0, 0, 1, 1, 1}},     {"stride -1", {0, 0, -1, 1, 1, 1}},
        {"dilation 0", {0, 0, 1, 1, 0, 1}},   {"dilation -1", {0, 0, 1, 1, 1, -1}},
        {"wide padding", {9, 9, 1, 1, 1, 1}},
    };
    Convolution conv;
    const auto init = CALL(miopenInitConvolutionDescriptor);
    for (const auto& c : cases) {
        say_status(
            c.name,
            init(conv.get, miopenConvolution, c.v[0], c.v[1], c.v[2], c.v[3], c.v[4], c.v[5]));
    }
    for (const int mode : {0, 1, 2, 3}) {
        const auto kind = static_cast<miopenConvolutionMode_t>(mode);
        say_status(text("mode %d", mode), init(conv.get, kind, 1, 2, 3, 4, 5, 6));
        miopenConvolutionMode_t told{};
        int v[6] = {};
        const auto got = CALL(miopenGetConvolutionDescriptor)(
            conv.get, &told, v, v + 1, v + 2, v + 3, v + 4, v + 5);
        say(text("mode %d.get", mode), "%d %s", static_cast<int>(got),
            list_of(std::vector<int>(v, v + 6)).c_str());
    }
    const int ones[4] = {1, 1, 1, 1};
    for (const int rank : {1, 2, 3}) {
        const auto status = CALL(miopenInitConvolutionNdDescriptor)(
            conv.get, rank, ones, ones, ones, miopenConvolution);
        say_status(text("rank %d", rank), status);
        if (status != miopenStatusSuccess) continue;
        int told = -7;
        const auto asked = CALL(miopenGetConvolutionSpatialDim)(conv.get, &told);
        say(text("rank %d.spatial", rank), "%d %d", static_cast<int>(asked), told);
        for (const int wanted : {0, 1, 2, 3}) {
            miopenConvolutionMode_t mode{};
            int count = -7;
            std::vector<int> pads(6, -7), steps(6, -7), gaps(6, -7);
            const auto got = CALL(miopenGetConvolutionNdDescriptor)(
                conv.get, wanted, &count, pads.data(), steps.data(), gaps.data(), &mode);
            say(text("rank %d.get %d", rank, wanted), "%d count %d pads %s", static_cast<int>(got),
                count, list_of(pads).c_str());
        }
    }
}

inline void convolution_properties() {
    Convolution conv;
    const auto init = [&](miopenConvolutionMode_t mode) {
        return CALL(miopenInitConvolutionDescriptor)(conv.get, mode, 1, 1, 1, 1, 1, 1);
    };
    init(miopenConvolution);
    for (const int groups : {1, 2, 0, -1, INT_MIN}) {
        int told = -7;
        say_status(
            text("groups %d", groups), CALL(miopenSetConvolutionGroupCount)(conv.get, groups));
        const auto got = CALL(miopenGetConvolutionGroupCount)(conv.get, &told);
        say(text("groups %d.get", groups), "%d %d", static_cast<int>(got), told);
    }
    for (const int attribute : {0, 1, 2}) {
        const auto name = static_cast<miopenConvolutionAttrib_t>(attribute);
        int unset = -7;
        const auto asked = CALL(miopenGetConvolutionAttribute)(conv.get, name, &unset);
        say(text("attribute %d", attribute), "%d %d", static_cast<int>(asked), unset);
        for (const int value : {0, 1, 2, 7, -1}) {
            int told = -7;
            const auto set = CALL(miopenSetConvolutionAttribute)(conv.get, name, value);
            const auto got = CALL(miopenGetConvolutionAttribute)(conv.get, name, &told);
            say(text("attribute %d %d", attribute, value), "%d get %d %d", static_cast<int>(set),
                static_cast<int>(got), told);
        }
    }
    for (const int attribute : {-1, 99}) {
        const auto name = static_cast<miopenConvolutionAttrib_t>(attribute);
        int told = -7;
        const auto set = CALL(miopenSetConvolutionAttribute)(conv.get, name, 1);
        const auto got = CALL(miopenGetConvolutionAttribute)(conv.get, name, &told);
        say(text("attribute %d", attribute), "%d get %d", static_cast<int>(set),
            static_cast<int>(got));
    }
    for (const int mode : {1, 2, 3, 5}) {
        miopenConvolutionFindMode_t told{};
        const auto wanted = static_cast<miopenConvolutionFindMode_t>(mode);
        const auto set = CALL(miopenSetConvolutionFindMode)(conv.get, wanted);
        const auto got = CALL(miopenGetConvolutionFindMode)(conv.get, &told);
        say(text("find mode %d", mode), "%d get %d %d", static_cast<int>(set),
            static_cast<int>(got), static_cast<int>(told));
    }
    init(miopenTranspose);
    const int one[3] = {1, 1, 1};
    const int minus[3] = {-1, 0, 0};
    const auto adjust = CALL(miopenSetTransposeConvNdOutputPadding);
    for (const int rank : {1, 2, 3}) {
        say_status(text("output padding %d", rank), adjust(conv.get, rank, one));
    }
    say_status("output padding -1", adjust(conv.get, 2, minus));
    say_status("output padding 4d", CALL(miopenSetTransposeConvOutputPadding)(conv.get, 0, 1));
}

inline void output_sizes() {
    const struct {
        const char* name;
        std::vector<int> x, w;
        Setting setting;
    } cases[] = {
        {"plain", {1, 3, 8, 8}, {2, 3, 3, 3}, {1}},
        {"stride", {2, 4, 9, 7}, {6, 4, 3, 3}, {1, 2}},
        {"dilation", {2, 4, 9, 9}, {6, 4, 3, 3}, {0, 1, 3}},
        {"groups", {1, 4, 8, 8}, {6, 2, 3, 3}, {1, 1, 1, 2}},
        {"depthwise", {1, 4, 8, 8}, {8, 1, 3, 3}, {1, 1, 1, 4, miopenDepthwise}},
        {"transposed", {1, 4, 5, 5}, {4, 3, 3, 3}, {1, 2, 1, 1, miopenTranspose}},
        {"transposed groups", {1, 4, 5, 5}, {4, 3, 3, 3}, {1, 2, 1, 2, miopenTranspose}},
        {"volume", {1, 2, 5, 6, 7}, {3, 2, 3, 3, 3}, {1}},
        {"channels differ", {1, 5, 8, 8}, {2, 3, 3, 3}, {1}},
        {"groups do not divide", {1, 4, 8, 8}, {5, 2, 3, 3}, {1, 1, 1, 2}},
        {"ranks differ", {1, 3, 8, 8}, {2, 3, 3, 3, 3}, {1}},
        {"kernel too large", {1, 3, 2, 2}, {2, 3, 5, 5}, {}},
        {"no groups", {1, 4, 8, 8}, {4, 4, 3, 3}, {1, 1, 1, 0}},
    };
    for (const auto& c : cases) {
        const Tensor x(miopenFloat, c.x), w(miopenFloat, c.w);
        Convolution conv;
        apply(conv, static_cast<int>(c.x.size()) - 2, c.setting);
        int rank = -7;
        std::vector<int> y(8, -7);
        const auto status =
            CALL(miopenGetConvolutionNdForwardOutputDim)(conv.get, x.get, w.get, &rank, y.data());
        if (status != miopenStatusSuccess) {
            say_status(c.name, status);
            continue;
        }
        y.resize(static_cast<std::size_t>(rank));
        say(c.name, "0 rank %d %s", rank, list_of(y).c_str());
        if (rank != 4) continue;
        int v[4] = {};
        const auto got = CALL(miopenGetConvolutionForwardOutputDim)(
            conv.get, x.get, w.get, v, v + 1, v + 2, v + 3);
        say(std::string(c.name) + ".4d", "%d %s", static_cast<int>(got),
            list_of(std::vector<int>(v, v + 4)).c_str());
    }
}

}  // namespace seam
