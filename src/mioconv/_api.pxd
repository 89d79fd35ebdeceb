# The table of native functions, per provider. Other modules reach it only through these.

from mioconv.native cimport Api, Status

cdef const Api* api_of(int provider) except NULL nogil
cdef bint usable(int provider) noexcept nogil
cdef int raise_status(const Api* api, Status status, object problem, tuple tried=*) except -1
