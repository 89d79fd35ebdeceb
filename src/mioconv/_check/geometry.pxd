# Strides, paddings and sizes: parsing what the user gave, checking it, and computing shapes.

from libc.stdint cimport int64_t

from mioconv._native.native cimport Direction, TensorView

# Of y = conv(x, w); one entry a spatial dimension. `x_end` and `y_end` are zeros that lie behind x
# and y beyond `padding`: what "same" needs with an even kernel, and what an output_padding of a
# whole stride or more stands for.
ctypedef struct Geometry:
    int spatial
    int64_t groups
    bint same
    int64_t[3] stride
    int64_t[3] padding
    int64_t[3] dilation
    int64_t[3] output_padding
    int64_t[3] x_end
    int64_t[3] y_end

# What the user calls the operands, for messages.
ctypedef struct Names:
    const char* x
    const char* w
    const char* y

cdef int parse_geometry(
    Geometry* geometry, int spatial, object stride, object padding, object dilation,
    object groups) except -1
cdef int parse_output_padding(Geometry* geometry, object output_padding) except -1
cdef int parse_shape(TensorView* tensor, str name, object shape) except -1
cdef int check_geometry(const Geometry* geometry) except -1 nogil
cdef int add_batch(TensorView* tensor) except -1
cdef int check_rank(TensorView* tensor, const char* name, int spatial, bint* batched) except -1
cdef int output_sizes(
    Geometry* geometry, const TensorView* x, const TensorView* w, int64_t* y,
    const Names* names) except -1 nogil
cdef int transposed_sizes(
    Geometry* geometry, const TensorView* y, const TensorView* w, int64_t* x,
    const Names* names) except -1
cdef int transposed_input_sizes(
    Geometry* geometry, const TensorView* x, const TensorView* w, int64_t* y,
    const Names* names) except -1
cdef int split_output_padding(Geometry* geometry) except -1
cdef int check_bias(TensorView* bias, const TensorView* weight, int64_t channels) except -1
cdef int check_shape(
    TensorView* tensor, str name, const int64_t* expected, int ndim, bint batched) except -1

# What an operator calls x, w and y, and which of them it computes. The result's name is that of the
# shape that the user gives for it, where there is one.
ctypedef struct Operator:
    Direction direction
    bint transposed
    Names names

# `names` are the operator's as Python strings; `result` is the place of what is computed.
cdef int check_ranks(
    const Operator* op, tuple names, TensorView* tensors, int spatial, int result,
    object result_shape, bint* batched) except -1
cdef int compute_sizes(
    const Operator* op, tuple names, Geometry* geometry, TensorView* tensors,
    int result) except -1
