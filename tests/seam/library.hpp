// The library that is asked: its functions, its objects, and how its answers are printed.
#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "mioconv/abi/client.h"
#include "mioconv/abi/miopen.h"

namespace seam {

// ---- the library

inline void* opened_miopen = nullptr;
inline void* opened_hip = nullptr;

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

inline void open_libraries(const char* miopen, const char* hip) {
    opened_hip = dlopen(hip, RTLD_NOW | RTLD_LOCAL);
    if (opened_hip != nullptr) opened_miopen = dlopen(miopen, RTLD_NOW | RTLD_LOCAL);
    if (opened_miopen == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        std::_Exit(3);
    }
}

// ---- what is printed

// The part of the program that speaks.
inline std::string section;

__attribute__((format(printf, 2, 3))) inline void say(
    const std::string& what, const char* format, ...) {
    std::printf("%s.%s = ", section.c_str(), what.c_str());
    va_list values;
    va_start(values, format);
    std::vprintf(format, values);
    va_end(values);
    std::printf("\n");
    std::fflush(stdout);  // what was said before a crash counts
}

inline void say_status(const std::string& what, miopenStatus_t status) {
    say(what, "%d", static_cast<int>(status));
}

__attribute__((format(printf, 1, 2))) inline std::string text(const char* format, ...) {
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
        miopenDataType_t dtype, const std::vector<int>& dims,
        const std::vector<int>& strides = {}) {
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

struct Setting {
    int padding = 0, stride = 1, dilation = 1, groups = 1;
    miopenConvolutionMode_t mode = miopenConvolution;
};

inline miopenStatus_t apply(const Convolution& conv, int rank, const Setting& s) {
    const std::vector<int> padding(static_cast<std::size_t>(rank), s.padding);
    const std::vector<int> stride(static_cast<std::size_t>(rank), s.stride);
    const std::vector<int> dilation(static_cast<std::size_t>(rank), s.dilation);
    const auto status = CALL(miopenInitConvolutionNdDescriptor)(
        conv.get, rank, padding.data(), stride.data(), dilation.data(), s.mode);
    if (status != miopenStatusSuccess || s.groups == 1) return status;
    return CALL(miopenSetConvolutionGroupCount)(conv.get, s.groups);
}

}  // namespace seam
