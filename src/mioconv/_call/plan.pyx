"""A problem bound to one solution: what a hot loop, or the capture of a graph, calls."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from libcpp.memory cimport shared_ptr

from mioconv._borrow.loan cimport TORCH, Kind, Loan
from mioconv._borrow.own_tensor cimport dtype_name
from mioconv._borrow.stream cimport own_stream, stream_pointer
from mioconv._borrow.tensor cimport give_back
from mioconv._borrow.torch_tensor cimport hold, version_of
from mioconv._call.operators cimport Call, or_null, run_call
from mioconv._call.problems cimport choose_ahead, require_layout
from mioconv._check.flags cimport Options, resolve_flags
from mioconv._check.geometry cimport check_shape
from mioconv._core.copies cimport add_height
from mioconv._core.describe cimport solution_fields, solution_name
from mioconv._core.run cimport note_solution, raise_no_solution
from mioconv._core.state cimport use_threads
from mioconv._core.verify cimport passes_on_pattern
from mioconv._native.api cimport generation, raise_status
from mioconv._native.dlpack cimport kDLCUDA, kDLROCM
from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport (
    Api, Choice, CurrentDevice, Entry, HandleLease, InFlight, LastUse, Operands, Provider, Solution,
    Status, TensorView, W, Workspace, X, Y, capturing, checksum)

import threading

from mioconv.errors import UnsupportedError
from mioconv.solution import Solution as PublicSolution

NAMES = {
    "forward": ("input", "weight"),
    "backward_input": ("grad_output", "weight"),
    "backward_weight": ("grad_output", "input"),
}


cdef hipStream_t planned_stream(object stream, str device) except? NULL:
    """The stream that a plan is made for."""
    if device == "cpu":
        raise ValueError(f"stream: expected None for a problem on the CPU, but got {stream!r}")
    return own_stream(
        stream_pointer(stream), kDLROCM if device.startswith("rocm") else kDLCUDA)


cdef class ConvolutionPlan:
    """What `mioconv.plan` makes; see there."""

    cdef readonly object problem
    cdef shared_ptr[Entry] held
    cdef Entry* entry
    cdef Solution chosen
    # Both are the plan's own for as long as it lives. In a forked child they are let go of without
    # being given back: the locks of their pools may have been held at that moment.
    cdef HandleLease* handle
    cdef Workspace* workspace
    cdef hipStream_t stream
    cdef LastUse last
    cdef int made_in  # the generation of processes
    cdef object one_at_a_time
    cdef tuple names
    cdef int first, second, result
    cdef readonly bint constant_weights
    cdef bint one_dimensional  # a problem of two axes, the first of size 1, is what runs
    # The packed copy of the weights, if the solution has a use for one, and what is packed there: a
    # tensor that is held and stays on loan, so that its memory comes to be no other's, and what
    # tells its values from others. NULL: nothing yet.
    cdef Workspace* packed
    cdef size_t packed_bytes
    cdef void* weights
    cdef Loan weights_loan
    cdef object weights_owner
    cdef Kind weights_kind
    cdef int64_t weights_version
    cdef uint64_t weights_checksum

    def __cinit__(self, problem, benchmark, deterministic, allow_tf32, solution, workspace_limit,
                  exclude, stream, constant_weights):
        cdef Options options
        cdef Choice choice, unpacked
        cdef Solution before
        cdef CurrentDevice current
        cdef Status status
        if any(extra >= step for extra, step in
               zip(problem.output_padding, problem.stride, strict=True)):
            raise UnsupportedError(
                f"output_padding: a plan takes one smaller than the stride, but got "
                f"{problem.output_padding} for stride {problem.stride}; conv_transpose takes it")
        if constant_weights and problem.direction == "backward_weight":
            raise ValueError("constant_weights: a 'backward_weight' problem computes the gradient "
                             "of the weights, and has no weights to be constant")
        self.constant_weights = constant_weights
        self.made_in = generation()
        self.handle = new HandleLease()
        self.workspace = new Workspace()
        self.packed = new Workspace()
        self.problem = problem
        self.one_dimensional = problem.rank == 1
        self.one_at_a_time = threading.RLock()  # a signal's handler may call too
        # In a transposed convolution, input and output change places.
        input, output = (<int>Y, <int>X) if problem.transposed else (<int>X, <int>Y)
        self.first = input if problem.direction == "forward" else output
        self.second = input if problem.direction == "backward_weight" else <int>W
        self.result = 3 - self.first - self.second
        names = ["out", "weight", "out"]
        names[self.first], names[self.second] = NAMES[problem.direction]
        self.names = tuple(names)
        resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, exclude,
                      solution)
        if stream is not None:
            options.stream = planned_stream(stream, problem.device)
        self.entry = choose_ahead(problem, &options, self.constant_weights, &self.held, &choice,
                                  &before, &self.chosen)
        require_layout(problem, self.entry.device, &self.entry.params)
        status = current.set(self.entry.device.api, self.entry.device.index)
        if status.ok():
            status = self.handle.lease(self.entry.device.handles, options.stream)
        if status.ok():
            self.choose_right(&options, &choice)
            self.make_ready(options.stream, &status)
        if status.out_of_memory() and self.entry.params.packed_weights:
            # Without room for a copy, every call packs.
            self.packed.give_back()
            self.packed_bytes = 0
            self.entry = choose_ahead(problem, &options, False, &self.held, &unpacked, &before,
                                      &self.chosen)
            self.choose_right(&options, &unpacked)
            self.make_ready(options.stream, &status)
        if status.ok():
            # So that a first call on another stream comes after what the workspace was used for.
            self.note_use(options.stream)
        if not status.ok():
            raise_status(&self.entry.device.api, status, problem)
        self.stream = options.stream

    def __dealloc__(self):
        # The stream of the last call may be gone by now: its work is waited for, and the workspace
        # given back on a stream that always is.
        cdef CurrentDevice current
        give_back(&self.weights_loan)
        if self.made_in != generation():
            self.last.abandon()
            return
        if self.entry != NULL and self.entry.device.api.provider != Provider.cpu:
            if current.set(self.entry.device.api, self.entry.device.index).ok():
                self.entry.device.api.hipDeviceSynchronize()
            self.entry.device.api.hipGetLastError()
            self.workspace.use(NULL)
        del self.workspace
        del self.packed
        del self.handle

    cdef int choose_right(self, const Options* options, const Choice* choice) except -1:
        """Nobody looks at the results of calls: the solution is looked at now."""
        cdef InFlight call
        cdef int64_t threads
        if capturing(self.entry.device.api, options.stream) or options.verify == 0 or (
                options.verify == 1 and self.entry.device.api.provider != Provider.cpu):
            return 0
        with nogil:
            call.enter(self.entry.device.api)
        use_threads(&self.entry.device.api, <int>self.entry.params.threads, &threads)
        while not self.chosen.inspected and not passes_on_pattern(
                self.entry, self.handle, &self.chosen, options):
            if not self.entry.choose(choice[0], &self.chosen):
                raise_no_solution(self.entry, options, choice, Status())
        return 0

    cdef int make_ready(self, hipStream_t stream, Status* status) except -1:
        """Compile, and take the memory that calls will use."""
        cdef InFlight call
        cdef const Api* api = &self.entry.device.api
        cdef int64_t threads
        with nogil:
            call.enter(api[0])
        status[0] = Status()
        # A search may have called back, and the callback with other threads.
        use_threads(api, <int>self.entry.params.threads, &threads)
        # A library that does not compile ahead does it in the first run.
        self.entry.calls.compile(
            self.handle.get(), self.entry.operands, self.entry.convolution(), self.chosen.id)
        api.hipGetLastError()
        if self.entry.params.packed_weights:
            status[0] = self.entry.packed_size(
                self.handle.get(), self.chosen.id, &self.packed_bytes)
            if status.ok():
                status[0] = self.packed.lease(
                    self.entry.device.workspaces, self.packed_bytes, stream)
        if status.ok():
            status[0] = self.workspace.lease(
                self.entry.device.workspaces, self.chosen.workspace, stream)
        return 0

    cdef int use_its_threads(self) except -1 nogil:
        """The workspace and the packed weights are for these. The caller's own OpenMP region, in
        which OpenMP gives one, is not what the plan was made for."""
        cdef int64_t threads
        use_threads(&self.entry.device.api, <int>self.entry.params.threads, &threads)
        if threads != self.entry.params.threads:
            with gil:
                raise UnsupportedError(
                    f"this plan was made for {self.entry.params.threads} threads, and OpenMP gives "
                    f"this call {threads}: in a parallel region, call the operator or make a plan")
        return 0

    cdef void note_use(self, hipStream_t stream) noexcept nogil:
        """The workspace is in use on a stream from now on."""
        cdef const Api* api = &self.entry.device.api
        if api.provider != Provider.cpu and not self.last.note(api[0], stream, False).ok():
            api.hipGetLastError()

    cdef Status follow(self, hipStream_t stream) noexcept nogil:
        """Let the work of a call come after that of the one before, whatever stream that was on: it
        may be gone by now, and its handle this one's. In a capture nothing can be waited for:
        `mioconv.plan` says what the caller owes."""
        cdef Status status
        if self.entry.device.api.provider == Provider.cpu:
            return status
        if not capturing(self.entry.device.api, stream):
            status = self.last.wait(self.entry.device.api, stream)
        if status.ok() and stream != self.stream:
            status = self.handle.use(stream)
            if status.ok():
                self.workspace.use(stream)
                self.stream = stream
        return status

    @property
    def solution(self):
        """The solution that every call runs, as a `mioconv.Solution`."""
        return PublicSolution(**solution_fields(&self.entry.device.api, self.chosen))

    @property
    def workspace_bytes(self):
        """Scratch memory that the plan holds."""
        return self.chosen.workspace

    @property
    def packed_weights_bytes(self):
        """Memory of the packed copy of constant weights; 0 where the plan has none."""
        return self.packed_bytes

    def __repr__(self):
        name = solution_name(&self.entry.device.api, self.chosen.id)
        return f"<mioconv.ConvolutionPlan {name}: {self.problem.driver_line()}>"

    def update_weights(self, weight, *, stream=None):
        """Take other weights, or other values of the same, from now on; see `mioconv.plan`."""
        cdef Call call
        cdef TensorView[3] tensors
        cdef Loan[3] loans
        if not self.constant_weights:
            raise ValueError("update_weights: this plan was made without constant_weights=True and "
                             "keeps no weights")
        self.check_process()
        memset(call.operands, 0, sizeof(call.operands))
        call.operands[<int>W] = <PyObject*>weight
        call.tensors, call.loans, call.count = tensors, loans, 3
        call.names = <PyObject*>self.names
        call.first = <int>W
        call.stream = or_null(stream)
        call.results = 0
        run_call(&call, check_weight, run_update, <void*>self)

    cdef int adopt(self, weight, TensorView* tensor, Loan* loan) except -1:
        """Pack a weight tensor, and keep its loan."""
        cdef InFlight call
        cdef CurrentDevice current
        cdef Status status
        self.weights = NULL
        self.weights_owner = None
        give_back(&self.weights_loan)
        if self.packed_bytes:
            with nogil:
                call.enter(self.entry.device.api)
                self.use_its_threads()
                status = current.set(self.entry.device.api, self.entry.device.index)
                if status.ok():
                    status = self.entry.pack_weights(
                        self.handle.get(), self.chosen.id, tensor.data, self.packed.data(),
                        self.packed_bytes)
            if not status.ok():
                self.entry.device.api.hipGetLastError()
                raise_status(&self.entry.device.api, status, self.problem,
                             (solution_name(&self.entry.device.api, self.chosen.id),))
        self.weights_kind = loan.kind
        # A PyTorch tensor may be given other memory: then it no longer holds what was lent.
        owner = hold(weight) if loan.kind == TORCH else weight
        self.weights_version = version_of(owner) if loan.kind == TORCH else 0
        self.weights_checksum = checksum(tensor[0]) if self.packed_bytes else 0
        self.weights_loan = loan[0]
        memset(loan, 0, sizeof(Loan))
        self.weights_owner = owner
        self.weights = tensor.data
        return 0

    cdef int take_weights(self, weight, TensorView* tensor, Loan* loan) except -1:
        """The first call's weights are packed; those of later calls must be the same memory, and
        hold the same values, as far as PyTorch's own count and a checksum tell."""
        cdef bint changed = False
        if self.weights == NULL:
            return self.adopt(weight, tensor, loan)
        if self.weights != tensor.data:
            raise ValueError(
                "weight: this plan was made with constant_weights=True and has other memory as its "
                "weight; pass the same tensor, or tell plan.update_weights of the new one")
        if self.packed_bytes:
            if self.weights_kind == TORCH:
                changed = version_of(self.weights_owner) != self.weights_version
            if changed or checksum(tensor[0]) != self.weights_checksum:
                raise ValueError(
                    "weight: this plan was made with constant_weights=True and has packed the "
                    "weight, whose values have changed since; tell plan.update_weights")
        return 0

    cdef int check_process(self) except -1:
        if self.made_in != generation():
            raise UnsupportedError(
                "this plan was made before the process was forked, with a handle and a "
                "workspace of the parent's; make a new one with mioconv.plan")
        return 0

    def __call__(self, first, second, *, out=None, stream=None):
        cdef Call call
        cdef TensorView[3] tensors
        cdef Loan[3] loans
        self.check_process()
        memset(call.operands, 0, sizeof(call.operands))
        call.operands[self.first] = <PyObject*>first
        call.operands[self.second] = <PyObject*>second
        call.tensors, call.loans, call.count = tensors, loans, 3
        call.names = <PyObject*>self.names
        call.first = self.first
        call.stream = or_null(stream)
        call.results = 1
        call.wanted[0] = True
        call.places[0] = self.result
        call.given[0] = or_null(out)
        return run_call(&call, check_planned, run_planned, <void*>self)

    cdef void describe(self, TensorView* view, int operand) noexcept nogil:
        """Shape of an operand as the user knows it."""
        cdef int i, skip = 1 if self.one_dimensional else 0
        view[0] = TensorView()
        view.ndim = 2 + self.entry.params.spatial - skip
        for i in range(<int>view.ndim):
            view.shape[i] = self.entry.params.shape[operand][i if i < 2 else i + skip]

    cdef int check(self, TensorView* tensor, int operand, str name) except -1:
        """The plan's shape, dtype, device, layout and alignment, or a ValueError."""
        cdef TensorView expected
        cdef int i
        self.describe(&expected, operand)
        check_shape(tensor, name, expected.shape, <int>expected.ndim, True)
        if <int64_t>tensor.dtype != self.entry.params.dtype:
            raise TypeError(f"{name}: expected dtype {self.problem.dtype}, as the plan was made "
                            f"for, but got {dtype_name(tensor.dtype)}")
        if self.one_dimensional:
            add_height(tensor)
        for i in range(<int>tensor.ndim):
            if (tensor.shape[i] > 1
                    and tensor.strides[i] != self.entry.params.strides[operand][i]):
                raise ValueError(
                    f"{name}: expected {self.problem.layout.replace('_', '-')} strides, as the "
                    f"plan was made for, and no gaps")
        if tensor.alignment() < self.entry.params.alignment[operand]:
            raise ValueError(f"{name}: expected memory aligned to "
                             f"{self.entry.params.alignment[operand]} bytes")
        return 0

    cdef int run(self, TensorView* tensors, hipStream_t stream) except -1:
        cdef InFlight call
        cdef Operands operands = self.entry.operands
        cdef CurrentDevice current
        cdef Status status
        cdef int i
        for i in range(3):
            operands.data[i] = tensors[i].data
        if self.packed_bytes:
            operands.data[<int>W] = self.packed.data()
        with nogil:
            call.enter(self.entry.device.api)
            self.use_its_threads()
            status = current.set(self.entry.device.api, self.entry.device.index)
            if status.ok():
                status = self.follow(stream)
            if status.ok():
                status = self.entry.calls.run(
                    self.handle.get(), operands, self.entry.convolution(), self.workspace.data(),
                    self.chosen.workspace, self.chosen.id)
                self.note_use(stream)
        if not status.ok():
            self.entry.device.api.hipGetLastError()
            raise_status(&self.entry.device.api, status, self.problem,
                         (solution_name(&self.entry.device.api, self.chosen.id),))
        note_solution(self.entry, &self.chosen, 2, 0)
        return 0


# --- the steps of its calls; see `run_call` -------------------------------------------------------

cdef int check_planned(Call* call, void* more) except -1:
    cdef ConvolutionPlan plan = <ConvolutionPlan>more
    plan.check(&call.tensors[plan.first], plan.first, plan.names[plan.first])
    plan.check(&call.tensors[plan.second], plan.second, plan.names[plan.second])
    plan.describe(&call.tensors[plan.result], plan.result)
    call.batched[0] = True
    call.channels_last[0] = plan.entry.params.strides[plan.result][1] == 1
    return 0


cdef int run_planned(Call* call, void* more) except -1:
    cdef ConvolutionPlan plan = <ConvolutionPlan>more
    plan.check(&call.tensors[plan.result], plan.result, "out")
    with plan.one_at_a_time:
        if plan.constant_weights:
            plan.take_weights(
                <object>call.operands[<int>W], &call.tensors[<int>W], &call.loans[<int>W])
        plan.run(call.tensors, call.settled)
    return 0


cdef int check_weight(Call* call, void* more) except -1:
    return (<ConvolutionPlan>more).check(&call.tensors[<int>W], <int>W, "weight")


cdef int run_update(Call* call, void* more) except -1:
    cdef ConvolutionPlan plan = <ConvolutionPlan>more
    with plan.one_at_a_time:
        plan.adopt(<object>call.operands[<int>W], &call.tensors[<int>W], &call.loans[<int>W])
    return 0
