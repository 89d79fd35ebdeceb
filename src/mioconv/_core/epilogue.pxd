# What follows a convolution: bias, a scaled sum, ReLU; in one operation where the library can.

from mioconv._check.flags cimport Options
from mioconv._native.native cimport ConvolutionParams, Device, Epilogue

cdef int run_all(
    Device* device, ConvolutionParams* params, void* x, void* w, void* y, Epilogue* epilogue,
    const Options* options) except -1 nogil
