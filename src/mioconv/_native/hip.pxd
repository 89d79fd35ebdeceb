# HIP's C ABI as include/mioconv/abi/hip.h restates it. Declarations only.

from libc.stddef cimport size_t


cdef extern from "mioconv/abi/hip.h" nogil:
    ctypedef void* hipStream_t

    ctypedef enum hipError_t:
        hipSuccess
        hipErrorOutOfMemory

    ctypedef enum hipMemcpyKind:
        hipMemcpyHostToDevice
        hipMemcpyDeviceToHost
        hipMemcpyDeviceToDevice
