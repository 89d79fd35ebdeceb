# Benchmark mode: ranking the solutions of a problem by measurement.

from mioconv._check.flags cimport Options
from mioconv._native.native cimport Choice, Entry, Operands

cdef int search(Entry* entry, Operands operands, const Choice& choice,
                const Options* options) except -1 nogil
