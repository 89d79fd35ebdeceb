# The table of native functions, per provider. Other modules reach it only through these.

from mioconv._native.native cimport Api, Status

cdef const Api* api_of(int provider) except NULL nogil
cdef void bound_caches(size_t problems) noexcept nogil
cdef void trim_caches(size_t problems) noexcept nogil
cdef bint usable(int provider) noexcept nogil
cdef int generation() noexcept nogil
cdef int raise_stop() except -1 nogil
cdef int raise_status(const Api* api, Status status, object problem, tuple tried=*) except -1
