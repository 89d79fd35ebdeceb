"""The operators on Python objects: borrow the tensors, check the call, run it.

`mioconv.conv` gives these functions their names and defaults. Every operator is one direction of
the ordinary convolution y = conv(x, w); a transposed convolution is the gradient of an ordinary
one, so that its input is y and its output x.

Every call that has tensors goes through `run_call`, also those of plans. Who calls it says what the
operands are, how they are checked and what runs.
"""

from cpython.pycapsule cimport PyCapsule_CheckExact
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.string cimport memset

from mioconv._borrow.loan cimport OTHER, TORCH, Kind, Loan, Ordering
from mioconv._borrow.own_tensor cimport Tensor, dtype_name, sizes
from mioconv._borrow.stream cimport device_name, stream_pointer
from mioconv._borrow.tensor cimport (
    await_ready, borrow, call_stream, give_back, kind_name, new_tensor)
from mioconv._borrow.torch_tensor cimport note_write
from mioconv._check.flags cimport Options, resolve_flags
from mioconv._check.geometry cimport (
    Geometry, Names, Operator, check_bias, check_rank, check_ranks, check_shape, compute_sizes,
    parse_geometry, parse_output_padding)
from mioconv._core.execute cimport Task, convolve, fill_zero, provider_of, sum_to_bias
from mioconv._core.state cimport device_of
from mioconv._native.api cimport usable
from mioconv._native.dlpack cimport kDLCPU, kDLCUDA
from mioconv._native.native cimport (
    Direction, Epilogue, Layout, Provider, Status, TensorView, W, X, Y, may_overlap,
    only_channels_last, overlaps_itself, result_of, same_memory)

from mioconv._borrow import second_ways
from mioconv.errors import ProviderNotFoundError

# --- borrow, check, run ---------------------------------------------------------------------------

cdef object run_call(Call* call, Step check, Step run, void* more):
    """What the results are: one, a tuple of several, None of none.

    `check` is told of the borrowed operands and settles the results' sizes; nothing native of the
    convolution has been called by then. `run` writes the results.
    """
    cdef int i
    memset(call.loans, 0, call.count * sizeof(Loan))
    memset(call.made, 0, sizeof(call.made))
    call.context = NULL
    call.settled = NULL
    call.z_in_place = False
    try:
        borrow_operands(call)
        check(call, more)
        take_results(call)
        if call.tensors[call.first].device_type != kDLCPU:
            await_operands(call)
        run(call, more)
        if call.kind == TORCH:
            for i in range(call.results):
                if call.wanted[i] and call.given[i] != NULL:
                    note_write(<object>call.given[i])
        if call.results == 1:
            return <object>call.made[0]
        return tuple([<object>call.made[i] if call.wanted[i] else None
                      for i in range(call.results)])
    finally:
        for i in range(call.count):
            give_back(&call.loans[i])
        for i in range(call.results):
            Py_XDECREF(call.made[i])
        if call.context != NULL:
            leave(call)


cdef int leave(Call* call) except -1:
    context = <object>call.context
    Py_XDECREF(call.context)
    context.__exit__(None, None, None)
    return 0


cdef PyObject* or_null(object given) noexcept:
    """What a call takes for an argument that may be None."""
    if given is None:
        return NULL
    return <PyObject*>given


# --- operands -------------------------------------------------------------------------------------

cdef int borrow_operands(Call* call) except -1:
    """The first operand, which settles the stream; the others, of its kind, dtype and device."""
    cdef tuple names = <tuple>call.names
    cdef TensorView* first = &call.tensors[call.first]
    cdef Loan* loan = &call.loans[call.first]
    cdef int i
    if call.stream != NULL:
        loan.order = Ordering.known
        loan.stream = stream_pointer(<object>call.stream)
    borrow(<object>call.operands[call.first], names[call.first], False, first, loan)
    call.kind = loan.kind
    take_stream(call)
    for i in range(OPERANDS):
        if i != call.first and call.operands[i] != NULL:
            borrow(<object>call.operands[i], names[i], False, &call.tensors[i], &call.loans[i])
            check_same(call, i, names[i])
    return check_provider(first)


cdef int check_same(const Call* call, int place, str name) except -1:
    """All tensors of a call are of one kind, dtype and device."""
    cdef const TensorView* first = &call.tensors[call.first]
    cdef const TensorView* tensor = &call.tensors[place]
    cdef Kind kind = call.loans[place].kind
    cdef str first_name = (<tuple>call.names)[call.first]
    if kind != call.kind:
        raise TypeError(
            f"{name}: expected a {kind_name(call.kind)} like {first_name}, but got a "
            f"{kind_name(kind)}; all tensors of a call are of one kind")
    if tensor.dtype != first.dtype:
        raise TypeError(
            f"{name}: expected dtype {dtype_name(first.dtype)} like {first_name}, but got "
            f"{dtype_name(tensor.dtype)}")
    if tensor.device_type != first.device_type or tensor.device_id != first.device_id:
        raise ValueError(
            f"{name}: expected device {device_name(first)} like {first_name}, but got "
            f"{device_name(tensor)}")
    return 0


cdef int take_stream(Call* call) except -1:
    """Settle the stream of a call by its first operand, and tell the other loans."""
    cdef const TensorView* tensor = &call.tensors[call.first]
    cdef int i
    if provider_of(tensor) == <int>Provider.cpu:
        if call.stream != NULL:
            raise ValueError(f"stream: expected None for tensors on the CPU, but got "
                             f"{<object>call.stream!r}")
        return 0
    context = call_stream(
        <object>call.stream if call.stream != NULL else None, <object>call.operands[call.first],
        tensor, &call.loans[call.first], &call.settled)
    if context is not None:
        Py_INCREF(context)
        call.context = <PyObject*>context
    for i in range(call.count):
        call.loans[i].order = Ordering.known
        call.loans[i].stream = call.settled
    return 0


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


cdef int await_operands(const Call* call) except -1:
    """Order the call after what its operands wait for themselves."""
    cdef int i
    for i in range(call.count):
        await_ready(&call.tensors[call.first], &call.loans[i], call.settled)
    return 0


# --- results --------------------------------------------------------------------------------------

cdef int take_results(Call* call) except -1:
    """Borrow the tensors that the caller gave for results, and then make the others."""
    cdef object made
    cdef int i
    for i in range(call.results):
        if call.wanted[i] and call.given[i] != NULL:
            borrow_out(call, i)
            check_overlaps(call, i)
            Py_INCREF(<object>call.given[i])
            call.made[i] = call.given[i]
    for i in range(call.results):
        if call.wanted[i] and call.given[i] == NULL:
            made = new_output(call, i)
            Py_INCREF(made)
            call.made[i] = <PyObject*>made
    return 0


cdef int borrow_out(Call* call, int which) except -1:
    """Borrow the tensor that the user gave for a result."""
    cdef int place = call.places[which]
    cdef TensorView* view = &call.tensors[place]
    cdef TensorView wanted = view[0]
    if PyCapsule_CheckExact(<object>call.given[which]):
        raise TypeError("out: expected a tensor, but got a bare DLPack capsule, which nobody could "
                        "read the result from")
    borrow(<object>call.given[which], "out", True, view, &call.loans[place])
    check_same(call, place, "out")
    check_shape(view, "out", wanted.shape, <int>wanted.ndim, call.batched[which])
    if overlaps_itself(view[0]):
        raise ValueError("out: its elements overlap each other in memory, so no result can be "
                         "written to it")
    return 0


cdef int check_overlaps(Call* call, int which) except -1:
    """Of a result and the operands, or results before it; only a z may be the result's memory."""
    cdef const TensorView* out = &call.tensors[call.places[which]]
    cdef int i
    for i in range(OPERANDS):
        if call.operands[i] == NULL:
            continue
        if i == Z and same_memory(out[0], call.tensors[i]):
            call.z_in_place = True
        elif may_overlap(out[0], call.tensors[i]):
            raise ValueError(
                f"out: its memory overlaps {(<tuple>call.names)[i]}; pass memory of its own")
    for i in range(which):
        if call.wanted[i] and call.given[i] != NULL and may_overlap(
                out[0], call.tensors[call.places[i]]):
            raise ValueError(
                "out: its memory overlaps another of the three; pass memory of its own")
    return 0


cdef object new_output(Call* call, int which):
    """A result without its batch dimension where the call has none.

    It is made with the batch and loses that by indexing, so that its layout is the same either way.
    """
    cdef const TensorView* first = &call.tensors[call.first]
    cdef TensorView* view = &call.tensors[call.places[which]]
    cdef Layout layout = Layout.channels_last if call.channels_last[which] else Layout.packed
    view.dtype = first.dtype
    view.device_type = first.device_type
    view.device_id = first.device_id
    if view.too_large():
        raise ValueError("out: the result is too large")
    result = new_tensor(call.kind, <object>call.operands[call.first], view, layout,
                        &call.loans[call.places[which]])
    if call.batched[which]:
        return result
    return (<Tensor>result).without_batch() if call.kind == OTHER else result[0]


# --- the operators --------------------------------------------------------------------------------

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
    return op.names.x.decode(), op.names.w.decode(), op.names.y.decode(), "bias", "z"


# The same names as Python strings, made once: every call borrows by name.
cdef tuple operator_names = tuple([name_table(&operators[i]) for i in range(6)])
cdef tuple gradient_names = tuple([name_table(&gradient_operators[i]) for i in range(2)])


cdef int parse_sizes(const Operator* op, tuple names, Geometry* geometry, int spatial,
                     TensorView* tensors, int result, const Arguments* given) except -1:
    """Parse what the user gave, and settle the sizes of all three tensors."""
    cdef object groups = <object>given.groups
    parse_geometry(geometry, spatial, <object>given.stride, <object>given.padding,
                   <object>given.dilation,
                   tensors[<int>X].shape[1] if groups is depthwise else groups)
    if op.transposed:
        parse_output_padding(geometry, <object>given.output_padding)
    return compute_sizes(op, names, geometry, tensors, result)


cdef int options_of(Options* options, const Call* call, const Arguments* given,
                    object solution) except -1:
    resolve_flags(options, <object>given.benchmark, <object>given.deterministic,
                  <object>given.allow_tf32, <object>given.workspace_limit, <object>given.exclude,
                  solution)
    options.stream = call.settled
    return 0


cdef str refusal_text(const Status* status):
    return f"{(<bytes>status.call).decode()} answered {status.code}"


# --- one result -----------------------------------------------------------------------------------

cdef struct Operation:
    Operator* op
    int spatial
    int result
    const Arguments* given
    PyObject* shape  # what stands in the place of the result
    Geometry geometry
    Options options
    Epilogue epilogue


cdef object operate(int which, int spatial, x, w, y, const Arguments* given):
    """One operator on tensors of one kind; `mioconv.conv` documents each.

    `x`, `w` and `y` are the operands of y = conv(x, w). In the place of the result stands its
    shape, or None where that follows from the others. ``groups=DEPTHWISE``: one for each channel.
    """
    cdef Call call
    cdef TensorView[OPERANDS] tensors
    cdef Loan[OPERANDS] loans
    cdef Operation operation
    cdef Operator* op = &operators[which]
    cdef int result = <int>result_of(op.direction)
    operation.op = op
    operation.spatial = spatial
    operation.result = result
    operation.given = given
    memset(call.operands, 0, sizeof(call.operands))
    call.operands[<int>X] = <PyObject*>x
    call.operands[<int>W] = <PyObject*>w
    call.operands[<int>Y] = <PyObject*>y
    operation.shape = or_null(<object>call.operands[result])
    call.operands[result] = NULL
    call.operands[BIAS] = or_null(<object>given.bias)
    call.operands[Z] = or_null(<object>given.z)
    call.tensors, call.loans, call.count = tensors, loans, OPERANDS
    call.names = <PyObject*>operator_names[which]
    call.first = <int>X if result != <int>X else <int>Y
    call.stream = or_null(<object>given.stream)
    call.results = 1
    call.wanted[0] = True
    call.places[0] = result
    call.given[0] = or_null(<object>given.out)
    return run_call(&call, check_operation, run_operation, &operation)


cdef int check_operation(Call* call, void* more) except -1:
    cdef Operation* operation = <Operation*>more
    cdef const Arguments* given = operation.given
    cdef TensorView* tensors = call.tensors
    cdef tuple names = <tuple>call.names
    cdef int result = operation.result, spatial = operation.spatial
    cdef int second = <int>W if result != <int>W else <int>Y
    cdef bint batched = True
    options_of(&operation.options, call, given, <object>given.solution)
    check_ranks(operation.op, names, tensors, spatial, result,
                <object>operation.shape if operation.shape != NULL else None, &batched)
    parse_sizes(operation.op, names, &operation.geometry, spatial, tensors, result, given)
    if call.operands[BIAS] != NULL:
        check_bias(&tensors[BIAS], &tensors[<int>W], tensors[result].shape[1])
    if call.operands[Z] != NULL:
        operation.epilogue.alpha = <object>given.alpha
        check_shape(&tensors[Z], "z", tensors[result].shape, spatial + 2, batched)
    operation.epilogue.relu = given.relu
    call.batched[0] = batched or result == <int>W
    call.channels_last[0] = (
        only_channels_last(tensors[call.first]) or only_channels_last(tensors[second]))
    return 0


cdef int run_operation(Call* call, void* more) except -1:
    cdef Operation* operation = <Operation*>more
    cdef Epilogue* epilogue = &operation.epilogue
    cdef object z = <object>call.operands[Z] if call.operands[Z] != NULL else None
    epilogue.z_in_place = call.z_in_place and epilogue.alpha != 0
    convolve_call(call, operation)
    if epilogue.undone:
        # Separate steps, of which the library may refuse the sum after the convolution has
        # overwritten z.
        epilogue.undone = epilogue.z_in_place = False
        if call.kind != OTHER:
            z = second_ways.copy(z, call.kind)
            give_back(&call.loans[Z])
            borrow(z, "z", False, &call.tensors[Z], &call.loans[Z])
            check_shape(&call.tensors[Z], "z", call.tensors[operation.result].shape,
                        operation.spatial + 2, call.batched[0])
        convolve_call(call, operation)
    if epilogue.pending():
        second_ways.finish(
            <object>call.made[0], call.kind, z if epilogue.z_pending else None, epilogue.alpha,
            <object>call.operands[BIAS] if epilogue.bias_pending else None, operation.spatial,
            epilogue.relu_pending, refusal_text(&epilogue.refusal))
    return 0


cdef int convolve_call(Call* call, Operation* operation) except -1:
    cdef TensorView* tensors = call.tensors
    cdef Task task = Task(
        operation.op.direction, &tensors[<int>X], &tensors[<int>W], &tensors[<int>Y],
        NULL, NULL, &operation.epilogue, &operation.geometry, &operation.options)
    if call.operands[BIAS] != NULL:
        task.bias = &tensors[BIAS]
    if call.operands[Z] != NULL:
        task.z = &tensors[Z]
    with nogil:
        convolve(&task)
    return 0


# --- the three gradients --------------------------------------------------------------------------

cdef struct Gradients:
    Operator* op
    int spatial
    const Arguments* given
    PyObject* solutions  # a tuple of three
    Geometry geometry
    Options[3] options


cdef tuple gradients(bint transposed, int spatial, tuple operands, tuple mask, tuple outs,
                     tuple solutions, const Arguments* given):
    """The gradients of input, weight and bias that `mask` asks for; the others are None.

    `operands` are input, weight and grad_output. Each is borrowed once, and everything is checked
    before the first gradient is computed. `mask`, `outs` and `solutions` have three each.
    """
    cdef Call call
    cdef TensorView[PLACES] tensors
    cdef Loan[PLACES] loans
    cdef Gradients wanted
    cdef int i
    wanted.op = &gradient_operators[transposed]
    wanted.spatial = spatial
    wanted.given = given
    wanted.solutions = <PyObject*>solutions
    memset(call.operands, 0, sizeof(call.operands))
    for i in range(3):
        call.operands[2 - i if transposed else i] = <PyObject*>operands[i]
        call.wanted[i] = mask[i]
        call.places[i] = OWN + i
        call.given[i] = or_null(outs[i])
    call.tensors, call.loans, call.count = tensors, loans, PLACES
    call.names = <PyObject*>gradient_names[transposed]
    call.first = <int>X
    call.stream = or_null(<object>given.stream)
    call.results = 3
    return run_call(&call, check_gradients, run_gradients, &wanted)


cdef int check_gradients(Call* call, void* more) except -1:
    cdef Gradients* wanted = <Gradients*>more
    cdef TensorView* tensors = call.tensors
    cdef tuple names = <tuple>call.names
    cdef bint batched = True, last = False
    cdef int i
    cdef int gradient = <int>X if wanted.op.transposed else <int>Y
    for i in range(3):
        options_of(&wanted.options[i], call, wanted.given, (<tuple>wanted.solutions)[i])
    check_ranks(wanted.op, names, tensors, wanted.spatial, <int>W, None, &batched)
    parse_sizes(wanted.op, names, &wanted.geometry, wanted.spatial, tensors, <int>W,
                wanted.given)
    # Not before a missing batch dimension is there: rows of channels look like another layout.
    for i in range(3):
        last = last or only_channels_last(tensors[i])
    tensors[OWN] = tensors[<int>Y if wanted.op.transposed else <int>X]
    tensors[OWN + 1] = tensors[<int>W]
    tensors[OWN + 2].ndim = 1
    tensors[OWN + 2].shape[0] = tensors[gradient].shape[1]
    for i in range(3):
        call.batched[i] = batched or i > 0
        call.channels_last[i] = last and i < 2
    return 0


cdef int run_gradients(Call* call, void* more) except -1:
    cdef Gradients* wanted = <Gradients*>more
    cdef bint transposed = wanted.op.transposed
    cdef TensorView[3] operands
    cdef Epilogue epilogue
    cdef Task task
    cdef int i, j
    cdef int gradient = <int>X if transposed else <int>Y
    cdef Direction direction = Direction.forward if transposed else Direction.backward_data
    for i in range(2):
        if call.wanted[i]:
            for j in range(3):
                operands[j] = call.tensors[j]
            operands[<int>W if i == 1 else <int>Y if transposed else <int>X] = call.tensors[OWN + i]
            task = Task(
                direction if i == 0 else Direction.backward_weights, &operands[<int>X],
                &operands[<int>W], &operands[<int>Y], NULL, NULL, &epilogue, &wanted.geometry,
                &wanted.options[i])
            with nogil:
                convolve(&task)
    if call.wanted[2]:
        sum_gradient(call, 2, gradient, wanted.spatial, &wanted.options[2])
    return 0


# --- the gradient of a bias -----------------------------------------------------------------------

cdef struct BiasGradient:
    int spatial
    Options options


cdef int sum_gradient(Call* call, int which, int gradient, int spatial,
                      const Options* options) except -1:
    """One result of a call: the sum of an operand over every dimension but the channels."""
    cdef const TensorView* view = &call.tensors[gradient]
    cdef const TensorView* bias = &call.tensors[call.places[which]]
    cdef Status refusal
    if view.shape[0] == 0:
        return fill_zero(bias, options)
    with nogil:
        sum_to_bias(view, bias, options, &refusal)
    if not refusal.ok():
        second_ways.bias_gradient(<object>call.made[which], call.kind,
                                  <object>call.operands[gradient], spatial, refusal_text(&refusal))
    return 0


cdef object bias_gradient(int spatial, gradient, out, stream):
    """The sum of a gradient over every dimension but the channels."""
    cdef Call call
    cdef TensorView[OWN + 1] tensors
    cdef Loan[OWN + 1] loans
    cdef BiasGradient wanted
    wanted.spatial = spatial
    memset(call.operands, 0, sizeof(call.operands))
    call.operands[<int>Y] = <PyObject*>gradient
    call.tensors, call.loans, call.count = tensors, loans, OWN + 1
    call.names = <PyObject*>gradient_names[0]
    call.first = <int>Y
    call.stream = or_null(stream)
    call.results = 1
    call.wanted[0] = True
    call.places[0] = OWN
    call.given[0] = or_null(out)
    return run_call(&call, check_bias_gradient, run_bias_gradient, &wanted)


cdef int check_bias_gradient(Call* call, void* more) except -1:
    cdef BiasGradient* wanted = <BiasGradient*>more
    cdef TensorView* view = &call.tensors[<int>Y]
    cdef bint batched
    cdef int i
    resolve_flags(&wanted.options, None, None, None, None, None, None)
    wanted.options.stream = call.settled
    check_rank(view, "grad_output", wanted.spatial, &batched)
    for i in range(1, wanted.spatial + 2):
        if view.shape[i] <= 0:
            raise ValueError(
                f"grad_output: expected no dimension but the batch of size zero, but got size "
                f"{sizes(view.shape, wanted.spatial + 2)}")
    call.tensors[OWN].ndim = 1
    call.tensors[OWN].shape[0] = view.shape[1]
    call.batched[0] = True
    call.channels_last[0] = False
    return 0


cdef int run_bias_gradient(Call* call, void* more) except -1:
    cdef BiasGradient* wanted = <BiasGradient*>more
    return sum_gradient(call, 0, <int>Y, wanted.spatial, &wanted.options)
