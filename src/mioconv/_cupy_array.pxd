# CuPy's arrays.

from mioconv.hip cimport hipStream_t
from mioconv.loan cimport Loan
from mioconv.native cimport Layout, TensorView

cdef bint is_cupy(object tensor) except -1
cdef bint borrow_cupy(object array, str name, TensorView* view, Loan* loan) except -1
cdef object new_cupy(object like, TensorView* view, Layout layout)
cdef hipStream_t cupy_stream(const TensorView* view) except? NULL
