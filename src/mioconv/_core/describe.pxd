# Problems, plans and solutions as Python objects.

from libc.stdint cimport uint64_t

from mioconv._native.native cimport Api, ConvolutionParams, Plan, Solution

cdef object problem_of(const ConvolutionParams* params)
cdef str solution_name(const Api* api, uint64_t id)
cdef dict solution_fields(const Api* api, const Solution& solution)
cdef list plan_solutions(Plan* plan)
cdef int log_selection(Plan* plan, str how) except -1
