// MIOpen's tensor, convolution and activation descriptors: create, set, get, destroy.
#include <algorithm>
#include <limits>

#include "export.hpp"
#include "guard.hpp"
#include "output_dims.hpp"

using namespace mioconv::provider;

namespace {

template <class T>
miopenStatus_t create(const char* function, T** out) {
    return guarded({function}, [&] { deref(out) = new T; });
}

// Destroying NULL succeeds, as in MIOpen.
template <class T>
miopenStatus_t destroy(const char* function, T* object) {
    return guarded({function}, [&] { delete object; });
}

// What descriptors may name, computed with or not.
bool known_type(int dtype) { return size_of_type(dtype) > 0; }

// Sizes and strides are at least 1, also those of one element, as in MIOpen. As size_t, what was
// negative is beyond the largest that there may be.
template <class Int>
std::int64_t positive(Int value) {
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    require(value > 0 && static_cast<std::uint64_t>(value) <= kMost);
    return static_cast<std::int64_t>(value);
}

template <class Int>
void set_tensor(
    miopenTensorDescriptor& tensor, miopenDataType_t dtype, int rank, const Int* dims,
    const Int* strides) {
    require(rank >= 1, miopenStatusInvalidValue);
    require(known_type(dtype) && rank <= kMaxHeldDims && dims != nullptr);
    // Sizes are multiplied without further checks later on; this bound keeps that safe.
    constexpr double kLargest = 9e18;
    double bytes = 8;
    miopenTensorDescriptor next;
    next.dtype = dtype;
    next.held.rank = rank;
    std::int64_t packed = 1;
    for (int i = rank - 1; i >= 0; --i) {
        const std::int64_t size = positive(dims[i]);
        bytes *= static_cast<double>(size);
        require(bytes < kLargest);
        const std::int64_t stride = strides == nullptr ? packed : positive(strides[i]);
        require(static_cast<double>(stride) * static_cast<double>(size) < kLargest / 8);
        next.held.dims[i] = size;
        next.held.strides[i] = stride;
        packed *= size;
    }
    if (rank <= kMaxDims) {
        next.rank = rank;
        std::copy_n(next.held.dims.begin(), kMaxDims, next.dims.begin());
        std::copy_n(next.held.strides.begin(), kMaxDims, next.strides.begin());
    }
    tensor = next;
}

// The values that MIOpen takes; -1 of the first is "as the environment says".
bool takes(int attribute, int value) {
    return value == 0 || value == 1 ||
           (attribute == MIOPEN_CONVOLUTION_ATTRIB_FP16_ALT_IMPL && value == -1);
}

void set_convolution(
    miopenConvolutionDescriptor& conv, int rank, const int* padding, const int* stride,
    const int* dilation, miopenConvolutionMode_t mode) {
    require(rank >= 1 && rank <= kMaxSpatial && padding && stride && dilation);
    require(mode >= miopenConvolution && mode <= miopenDepthwise);
    miopenConvolutionDescriptor next;
    next.mode = mode;
    next.spatial_rank = rank;
    for (int i = 0; i < rank; ++i) {
        require(padding[i] >= 0 && stride[i] >= 1 && dilation[i] >= 1);
        next.padding[i] = padding[i];
        next.stride[i] = stride[i];
        next.dilation[i] = dilation[i];
    }
    conv = next;
}

}  // namespace

// ---- tensors

MIOCONV_EXPORT miopenStatus_t miopenCreateTensorDescriptor(miopenTensorDescriptor_t* tensorDesc) {
    return create(__func__, tensorDesc);
}

MIOCONV_EXPORT miopenStatus_t miopenDestroyTensorDescriptor(miopenTensorDescriptor_t tensorDesc) {
    return destroy(__func__, tensorDesc);
}

MIOCONV_EXPORT miopenStatus_t miopenSetTensorDescriptor(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t dataType, int nbDims, const int* dimsA,
    const int* stridesA) {
    return guarded(
        {__func__}, [&] { set_tensor(deref(tensorDesc), dataType, nbDims, dimsA, stridesA); });
}

MIOCONV_EXPORT miopenStatus_t miopenSetTensorDescriptorV2(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t dataType, int nbDims, const size_t* dimsA,
    const size_t* stridesA) {
    return guarded(
        {__func__}, [&] { set_tensor(deref(tensorDesc), dataType, nbDims, dimsA, stridesA); });
}

MIOCONV_EXPORT miopenStatus_t
miopenGetTensorDescriptorSize(miopenTensorDescriptor_t tensorDesc, int* size) {
    return guarded({__func__}, [&] { deref(size) = deref(tensorDesc).held.rank; });
}

MIOCONV_EXPORT miopenStatus_t miopenGetTensorDescriptor(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t* dataType, int* dimsA, int* stridesA) {
    return guarded({__func__}, [&] {
        const auto dtype = deref(tensorDesc).dtype;
        const auto& tensor = tensorDesc->held;
        const auto fits = [](std::int64_t v) { return v <= std::numeric_limits<int>::max(); };
        require(
            std::all_of(tensor.dims.begin(), tensor.dims.end(), fits) &&
            std::all_of(tensor.strides.begin(), tensor.strides.end(), fits));
        // Each output is optional, as in MIOpen.
        if (dataType != nullptr) *dataType = dtype;
        for (int i = 0; i < tensor.rank; ++i) {
            if (dimsA != nullptr) dimsA[i] = static_cast<int>(tensor.dims[i]);
            if (stridesA != nullptr) stridesA[i] = static_cast<int>(tensor.strides[i]);
        }
    });
}

// ---- convolutions

MIOCONV_EXPORT miopenStatus_t
miopenCreateConvolutionDescriptor(miopenConvolutionDescriptor_t* convDesc) {
    return create(__func__, convDesc);
}

MIOCONV_EXPORT miopenStatus_t
miopenDestroyConvolutionDescriptor(miopenConvolutionDescriptor_t convDesc) {
    return destroy(__func__, convDesc);
}

MIOCONV_EXPORT miopenStatus_t miopenInitConvolutionDescriptor(
    miopenConvolutionDescriptor_t convDesc, miopenConvolutionMode_t c_mode, int pad_h, int pad_w,
    int stride_h, int stride_w, int dilation_h, int dilation_w) {
    return guarded({__func__}, [&] {
        const int padding[] = {pad_h, pad_w};
        const int stride[] = {stride_h, stride_w};
        const int dilation[] = {dilation_h, dilation_w};
        set_convolution(deref(convDesc), 2, padding, stride, dilation, c_mode);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenInitConvolutionNdDescriptor(
    miopenConvolutionDescriptor_t convDesc, int spatialDim, const int* padA, const int* strideA,
    const int* dilationA, miopenConvolutionMode_t c_mode) {
    return guarded({__func__}, [&] {
        set_convolution(deref(convDesc), spatialDim, padA, strideA, dilationA, c_mode);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenGetConvolutionNdDescriptor(
    miopenConvolutionDescriptor_t convDesc, int requestedSpatialDim, int* spatialDim, int* padA,
    int* strideA, int* dilationA, miopenConvolutionMode_t* c_mode) {
    return guarded({__func__}, [&] {
        const auto& conv = deref(convDesc);
        // As MIOpen: no more than there are, and then nothing is written.
        require(requestedSpatialDim <= conv.spatial_rank, miopenStatusUnknownError);
        if (spatialDim != nullptr) *spatialDim = conv.spatial_rank;
        if (c_mode != nullptr) *c_mode = conv.mode;
        for (int i = 0; i < requestedSpatialDim; ++i) {
            if (padA != nullptr) padA[i] = conv.padding[i];
            if (strideA != nullptr) strideA[i] = conv.stride[i];
            if (dilationA != nullptr) dilationA[i] = conv.dilation[i];
        }
    });
}

MIOCONV_EXPORT miopenStatus_t
miopenSetConvolutionGroupCount(miopenConvolutionDescriptor_t convDesc, int groupCount) {
    // Any number, as MIOpen: what uses the descriptor refuses less than 1.
    return guarded({__func__}, [&] { deref(convDesc).groups = groupCount; });
}

MIOCONV_EXPORT miopenStatus_t
miopenGetConvolutionGroupCount(miopenConvolutionDescriptor_t convDesc, int* groupCount) {
    return guarded({__func__}, [&] { deref(groupCount) = deref(convDesc).groups; });
}

MIOCONV_EXPORT miopenStatus_t miopenSetTransposeConvNdOutputPadding(
    miopenConvolutionDescriptor_t convDesc, int spatialDim, const int* adjA) {
    return guarded({__func__}, [&] {
        auto& conv = deref(convDesc);
        require(spatialDim == conv.spatial_rank, miopenStatusUnknownError);
        require(adjA != nullptr);
        for (int i = 0; i < spatialDim; ++i) require(adjA[i] >= 0);
        std::copy_n(adjA, spatialDim, conv.output_padding.begin());
    });
}

MIOCONV_EXPORT miopenStatus_t miopenSetConvolutionAttribute(
    miopenConvolutionDescriptor_t convDesc, const miopenConvolutionAttrib_t attr, int value) {
    return guarded({__func__}, [&] {
        auto& conv = deref(convDesc);
        require(attr >= 0 && static_cast<std::size_t>(attr) < conv.attributes.size());
        require(takes(attr, value));
        conv.attributes[attr] = value;
    });
}

MIOCONV_EXPORT miopenStatus_t miopenGetConvolutionAttribute(
    miopenConvolutionDescriptor_t convDesc, const miopenConvolutionAttrib_t attr, int* value) {
    return guarded({__func__}, [&] {
        const auto& conv = deref(convDesc);
        require(attr >= 0 && static_cast<std::size_t>(attr) < conv.attributes.size());
        deref(value) = conv.attributes[attr];
    });
}

MIOCONV_EXPORT miopenStatus_t miopenSetConvolutionFindMode(
    miopenConvolutionDescriptor_t convDesc, miopenConvolutionFindMode_t findMode) {
    return guarded({__func__}, [&] {
        require(findMode >= miopenConvolutionFindModeNormal && findMode <= 5);
        deref(convDesc).find_mode = findMode;
    });
}

MIOCONV_EXPORT miopenStatus_t miopenGetConvolutionFindMode(
    const miopenConvolutionDescriptor_t convDesc, miopenConvolutionFindMode_t* findMode) {
    return guarded({__func__}, [&] { deref(findMode) = deref(convDesc).find_mode; });
}

MIOCONV_EXPORT miopenStatus_t
mioconvSetPackedWeights(miopenConvolutionDescriptor_t convDesc, int packed) {
    return guarded({__func__}, [&] {
        require(packed == 0 || packed == 1);
        deref(convDesc).packed_weights = packed == 1;
    });
}

MIOCONV_EXPORT miopenStatus_t miopenGetConvolutionNdForwardOutputDim(
    miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t inputTensorDesc,
    const miopenTensorDescriptor_t filterDesc, int* nDim, int* outputTensorDimA) {
    return guarded({__func__}, [&] {
        const auto& x = deref(inputTensorDesc);
        const Dims y = output_dims(deref(convDesc), x, deref(filterDesc));
        require(nDim != nullptr && outputTensorDimA != nullptr);
        for (int i = 0; i < x.rank; ++i) require(y[i] <= std::numeric_limits<int>::max());
        *nDim = x.rank;
        for (int i = 0; i < x.rank; ++i) outputTensorDimA[i] = static_cast<int>(y[i]);
    });
}

// ---- activations

MIOCONV_EXPORT miopenStatus_t
miopenCreateActivationDescriptor(miopenActivationDescriptor_t* activDesc) {
    return create(__func__, activDesc);
}

MIOCONV_EXPORT miopenStatus_t
miopenDestroyActivationDescriptor(miopenActivationDescriptor_t activDesc) {
    return destroy(__func__, activDesc);
}

MIOCONV_EXPORT miopenStatus_t miopenSetActivationDescriptor(
    const miopenActivationDescriptor_t activDesc, miopenActivationMode_t mode, double activAlpha,
    double activBeta, double activGamma) {
    return guarded({__func__}, [&] {
        auto& activation = deref(activDesc);
        require(mode >= miopenActivationPASTHRU && mode <= miopenActivationELU);
        activation.mode = mode;
        activation.alpha = activAlpha;
        activation.beta = activBeta;
        activation.gamma = activGamma;
    });
}

MIOCONV_EXPORT miopenStatus_t miopenGetActivationDescriptor(
    const miopenActivationDescriptor_t activDesc, miopenActivationMode_t* mode, double* activAlpha,
    double* activBeta, double* activGamma) {
    return guarded({__func__}, [&] {
        const auto& activation = deref(activDesc);
        if (mode != nullptr) *mode = activation.mode;
        if (activAlpha != nullptr) *activAlpha = activation.alpha;
        if (activBeta != nullptr) *activBeta = activation.beta;
        if (activGamma != nullptr) *activGamma = activation.gamma;
    });
}
