# The operators on Python objects, for mioconv.conv, and their checks, for mioconv._planned.

from mioconv._plans cimport Options
from mioconv.loan cimport Kind, Loan
from mioconv.native cimport TensorView

cdef int check_same(
    const TensorView* first, Kind kind, str first_name, const TensorView* tensor, Kind other,
    str name) except -1
cdef int check_overlap(const TensorView* out, const TensorView* tensor, str name) except -1
cdef object take_stream(
    Options* options, object stream, object operand, const TensorView* tensor, Loan* loans,
    int first, int count)
cdef int ask_stream(object stream, Loan* loan) except -1
cdef int await_all(
    const Options* options, const TensorView* tensor, const Loan* loans, int count) except -1
cdef int check_provider(const TensorView* tensor) except -1
cdef int borrow_out(
    object out, Kind kind, const TensorView* first, str first_name, const TensorView* expected,
    bint batched, TensorView* view, Loan* loan) except -1
cdef object new_output(
    Kind kind, object like, const TensorView* first, TensorView* view, bint channels_last,
    bint batched, Loan* loan)

cdef object operate(
    int which, int spatial, object x, object w, object y, object bias, object z, object alpha,
    bint relu, object stride, object padding, object output_padding, object dilation, object
    groups, object out, object benchmark, object deterministic, object allow_tf32, object
    solution, object workspace_limit, object exclude, object stream)
cdef tuple gradients(
    bint transposed, int spatial, object input, object grad_output, object weight, object stride,
    object padding, object output_padding, object dilation, object groups, object mask, object
    outs, object benchmark, object deterministic, object allow_tf32, object solutions, object
    workspace_limit, object exclude, object stream)
cdef object bias_gradient(int spatial, object gradient, object out, object stream)
