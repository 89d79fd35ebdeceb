# Borrowing tensors from Python objects, and making new ones of the caller's kind.

from mioconv._borrow.loan cimport Kind, Loan
from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport Layout, TensorView

cdef int borrow(object tensor, str name, bint writable, TensorView* view, Loan* loan) except -1
cdef void give_back(Loan* loan) noexcept
cdef str kind_name(Kind kind)
cdef object new_tensor(Kind kind, object like, TensorView* view, Layout layout, Loan* loan)
cdef object call_stream(
    object stream, object tensor, const TensorView* view, const Loan* loan, hipStream_t* settled)
cdef int await_ready(const TensorView* view, const Loan* loan, hipStream_t stream) except -1
