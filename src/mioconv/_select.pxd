# Choosing a solution for a problem and running it. The C++ side of the cache lives in this module.

from libc.stdint cimport int64_t, uint64_t
from libcpp.memory cimport shared_ptr

from mioconv.hip cimport hipStream_t
from mioconv.native cimport Api, CallRecord, ConvolutionParams, Device, Plan

# How to choose; the resolved flags of one call.
ctypedef struct Options:
    bint benchmark
    bint deterministic
    bint allow_tf32
    int64_t workspace_limit  # bytes; negative: none
    double budget_ms         # of one benchmark search
    int threads              # of the CPU provider; 0: the machine's
    uint64_t solution        # run exactly this one; 0: any
    hipStream_t stream

cdef Device* device_of(int provider, int index) except NULL nogil
cdef Plan* plan_of(
    Device* device, ConvolutionParams* params, hipStream_t stream,
    shared_ptr[Plan]* held) except NULL nogil
cdef CallRecord* call_record() noexcept nogil
cdef int run(
    Device* device, ConvolutionParams* params, void* x, void* w, void* y, const Options* options,
    shared_ptr[Plan]* used) except -1 nogil
cdef object problem_of(const ConvolutionParams* params)
cdef list list_solutions(Device* device, ConvolutionParams* params, const Options* options)
cdef int use_threads(const Api* api, int threads, int64_t* used) except -1 nogil
