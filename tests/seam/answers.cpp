// What a library behind the ABI answers: statuses, counts and sizes of the same calls, a line each.
//
//     answers LIBRARY [HIP RUNTIME]
//
// LIBRARY is MIOpen, the vendor's or one of our providers, which is its own HIP runtime. Needs a C++
// compiler and include/mioconv/abi. Each section runs in a process of its own: one that ends by a
// signal is an answer too. Times, ids and the number of solutions are a library's own affair and not
// printed; whether there is one, and what holds for all of them, is.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "mioconv/abi/client.h"
#include "mioconv/abi/miopen.h"

namespace {

// ---- the library

void* opened_miopen = nullptr;
void* opened_hip = nullptr;

// A function of the library by the type of its declaration.
template <class Function>
Function* look_up(const char* name, Function*) {
    void* found = dlsym(opened_miopen, name);
    if (found == nullptr) found = dlsym(opened_hip, name);
    if (found == nullptr) {
        std::fprintf(stderr, "no function %s\n", name);
        std::_Exit(3);
    }
    return reinterpret_cast<Function*>(found);
}
#define CALL(name) look_up(#name, static_cast<decltype(&::name)>(nullptr))

void open_libraries(const char* miopen, const char* hip) {
    opened_hip = dlopen(hip, RTLD_NOW | RTLD_LOCAL);
    if (opened_hip != nullptr) opened_miopen = dlopen(miopen, RTLD_NOW | RTLD_LOCAL);
    if (opened_miopen == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        std::_Exit(3);
    }
}

// ---- what is printed

// The part of the program that speaks.
std::string section;

__attribute__((format(printf, 2, 3))) void say(const std::string& what, const char* format, ...) {
    std::printf("%s.%s = ", section.c_str(), what.c_str());
    va_list values;
    va_start(values, format);
    std::vprintf(format, values);
    va_end(values);
    std::printf("\n");
    std::fflush(stdout);  // what was said before a crash counts
}

void say_status(const std::string& what, miopenStatus_t status) {
    say(what, "%d", static_cast<int>(status));
}

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
    char buffer[256];
    va_list values;
    va_start(values, format);
    std::vsnprintf(buffer, sizeof buffer, format, values);
    va_end(values);
    return buffer;
}

template <class Int>
std::string list_of(const std::vector<Int>& values) {
    std::string out;
    for (const Int value : values) {
        out += (out.empty() ? "" : ",") + std::to_string(static_cast<long long>(value));
    }
    return out.empty() ? "none" : out;
}

// ---- objects

struct Tensor {
    miopenTensorDescriptor_t get = nullptr;
    Tensor() { CALL(miopenCreateTensorDescriptor)(&get); }
    Tensor(const Tensor&) = delete;
    Tensor& operator=(const Tensor&) = delete;
    Tensor(miopenDataType_t dtype, const std::vector<int>& dims) : Tensor() { set(dtype, dims); }
    ~Tensor() { CALL(miopenDestroyTensorDescriptor)(get); }

    miopenStatus_t set(
        miopenDataType_t dtype, const std::vector<int>& dims, const std::vector<int>& strides = {}) {
        return CALL(miopenSetTensorDescriptor)(
            get, dtype, static_cast<int>(dims.size()), dims.data(),
            strides.empty() ? nullptr : strides.data());
    }
};

struct Convolution {
    miopenConvolutionDescriptor_t get = nullptr;
    Convolution() { CALL(miopenCreateConvolutionDescriptor)(&get); }
    Convolution(const Convolution&) = delete;
    Convolution& operator=(const Convolution&) = delete;
    ~Convolution() { CALL(miopenDestroyConvolutionDescriptor)(get); }
};

struct Memory {
    void* get = nullptr;
    explicit Memory(std::size_t bytes) {
        if (bytes > 0) CALL(hipMalloc)(&get, bytes);
        if (bytes > 0) CALL(hipMemsetAsync)(get, 0, bytes, nullptr);
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { CALL(hipFree)(get); }
};

// ---- tensor descriptors

void say_tensor(const std::string& what, const Tensor& tensor) {
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

void tensor_types() {
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

void tensor_ranks() {
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

void tensor_strides() {
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

void tensor_twins() {
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

void convolution_settings() {
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
            c.name, init(
                        conv.get, miopenConvolution, c.v[0], c.v[1], c.v[2], c.v[3], c.v[4], c.v[5]));
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

void convolution_properties() {
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

struct Setting {
    int padding = 0, stride = 1, dilation = 1, groups = 1;
    miopenConvolutionMode_t mode = miopenConvolution;
};

miopenStatus_t apply(const Convolution& conv, int rank, const Setting& s) {
    const std::vector<int> padding(static_cast<std::size_t>(rank), s.padding);
    const std::vector<int> stride(static_cast<std::size_t>(rank), s.stride);
    const std::vector<int> dilation(static_cast<std::size_t>(rank), s.dilation);
    const auto status = CALL(miopenInitConvolutionNdDescriptor)(
        conv.get, rank, padding.data(), stride.data(), dilation.data(), s.mode);
    if (status != miopenStatusSuccess || s.groups == 1) return status;
    return CALL(miopenSetConvolutionGroupCount)(conv.get, s.groups);
}

void output_sizes() {
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
        const auto status = CALL(miopenGetConvolutionNdForwardOutputDim)(
            conv.get, x.get, w.get, &rank, y.data());
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

// ---- problems

enum Way { kForward, kData, kWeights };
const char* const kWays[] = {"forward", "data", "weights"};

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
const std::vector<Shape>& shapes() {
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
        {"transposed", {1, 4, 5, 5}, {4, 3, 3, 3}, {1, 3, 9, 9},
         {1, 2, 1, 1, miopenTranspose}, miopenFloat},
        {"half", {1, 4, 8, 8}, {4, 4, 3, 3}, {1, 4, 8, 8}, {1}, miopenHalf},
        {"bfloat16", {1, 4, 8, 8}, {4, 4, 3, 3}, {1, 4, 8, 8}, {1}, miopenBFloat16},
    };
    return all;
}

const char* some(std::size_t count) { return count > 0 ? "some" : "none"; }

void say_problem(const Shape& shape, Way way) {
    const Problem problem(way, shape.x, shape.w, shape.y, shape.setting, shape.dtype);
    const std::string name = std::string(shape.name) + " " + kWays[way];
    // First of all, on a handle that has found nothing.
    say_status(name + ".run before find", problem.run(miopenConvolutionAlgoDirect, nullptr, 0));

    std::size_t count = 0;
    const auto counted = problem.count(&count);
    say(name + ".count", "%d %s", static_cast<int>(counted), some(count));
    std::vector<miopenConvSolution_t> solutions(std::max<std::size_t>(count, 1));
    const auto listed = problem.solutions(solutions);
    const bool sorted = std::is_sorted(
        solutions.begin(), solutions.end(),
        [](const auto& a, const auto& b) { return a.time < b.time; });
    const bool free = std::any_of(solutions.begin(), solutions.end(), [](const auto& s) {
        return s.workspace_size == 0;
    });
    say(name + ".list", "%d %s, no more than counted: %d, best first: %d, one without workspace: %d",
        static_cast<int>(listed), some(solutions.size()), solutions.size() <= count, sorted, free);
    bool sizes = true, runs = true, compiles = true;
    std::vector<int> without;  // what running one without its workspace answers
    for (const auto& solution : solutions) {
        std::size_t size = 0;
        sizes = sizes && problem.solution_workspace(solution.solution_id, &size) == 0 &&
                size == solution.workspace_size;
        compiles = compiles && problem.compile(solution.solution_id) == 0;
        const Memory space(size);
        runs = runs && problem.immediate(solution.solution_id, space.get, size) == 0;
        if (size == 0) continue;
        const int status = problem.immediate(solution.solution_id, nullptr, 0);
        if (std::find(without.begin(), without.end(), status) == without.end()) {
            without.push_back(status);
        }
    }
    say(name + ".each", "size: %d, compiles: %d, runs: %d", sizes, compiles, runs);
    // Where all of a library's solutions need none, there is nothing to be said.
    if (!without.empty()) say(name + ".each without workspace", "%s", list_of(without).c_str());

    std::vector<miopenConvAlgoPerf_t> found(8);
    const auto status = problem.find(found, nullptr, 0);
    std::size_t most = 0;
    for (const auto& one : found) most = std::max(most, one.memory);
    say(name + ".find without workspace", "%d %s of %zu bytes", static_cast<int>(status),
        some(found.size()), most);
    if (!found.empty()) {
        say_status(name + ".run what it found", problem.run(found[0].algo, nullptr, 0));
    }
    say_status(name + ".run what it did not find", problem.run(miopenConvolutionAlgoFFT, nullptr, 0));

    std::size_t size = 0;
    say_status(name + ".workspace", problem.workspace(&size));
    std::vector<miopenConvAlgoPerf_t> all(8);
    // Room for every solution: the answer above may leave some out.
    for (const auto& solution : solutions) size = std::max(size, solution.workspace_size);
    const Memory space(size);
    const auto searched = problem.find(all, space.get, size);
    say(name + ".find", "%d %s", static_cast<int>(searched), some(all.size()));
    bool ran = true;
    for (const auto& one : all) ran = ran && problem.run(one.algo, space.get, size) == 0;
    say(name + ".run all", "%d", ran);
}

void problems() {
    for (const Shape& shape : shapes()) {
        for (const Way way : {kForward, kData, kWeights}) say_problem(shape, way);
    }
}

// Wrong calls for the 3x3 problem.
void wrong_calls(Way way) {
    const Shape& s = shapes()[0];
    const Problem good(way, s.x, s.w, s.y, s.setting);
    std::size_t size = 7;
    for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{123456789}}) {
        const auto number = text("id %llu", static_cast<unsigned long long>(id));
        say_status(number + " workspace", good.solution_workspace(id, &size));
        say_status(number + " compile", good.compile(id));
    }
    std::size_t wanted = 0;
    good.workspace(&wanted);
    std::vector<miopenConvSolution_t> solutions(32);
    good.solutions(solutions);
    for (const auto& one : solutions) wanted = std::max(wanted, one.workspace_size);
    const Memory space(wanted);
    std::vector<miopenConvAlgoPerf_t> found(8);
    good.find(found, space.get, wanted);
    for (const int algorithm : {-1, 4, 6, 99}) {
        say_status(text("algorithm %d", algorithm), good.run(algorithm, space.get, wanted));
    }
    if (!found.empty()) {
        say_status("alpha 2", good.run(found[0].algo, space.get, wanted, 2, 0));
        say_status("beta 1", good.run(found[0].algo, space.get, wanted, 1, 1));
    }
    for (const auto& one : found) {
        if (one.memory == 0) continue;
        say_status("too little workspace", good.run(one.algo, space.get, one.memory - 1));
        break;
    }
    for (const int count : {0, -1}) {
        if (way != kForward) continue;  // one function for all three in every library
        int n = -7;
        miopenConvAlgoPerf_t none{};
        say_status(
            text("find %d", count),
            CALL(miopenFindConvolutionForwardAlgorithm)(
                good.handle, good.x.get, good.mx.get, good.w.get, good.mw.get, good.conv.get,
                good.y.get, good.my.get, count, &n, &none, space.get, wanted, false));
    }
    for (const auto dtype : {miopenInt32, miopenDouble}) {
        const Problem other(way, s.x, s.w, s.y, s.setting, dtype);
        const auto kind = text("type %d", static_cast<int>(dtype));
        std::size_t n = 0;
        say_status(kind + " count", other.count(&n));
        std::vector<miopenConvSolution_t> list(8);
        const auto status = other.solutions(list);
        say(kind + " list", "%d %s", static_cast<int>(status), some(list.size()));
    }
}

// In a process of its own: MIOpen may crash.
void run_unknown(Way way, std::uint64_t id) {
    const Shape& s = shapes()[0];
    say_status("run", Problem(way, s.x, s.w, s.y, s.setting).immediate(id, nullptr, 0));
}

struct WrongProblem {
    const char* name;
    std::vector<int> x, w, y;
    Setting setting;
    miopenDataType_t y_type;
};

const std::vector<WrongProblem>& wrong_problems() {
    static const std::vector<int> x{1, 3, 8, 8}, w{2, 3, 3, 3}, y{1, 2, 8, 8};
    static const std::vector<WrongProblem> all = {
        {"channels differ", {1, 4, 8, 8}, w, y, {1}, miopenFloat},
        {"y is larger", x, w, {1, 2, 9, 9}, {1}, miopenFloat},
        {"y has other channels", x, w, {1, 3, 8, 8}, {1}, miopenFloat},
        {"y has another batch", x, w, {2, 2, 8, 8}, {1}, miopenFloat},
        {"y has another type", x, w, y, {1}, miopenHalf},
        {"ranks differ", x, {2, 3, 3, 3, 3}, y, {1}, miopenFloat},
        {"no groups", x, w, y, {1, 1, 1, 0}, miopenFloat},
        {"minus one groups", x, w, y, {1, 1, 1, -1}, miopenFloat},
        {"groups do not divide", x, w, y, {1, 1, 1, 2}, miopenFloat},
        {"kernel too large", {1, 3, 2, 2}, {2, 3, 5, 5}, {1, 2, 1, 1}, {}, miopenFloat},
        {"six dimensions", {1, 3, 8, 8, 1, 1}, {2, 3, 3, 3, 1, 1}, {1, 2, 8, 8, 1, 1}, {1},
         miopenFloat},
    };
    return all;
}

void say_wrong_problem(const WrongProblem& c, Way way) {
    const Problem bad(way, c.x, c.w, c.y, c.setting, miopenFloat, c.y_type);
    std::size_t n = 0;
    std::vector<miopenConvSolution_t> list(8);
    say_status("list", bad.solutions(list));
    say_status("count", bad.count(&n));
    say_status("workspace", bad.workspace(&n));
}

// ---- handles

void profiling() {
    const Shape& s = shapes()[0];
    const Problem problem(kForward, s.x, s.w, s.y, s.setting);
    std::vector<miopenConvAlgoPerf_t> found(1);
    problem.find(found, nullptr, 0);
    float ms = -1;
    say_status("on", CALL(miopenEnableProfiling)(problem.handle, true));
    if (!found.empty()) problem.run(found[0].algo, nullptr, 0);
    const auto got = CALL(miopenGetKernelTime)(problem.handle, &ms);
    say("time", "%d, not negative: %d", static_cast<int>(got), ms >= 0);
    say_status("off", CALL(miopenEnableProfiling)(problem.handle, false));
    say_status("time when off", CALL(miopenGetKernelTime)(problem.handle, &ms));
}

void version() {
    std::size_t major = 0, minor = 0, patch = 0;
    CALL(miopenGetVersion)(&major, &minor, &patch);
    say("miopen", "%zu.%zu.%zu", major, minor, patch);
}

void exports() {
    std::string missing;
#define MIOCONV_FUNCTION(library, name)                                                          \
    if (dlsym(opened_miopen, #name) == nullptr && dlsym(opened_hip, #name) == nullptr) {         \
        if (std::strncmp(#name, "miopen", 6) == 0) missing += " " #name;                         \
    }
#include "mioconv/abi/client.def"
#undef MIOCONV_FUNCTION
    say("missing", "%s", missing.empty() ? "none" : missing.c_str());
}

// ---- programs of their own

struct Libraries {
    const char* miopen;
    const char* hip;
};

// Whether it could be asked.
bool in_a_process(
    const Libraries& libraries, const std::string& name, const std::function<void()>& body) {
    section = name;
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        open_libraries(libraries.miopen, libraries.hip);
        body();
        std::fflush(stdout);
        std::_Exit(0);  // what a library does at the process's end is not the question
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) say("end", "signal %d", WTERMSIG(status));
    return WIFSIGNALED(status) || WEXITSTATUS(status) == 0;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) {
        std::fprintf(stderr, "answers LIBRARY [HIP RUNTIME]\n");
        return 2;
    }
    const Libraries libraries{arguments[1], arguments[count > 2 ? 2 : 1]};
    std::vector<std::pair<std::string, std::function<void()>>> sections = {
        {"version", version},
        {"exports", exports},
        {"tensor types", tensor_types},
        {"tensor ranks", tensor_ranks},
        {"tensor strides", tensor_strides},
        {"tensor twins", tensor_twins},
        {"convolution settings", convolution_settings},
        {"convolution properties", convolution_properties},
        {"output sizes", output_sizes},
        {"problems", problems},
        {"profiling", profiling},
    };
    for (const Way way : {kForward, kData, kWeights}) {
        sections.emplace_back(std::string("wrong calls ") + kWays[way], [=] { wrong_calls(way); });
        for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{123456789}}) {
            sections.emplace_back(
                text("id %llu %s", static_cast<unsigned long long>(id), kWays[way]),
                [=] { run_unknown(way, id); });
        }
        for (const WrongProblem& wrong : wrong_problems()) {
            sections.emplace_back(
                std::string(wrong.name) + " " + kWays[way],
                [&wrong, way] { say_wrong_problem(wrong, way); });
        }
    }
    bool asked = true;
    for (const auto& [name, body] : sections) asked &= in_a_process(libraries, name, body);
    return asked ? 0 : 1;
}
