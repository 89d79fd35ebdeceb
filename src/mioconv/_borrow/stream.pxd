# Streams as Python objects and as pointers, and which provider's memory a tensor is in.

from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport Api, TensorView

cdef int provider_number(int device_type) noexcept nogil
cdef str device_name(const TensorView* tensor)
cdef hipStream_t stream_pointer(object stream) except? NULL
cdef hipStream_t own_stream(hipStream_t stream, int device_type) except? NULL
cdef object dlpack_stream(hipStream_t stream, int device_type)
cdef int order(
    int provider, int device, hipStream_t before, hipStream_t after) except -1 nogil
cdef const Api* loadable(int provider) except? NULL
cdef bint find_owner(
    const void* data, bint hip_only, int* device_type, int* device_id) except -1
