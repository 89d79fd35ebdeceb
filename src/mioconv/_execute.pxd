# One direction of y = conv(x, w) on tensors of any strides.

from mioconv._epilogue cimport Epilogue
from mioconv._geometry cimport Geometry
from mioconv._select cimport Options
from mioconv.native cimport ConvolutionParams, Device, Direction, Status, TensorView

# What follows the convolution, as views of any strides; see `Epilogue` for the pending steps.
ctypedef struct Following:
    const TensorView* bias  # NULL: none
    const TensorView* z     # NULL: none; may be the result itself
    float alpha
    bint relu
    bint bias_pending
    bint z_pending
    bint relu_pending

cdef int provider_of(const TensorView* tensor) except -1 nogil
cdef str device_name(const TensorView* tensor)
cdef int fill_params(
    ConvolutionParams* params, Device* device, Direction direction, const TensorView* tensors,
    const Geometry* geometry, const Options* options) except -1 nogil
cdef void add_height(TensorView* tensor) noexcept nogil
cdef int convolve(
    Direction direction, const TensorView* x, const TensorView* w, const TensorView* y,
    Following* following, const Geometry* geometry, const Options* options) except -1 nogil
cdef int sum_to_bias(
    const TensorView* gradient, const TensorView* bias, const Options* options,
    bint* refused) except -1 nogil
cdef int fill_zero(const TensorView* tensor, const Options* options) except -1 nogil
