# Borrowing tensors from Python objects, and making new ones of the caller's kind.

from cpython.buffer cimport Py_buffer
from cpython.ref cimport PyObject

from libc.stdint cimport int64_t

from mioconv.dlpack cimport DLManagedTensor, DLManagedTensorVersioned
from mioconv.miopen cimport miopenDataType_t
from mioconv.native cimport Layout, TensorView

cdef enum Kind:
    NUMPY
    TORCH
    CUPY
    OTHER

# What must be given back when a call is over. All fields zero: nothing.
ctypedef struct Loan:
    Kind kind
    PyObject* held
    DLManagedTensor* managed
    DLManagedTensorVersioned* versioned
    bint has_buffer
    Py_buffer buffer

cdef class Tensor:
    cdef void* data
    cdef int ndim
    cdef miopenDataType_t type
    cdef int64_t[5] sizes
    cdef int64_t[5] steps
    # The buffer protocol counts strides in bytes; these live as long as the tensor.
    cdef Py_ssize_t[5] buffer_shape
    cdef Py_ssize_t[5] buffer_strides

    cdef int allocate(self, TensorView* view) except -1
    cdef Tensor without_batch(self)

cdef int borrow(object tensor, str name, bint writable, TensorView* view, Loan* loan) except -1
cdef void give_back(Loan* loan) noexcept
cdef str dtype_name(miopenDataType_t dtype)
cdef str kind_name(Kind kind)
cdef object new_tensor(Kind kind, object like, TensorView* view, Layout layout, Loan* loan)
