# mioconv for other Cython and C++ code: `from mioconv._core cimport conv_forward`. Build against
# mioconv.get_include(). The functions take no Python objects and are called without the GIL, which
# they take only to raise. The provider of a device is loaded at its first use.

from libc.stdint cimport int64_t, uint16_t

ctypedef fused element:
    float
    uint16_t

# y = conv(x, w) on packed (row-major) host memory. `spatial` is 1, 2 or 3; the shapes are N, C,
# spatial and K, C / groups, kernel, of spatial + 2 entries each; stride, padding and dilation have
# `spatial` entries; `dtype` is miopenFloat (1), miopenHalf (0) or miopenBFloat16 (5). `y` has the
# shape that conv_output_shape answers. Raises as mioconv.conv2d_forward does.
cdef int conv_forward(
    int spatial, int dtype, const void* x, const int64_t* x_shape, const void* w,
    const int64_t* w_shape, void* y, const int64_t* stride, const int64_t* padding,
    const int64_t* dilation, int64_t groups) except -1 nogil

cdef int conv_output_shape(
    int spatial, const int64_t* x_shape, const int64_t* w_shape, const int64_t* stride,
    const int64_t* padding, const int64_t* dilation, int64_t groups,
    int64_t* y_shape) except -1 nogil

# The same on typed memoryviews of any strides; uint16_t holds float16, or bfloat16 where said so.
cpdef int conv1d_forward_view(
    const element[:, :, :] x, const element[:, :, :] w, element[:, :, :] y, int64_t stride,
    int64_t padding, int64_t dilation, int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv2d_forward_view(
    const element[:, :, :, :] x, const element[:, :, :, :] w, element[:, :, :, :] y,
    (int64_t, int64_t) stride, (int64_t, int64_t) padding, (int64_t, int64_t) dilation,
    int64_t groups=*, bint bfloat16=*) except -1 nogil
cpdef int conv3d_forward_view(
    const element[:, :, :, :, :] x, const element[:, :, :, :, :] w, element[:, :, :, :, :] y,
    (int64_t, int64_t, int64_t) stride, (int64_t, int64_t, int64_t) padding,
    (int64_t, int64_t, int64_t) dilation, int64_t groups=*, bint bfloat16=*) except -1 nogil
