"""The operators: borrow the tensors, check the call, run it.

`mioconv.conv` gives these functions their names and defaults. Every operator is one direction of the
ordinary convolution y = conv(x, w); a transposed convolution is the gradient of an ordinary one, so
that its input is y and its output x.
"""

from libc.stdint cimport int64_t, uint16_t
from libc.string cimport memset

from mioconv._execute cimport (
    Following, add_height, convolve, device_name, fill_params, fill_zero, provider_of, sum_to_bias)
from mioconv._flags cimport default_flags, resolve_flags
from mioconv._geometry cimport (
    Geometry, Names, check_bias, check_geometry, check_rank, check_shape, output_sizes,
    parse_geometry, parse_output_padding, parse_shape, sizes, split_output_padding,
    transposed_input_sizes, transposed_sizes)
from mioconv._select cimport Options, device_of, list_solutions
from mioconv._tensor cimport OTHER, Kind, Loan, Tensor, borrow, give_back, kind_name, new_tensor
from mioconv.dlpack cimport kDLCPU
from mioconv.miopen cimport miopenBFloat16, miopenDataType_t, miopenFloat, miopenHalf
from mioconv.native cimport (
    ConvolutionParams, Device, Direction, Layout, Provider, TensorView, W, X, Y, max_dims,
    may_overlap, only_channels_last, overlaps_itself, result_of, same_memory, set_dense_strides)

from mioconv import second_ways


# --- what the operands have in common --------------------------------------------------------------

cdef str dtype_name(const TensorView* tensor):
    return {<int>miopenFloat: "float32", <int>miopenHalf: "float16"}.get(
        <int>tensor.dtype, "bfloat16")


cdef int check_same(const TensorView* first, Kind kind, str first_name, const TensorView* tensor,
                    Kind other, str name) except -1:
    """All tensors of a call are of one kind, dtype and device."""
    if other != kind:
        raise TypeError(
            f"{name}: expected a {kind_name(kind)} like {first_name}, but got a "
            f"{kind_name(other)}; all tensors of a call are of one kind")
    if tensor.dtype != first.dtype:
        raise TypeError(
            f"{name}: expected dtype {dtype_name(first)} like {first_name}, but got "
            f"{dtype_name(tensor)}")
    if tensor.device_type != first.device_type or tensor.device_id != first.device_id:
        raise ValueError(
            f"{name}: expected device {device_name(first)} like {first_name}, but got "
            f"{device_name(tensor)}")
    return 0


cdef int check_overlap(const TensorView* out, const TensorView* tensor, str name) except -1:
    if may_overlap(out[0], tensor[0]):
        raise ValueError(f"out: its memory overlaps {name}, which is still being read; pass "
                         f"memory of its own")
    return 0


cdef int take_stream(Options* options, object stream, const TensorView* tensor) except -1:
    if stream is not None and provider_of(tensor) == <int>Provider.cpu:
        raise ValueError(f"stream: expected None for tensors on the CPU, but got {stream!r}")
    return 0


# --- the operators ---------------------------------------------------------------------------------

# Rows: what an operator calls x, w and y, and which of them it computes. The result's name is that of
# the shape that the user gives for it, where there is one.
cdef struct Operator:
    Direction direction
    bint transposed
    Names names

cdef Operator[6] operators
operators[0] = Operator(Direction.forward, False, Names("input", "weight", "out"))
operators[1] = Operator(
    Direction.backward_data, False, Names("input_shape", "weight", "grad_output"))
operators[2] = Operator(
    Direction.backward_weights, False, Names("input", "weight_shape", "grad_output"))
operators[3] = Operator(Direction.backward_data, True, Names("out", "weight", "input"))
operators[4] = Operator(Direction.forward, True, Names("grad_output", "weight", "out"))
operators[5] = Operator(
    Direction.backward_weights, True, Names("grad_output", "weight_shape", "input"))

DEPTHWISE = object()
FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = 0, 1, 2
TRANSPOSED_FORWARD, TRANSPOSED_BACKWARD_INPUT, TRANSPOSED_BACKWARD_WEIGHT = 3, 4, 5


def operate(int which, int spatial, x, w, y, bias, z, alpha, bint relu, stride, padding,
            output_padding, dilation, groups, out, benchmark, deterministic, allow_tf32, solution,
            workspace_limit, stream):
    """One operator on tensors of one kind; `mioconv.conv` documents each.

    `x`, `w` and `y` are the operands of y = conv(x, w). In the place of the result stands its shape,
    or None where that follows from the others. ``groups=DEPTHWISE``: one for each channel of x.
    """
    cdef Operator* op = &operators[which]
    cdef TensorView[3] tensors
    cdef TensorView bias_view, z_view
    cdef Loan[3] loans
    cdef Loan bias_loan, z_loan
    cdef Geometry geometry
    cdef Options options
    cdef Following following
    cdef int result = <int>result_of(op.direction)
    cdef int first = <int>X if result != <int>X else <int>Y
    cdef int second = <int>W if result != <int>W else <int>Y
    cdef str first_name, second_name
    cdef bint batched = True
    cdef Kind kind
    operands = (x, w, y)
    memset(loans, 0, sizeof(loans))
    memset(&bias_loan, 0, sizeof(Loan))
    memset(&z_loan, 0, sizeof(Loan))
    memset(&following, 0, sizeof(Following))
    try:
        first_name = operand_name(op, first)
        second_name = operand_name(op, second)
        borrow(operands[first], first_name, False, &tensors[first], &loans[first])
        borrow(operands[second], second_name, False, &tensors[second], &loans[second])
        kind = loans[first].kind
        check_same(&tensors[first], kind, first_name, &tensors[second], loans[second].kind,
                   second_name)
        resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, solution)
        take_stream(&options, stream, &tensors[first])
        check_ranks(op, tensors, spatial, result, operands[result], &batched)
        parse_geometry(&geometry, spatial, stride, padding, dilation,
                       tensors[<int>X].shape[1] if groups is DEPTHWISE else groups)
        geometry.depthwise = groups is DEPTHWISE
        if op.transposed:
            parse_output_padding(&geometry, output_padding)
        settle_sizes(op, &geometry, tensors, result)
        if bias is not None:
            borrow(bias, "bias", False, &bias_view, &bias_loan)
            check_same(&tensors[first], kind, first_name, &bias_view, bias_loan.kind, "bias")
            check_bias(&bias_view, &tensors[<int>W], tensors[result].shape[1])
            following.bias = &bias_view
        if z is not None:
            borrow(z, "z", False, &z_view, &z_loan)
            check_same(&tensors[first], kind, first_name, &z_view, z_loan.kind, "z")
            check_shape(&z_view, "z", tensors[result].shape, spatial + 2, batched)
            following.z = &z_view
            following.alpha = alpha
        following.relu = relu
        out = take_result(kind, operands[first], &tensors[result], loans, tensors, out, result,
                          first, second, first_name, second_name, batched, &bias_view, &z_view,
                          &following)
        with nogil:
            convolve(op.direction, &tensors[<int>X], &tensors[<int>W], &tensors[<int>Y],
                     &following, &geometry, &options)
        if following.bias_pending or following.z_pending or following.relu_pending:
            second_ways.finish(
                out, kind, z if following.z_pending else None, following.alpha,
                bias if following.bias_pending else None, spatial, following.relu_pending)
        return out
    finally:
        give_back(&loans[0])
        give_back(&loans[1])
        give_back(&loans[2])
        give_back(&bias_loan)
        give_back(&z_loan)


cdef str operand_name(const Operator* op, int operand):
    cdef const char* name = (
        op.names.x if operand == <int>X else op.names.w if operand == <int>W else op.names.y)
    return name.decode()


cdef int check_ranks(const Operator* op, TensorView* tensors, int spatial, int result,
                     object result_shape, bint* batched) except -1:
    """Ranks of x and y, whose batch dimension may be missing in both; a shape given for the result."""
    cdef bint other
    if result_shape is not None:
        parse_shape(&tensors[result], operand_name(op, result), result_shape)
        tensors[result].dtype = tensors[<int>X if result != <int>X else <int>Y].dtype
    if result == <int>X:
        check_rank(&tensors[<int>Y], op.names.y, spatial, batched)
    else:
        check_rank(&tensors[<int>X], op.names.x, spatial, batched)
    # The other one is computed, or has to have the batch dimension as well.
    if result == <int>W or result_shape is not None and result == <int>X:
        other = batched[0]
        if result == <int>W:
            check_rank(&tensors[<int>Y], op.names.y, spatial, &other)
        else:
            check_rank(&tensors[<int>X], op.names.x, spatial, &other)
        if other != batched[0]:
            raise ValueError(
                f"{operand_name(op, <int>X)} and {operand_name(op, <int>Y)}: expected both with a "
                f"batch dimension or both without")
    return 0


cdef int settle_sizes(const Operator* op, Geometry* geometry, TensorView* tensors,
                      int result) except -1:
    """Compute the sizes that follow from the others; compare them where they were given too."""
    cdef int64_t[max_dims] found
    cdef int i, computed, dims = geometry.spatial + 2
    cdef TensorView* x = &tensors[<int>X]
    cdef TensorView* w = &tensors[<int>W]
    cdef TensorView* y = &tensors[<int>Y]
    if not op.transposed:
        computed = <int>Y
        output_sizes(geometry, x, w, found, &op.names)
    elif result == <int>Y:
        computed = <int>Y
        transposed_input_sizes(geometry, x, w, found, &op.names)
    else:
        computed = <int>X
        transposed_sizes(geometry, y, w, found, &op.names)
    if computed == result:
        tensors[result].ndim = dims
        tensors[result].dtype = w.dtype
        for i in range(dims):
            tensors[result].shape[i] = found[i]
        return 0
    return check_shape(&tensors[computed], operand_name(op, computed), found, dims, True)


cdef object take_result(Kind kind, object like, TensorView* view, Loan* loans, TensorView* tensors,
                        object out, int result, int first, int second, str first_name,
                        str second_name, bint batched, const TensorView* bias, const TensorView* z,
                        const Following* following):
    """Borrow `out`, or make a tensor of the caller's kind, into the result's place."""
    cdef TensorView expected = view[0]
    cdef int ndim = <int>view.ndim
    cdef bint whole = batched or result == <int>W
    cdef Layout layout
    if out is None:
        layout = Layout.packed
        if only_channels_last(tensors[first]) or only_channels_last(tensors[second]):
            layout = Layout.channels_last
        return new_output(kind, like, view, layout, whole, &loans[result])
    borrow(out, "out", True, view, &loans[result])
    check_same(&tensors[first], kind, first_name, view, loans[result].kind, "out")
    check_shape(view, "out", expected.shape, ndim, whole)
    if overlaps_itself(view[0]):
        raise ValueError("out: its elements overlap each other in memory, so no result can be written to it")
    check_overlap(view, &tensors[first], first_name)
    check_overlap(view, &tensors[second], second_name)
    if following.bias != NULL:
        check_overlap(view, bias, "bias")
    if following.z != NULL and not same_memory(view[0], z[0]):
        check_overlap(view, z, "z")
    return out


cdef object new_output(Kind kind, object like, TensorView* view, Layout layout, bint batched,
                       Loan* loan):
    """A result of `view`'s shape, without its batch dimension where the call has none.

    It is made with the batch and loses that by indexing, so that its layout is the same either way.
    """
    result = new_tensor(kind, like, view, layout, loan)
    if batched:
        return result
    return (<Tensor>result).without_batch() if kind == OTHER else result[0]


def check_backward(bint transposed, int spatial, input, grad_output, weight, stride, padding,
                   output_padding, dilation, groups) -> None:
    """All that the three gradients have in common, before the first is computed."""
    cdef Operator* op = &operators[TRANSPOSED_FORWARD if transposed else FORWARD]
    cdef TensorView[3] tensors
    cdef Loan[3] loans
    cdef Geometry geometry
    cdef bint batched = True
    cdef int i
    order = (grad_output, weight, input) if transposed else (input, weight, grad_output)
    names = ("grad_output", "weight", "input") if transposed else ("input", "weight", "grad_output")
    cdef Operator named = op[0]
    if transposed:
        named.names.x = "grad_output"
    else:
        named.names.y = "grad_output"
    memset(loans, 0, sizeof(loans))
    try:
        for i in range(3):
            borrow(order[i], names[i], False, &tensors[i], &loans[i])
            check_same(&tensors[0], loans[0].kind, names[0], &tensors[i], loans[i].kind, names[i])
        check_ranks(&named, tensors, spatial, <int>W, None, &batched)
        parse_geometry(&geometry, spatial, stride, padding, dilation,
                       tensors[<int>X].shape[1] if groups is DEPTHWISE else groups)
        if transposed:
            parse_output_padding(&geometry, output_padding)
        settle_sizes(&named, &geometry, tensors, <int>W)
    finally:
        for i in range(3):
            give_back(&loans[i])


def bias_gradient(int spatial, gradient, out, stream):
    """The sum of a gradient over every dimension but the channels."""
    cdef TensorView view, bias
    cdef Loan loan, bias_loan
    cdef Options options
    cdef bint batched, refused = False
    cdef int64_t[1] channels
    memset(&loan, 0, sizeof(Loan))
    memset(&bias_loan, 0, sizeof(Loan))
    try:
        borrow(gradient, "grad_output", False, &view, &loan)
        resolve_flags(&options, None, None, None, None, None)
        take_stream(&options, stream, &view)
        check_rank(&view, "grad_output", spatial, &batched)
        channels[0] = view.shape[1]
        if out is None:
            bias.ndim = 1
            bias.shape[0] = channels[0]
            bias.dtype = view.dtype
            out = new_tensor(loan.kind, gradient, &bias, Layout.packed, &bias_loan)
        else:
            borrow(out, "out", True, &bias, &bias_loan)
            check_same(&view, loan.kind, "grad_output", &bias, bias_loan.kind, "out")
            check_shape(&bias, "out", channels, 1, True)
            check_overlap(&bias, &view, "grad_output")
        if view.count() == 0:
            fill_zero(&bias, &options)
            return out
        with nogil:
            sum_to_bias(&view, &bias, &options, &refused)
        if refused:
            second_ways.bias_gradient(out, loan.kind, gradient, spatial)
        return out
    finally:
        give_back(&loan)
        give_back(&bias_loan)


# --- without Python objects ------------------------------------------------------------------------

cdef int fill_geometry(Geometry* geometry, int spatial, const int64_t* stride,
                       const int64_t* padding, const int64_t* dilation,
                       int64_t groups) except -1 nogil:
    cdef int i
    memset(geometry, 0, sizeof(Geometry))
    geometry.spatial = spatial
    geometry.groups = groups
    for i in range(spatial):
        geometry.stride[i] = stride[i]
        geometry.padding[i] = padding[i]
        geometry.dilation[i] = dilation[i]
    return check_geometry(geometry)


cdef void fill_view(TensorView* view, const void* data, miopenDataType_t dtype, int ndim,
                    const int64_t* shape) noexcept nogil:
    cdef int i
    view.data = <void*>data
    view.dtype = dtype
    view.ndim = ndim
    view.device_type = kDLCPU
    view.device_id = 0
    for i in range(ndim):
        view.shape[i] = shape[i]
    set_dense_strides(view[0], Layout.packed)


cdef int conv_output_shape(int spatial, const int64_t* x_shape, const int64_t* w_shape,
                           const int64_t* stride, const int64_t* padding, const int64_t* dilation,
                           int64_t groups, int64_t* y_shape) except -1 nogil:
    cdef Geometry geometry
    cdef TensorView x, w
    fill_geometry(&geometry, spatial, stride, padding, dilation, groups)
    fill_view(&x, NULL, miopenFloat, spatial + 2, x_shape)
    fill_view(&w, NULL, miopenFloat, spatial + 2, w_shape)
    return output_sizes(&geometry, &x, &w, y_shape, &operators[0].names)


cdef int conv_forward(int spatial, int dtype, const void* x, const int64_t* x_shape, const void* w,
                      const int64_t* w_shape, void* y, const int64_t* stride,
                      const int64_t* padding, const int64_t* dilation,
                      int64_t groups) except -1 nogil:
    cdef TensorView x_view, w_view, y_view
    cdef int64_t[max_dims] y_shape
    conv_output_shape(spatial, x_shape, w_shape, stride, padding, dilation, groups, y_shape)
    fill_view(&x_view, x, <miopenDataType_t>dtype, spatial + 2, x_shape)
    fill_view(&w_view, w, <miopenDataType_t>dtype, spatial + 2, w_shape)
    fill_view(&y_view, y, <miopenDataType_t>dtype, spatial + 2, y_shape)
    return forward_views(&x_view, &w_view, &y_view, stride, padding, dilation, groups)


cdef int forward_views(TensorView* x, TensorView* w, TensorView* y, const int64_t* stride,
                       const int64_t* padding, const int64_t* dilation,
                       int64_t groups) except -1 nogil:
    cdef Geometry geometry
    cdef Options options
    cdef int64_t[max_dims] shape
    cdef int i
    fill_geometry(&geometry, <int>x.ndim - 2, stride, padding, dilation, groups)
    output_sizes(&geometry, x, w, shape, &operators[0].names)
    for i in range(<int>x.ndim):
        if y.ndim != x.ndim or y.shape[i] != shape[i]:
            with gil:
                check_shape(y, "y", shape, <int>x.ndim, True)
    default_flags(&options)
    return convolve(Direction.forward, x, w, y, NULL, &geometry, &options)


cdef int take_memoryview(TensorView* view, const void* data, const Py_ssize_t* shape,
                         const Py_ssize_t* strides, int ndim, int itemsize,
                         bint bfloat16) except -1 nogil:
    """A typed memoryview as a tensor; its strides count bytes."""
    cdef int i
    view.data = <void*>data
    view.ndim = ndim
    view.device_type = kDLCPU
    view.device_id = 0
    view.dtype = miopenFloat if itemsize == 4 else miopenBFloat16 if bfloat16 else miopenHalf
    for i in range(ndim):
        if strides[i] % itemsize:
            with gil:
                raise BufferError("the buffer's elements are not aligned to their size")
        view.shape[i] = shape[i]
        view.strides[i] = strides[i] // itemsize
    return 0


# `&x[0, 0, 0]` of an empty view would read its shape: `&x` of Cython's struct has the pointer itself.
cdef extern from *:
    """
    template <typename Slice> static inline void* slice_data(const Slice& slice) {
        return slice.data;
    }
    """
    void* slice_data(...) noexcept nogil


cpdef int conv1d_forward_view(
        const element[:, :, :] x, const element[:, :, :] w, element[:, :, :] y, int64_t stride,
        int64_t padding, int64_t dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv1d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView x_view, w_view, y_view
    take_memoryview(&x_view, slice_data(x), x.shape, x.strides, 3, sizeof(element), bfloat16)
    take_memoryview(&w_view, slice_data(w), w.shape, w.strides, 3, sizeof(element), bfloat16)
    take_memoryview(&y_view, slice_data(y), y.shape, y.strides, 3, sizeof(element), bfloat16)
    return forward_views(&x_view, &w_view, &y_view, &stride, &padding, &dilation, groups)


cpdef int conv2d_forward_view(
        const element[:, :, :, :] x, const element[:, :, :, :] w, element[:, :, :, :] y,
        (int64_t, int64_t) stride, (int64_t, int64_t) padding,
        (int64_t, int64_t) dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv2d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView x_view, w_view, y_view
    take_memoryview(&x_view, slice_data(x), x.shape, x.strides, 4, sizeof(element), bfloat16)
    take_memoryview(&w_view, slice_data(w), w.shape, w.strides, 4, sizeof(element), bfloat16)
    take_memoryview(&y_view, slice_data(y), y.shape, y.strides, 4, sizeof(element), bfloat16)
    return forward_views(
        &x_view, &w_view, &y_view, <int64_t*>&stride, <int64_t*>&padding, <int64_t*>&dilation,
        groups)


cpdef int conv3d_forward_view(
        const element[:, :, :, :, :] x, const element[:, :, :, :, :] w,
        element[:, :, :, :, :] y, (int64_t, int64_t, int64_t) stride,
        (int64_t, int64_t, int64_t) padding,
        (int64_t, int64_t, int64_t) dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv3d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView x_view, w_view, y_view
    take_memoryview(&x_view, slice_data(x), x.shape, x.strides, 5, sizeof(element), bfloat16)
    take_memoryview(&w_view, slice_data(w), w.shape, w.strides, 5, sizeof(element), bfloat16)
    take_memoryview(&y_view, slice_data(y), y.shape, y.strides, 5, sizeof(element), bfloat16)
    return forward_views(
        &x_view, &w_view, &y_view, <int64_t*>&stride, <int64_t*>&padding, <int64_t*>&dilation,
        groups)


# --- questions -------------------------------------------------------------------------------------

def describe_tensor(tensor) -> tuple:
    """Shape, dtype name, layout ("packed" or "channels_last") and device name of any tensor.

    A strided tensor counts as packed: that is how it will be handed over.
    """
    cdef TensorView view
    cdef Loan loan
    memset(&loan, 0, sizeof(Loan))
    try:
        borrow(tensor, "tensor", False, &view, &loan)
        if view.ndim > max_dims:
            raise ValueError(f"tensor: expected at most {max_dims} dimensions, but got {view.ndim}")
        layout = "channels_last" if view.ndim > 2 and only_channels_last(view) else "packed"
        return sizes(view.shape, <int>view.ndim), dtype_name(&view), layout, device_name(&view)
    finally:
        give_back(&loan)


def shape_of(tensor) -> tuple:
    """The sizes of any tensor, one of more than five dimensions excepted."""
    return describe_tensor(tensor)[0]


def find_solutions(problem, benchmark, deterministic, allow_tf32, workspace_limit) -> list:
    """The ranked solutions of a `mioconv.Problem`, as dicts; `mioconv.find_solutions` documents it."""
    cdef Geometry geometry
    cdef Options options
    cdef TensorView[3] tensors
    cdef ConvolutionParams params
    cdef Device* device
    cdef int i, j, number, spatial = problem.rank
    kind, _, index = problem.device.partition(":")
    number = ("cpu", "rocm", "cuda").index(kind)
    resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, None)
    parse_geometry(&geometry, spatial, problem.stride, problem.padding, problem.dilation,
                   problem.groups)
    if problem.transposed:
        parse_output_padding(&geometry, problem.output_padding)
        split_output_padding(&geometry)
    # A transposed convolution is the gradient of the ordinary one: its input is that one's output.
    first, last = problem.input_shape, problem.output_shape
    if problem.transposed:
        first, last = last, first
    for i, shape in enumerate((first, problem.weight_shape, last)):
        fill_problem_tensor(&tensors[i], shape, problem.dtype)
        if i == <int>Y:
            for j in range(spatial):
                tensors[i].shape[2 + j] += geometry.y_end[j]
        if spatial == 1:
            add_height(&tensors[i])
        set_dense_strides(
            tensors[i],
            Layout.channels_last if problem.layout == "channels_last" else Layout.packed)
    device = device_of(number, int(index or 0))
    fill_params(&params, device, direction_of(problem), tensors, &geometry, &options)
    return list_solutions(device, &params, &options)


cdef int fill_problem_tensor(TensorView* view, tuple shape, str dtype) except -1:
    """A tensor that only exists on paper; the best alignment is assumed."""
    cdef int i
    view.data = <void*>64
    view.dtype = {"float32": miopenFloat, "float16": miopenHalf, "bfloat16": miopenBFloat16}[dtype]
    view.ndim = len(shape)
    for i in range(<int>view.ndim):
        view.shape[i] = shape[i]
    return 0


cdef Direction direction_of(problem) except *:
    cdef int direction = ("forward", "backward_input", "backward_weight").index(problem.direction)
    if problem.transposed and direction < 2:
        direction = 1 - direction
    return <Direction>direction
