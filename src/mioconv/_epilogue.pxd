# What follows a convolution: bias, a scaled sum, ReLU; in one operation where the library can.

from mioconv._select cimport Options
from mioconv.native cimport ConvolutionParams, Device, Status

# result = act(result + alpha * z + bias). What the library refuses is left to the caller: `pending`
# says which steps, `refusal` what it answered first.
ctypedef struct Epilogue:
    const void* bias  # dense; NULL: none
    const void* z     # lies as the result does; NULL: none
    float alpha
    bint relu
    bint bias_pending
    bint z_pending
    bint relu_pending

cdef int run_all(
    Device* device, ConvolutionParams* params, void* x, void* w, void* y, Epilogue* epilogue,
    Status* refusal, const Options* options) except -1 nogil
