# The tensor of mioconv's own, for callers whose array library is unknown.

from libc.stdint cimport int64_t

from mioconv._native.hip cimport hipStream_t
from mioconv._native.miopen cimport miopenDataType_t
from mioconv._native.native cimport DeviceMemory, LastUse, TensorView

cdef class Tensor:
    cdef void* data
    cdef DeviceMemory memory  # a GPU's; the host's is `data` alone
    cdef LastUse computed  # where and when: the stream may be gone before this tensor
    cdef bint lent  # the memory is another's
    cdef int device_type
    cdef int device_id
    cdef int ndim
    cdef miopenDataType_t type
    cdef int64_t[5] sizes
    cdef int64_t[5] steps
    # The buffer protocol counts strides in bytes; these live as long as the tensor.
    cdef Py_ssize_t[5] buffer_shape
    cdef Py_ssize_t[5] buffer_strides

    cdef int allocate(self, TensorView* view, hipStream_t stream) except -1
    cdef int show(self, const TensorView* view) except -1
    cdef Tensor without_batch(self)
    cdef int require_memory(self) except -1
    cdef void note_computed(self) noexcept
    cdef int make_ready(self, object stream) except -1

# For messages.
cdef str dtype_name(miopenDataType_t dtype)
cdef tuple sizes(const int64_t* values, int count)
