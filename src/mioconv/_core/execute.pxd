# One direction of y = conv(x, w) on tensors of any strides.

from mioconv._check.flags cimport Options
from mioconv._check.geometry cimport Geometry
from mioconv._native.native cimport (
    ConvolutionParams, Device, Direction, Epilogue, Status, TensorView)

cdef int provider_of(const TensorView* tensor) except -1 nogil
cdef int fill_params(
    ConvolutionParams* params, Device* device, Direction direction, const TensorView* tensors,
    const Geometry* geometry, const Options* options) except -1 nogil

# One direction of y = conv(x, w), on tensors of any strides, and what follows it.
ctypedef struct Task:
    Direction direction
    const TensorView* x
    const TensorView* w
    const TensorView* y
    const TensorView* bias      # NULL: none
    const TensorView* z         # NULL: none
    Epilogue* epilogue          # has alpha and relu; says afterwards what is left to the caller
    const Geometry* geometry
    const Options* options

cdef int convolve(const Task* task) except -1 nogil
cdef int sum_to_bias(
    const TensorView* gradient, const TensorView* bias, const Options* options,
    Status* refusal) except -1 nogil
cdef int fill_zero(const TensorView* tensor, const Options* options) except -1 nogil
