# Borrowing tensors from Python objects, and making new ones of the caller's kind.

from cpython.buffer cimport Py_buffer
from cpython.ref cimport PyObject

from mioconv.dlpack cimport DLManagedTensor, DLManagedTensorVersioned
from mioconv.hip cimport hipStream_t
from mioconv.native cimport Layout, TensorView

cdef enum Kind:
    NUMPY
    TORCH
    CUPY
    OTHER

# What a producer is told of the stream that its data shall be ready for.
cdef enum class Ordering:
    default_stream  # none is known yet
    known           # `stream`
    nothing         # nobody will read the data

# What must be given back when a call is over. All fields zero: nothing.
ctypedef struct Loan:
    Kind kind
    PyObject* held
    DLManagedTensor* managed
    DLManagedTensorVersioned* versioned
    bint has_buffer
    Py_buffer buffer
    # Before the loan, for tensors of a GPU:
    Ordering order
    hipStream_t stream
    # After it: the stream that the data is ready on, where the producer left the waiting to us.
    bint has_ready
    hipStream_t ready

cdef int borrow(object tensor, str name, bint writable, TensorView* view, Loan* loan) except -1
cdef void give_back(Loan* loan) noexcept
cdef str kind_name(Kind kind)
cdef object new_tensor(Kind kind, object like, TensorView* view, Layout layout, Loan* loan)
cdef object settle_stream(
    object stream, object tensor, const TensorView* view, const Loan* loan, hipStream_t* settled)
cdef int await_ready(const TensorView* view, const Loan* loan, hipStream_t stream) except -1
