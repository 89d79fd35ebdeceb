# Borrowing by DLPack, and how dtypes are refused.

from mioconv._borrow.loan cimport Kind, Loan
from mioconv._native.dlpack cimport DLPackExchangeAPI, DLTensor
from mioconv._native.native cimport TensorView

cdef object dtype_error(str name, str dtype, Kind kind)
cdef int take_dltensor(const DLTensor* lent, str name, Kind kind, TensorView* view) except -1
cdef int borrow_dlpack(
    object tensor, str name, bint writable, TensorView* view, Loan* loan) except -1
cdef const DLPackExchangeAPI* exchange_api(object tensor_type) except? NULL
cdef const DLPackExchangeAPI* exchange_api_of(object tensor) except? NULL
cdef bint cuda_is_hip() noexcept
cdef void torch_says_hip() noexcept
