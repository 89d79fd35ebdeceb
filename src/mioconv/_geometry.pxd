# Strides, paddings and sizes: parsing what the user gave, checking it, and computing shapes.

from libc.stdint cimport int64_t

from mioconv.native cimport TensorView

# One entry a spatial dimension. `pad_end` is what "same" adds behind the input beyond `padding`.
ctypedef struct Geometry:
    int spatial
    int64_t groups
    bint same
    int64_t[3] stride
    int64_t[3] padding
    int64_t[3] dilation
    int64_t[3] output_padding
    int64_t[3] pad_end

cdef int parse_geometry(
    Geometry* geometry, int spatial, object stride, object padding, object dilation,
    object groups) except -1
cdef int check_rank(TensorView* tensor, str name, int spatial, bint* batched) except -1
cdef int check_geometry(const Geometry* geometry) except -1 nogil
cdef int check_forward(
    Geometry* geometry, TensorView* x, TensorView* w, int64_t* output) except -1 nogil
cdef int check_bias(TensorView* bias, TensorView* weight, int64_t channels) except -1
cdef int check_shape(
    TensorView* tensor, str name, const int64_t* expected, int ndim,
    bint batched) except -1
cdef tuple sizes(const int64_t* values, int count)
