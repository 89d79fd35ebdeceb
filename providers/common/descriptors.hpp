// The objects behind MIOpen's descriptor handles. Plain values: a problem is read from them at
// every call, and nothing is cached in them.
#pragma once

#include <array>
#include <cstdint>

#include "counters.hpp"
#include "mioconv/abi/miopen.h"

namespace mioconv::provider {

constexpr int kMaxDims = 5;     // N, C and up to three spatial dimensions
constexpr int kMaxSpatial = 3;
constexpr int kMaxHeldDims = 12;  // of a descriptor, as in MIOpen

// Bytes of an element of a miopenDataType_t; 0: there is no such type.
constexpr std::size_t size_of_type(int dtype) noexcept {
    constexpr int kFloat8 = 7, kBFloat8 = 8, kInt64 = 9;  // which only newer releases name
    switch (dtype) {
        case miopenInt8:
        case kFloat8:
        case kBFloat8: return 1;
        case miopenHalf:
        case miopenBFloat16: return 2;
        case miopenInt32:
        case miopenFloat: return 4;
        case miopenDouble:
        case kInt64: return 8;
        default: return 0;
    }
}

using Dims = std::array<std::int64_t, kMaxDims>;
using Spatial = std::array<std::int32_t, kMaxSpatial>;

}  // namespace mioconv::provider

struct miopenTensorDescriptor
    : mioconv::provider::Counted<&mioconv::provider::Counters::tensor_descriptors> {
    miopenDataType_t dtype = miopenFloat;
    int rank = 0;  // 0 until set, and where there are more than kMaxDims
    mioconv::provider::Dims dims{};
    mioconv::provider::Dims strides{};

    // The same of any rank, as they were set: descriptors of up to kMaxHeldDims dimensions may be
    // made and asked, though nothing here computes on more than kMaxDims.
    struct Held {
        int rank = 0;
        std::array<std::int64_t, mioconv::provider::kMaxHeldDims> dims{}, strides{};
    };
    Held held;

    // From the first element's to the last one's, gaps included.
    std::size_t bytes() const noexcept {
        std::int64_t last = held.rank == 0 ? -1 : 0;
        for (int i = 0; i < held.rank; ++i) last += (held.dims[i] - 1) * held.strides[i];
        return static_cast<std::size_t>(last + 1) * mioconv::provider::size_of_type(dtype);
    }

    std::int64_t elements() const noexcept {
        std::int64_t count = rank == 0 ? 0 : 1;
        for (int i = 0; i < rank; ++i) count *= dims[i];
        return count;
    }
};

struct miopenConvolutionDescriptor
    : mioconv::provider::Counted<&mioconv::provider::Counters::convolution_descriptors> {
    miopenConvolutionMode_t mode = miopenConvolution;
    int spatial_rank = 2;
    mioconv::provider::Spatial padding{};
    mioconv::provider::Spatial stride{1, 1, 1};
    mioconv::provider::Spatial dilation{1, 1, 1};
    mioconv::provider::Spatial output_padding{};
    int groups = 1;
    miopenConvolutionFindMode_t find_mode = miopenConvolutionFindModeDynamicHybrid;
    std::array<int, 4> attributes{-1, 0, 1, 0};  // by miopenConvolutionAttrib_t
    bool packed_weights = false;  // what mioconvPackWeights made takes the weights' place

    bool transposed() const noexcept { return mode == miopenTranspose; }
};

struct miopenActivationDescriptor
    : mioconv::provider::Counted<&mioconv::provider::Counters::activation_descriptors> {
    miopenActivationMode_t mode = miopenActivationPASTHRU;
    double alpha = 0, beta = 0, gamma = 0;
};
