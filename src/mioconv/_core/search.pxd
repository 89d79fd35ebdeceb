# Benchmark mode: ranking the solutions of a problem by measurement.

from mioconv._check.flags cimport Options
from mioconv._native.native cimport Choice, Operands, Plan

cdef int search(Plan* plan, Operands operands, const Choice& choice,
                const Options* options) except -1 nogil
