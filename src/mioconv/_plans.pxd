# What is known of each problem. The C++ side of the cache lives in this module.

from libc.stdint cimport int64_t, uint64_t
from libcpp.memory cimport shared_ptr

from mioconv.hip cimport hipStream_t
from mioconv.native cimport (
    Api, ConvolutionParams, Device, Devices, Exclusions, HandleLease, Mutex, Plan, Solution,
    Statistics, Status)

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

cdef Statistics* counted() noexcept nogil
cdef Mutex* vendor_lock(const Device* device) noexcept nogil
cdef Devices* all_devices() noexcept nogil
cdef Device* device_of(int provider, int index) except NULL nogil
cdef int use_threads(const Api* api, int threads, int64_t* used) except -1 nogil
cdef int rank_by_heuristic(Plan* plan, HandleLease* lease, Status* status) except -1 nogil
cdef int append_unlisted(Plan* plan, HandleLease* lease, uint64_t pinned) except -1 nogil
cdef Plan* plan_of(
    Device* device, ConvolutionParams* params, hipStream_t stream,
    shared_ptr[Plan]* held) except NULL nogil
cdef object problem_of(const ConvolutionParams* params)
cdef str solution_name(const Api* api, uint64_t id)
cdef dict solution_fields(const Api* api, const Solution& solution)
cdef list plan_solutions(Plan* plan)
cdef list list_solutions(Device* device, ConvolutionParams* params, const Options* options)
cdef int log_selection(Plan* plan, str how) except -1
cdef int remember(Plan* plan, double find_ms) except -1
