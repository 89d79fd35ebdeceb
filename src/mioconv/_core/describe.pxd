# Problems, entries and solutions as Python objects.

from libc.stdint cimport uint64_t

from mioconv._native.native cimport Api, ConvolutionParams, Entry, Solution

cdef object problem_of(const ConvolutionParams* params)
cdef str solution_name(const Api* api, uint64_t id)
cdef dict solution_fields(const Api* api, const Solution& solution)
cdef list entry_solutions(Entry* entry)
cdef int log_selection(Entry* entry, str how) except -1
