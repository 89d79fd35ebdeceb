# The flags in force for a call.

from libc.stdint cimport int64_t, uint64_t

from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport Exclusions

# How to choose; the resolved flags of one call.
ctypedef struct Options:
    bint benchmark
    bint deterministic
    bint allow_tf32
    bint strict_accuracy          # neither Winograd nor FFT
    int64_t workspace_limit       # bytes; negative: none
    double budget_ms              # of one benchmark search
    int threads                   # of the CPU provider; 0: the machine's
    bint empty_cache_after_find
    int verify                    # results: 0 not looked at, 1 at first, 2 always
    const Exclusions* exclusions  # NULL: none
    uint64_t solution             # run exactly this one; 0: any
    hipStream_t stream

cdef int resolve_flags(
    Options* options, object benchmark, object deterministic, object allow_tf32,
    object workspace_limit, object exclude, object solution) except -1
cdef int default_flags(Options* options) noexcept nogil
