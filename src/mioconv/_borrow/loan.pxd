# What is kept of a borrowed tensor until it is given back.

from cpython.buffer cimport Py_buffer
from cpython.ref cimport PyObject

from mioconv._native.dlpack cimport DLManagedTensor, DLManagedTensorVersioned
from mioconv._native.hip cimport hipStream_t

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
    # A tensor of mioconv's own that the call makes, on a GPU: its work is queued when the loan
    # ends.
    PyObject* made
    # After it: the stream that the data is ready on, where the producer left the waiting to us.
    bint has_ready
    hipStream_t ready
