# CuPy's arrays.

from mioconv._borrow.loan cimport Loan
from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport Layout, TensorView

cdef bint is_cupy(object tensor) except -1
cdef bint borrow_cupy(object array, str name, TensorView* view, Loan* loan) except -1
cdef object new_cupy(object like, TensorView* view, Layout layout)
cdef hipStream_t cupy_stream(const TensorView* view) except? NULL
