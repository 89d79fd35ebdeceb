# Running a problem by its best solution.

from libcpp.memory cimport shared_ptr

from mioconv._check.flags cimport Options
from mioconv._native.native cimport (
    Choice, ConvolutionParams, Device, Entry, HandleLease, Solution, Status)

cdef int choose(
    Entry* entry, HandleLease* lease, const Choice& choice, int tried,
    Solution* out) except -1 nogil
cdef int raise_no_solution(
    Entry* entry, const Options* options, const Choice* choice, Status failure) except -1
cdef int run(
    Device* device, ConvolutionParams* params, void* x, void* w, void* y, const Options* options,
    shared_ptr[Entry]* used) except -1 nogil
cdef void note_solution(
    const Entry* entry, const Solution* solution, int mode, int tried) noexcept nogil
