# The operators on Python objects, for mioconv.conv, and the way of every call that has tensors.

from cpython.ref cimport PyObject

from mioconv._borrow.loan cimport Kind, Loan
from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport TensorView

cdef enum:
    # Places of what is borrowed: x, w and y of y = conv(x, w) have the first three.
    BIAS = 3
    Z = 4
    OPERANDS = 5
    # Results that stand beside operands of the same place.
    OWN = 5
    PLACES = 8

# What a call borrows. The Python objects are the caller's; NULL: none.
ctypedef struct Call:
    # Given before:
    PyObject* operands[OPERANDS]
    PyObject* names        # a tuple: what the caller calls the operands
    int first              # the operand that settles kind, device and stream
    # As many as there are places that the call uses.
    TensorView* tensors
    Loan* loans
    int count
    PyObject* stream       # NULL: the producer's
    int results            # how many are answered; several are a tuple
    bint[3] wanted         # None is answered for the others
    int[3] places
    PyObject* given[3]     # where results go; NULL: they are made
    # What the check settles beside the sizes of the results' tensors:
    bint[3] batched        # the result has a batch dimension
    bint[3] channels_last  # how it is made
    # What becomes of it:
    Kind kind
    hipStream_t settled
    bint z_in_place        # z is the memory that the result goes to
    PyObject* made[3]      # the results; references of the call's own
    PyObject* context      # entered, and to be left; of the call's own

ctypedef int (*Step)(Call* call, void* more) except -1

cdef PyObject* or_null(object given) noexcept
cdef object run_call(Call* call, Step check, Step run, void* more)

# What the caller gave beside x, w and y, as it was given: references of the caller's own.
ctypedef struct Arguments:
    PyObject* bias
    PyObject* z
    PyObject* alpha
    bint relu
    PyObject* stride
    PyObject* padding
    PyObject* output_padding
    PyObject* dilation
    PyObject* groups
    PyObject* out
    PyObject* benchmark
    PyObject* deterministic
    PyObject* allow_tf32
    PyObject* solution
    PyObject* workspace_limit
    PyObject* exclude
    PyObject* stream

cdef object operate(int which, int spatial, object x, object w, object y, const Arguments* given)
cdef tuple gradients(
    bint transposed, int spatial, tuple operands, tuple mask, tuple outs, tuple solutions,
    const Arguments* given)
cdef object bias_gradient(int spatial, object gradient, object out, object stream)
