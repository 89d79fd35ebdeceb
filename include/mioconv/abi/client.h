/* What programs in C call of the two ABIs and mioconv does not, restated in our own words.
 *
 * Each does what a function of hip.h or miopen.h does, in fewer arguments or for four dimensions
 * only; our providers export them so that such programs link. They are listed in client.def: the
 * core's table and the loader know nothing of them.
 */
#ifndef MIOCONV_ABI_CLIENT_H
#define MIOCONV_ABI_CLIENT_H

#include "miopen.h"

#if defined(__cplusplus) && !defined(MIOCONV_ABI_COMPARED)
extern "C" {
#endif

typedef enum miopenTensorLayout_t {
    miopenTensorNCHW = 0,
    miopenTensorNHWC = 1,
    miopenTensorNCDHW = 7,
    miopenTensorNDHWC = 8
} miopenTensorLayout_t;

/* HIP */
hipError_t hipPeekAtLastError(void);
hipError_t hipMemcpy(void* dst, const void* src, size_t sizeBytes, hipMemcpyKind kind);
hipError_t hipMemset(void* dst, int value, size_t sizeBytes);
hipError_t hipStreamCreate(hipStream_t* stream);
hipError_t hipEventCreate(hipEvent_t* event);

/* Tensor descriptors */
miopenStatus_t miopenSet4dTensorDescriptor(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t dataType, int n, int c, int h, int w);
miopenStatus_t miopenSet4dTensorDescriptorEx(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t dataType, int n, int c, int h, int w,
    int nStride, int cStride, int hStride, int wStride);
miopenStatus_t miopenGet4dTensorDescriptor(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t* dataType, int* n, int* c, int* h, int* w,
    int* nStride, int* cStride, int* hStride, int* wStride);
miopenStatus_t miopenSetNdTensorDescriptorWithLayout(
    miopenTensorDescriptor_t tensorDesc, miopenDataType_t dataType,
    miopenTensorLayout_t tensorLayout, const int* lens, int num_lens);
miopenStatus_t miopenGetTensorNumBytes(miopenTensorDescriptor_t tensorDesc, size_t* numBytes);

/* Convolution descriptors */
miopenStatus_t miopenGetConvolutionDescriptor(
    miopenConvolutionDescriptor_t convDesc, miopenConvolutionMode_t* c_mode, int* pad_h, int* pad_w,
    int* stride_h, int* stride_w, int* dilation_h, int* dilation_w);
miopenStatus_t miopenGetConvolutionSpatialDim(
    miopenConvolutionDescriptor_t convDesc, int* spatialDim);
miopenStatus_t miopenSetTransposeConvOutputPadding(
    miopenConvolutionDescriptor_t convDesc, int adj_h, int adj_w);
miopenStatus_t miopenGetConvolutionForwardOutputDim(
    miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t inputTensorDesc,
    const miopenTensorDescriptor_t filterDesc, int* n, int* c, int* h, int* w);

/* How long what a handle ran last took, in ms, while profiling is on. */
miopenStatus_t miopenEnableProfiling(miopenHandle_t handle, bool enable);
miopenStatus_t miopenGetKernelTime(miopenHandle_t handle, float* time);

#if defined(__cplusplus) && !defined(MIOCONV_ABI_COMPARED)
}
#endif

#endif /* MIOCONV_ABI_CLIENT_H */
