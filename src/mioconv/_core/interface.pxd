# Convolutions for other Cython and C++ code: no Python object is involved, and no GIL is needed.
#
# Errors are raised as Python exceptions: before the first native call where an argument is wrong.
# The flags are the process-wide ones.

from libc.stdint cimport int64_t, uint16_t

# y = conv(x, w), with packed tensors on one device. float16 and bfloat16 are 16-bit patterns.
ctypedef struct Convolution:
    int spatial              # dimensions beside batch and channels: 1, 2 or 3
    int dtype                # miopenDataType_t: miopenFloat, miopenHalf or miopenBFloat16
    const int64_t* x_shape   # batch, channels, spatial sizes
    const int64_t* w_shape   # channels of y, channels of x in a group, spatial sizes
    const int64_t* stride    # for each spatial dimension, as the next two
    const int64_t* padding
    const int64_t* dilation
    int64_t groups
    int device_type          # DLPack's number: kDLCPU, kDLROCM, kDLCUDA
    int device_id
    void* stream             # a GPU's, hipStream_t or cudaStream_t; NULL: the default stream

# The sizes of y.
cdef int conv_output_shape(const Convolution* conv, int64_t* y_shape) except -1 nogil
# Each writes its result operand: y, x, w.
cdef int conv_forward(
    const Convolution* conv, const void* x, const void* w, void* y) except -1 nogil
cdef int conv_backward_input(
    const Convolution* conv, void* x, const void* w, const void* y) except -1 nogil
cdef int conv_backward_weight(
    const Convolution* conv, const void* x, void* w, const void* y) except -1 nogil

# Typed memoryviews on the host, of any strides. uint16 holds float16, or bfloat16 where said so.
ctypedef fused element:
    float
    uint16_t

cpdef int conv1d_forward_view(
    const element[:, :, :] x, const element[:, :, :] w, element[:, :, :] y, int64_t stride,
    int64_t padding, int64_t dilation, int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv1d_backward_input_view(
    element[:, :, :] x, const element[:, :, :] w, const element[:, :, :] y, int64_t stride,
    int64_t padding, int64_t dilation, int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv1d_backward_weight_view(
    const element[:, :, :] x, element[:, :, :] w, const element[:, :, :] y, int64_t stride,
    int64_t padding, int64_t dilation, int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv2d_forward_view(
    const element[:, :, :, :] x, const element[:, :, :, :] w, element[:, :, :, :] y,
    (int64_t, int64_t) stride, (int64_t, int64_t) padding, (int64_t, int64_t) dilation,
    int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv2d_backward_input_view(
    element[:, :, :, :] x, const element[:, :, :, :] w, const element[:, :, :, :] y,
    (int64_t, int64_t) stride, (int64_t, int64_t) padding, (int64_t, int64_t) dilation,
    int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv2d_backward_weight_view(
    const element[:, :, :, :] x, element[:, :, :, :] w, const element[:, :, :, :] y,
    (int64_t, int64_t) stride, (int64_t, int64_t) padding, (int64_t, int64_t) dilation,
    int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv3d_forward_view(
    const element[:, :, :, :, :] x, const element[:, :, :, :, :] w, element[:, :, :, :, :] y,
    (int64_t, int64_t, int64_t) stride, (int64_t, int64_t, int64_t) padding,
    (int64_t, int64_t, int64_t) dilation, int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv3d_backward_input_view(
    element[:, :, :, :, :] x, const element[:, :, :, :, :] w, const element[:, :, :, :, :] y,
    (int64_t, int64_t, int64_t) stride, (int64_t, int64_t, int64_t) padding,
    (int64_t, int64_t, int64_t) dilation, int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv3d_backward_weight_view(
    const element[:, :, :, :, :] x, element[:, :, :, :, :] w, const element[:, :, :, :, :] y,
    (int64_t, int64_t, int64_t) stride, (int64_t, int64_t, int64_t) padding,
    (int64_t, int64_t, int64_t) dilation, int64_t groups=*, bint bfloat16=*) except -1 nogil
