"""The operators as Python calls them: borrow the tensors, check the call, run it.

`mioconv.conv` gives these functions their names and defaults. Every operator is one direction of
the ordinary convolution y = conv(x, w); a transposed convolution is the gradient of an ordinary
one, so that its input is y and its output x.
"""

from cpython.pycapsule cimport PyCapsule_CheckExact
from libc.stdint cimport int64_t
from libc.string cimport memset

from mioconv._api cimport usable
from mioconv._execute cimport convolve, fill_zero, provider_of, sum_to_bias
from mioconv._flags cimport resolve_flags
from mioconv._geometry cimport (
    Geometry, Names, check_bias, check_rank, check_shape, output_sizes, parse_geometry,
    parse_output_padding, parse_shape, transposed_input_sizes, transposed_sizes)
from mioconv._own_tensor cimport Tensor, dtype_name
from mioconv._plans cimport Options, device_of
from mioconv._stream cimport device_name, stream_pointer
from mioconv._tensor cimport (
    await_ready, borrow, give_back, kind_name, new_tensor, settle_stream)
from mioconv._torch_tensor cimport note_write
from mioconv.dlpack cimport kDLCPU, kDLCUDA
from mioconv.loan cimport OTHER, TORCH, Kind, Loan, Ordering
from mioconv.native cimport (
    Direction, Epilogue, Layout, Provider, Status, TensorView, W, X, Y, max_dims, may_overlap,
    only_channels_last, overlaps_itself, result_of, same_memory)

from mioconv import second_ways
from mioconv.errors import ProviderNotFoundError

# --- what the operands have in common -------------------------------------------------------------

cdef int check_same(const TensorView* first, Kind kind, str first_name, const TensorView* tensor,
                    Kind other, str name) except -1:
    """All tensors of a call are of one kind, dtype and device."""
    if other != kind:
        raise TypeError(
            f"{name}: expected a {kind_name(kind)} like {first_name}, but got a "
            f"{kind_name(other)}; all tensors of a call are of one kind")
    if tensor.dtype != first.dtype:
        raise TypeError(
            f"{name}: expected dtype {dtype_name(first.dtype)} like {first_name}, but got "
            f"{dtype_name(tensor.dtype)}")
    if tensor.device_type != first.device_type or tensor.device_id != first.device_id:
        raise ValueError(
            f"{name}: expected device {device_name(first)} like {first_name}, but got "
            f"{device_name(tensor)}")
    return 0


cdef int check_overlap(const TensorView* out, const TensorView* tensor, str name) except -1:
    if may_overlap(out[0], tensor[0]):
        raise ValueError(f"out: its memory overlaps {name}; pass memory of its own")
    return 0


cdef object take_stream(Options* options, object stream, object operand, const TensorView* tensor,
                        Loan* loans, int first, int count):
    """Settle the stream of a call by its first operand, and tell the other loans.

    A context manager that was entered and is the caller's to leave, or None.
    """
    cdef int i
    if provider_of(tensor) == <int>Provider.cpu:
        if stream is not None:
            raise ValueError(f"stream: expected None for tensors on the CPU, but got {stream!r}")
        return None
    context = settle_stream(stream, operand, tensor, &loans[first], &options.stream)
    for i in range(count):
        loans[i].order = Ordering.known
        loans[i].stream = options.stream
    return context


cdef int check_provider(const TensorView* tensor) except -1:
    """Load what a GPU's tensors need: without it nothing else about the call matters."""
    if tensor.device_type == kDLCPU:
        return 0
    try:
        device_of(provider_of(tensor), tensor.device_id)
    except ProviderNotFoundError as error:
        if tensor.device_type != kDLCUDA or not usable(<int>Provider.rocm):
            raise
        raise ProviderNotFoundError(
            f"{error}\nROCm builds exist that call their devices CUDA, so HIP was asked too: it "
            f"does not know this memory.") from None
    return 0


cdef int ask_stream(object stream, Loan* loan) except -1:
    """Tell the first loan of a call which stream the caller gave."""
    if stream is not None:
        loan.order = Ordering.known
        loan.stream = stream_pointer(stream)
    return 0


cdef int await_all(const Options* options, const TensorView* tensor, const Loan* loans,
                   int count) except -1:
    """Order the call after what its operands wait for themselves."""
    cdef int i
    if tensor.device_type == kDLCPU:
        return 0
    for i in range(count):
        await_ready(tensor, &loans[i], options.stream)
    return 0


# --- the operators --------------------------------------------------------------------------------

# What an operator calls x, w and y, and which of them it computes. The result's name is that of the
# shape that the user gives for it, where there is one.
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

# The three gradients together: all of x, w and y are given.
cdef Operator[2] gradient_operators
gradient_operators[0] = Operator(
    Direction.backward_weights, False, Names("input", "weight", "grad_output"))
gradient_operators[1] = Operator(
    Direction.backward_weights, True, Names("grad_output", "weight", "input"))

cdef object depthwise = object()
DEPTHWISE = depthwise
FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = 0, 1, 2
TRANSPOSED_FORWARD, TRANSPOSED_BACKWARD_INPUT, TRANSPOSED_BACKWARD_WEIGHT = 3, 4, 5


cdef tuple name_table(const Operator* op):
    return op.names.x.decode(), op.names.w.decode(), op.names.y.decode()


# The same names as Python strings, made once: every call borrows by name.
cdef tuple operator_names = tuple([name_table(&operators[i]) for i in range(6)])
cdef tuple gradient_names = tuple([name_table(&gradient_operators[i]) for i in range(2)])


cdef int check_ranks(const Operator* op, tuple names, TensorView* tensors, int spatial, int result,
                     object result_shape, bint* batched) except -1:
    """Ranks of x and y, which may both lack the batch dimension; a shape given for the result."""
    cdef bint other
    if result_shape is not None:
        parse_shape(&tensors[result], names[result], result_shape)
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
                f"{names[<int>X]} and {names[<int>Y]}: expected both with a batch dimension or "
                f"both without")
    return 0


cdef int settle_sizes(const Operator* op, tuple names, Geometry* geometry, TensorView* tensors,
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
        for i in range(dims):
            tensors[result].shape[i] = found[i]
        return 0
    return check_shape(&tensors[computed], names[computed], found, dims, True)


cdef int settle_geometry(const Operator* op, tuple names, Geometry* geometry, int spatial,
                         TensorView* tensors, int result, object stride, object padding,
                         object output_padding, object dilation, object groups) except -1:
    """Parse what the user gave, and settle the sizes of all three tensors."""
    parse_geometry(geometry, spatial, stride, padding, dilation,
                   tensors[<int>X].shape[1] if groups is depthwise else groups)
    if op.transposed:
        parse_output_padding(geometry, output_padding)
    return settle_sizes(op, names, geometry, tensors, result)


# --- results --------------------------------------------------------------------------------------

cdef int borrow_out(object out, Kind kind, const TensorView* first, str first_name,
                    const TensorView* expected, bint batched, TensorView* view,
                    Loan* loan) except -1:
    """Borrow the tensor that the user gave for a result of `expected`'s shape."""
    if PyCapsule_CheckExact(out):
        raise TypeError("out: expected a tensor, but got a bare DLPack capsule, which nobody could "
                        "read the result from")
    cdef TensorView wanted = expected[0]  # which may be `view` itself
    borrow(out, "out", True, view, loan)
    check_same(first, kind, first_name, view, loan.kind, "out")
    check_shape(view, "out", wanted.shape, <int>wanted.ndim, batched)
    if overlaps_itself(view[0]):
        raise ValueError("out: its elements overlap each other in memory, so no result can be "
                         "written to it")
    return 0


cdef object new_output(Kind kind, object like, const TensorView* first, TensorView* view,
                       bint channels_last, bint batched, Loan* loan):
    """A result of `view`'s shape, without its batch dimension where the call has none.

    It is made with the batch and loses that by indexing, so that its layout is the same either way.
    """
    view.dtype = first.dtype
    view.device_type = first.device_type
    view.device_id = first.device_id
    if view.too_large():
        raise ValueError("out: the result is too large")
    result = new_tensor(
        kind, like, view, Layout.channels_last if channels_last else Layout.packed, loan)
    if batched:
        return result
    return (<Tensor>result).without_batch() if kind == OTHER else result[0]


cdef object finish(object out, Kind kind, bint given, object z, object bias, int spatial,
                   Epilogue* epilogue):
    """What is left to do once the native library has run."""
    if epilogue.pending():
        second_ways.finish(
            out, kind, z if epilogue.z_pending else None, epilogue.alpha,
            bias if epilogue.bias_pending else None, spatial, epilogue.relu_pending,
            refusal_text(&epilogue.refusal))
    if given and kind == TORCH:
        note_write(out)
    return out


cdef str refusal_text(const Status* status):
    return f"{(<bytes>status.call).decode()} answered {status.code}"


# --- one result -----------------------------------------------------------------------------------

cdef object operate(
        int which, int spatial, x, w, y, bias, z, alpha, bint relu, stride, padding,
        output_padding, dilation, groups, out, benchmark, deterministic, allow_tf32, solution,
        workspace_limit, exclude, stream):
    """One operator on tensors of one kind; `mioconv.conv` documents each.

    `x`, `w` and `y` are the operands of y = conv(x, w). In the place of the result stands its
    shape, or None where that follows from the others. ``groups=DEPTHWISE``: one for each channel.
    """
    cdef Operator* op = &operators[which]
    cdef TensorView[3] tensors
    cdef TensorView bias_view, z_view, expected
    cdef Loan[5] loans
    cdef Geometry geometry
    cdef Options options
    cdef Epilogue epilogue
    cdef int result = <int>result_of(op.direction)
    cdef int first = <int>X if result != <int>X else <int>Y
    cdef int second = <int>W if result != <int>W else <int>Y
    cdef bint batched = True, given = out is not None, last
    cdef bint has_bias = bias is not None, has_z = z is not None
    cdef Kind kind
    cdef int i
    cdef tuple operands = (x, w, y), names = operator_names[which]
    cdef str first_name = names[first], second_name = names[second]
    cdef object context = None
    memset(loans, 0, sizeof(loans))
    try:
        ask_stream(stream, &loans[first])
        borrow(operands[first], first_name, False, &tensors[first], &loans[first])
        resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, exclude,
                      solution)
        context = take_stream(
            &options, stream, operands[first], &tensors[first], loans, first, 5)
        borrow(operands[second], second_name, False, &tensors[second], &loans[second])
        kind = loans[first].kind
        check_same(&tensors[first], kind, first_name, &tensors[second], loans[second].kind,
                   second_name)
        check_provider(&tensors[first])
        check_ranks(op, names, tensors, spatial, result, operands[result], &batched)
        settle_geometry(op, names, &geometry, spatial, tensors, result, stride, padding,
                        output_padding, dilation, groups)
        expected = tensors[result]
        if has_bias:
            borrow(bias, "bias", False, &bias_view, &loans[3])
            check_same(&tensors[first], kind, first_name, &bias_view, loans[3].kind, "bias")
            check_bias(&bias_view, &tensors[<int>W], expected.shape[1])
        if given:
            borrow_out(out, kind, &tensors[first], first_name, &expected,
                       batched or result == <int>W, &tensors[result], &loans[result])
            check_overlap(&tensors[result], &tensors[first], first_name)
            check_overlap(&tensors[result], &tensors[second], second_name)
            if has_bias:
                check_overlap(&tensors[result], &bias_view, "bias")
        if has_z:
            epilogue.alpha = alpha
            borrow(z, "z", False, &z_view, &loans[4])
            check_same(&tensors[first], kind, first_name, &z_view, loans[4].kind, "z")
            check_shape(&z_view, "z", expected.shape, spatial + 2, batched)
            if given and not same_memory(tensors[result], z_view):
                check_overlap(&tensors[result], &z_view, "z")
            else:
                epilogue.z_in_place = given and epilogue.alpha != 0
        epilogue.relu = relu
        if not given:
            last = only_channels_last(tensors[first]) or only_channels_last(tensors[second])
            out = new_output(kind, operands[first], &tensors[first], &tensors[result], last,
                             batched or result == <int>W, &loans[result])
        await_all(&options, &tensors[first], loans, 5)
        with nogil:
            convolve(op.direction, &tensors[<int>X], &tensors[<int>W], &tensors[<int>Y],
                     &bias_view if has_bias else NULL, &z_view if has_z else NULL,
                     &epilogue, &geometry, &options)
        if epilogue.undone:
            # Separate steps, of which the library may refuse the sum after the convolution has
            # overwritten z.
            epilogue.undone = epilogue.z_in_place = False
            if kind != OTHER:
                z = second_ways.copy(z, kind)
                give_back(&loans[4])
                borrow(z, "z", False, &z_view, &loans[4])
                check_shape(&z_view, "z", expected.shape, spatial + 2, batched)
            with nogil:
                convolve(op.direction, &tensors[<int>X], &tensors[<int>W], &tensors[<int>Y],
                         &bias_view if has_bias else NULL, &z_view, &epilogue, &geometry, &options)
        return finish(out, kind, given, z, bias, spatial, &epilogue)
    finally:
        for i in range(5):
            give_back(&loans[i])
        if context is not None:
            context.__exit__(None, None, None)


# --- the three gradients --------------------------------------------------------------------------

cdef tuple gradients(
        bint transposed, int spatial, input, grad_output, weight, stride, padding,
        output_padding, dilation, groups, mask, outs, benchmark, deterministic, allow_tf32,
        solutions, workspace_limit, exclude, stream):
    """The gradients of input, weight and bias that `mask` asks for; the others are None.

    Each operand is borrowed once, and everything is checked before the first gradient is computed.
    """
    cdef Operator* op = &gradient_operators[transposed]
    cdef TensorView[3] tensors, results, operands
    cdef Loan[6] loans
    cdef Geometry geometry
    cdef Options[3] options
    cdef Epilogue epilogue
    cdef Kind kind
    cdef bint batched = True, last = False
    cdef int i, j, place
    cdef int for_input = <int>Y if transposed else <int>X
    cdef int gradient = <int>X if transposed else <int>Y
    cdef Direction towards = Direction.forward if transposed else Direction.backward_data
    cdef tuple names = gradient_names[transposed]
    objects = (grad_output, weight, input) if transposed else (input, weight, grad_output)
    cdef object context = None
    found = [None, None, None]
    memset(loans, 0, sizeof(loans))
    try:
        ask_stream(stream, &loans[0])
        for i in range(3):
            borrow(objects[i], names[i], False, &tensors[i], &loans[i])
            if i == 0:
                context = take_stream(&options[0], stream, objects[0], &tensors[0], loans, 0, 6)
            check_same(&tensors[0], loans[0].kind, names[0], &tensors[i], loans[i].kind, names[i])
        kind = loans[0].kind
        for i in range(3):
            resolve_flags(&options[i], benchmark, deterministic, allow_tf32, workspace_limit,
                          exclude, solutions[i])
            options[i].stream = loans[5].stream
        check_provider(&tensors[0])
        check_ranks(op, names, tensors, spatial, <int>W, None, &batched)
        settle_geometry(op, names, &geometry, spatial, tensors, <int>W, stride, padding,
                        output_padding, dilation, groups)
        results[0] = tensors[for_input]
        results[1] = tensors[<int>W]
        results[2].ndim = 1
        results[2].shape[0] = tensors[gradient].shape[1]
        for i in range(3):
            if outs[i] is not None and mask[i]:
                borrow_out(outs[i], kind, &tensors[0], names[0], &results[i],
                           batched or i > 0, &results[i], &loans[3 + i])
                for j in range(3):
                    check_overlap(&results[i], &tensors[j], names[j])
                for j in range(i):
                    if mask[j] and outs[j] is not None:
                        check_overlap(&results[i], &results[j], "another of the three")
        for i in range(3):
            last = last or only_channels_last(tensors[i])
        for i in range(3):
            if mask[i]:
                found[i] = outs[i]
                if outs[i] is None:
                    found[i] = new_output(kind, objects[0], &tensors[0], &results[i],
                                          last and i < 2, batched or i > 0, &loans[3 + i])
        await_all(&options[0], &tensors[0], loans, 6)
        for i in range(2):
            if mask[i]:
                for j in range(3):
                    operands[j] = tensors[j]
                place = for_input if i == 0 else <int>W
                operands[place] = results[i]
                with nogil:
                    convolve(towards if i == 0 else Direction.backward_weights, &operands[<int>X],
                             &operands[<int>W], &operands[<int>Y], NULL, NULL, &epilogue, &geometry,
                             &options[i])
        if mask[2]:
            sum_gradient(found[2], kind, objects[gradient], &tensors[gradient], &results[2],
                         spatial, &options[2])
        if kind == TORCH:
            for i in range(3):
                if mask[i] and outs[i] is not None:
                    note_write(outs[i])
        return tuple(found)
    finally:
        for i in range(6):
            give_back(&loans[i])
        if context is not None:
            context.__exit__(None, None, None)


# --- the gradient of a bias -----------------------------------------------------------------------

cdef int sum_gradient(object out, Kind kind, object gradient, const TensorView* view,
                      const TensorView* bias, int spatial, const Options* options) except -1:
    cdef Status refusal
    if view.shape[0] == 0:
        return fill_zero(bias, options)
    with nogil:
        sum_to_bias(view, bias, options, &refusal)
    if not refusal.ok():
        second_ways.bias_gradient(out, kind, gradient, spatial, refusal_text(&refusal))
    return 0


cdef object bias_gradient(int spatial, gradient, out, stream):
    """The sum of a gradient over every dimension but the channels."""
    cdef TensorView view, bias
    cdef Loan[2] loans
    cdef Options options
    cdef object context = None
    cdef int i
    cdef bint batched, given = out is not None
    memset(loans, 0, sizeof(loans))
    try:
        ask_stream(stream, &loans[0])
        borrow(gradient, "grad_output", False, &view, &loans[0])
        resolve_flags(&options, None, None, None, None, None, None)
        context = take_stream(&options, stream, gradient, &view, loans, 0, 2)
        check_provider(&view)
        check_rank(&view, "grad_output", spatial, &batched)
        for i in range(1, spatial + 2):
            if view.shape[i] <= 0:
                raise ValueError(
                    f"grad_output: expected no dimension but the batch of size zero, but got size "
                    f"{tuple([view.shape[j] for j in range(spatial + 2)])}")
        bias.ndim = 1
        bias.shape[0] = view.shape[1]
        if given:
            borrow_out(out, loans[0].kind, &view, "grad_output", &bias, True, &bias, &loans[1])
            check_overlap(&bias, &view, "grad_output")
        else:
            out = new_output(loans[0].kind, gradient, &view, &bias, False, True, &loans[1])
        await_all(&options, &view, loans, 2)
        sum_gradient(out, loans[0].kind, gradient, &view, &bias, spatial, &options)
        if given and loans[0].kind == TORCH:
            note_write(out)
        return out
    finally:
        for i in range(2):
            give_back(&loans[i])
        if context is not None:
            context.__exit__(None, None, None)
