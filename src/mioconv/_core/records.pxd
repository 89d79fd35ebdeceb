# What the cache files know of a problem.

from mioconv._native.native cimport Entry

cdef int recall(Entry* entry) except -1
cdef int remember(Entry* entry, double find_ms) except -1
