"""Work on `mioconv.Problem`s, which have no tensors: listing, preparing and measuring them."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from mioconv._check.flags cimport Options, resolve_flags
from mioconv._check.geometry cimport (
    Geometry, parse_geometry, parse_output_padding, split_output_padding)
from mioconv._core.copies cimport add_height, copy_and_wait
from mioconv._core.describe cimport solution_fields
from mioconv._core.entries cimport entry_of, list_solutions
from mioconv._core.execute cimport fill_params
from mioconv._core.records cimport remember
from mioconv._core.run cimport choose, raise_no_solution, run
from mioconv._core.search cimport search
from mioconv._core.state cimport device_of
from mioconv._native.api cimport raise_status
from mioconv._native.hip cimport hipMemcpyDeviceToHost, hipMemcpyHostToDevice, hipStream_t
from mioconv._native.miopen cimport miopenBFloat16, miopenFloat, miopenHalf
from mioconv._native.native cimport (
    Api, Choice, ConvolutionParams, CurrentDevice, Device, Direction, Entry, HandleLease, InFlight,
    Layout, Operand, Operands, PatternOperands, Solution, Status, TensorView, Timing, W, Workspace,
    X, Y, only_channels_last, result_of, set_dense_strides, status_of)

from mioconv._native.api import PROVIDERS
from mioconv.errors import UnsupportedError


# --- problems -------------------------------------------------------------------------------------

cdef Device* describe_problem(problem, ConvolutionParams* params,
                              const Options* options) except NULL:
    """The key that a call on dense tensors of this problem would have, and its device."""
    if problem.input_shape[0] == 0:
        raise UnsupportedError(
            "a problem of batch 0 has nothing to compute: no solution, and nothing to prepare")
    cdef Geometry geometry
    cdef TensorView[3] tensors
    cdef Device* device
    cdef int i, j, number, spatial = problem.rank
    kind, _, index = problem.device.partition(":")
    number = PROVIDERS.index(kind)
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
    device = device_of(number, int(index or 0))
    lay_out_problem(&device.api, tensors, <int>result_of(direction_of(problem)),
                    problem.layout == "channels_last")
    fill_params(params, device, direction_of(problem), tensors, &geometry, options)
    return device


def find_solutions(problem, benchmark, deterministic, allow_tf32) -> list:
    """The ranked solutions of a `mioconv.Problem`, as fields of `mioconv.Solution`."""
    cdef Options options
    cdef ConvolutionParams params
    cdef Device* device
    resolve_flags(&options, benchmark, deterministic, allow_tf32, None, None, None)
    device = describe_problem(problem, &params, &options)
    return list_solutions(device, &params, options.stream)


cdef void lay_out_problem(const Api* api, TensorView* tensors, int result,
                          bint channels_last) noexcept:
    """The strides that a call on such tensors would use: channels-last only where an operand's
    sizes leave no doubt about it, and the library has none."""
    cdef int i
    cdef bint sure = False
    for i in range(3):
        channels_last = channels_last and not api.mistakes_channels_last(
            tensors[i].ndim, tensors[i].shape)
    for i in range(3):
        set_dense_strides(tensors[i], Layout.channels_last)
        sure = sure or (i != result and only_channels_last(tensors[i]))
    if not (channels_last and sure):
        for i in range(3):
            set_dense_strides(tensors[i], Layout.packed)


cdef int require_layout(problem, const Device& device, const ConvolutionParams* params) except -1:
    """For those who take tensors as they are, where a call would copy."""
    cdef int i
    if problem.layout != "channels_last":
        return 0
    for i in range(3):
        if device.api.mistakes_channels_last(2 + params.spatial, &params.shape[i][0]):
            raise UnsupportedError(
                "layout: this release of MIOpen takes channels-last tensors of three spatial "
                "dimensions for others where channels and width are one; use packed ones")
    return 0


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


# --- preparing ------------------------------------------------------------------------------------

cdef size_t weight_bytes(Entry* entry, const Options* options) except? 0:
    """Of memory that serves every solution as the weights."""
    cdef vector[Solution] ranked
    cdef HandleLease lease
    cdef Status status
    cdef size_t i, packed = 0, most = entry.params.bytes(W)
    if not entry.params.packed_weights:
        return most
    ranked = entry.solutions()
    status = lease.lease(entry.device.handles, options.stream)
    for i in range(ranked.size()):
        if status.ok():
            status = entry.packed_size(lease.get(), ranked[i].id, &packed)
            most = max(most, packed)
    if not status.ok():
        raise_status(&entry.device.api, status, None)
    return most


cdef int measure(Entry* entry, const Choice& choice, const Options* options) except -1:
    """Search on operands of our own: zeros and unmapped pages would be faster than real data, and
    would hide what is wrong."""
    cdef PatternOperands given
    cdef Operands operands = entry.operands
    cdef Status status = given.lease(
        entry[0], &operands, options.stream, weight_bytes(entry, options))
    if not status.ok():
        raise_status(&entry.device.api, status, None)
    with nogil:
        search(entry, operands, choice, options)
    return 0


cdef bint compile_everywhere(Entry* entry, const Solution* solution,
                             const Options* options) except -1:
    """Compile a solution on every pooled handle that nobody uses now, on a new one if there is
    none: the vendor's kernels belong to a handle. False: the library does not compile ahead."""
    cdef InFlight call
    cdef vector[HandleLease] leases
    cdef CurrentDevice current
    cdef Status status
    leases.resize(1)
    with nogil:
        call.enter(entry.device.api)
        status = current.set(entry.device.api, entry.device.index)
        if status.ok():
            status = leases[0].lease(entry.device.handles, options.stream)
        while status.ok():
            status = entry.calls.compile(
                leases.back().get(), entry.operands, entry.convolution(), solution.id)
            leases.resize(leases.size() + 1)
            if not leases.back().lease_idle(entry.device.handles):
                break
    if not status.ok():
        entry.device.api.hipGetLastError()
    return status.ok()


cdef Entry* choose_ahead(problem, Options* options, bint packed_weights, shared_ptr[Entry]* held,
                         Choice* choice, Solution* before, Solution* chosen) except NULL:
    """The entry of a problem, searched in benchmark mode, and the solution that its calls will run,
    now and before the search. `packed_weights`: for calls that pack their weights ahead, where the
    provider can."""
    cdef InFlight call
    cdef ConvolutionParams params
    cdef Device* device
    cdef Entry* entry
    cdef CurrentDevice current
    cdef HandleLease lease
    cdef Status status
    device = describe_problem(problem, &params, options)
    params.packed_weights = packed_weights and device.api.packs_weights()
    with nogil:
        call.enter(device.api)
    status = current.set(device.api, device.index)
    if not status.ok():
        raise_status(&device.api, status, problem)
    with nogil:
        entry = entry_of(device, &params, options.stream, held)
    choice.workspace_limit = options.workspace_limit
    choice.exclusions = options.exclusions
    choice.strict_accuracy = options.strict_accuracy
    entry.choose(choice[0], before)
    if options.benchmark and options.solution == 0:
        measure(entry, choice[0], options)
    choice.pinned = options.solution
    status = lease.lease(device.handles, options.stream)
    if not status.ok():
        raise_status(&device.api, status, problem)
    if not choose(entry, &lease, choice[0], 0, chosen):
        raise_no_solution(entry, options, choice, Status())
    if before.id == 0:
        before[0] = chosen[0]
    return entry


def prepare(problem, benchmark, deterministic, allow_tf32, solution, workspace_limit,
            exclude) -> dict:
    """Search, or pin, and compile for one problem; fields of `mioconv.Prepared`."""
    cdef Options options
    cdef shared_ptr[Entry] held
    cdef Choice choice
    cdef Solution before, chosen
    cdef Entry* entry
    resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, exclude,
                  solution)
    entry = choose_ahead(problem, &options, False, &held, &choice, &before, &chosen)
    if options.solution:
        entry.pin(options.solution)
        remember(entry, 0)
        entry.choose(choice, &chosen)
    compiled = compile_everywhere(entry, &chosen, &options)
    return {
        "problem": problem,
        "solution": solution_fields(&entry.device.api, chosen),
        "before": solution_fields(&entry.device.api, before_now(entry, before.id)),
        "compiled": compiled,
    }


cdef Solution before_now(Entry* entry, uint64_t id) except *:
    """A solution with what is known of it now: its measured time."""
    cdef vector[Solution] ranked = entry.solutions()
    cdef Solution found
    cdef size_t i
    for i in range(ranked.size()):
        if ranked[i].id == id:
            found = ranked[i]
    return found


# --- measuring on given data ----------------------------------------------------------------------

def execute(problem, list buffers, int iterations, benchmark, deterministic, allow_tf32, solution,
            workspace_limit, exclude) -> tuple:
    """Run a problem on host data: the milliseconds of each run, by the device's own events, and
    whether the result is channels-last.

    `buffers` are writable byte buffers with the elements of x, w and y of y = conv(x, w) in the
    problem's layout; the result's is overwritten.
    """
    cdef InFlight call
    cdef Options options
    cdef ConvolutionParams params
    cdef Device* device
    cdef CurrentDevice current
    cdef Workspace[3] memory
    cdef shared_ptr[Entry] used
    cdef Timing timing
    cdef Status status
    cdef unsigned char[::1] view
    cdef int result, _iteration
    cdef float ms = 0
    resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, exclude,
                  solution)
    device = describe_problem(problem, &params, &options)
    require_layout(problem, device[0], &params)
    result = <int>result_of(<Direction>params.direction)
    with nogil:
        call.enter(device.api)
    status = current.set(device.api, device.index)
    if status.ok():
        status = upload(device, buffers, &params, memory, options.stream)
    if status.ok():
        status = timing.make(device.api)
    if not status.ok():
        raise_status(&device.api, status, problem)
    times = []
    for _iteration in range(iterations):
        with nogil:
            status = timing.begin(options.stream, 1)
            if status.ok():
                run(device, &params, memory[<int>X].data(), memory[<int>W].data(),
                    memory[<int>Y].data(), &options, &used)
                status = timing.end(options.stream, &ms)
        if not status.ok():
            raise_status(&device.api, status, problem)
        times.append(ms)
    view = buffers[result]
    status = copy_and_wait(device, &view[0], memory[result].data(), view.shape[0],
                           hipMemcpyDeviceToHost, options.stream)
    if not status.ok():
        raise_status(&device.api, status, problem)
    return times, params.strides[result][1] == 1 and params.shape[result][1] != 1


cdef Status upload(Device* device, list buffers, const ConvolutionParams* params,
                   Workspace* memory, hipStream_t stream) except *:
    """Memory for x, w and y, with what the buffers hold of those that are read."""
    cdef Status status
    cdef unsigned char[::1] view
    cdef size_t bytes
    cdef int i, result = <int>result_of(<Direction>params.direction)
    for i in range(3):
        view = buffers[i]
        bytes = params.bytes(<Operand>i)
        if <size_t>view.shape[0] != bytes:
            raise UnsupportedError(
                f"an output padding of the stride or more needs a larger operand than the "
                f"problem's ({bytes} bytes instead of {view.shape[0]}); conv_transpose takes it")
        if status.ok():
            status = memory[i].lease(device.workspaces, bytes, stream)
        if status.ok() and i != result:
            status = status_of("hipMemcpyAsync", device.api.hipMemcpyAsync(
                memory[i].data(), &view[0], bytes, hipMemcpyHostToDevice, stream))
    return status
