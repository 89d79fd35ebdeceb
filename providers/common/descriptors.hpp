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

using Dims = std::array<std::int64_t, kMaxDims>;
using Spatial = std::array<std::int32_t, kMaxSpatial>;

}  // namespace mioconv::provider

struct miopenTensorDescriptor
    : mioconv::provider::Counted<&mioconv::provider::Counters::tensor_descriptors> {
    miopenDataType_t dtype = miopenFloat;
    int rank = 0;  // 0 until set
    mioconv::provider::Dims dims{};
    mioconv::provider::Dims strides{};

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
    std::array<int, 4> attributes{};  // by miopenConvolutionAttrib_t
    bool packed_weights = false;      // what mioconvPackWeights made takes the weights' place

    bool transposed() const noexcept { return mode == miopenTranspose; }
};

struct miopenActivationDescriptor
    : mioconv::provider::Counted<&mioconv::provider::Counters::activation_descriptors> {
    miopenActivationMode_t mode = miopenActivationPASTHRU;
    double alpha = 0, beta = 0, gamma = 0;
};
