# What is known of each problem.

from libc.stdint cimport uint64_t
from libcpp.memory cimport shared_ptr

from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport ConvolutionParams, Device, Entry, HandleLease, Status

cdef int rank_by_heuristic(Entry* entry, HandleLease* lease, Status* status) except -1 nogil
cdef int append_unlisted(Entry* entry, HandleLease* lease, uint64_t pinned) except -1 nogil
cdef Entry* entry_of(
    Device* device, ConvolutionParams* params, hipStream_t stream,
    shared_ptr[Entry]* held) except NULL nogil
cdef list list_solutions(Device* device, ConvolutionParams* params, hipStream_t stream)
