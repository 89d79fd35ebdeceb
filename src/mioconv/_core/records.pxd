# What the cache files know of a problem.

from mioconv._native.native cimport Plan

cdef int recall(Plan* plan) except -1
cdef int remember(Plan* plan, double find_ms) except -1
