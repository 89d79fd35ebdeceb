# What is known of each problem.

from libc.stdint cimport uint64_t
from libcpp.memory cimport shared_ptr

from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport ConvolutionParams, Device, HandleLease, Plan, Status

cdef int rank_by_heuristic(Plan* plan, HandleLease* lease, Status* status) except -1 nogil
cdef int append_unlisted(Plan* plan, HandleLease* lease, uint64_t pinned) except -1 nogil
cdef Plan* plan_of(
    Device* device, ConvolutionParams* params, hipStream_t stream,
    shared_ptr[Plan]* held) except NULL nogil
cdef list list_solutions(Device* device, ConvolutionParams* params, hipStream_t stream)
