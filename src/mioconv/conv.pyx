"""The public convolution functions: names, defaults and documentation.

Each is written once and made for 1, 2 and 3 spatial dimensions; `conv.pyi` spells them out. This is
Python but for the `cimport` and is compiled all the same: the interpreter looks every keyword-only
argument that a call leaves out up in a dictionary, which took a quarter of a small call's time.
"""

from cpython.ref cimport PyObject

from mioconv._call.operators cimport Arguments, bias_gradient, gradients, operate

from mioconv._call.docstrings import document
from mioconv._call.operators import (
    BACKWARD_INPUT, BACKWARD_WEIGHT, DEPTHWISE, FORWARD, TRANSPOSED_BACKWARD_INPUT,
    TRANSPOSED_BACKWARD_WEIGHT, TRANSPOSED_FORWARD)

__all__ = []


def _per_rank(make):
    """Publish the function that `make` writes for 1, 2 and 3 spatial dimensions."""
    for spatial in (1, 2, 3):
        function = make(spatial)
        name = function.__name__.replace("Nd", f"{spatial}d")
        function.__name__ = function.__qualname__ = name
        function.__module__ = "mioconv"
        document(function, spatial)
        globals()[name] = function
        __all__.append(name)


cdef inline Arguments arguments(
        stride, padding, output_padding, dilation, groups, out, benchmark, deterministic,
        allow_tf32, solution, workspace_limit, exclude, stream):
    """Keyword arguments as one value; those that only some operators have are None."""
    return Arguments(
        bias=<PyObject*>None, z=<PyObject*>None, alpha=<PyObject*>None, relu=False,
        stride=<PyObject*>stride, padding=<PyObject*>padding,
        output_padding=<PyObject*>output_padding, dilation=<PyObject*>dilation,
        groups=<PyObject*>groups, out=<PyObject*>out, benchmark=<PyObject*>benchmark,
        deterministic=<PyObject*>deterministic, allow_tf32=<PyObject*>allow_tf32,
        solution=<PyObject*>solution, workspace_limit=<PyObject*>workspace_limit,
        exclude=<PyObject*>exclude, stream=<PyObject*>stream)


# --- convolution ----------------------------------------------------------------------------------


@_per_rank
def _forward(int spatial):
    cdef int op = FORWARD

    def convNd_forward(
        input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, groups, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        given.bias = <PyObject*>bias
        return operate(op, spatial, input, weight, None, &given)

    return convNd_forward


@_per_rank
def _backward_input(int spatial):
    cdef int op = BACKWARD_INPUT

    def convNd_backward_input(
        input_shape, grad_output, weight, stride=1, padding=0, dilation=1, groups=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, groups, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        return operate(op, spatial, input_shape, weight, grad_output, &given)

    return convNd_backward_input


@_per_rank
def _backward_weight(int spatial):
    cdef int op = BACKWARD_WEIGHT

    def convNd_backward_weight(
        weight_shape, grad_output, input, stride=1, padding=0, dilation=1, groups=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, groups, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        return operate(op, spatial, input, weight_shape, grad_output, &given)

    return convNd_backward_weight


@_per_rank
def _backward_bias(int spatial):
    def convNd_backward_bias(grad_output, *, out=None, stream=None):
        return bias_gradient(spatial, grad_output, out, stream)

    return convNd_backward_bias


cdef tuple _gradients(bint transposed, int spatial, tuple operands, output_mask,
                      const Arguments* given):
    """The gradients that the mask asks for; the others cost nothing and are None."""
    out, solution = <object>given.out, <object>given.solution
    mask = tuple([bool(wanted) for wanted in _triple("output_mask", output_mask)])
    outs = (None, None, None) if out is None else _triple("out", out)
    pins = (None, None, None) if solution is None else _triple("solution", solution)
    return gradients(transposed, spatial, operands, mask, outs, pins, given)


cdef tuple _triple(str name, values):
    """The three values, of the call's own: a sequence may make its items when it is asked, or be
    changed by whoever runs meanwhile."""
    if not hasattr(values, "__len__") or isinstance(values, str) or len(values) != 3:
        raise ValueError(
            f"{name}: expected three values, for the gradients of input, weight and bias, but got "
            f"{values!r}")
    return values[0], values[1], values[2]


@_per_rank
def _backward(int spatial):
    def convNd_backward(
        input, grad_output, weight, stride=1, padding=0, dilation=1, groups=1,
        output_mask=(True, True, True), *, out=None, benchmark=None, deterministic=None,
        allow_tf32=None, solution=None, workspace_limit=None, exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, groups, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        return _gradients(False, spatial, (input, weight, grad_output), output_mask, &given)

    return convNd_backward


# --- transposed convolution -----------------------------------------------------------------------


@_per_rank
def _transpose_forward(int spatial):
    cdef int op = TRANSPOSED_FORWARD

    def conv_transposeNd_forward(
        input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
        out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, output_padding, dilation, groups, out, benchmark, deterministic,
            allow_tf32, solution, workspace_limit, exclude, stream)
        given.bias = <PyObject*>bias
        return operate(op, spatial, None, weight, input, &given)

    return conv_transposeNd_forward


@_per_rank
def _transpose_backward_input(int spatial):
    cdef int op = TRANSPOSED_BACKWARD_INPUT

    def conv_transposeNd_backward_input(
        grad_output, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
        out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, output_padding, dilation, groups, out, benchmark, deterministic,
            allow_tf32, solution, workspace_limit, exclude, stream)
        return operate(op, spatial, grad_output, weight, None, &given)

    return conv_transposeNd_backward_input


@_per_rank
def _transpose_backward_weight(int spatial):
    cdef int op = TRANSPOSED_BACKWARD_WEIGHT

    def conv_transposeNd_backward_weight(
        weight_shape, grad_output, input, stride=1, padding=0, output_padding=0, groups=1,
        dilation=1, *, out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, output_padding, dilation, groups, out, benchmark, deterministic,
            allow_tf32, solution, workspace_limit, exclude, stream)
        return operate(op, spatial, grad_output, weight_shape, input, &given)

    return conv_transposeNd_backward_weight


@_per_rank
def _transpose_backward(int spatial):
    def conv_transposeNd_backward(
        input, grad_output, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1,
        output_mask=(True, True, True), *, out=None, benchmark=None, deterministic=None,
        allow_tf32=None, solution=None, workspace_limit=None, exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, output_padding, dilation, groups, out, benchmark, deterministic,
            allow_tf32, solution, workspace_limit, exclude, stream)
        return _gradients(True, spatial, (input, weight, grad_output), output_mask, &given)

    return conv_transposeNd_backward


# --- depthwise convolution: one group for each channel of the input -------------------------------


@_per_rank
def _depthwise_forward(int spatial):
    cdef int op = FORWARD

    def depthwise_convNd_forward(
        input, weight, bias=None, stride=1, padding=0, dilation=1, *, out=None, benchmark=None,
        deterministic=None, allow_tf32=None, solution=None, workspace_limit=None, exclude=None,
        stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, DEPTHWISE, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        given.bias = <PyObject*>bias
        return operate(op, spatial, input, weight, None, &given)

    return depthwise_convNd_forward


@_per_rank
def _depthwise_backward_input(int spatial):
    cdef int op = BACKWARD_INPUT

    def depthwise_convNd_backward_input(
        input_shape, grad_output, weight, stride=1, padding=0, dilation=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, DEPTHWISE, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        return operate(op, spatial, input_shape, weight, grad_output, &given)

    return depthwise_convNd_backward_input


@_per_rank
def _depthwise_backward_weight(int spatial):
    cdef int op = BACKWARD_WEIGHT

    def depthwise_convNd_backward_weight(
        weight_shape, grad_output, input, stride=1, padding=0, dilation=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, DEPTHWISE, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        return operate(op, spatial, input, weight_shape, grad_output, &given)

    return depthwise_convNd_backward_weight


@_per_rank
def _depthwise_backward(int spatial):
    def depthwise_convNd_backward(
        input, grad_output, weight, stride=1, padding=0, dilation=1, output_mask=(True, True, True),
        *, out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, DEPTHWISE, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        return _gradients(False, spatial, (input, weight, grad_output), output_mask, &given)

    return depthwise_convNd_backward


# --- convolution and what follows it --------------------------------------------------------------


@_per_rank
def _relu_forward(int spatial):
    cdef int op = FORWARD

    def convNd_relu_forward(
        input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        exclude=None, stream=None,
    ):
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, groups, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        given.bias = <PyObject*>bias
        given.relu = True
        return operate(op, spatial, input, weight, None, &given)

    return convNd_relu_forward


@_per_rank
def _add_relu_forward(int spatial):
    cdef int op = FORWARD

    def convNd_add_relu_forward(
        input, weight, z, alpha=1.0, bias=None, stride=1, padding=0, dilation=1, groups=1, *,
        out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, exclude=None, stream=None,
    ):
        if z is None:
            raise TypeError("z: expected a tensor of the output's shape, but got None")
        cdef Arguments given = arguments(
            stride, padding, 0, dilation, groups, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, exclude, stream)
        given.bias = <PyObject*>bias
        given.z = <PyObject*>z
        given.alpha = <PyObject*>alpha
        given.relu = True
        return operate(op, spatial, input, weight, None, &given)

    return convNd_add_relu_forward
