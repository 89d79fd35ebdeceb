# The flags in force for a call.

from mioconv._plans cimport Options

cdef int resolve_flags(
    Options* options, object benchmark, object deterministic, object allow_tf32,
    object workspace_limit, object exclude, object solution) except -1
cdef int default_flags(Options* options) noexcept nogil
