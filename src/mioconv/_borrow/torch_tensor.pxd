# PyTorch's tensors.

from libc.stdint cimport int64_t

from mioconv._borrow.loan cimport Loan
from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport Layout, TensorView

cdef bint is_torch(object tensor) except -1
cdef int borrow_torch(
    object tensor, str name, bint writable, TensorView* view, Loan* loan) except -1
cdef object new_torch(object like, TensorView* view, Layout layout, Loan* loan)
cdef hipStream_t torch_stream(const TensorView* view) except? NULL
cdef object hold(object tensor)
cdef int64_t version_of(object tensor) except? -1
cdef int note_write(object tensor) except -1
