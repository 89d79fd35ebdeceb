// Calls that programs in C make and mioconv does not (client.h): each is another one in fewer
// arguments, or for four dimensions.
#include <array>

#include "export.hpp"
#include "guard.hpp"
#include "mioconv/abi/client.h"
#include "profile.hpp"
#include "strides.hpp"

using namespace mioconv::provider;

namespace {

// A call that the other one has counted, guarded and failed already.
void pass(miopenStatus_t status) { require(status == miopenStatusSuccess, status); }

constexpr int kPlanar = 4;  // N, C, H, W

}  // namespace

// ---- HIP

// Not guarded, as hipGetLastError.
MIOCONV_EXPORT hipError_t hipPeekAtLastError(void) {
    const hipError_t error = hipGetLastError();
    set_last_hip_error(error);
    return error;
}

MIOCONV_EXPORT hipError_t
hipMemcpy(void* dst, const void* src, size_t sizeBytes, hipMemcpyKind kind) {
    return hip_guarded({__func__, sizeBytes}, [&] {
        const hipError_t error = hipMemcpyAsync(dst, src, sizeBytes, kind, nullptr);
        return error != hipSuccess ? error : hipStreamSynchronize(nullptr);
    });
}

MIOCONV_EXPORT hipError_t hipMemset(void* dst, int value, size_t sizeBytes) {
    return hip_guarded({__func__, sizeBytes}, [&] {
        const hipError_t error = hipMemsetAsync(dst, value, sizeBytes, nullptr);
        return error != hipSuccess ? error : hipStreamSynchronize(nullptr);
    });
}

MIOCONV_EXPORT hipError_t hipStreamCreate(hipStream_t* stream) {
    return hip_guarded(
        {__func__}, [&] { return hipStreamCreateWithFlags(stream, hipStreamDefault); });
}

MIOCONV_EXPORT hipError_t hipEventCreate(hipEvent_t* event) {
    return hip_guarded({__func__}, [&] { return hipEventCreateWithFlags(event, hipEventDefault); });
}

// ---- tensor descriptors

MIOCONV_EXPORT miopenStatus_t miopenSet4dTensorDescriptor(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t dataType, int n, int c, int h, int w) {
    return guarded({__func__}, [&] {
        const int dims[kPlanar] = {n, c, h, w};
        pass(miopenSetTensorDescriptor(tensorDesc, dataType, kPlanar, dims, nullptr));
    });
}

MIOCONV_EXPORT miopenStatus_t miopenSet4dTensorDescriptorEx(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t dataType, int n, int c, int h, int w,
    int nStride, int cStride, int hStride, int wStride) {
    return guarded({__func__}, [&] {
        const int dims[kPlanar] = {n, c, h, w};
        const int strides[kPlanar] = {nStride, cStride, hStride, wStride};
        pass(miopenSetTensorDescriptor(tensorDesc, dataType, kPlanar, dims, strides));
    });
}

MIOCONV_EXPORT miopenStatus_t miopenGet4dTensorDescriptor(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t* dataType, int* n, int* c, int* h, int* w,
    int* nStride, int* cStride, int* hStride, int* wStride) {
    return guarded({__func__}, [&] {
        require(deref(tensorDesc).rank == kPlanar);
        int dims[kPlanar], strides[kPlanar];
        pass(miopenGetTensorDescriptor(tensorDesc, dataType, dims, strides));
        int* const outputs[] = {n, c, h, w, nStride, cStride, hStride, wStride};
        for (int i = 0; i < 2 * kPlanar; ++i) {
            if (outputs[i] == nullptr) continue;
            *outputs[i] = i < kPlanar ? dims[i] : strides[i - kPlanar];
        }
    });
}

MIOCONV_EXPORT miopenStatus_t miopenSetNdTensorDescriptorWithLayout(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t dataType,
    miopenTensorLayout_t tensorLayout, const int* lens, int num_lens) {
    return guarded({__func__}, [&] {
        const bool planar = tensorLayout == miopenTensorNCHW || tensorLayout == miopenTensorNHWC;
        const bool last = tensorLayout == miopenTensorNHWC || tensorLayout == miopenTensorNDHWC;
        require(planar || tensorLayout == miopenTensorNCDHW || tensorLayout == miopenTensorNDHWC);
        require(lens != nullptr && num_lens == (planar ? kPlanar : kPlanar + 1));
        std::array<size_t, kMaxDims> dims{}, strides{};
        Dims sizes{};
        for (int i = 0; i < num_lens; ++i) {
            require(lens[i] > 0);
            sizes[i] = lens[i];
            dims[i] = static_cast<size_t>(lens[i]);
        }
        const Dims packed = packed_strides(num_lens, sizes, last);
        for (int i = 0; i < num_lens; ++i) strides[i] = static_cast<size_t>(packed[i]);
        pass(miopenSetTensorDescriptorV2(
            tensorDesc, dataType, num_lens, dims.data(), strides.data()));
    });
}

// From the first element to the last, gaps included.
MIOCONV_EXPORT miopenStatus_t
miopenGetTensorNumBytes(miopenTensorDescriptor_t tensorDesc, size_t* numBytes) {
    return guarded({__func__}, [&] { deref(numBytes) = deref(tensorDesc).bytes(); });
}

// ---- convolution descriptors

MIOCONV_EXPORT miopenStatus_t miopenGetConvolutionDescriptor(
    miopenConvolutionDescriptor_t convDesc, miopenConvolutionMode_t* c_mode, int* pad_h, int* pad_w,
    int* stride_h, int* stride_w, int* dilation_h, int* dilation_w) {
    return guarded({__func__}, [&] {
        constexpr int kSpatial = kPlanar - 2;
        require(deref(convDesc).spatial_rank == kSpatial);
        int rank = 0, pads[kSpatial], strides[kSpatial], dilations[kSpatial];
        pass(miopenGetConvolutionNdDescriptor(
            convDesc, kSpatial, &rank, pads, strides, dilations, c_mode));
        int* const outputs[] = {pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w};
        const int values[] = {pads[0], pads[1], strides[0], strides[1], dilations[0], dilations[1]};
        for (std::size_t i = 0; i < std::size(values); ++i) {
            if (outputs[i] != nullptr) *outputs[i] = values[i];
        }
    });
}

MIOCONV_EXPORT miopenStatus_t
miopenGetConvolutionSpatialDim(miopenConvolutionDescriptor_t convDesc, int* spatialDim) {
    return guarded({__func__}, [&] { deref(spatialDim) = deref(convDesc).spatial_rank; });
}

MIOCONV_EXPORT miopenStatus_t
miopenSetTransposeConvOutputPadding(miopenConvolutionDescriptor_t convDesc, int adj_h, int adj_w) {
    return guarded({__func__}, [&] {
        const int adjust[] = {adj_h, adj_w};
        pass(miopenSetTransposeConvNdOutputPadding(convDesc, kPlanar - 2, adjust));
    });
}

MIOCONV_EXPORT miopenStatus_t miopenGetConvolutionForwardOutputDim(
    miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t inputTensorDesc,
    const miopenTensorDescriptor_t filterDesc, int* n, int* c, int* h, int* w) {
    return guarded({__func__}, [&] {
        require(deref(convDesc).spatial_rank == kPlanar - 2);
        int rank = 0;
        int y[kMaxDims];
        pass(miopenGetConvolutionNdForwardOutputDim(
            convDesc, inputTensorDesc, filterDesc, &rank, y));
        int* const outputs[] = {n, c, h, w};
        for (int* const output : outputs) require(output != nullptr);
        for (int i = 0; i < kPlanar; ++i) *outputs[i] = y[i];
    });
}

// ---- profiling

MIOCONV_EXPORT miopenStatus_t miopenEnableProfiling(miopenHandle_t handle, bool enable) {
    return guarded({__func__}, [&] { profile_of(deref(handle)).on = enable; });
}

MIOCONV_EXPORT miopenStatus_t miopenGetKernelTime(miopenHandle_t handle, float* time) {
    return guarded({__func__}, [&] { deref(time) = profile_of(deref(handle)).ms; });
}
