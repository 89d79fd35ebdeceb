"""A problem bound to one solution: what a hot loop, or the capture of a graph, calls."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from libcpp.memory cimport shared_ptr
from posix.unistd cimport getpid

from mioconv._api cimport raise_status
from mioconv._execute cimport add_height
from mioconv._flags cimport resolve_flags
from mioconv._geometry cimport check_shape
from mioconv._operators cimport (
    ask_stream, await_all, borrow_out, check_overlap, check_provider, check_same, new_output,
    take_stream)
from mioconv._own_tensor cimport dtype_name
from mioconv._plans cimport Options, solution_fields, solution_name, use_threads
from mioconv._problems cimport require_layout, settle
from mioconv._select cimport call_record, raise_no_solution
from mioconv._stream cimport own_stream, stream_pointer
from mioconv._tensor cimport borrow, give_back
from mioconv._torch_tensor cimport hold, note_write, version_of
from mioconv._verify cimport passes_on_pattern
from mioconv.dlpack cimport kDLCUDA, kDLROCM
from mioconv.hip cimport hipStream_t
from mioconv.loan cimport TORCH, Kind, Loan
from mioconv.native cimport (
    Api, CallRecord, Choice, CurrentDevice, HandleLease, InFlight, LastUse, Operands, Plan,
    Provider, Solution, Status, TensorView, W, Workspace, X, Y, capturing, checksum)

import threading

from mioconv.errors import UnsupportedError

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
    cdef shared_ptr[Plan] held
    cdef Plan* plan
    cdef Solution chosen
    # Both are the plan's own for as long as it lives. In a forked child they are let go of without
    # being given back: the locks of their pools may have been held at that moment.
    cdef HandleLease* handle
    cdef Workspace* workspace
    cdef hipStream_t stream
    cdef LastUse last
    cdef int process
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
        self.process = getpid()
        self.handle = new HandleLease()
        self.workspace = new Workspace()
        self.packed = new Workspace()
        self.problem = problem
        self.one_dimensional = problem.rank == 1
        self.one_at_a_time = threading.RLock()  # a signal's handler may call too
        self.names = NAMES[problem.direction]
        # In a transposed convolution, input and output change places.
        input, output = (<int>Y, <int>X) if problem.transposed else (<int>X, <int>Y)
        self.first = input if problem.direction == "forward" else output
        self.second = input if problem.direction == "backward_weight" else <int>W
        self.result = 3 - self.first - self.second
        resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, exclude,
                      solution)
        if stream is not None:
            options.stream = planned_stream(stream, problem.device)
        self.plan = settle(problem, &options, self.constant_weights, &self.held, &choice, &before,
                           &self.chosen)
        require_layout(problem, self.plan.device, &self.plan.params)
        status = current.set(self.plan.device.api, self.plan.device.index)
        if status.ok():
            status = self.handle.lease(self.plan.device.handles, options.stream)
        if status.ok():
            self.choose_right(&options, &choice)
            self.make_ready(options.stream, &status)
        if status.out_of_memory() and self.plan.params.packed_weights:
            # Without room for a copy, every call packs.
            self.packed.give_back()
            self.packed_bytes = 0
            self.plan = settle(problem, &options, False, &self.held, &unpacked, &before,
                               &self.chosen)
            self.choose_right(&options, &unpacked)
            self.make_ready(options.stream, &status)
        if status.ok():
            # So that a first call on another stream comes after what the workspace was used for.
            self.note_use(options.stream)
        if not status.ok():
            raise_status(&self.plan.device.api, status, problem)
        self.stream = options.stream

    def __dealloc__(self):
        # The stream of the last call may be gone by now: its work is waited for, and the workspace
        # given back on a stream that always is.
        cdef CurrentDevice current
        give_back(&self.weights_loan)
        if self.process != getpid():
            self.last.abandon()
            return
        if self.plan != NULL and self.plan.device.api.provider != Provider.cpu:
            if current.set(self.plan.device.api, self.plan.device.index).ok():
                self.plan.device.api.hipDeviceSynchronize()
            self.plan.device.api.hipGetLastError()
            self.workspace.use(NULL)
        del self.workspace
        del self.packed
        del self.handle

    cdef int choose_right(self, const Options* options, const Choice* choice) except -1:
        """Nobody looks at the results of calls: the solution is looked at now."""
        cdef InFlight call
        cdef int64_t threads
        if capturing(self.plan.device.api, options.stream) or options.verify == 0 or (
                options.verify == 1 and self.plan.device.api.provider != Provider.cpu):
            return 0
        with nogil:
            call.enter(self.plan.device.api)
        use_threads(&self.plan.device.api, <int>self.plan.params.threads, &threads)
        while not self.chosen.inspected and not passes_on_pattern(
                self.plan, self.handle, &self.chosen, options):
            if not self.plan.choose(choice[0], &self.chosen):
                raise_no_solution(self.plan, options, choice, Status())
        return 0

    cdef int make_ready(self, hipStream_t stream, Status* status) except -1:
        """Compile, and take the memory that calls will use."""
        cdef InFlight call
        cdef const Api* api = &self.plan.device.api
        cdef int64_t threads
        with nogil:
            call.enter(api[0])
        status[0] = Status()
        # A search may have called back, and the callback with other threads.
        use_threads(api, <int>self.plan.params.threads, &threads)
        # A library that does not compile ahead does it in the first run.
        self.plan.calls.compile(
            self.handle.get(), self.plan.operands, self.plan.convolution(), self.chosen.id)
        api.hipGetLastError()
        if self.plan.params.packed_weights:
            status[0] = self.plan.packed_size(
                self.handle.get(), self.chosen.id, &self.packed_bytes)
            if status.ok():
                status[0] = self.packed.lease(
                    self.plan.device.workspaces, self.packed_bytes, stream)
        if status.ok():
            status[0] = self.workspace.lease(
                self.plan.device.workspaces, self.chosen.workspace, stream)
        return 0

    cdef int use_its_threads(self) except -1 nogil:
        """The workspace and the packed weights are for these. The caller's own OpenMP region, in
        which OpenMP gives one, is not what the plan was made for."""
        cdef int64_t threads
        use_threads(&self.plan.device.api, <int>self.plan.params.threads, &threads)
        if threads != self.plan.params.threads:
            with gil:
                raise UnsupportedError(
                    f"this plan was made for {self.plan.params.threads} threads, and OpenMP gives "
                    f"this call {threads}: in a parallel region, call the operator or make a plan")
        return 0

    cdef void note_use(self, hipStream_t stream) noexcept nogil:
        """The workspace is in use on a stream from now on."""
        cdef const Api* api = &self.plan.device.api
        if api.provider != Provider.cpu and not self.last.note(api[0], stream, False).ok():
            api.hipGetLastError()

    cdef Status follow(self, hipStream_t stream) noexcept nogil:
        """Let the work of a call come after that of the one before, whatever stream that was on: it
        may be gone by now, and its handle this one's. In a capture nothing can be waited for:
        `mioconv.plan` says what the caller owes."""
        cdef Status status
        if self.plan.device.api.provider == Provider.cpu:
            return status
        if not capturing(self.plan.device.api, stream):
            status = self.last.wait(self.plan.device.api, stream)
        if status.ok() and stream != self.stream:
            status = self.handle.use(stream)
            if status.ok():
                self.workspace.use(stream)
                self.stream = stream
        return status

    @property
    def solution(self):
        """The solution that every call runs, as a `mioconv.Solution`."""
        from mioconv.selection import Solution as PublicSolution
        return PublicSolution(**solution_fields(&self.plan.device.api, self.chosen))

    @property
    def workspace_bytes(self):
        """Scratch memory that the plan holds."""
        return self.chosen.workspace

    @property
    def packed_weights_bytes(self):
        """Memory of the packed copy of constant weights; 0 where the plan has none."""
        return self.packed_bytes

    def __repr__(self):
        name = solution_name(&self.plan.device.api, self.chosen.id)
        return f"<mioconv.ConvolutionPlan {name}: {self.problem.driver_line()}>"

    def update_weights(self, weight, *, stream=None):
        """Take other weights, or other values of the same, from now on; see `mioconv.plan`."""
        cdef TensorView tensor
        cdef Loan loan
        cdef Options options
        cdef object context = None
        memset(&loan, 0, sizeof(Loan))
        memset(&options, 0, sizeof(options))
        if not self.constant_weights:
            raise ValueError("update_weights: this plan was made without constant_weights=True and "
                             "keeps no weights")
        try:
            ask_stream(stream, &loan)
            self.check_process()
            borrow(weight, "weight", False, &tensor, &loan)
            context = take_stream(&options, stream, weight, &tensor, &loan, 0, 1)
            check_provider(&tensor)
            self.check(&tensor, <int>W, "weight")
            await_all(&options, &tensor, &loan, 1)
            with self.one_at_a_time:
                self.adopt(weight, &tensor, &loan)
        finally:
            give_back(&loan)
            if context is not None:
                context.__exit__(None, None, None)

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
                call.enter(self.plan.device.api)
                self.use_its_threads()
                status = current.set(self.plan.device.api, self.plan.device.index)
                if status.ok():
                    status = self.plan.pack_weights(
                        self.handle.get(), self.chosen.id, tensor.data, self.packed.data(),
                        self.packed_bytes)
            if not status.ok():
                self.plan.device.api.hipGetLastError()
                raise_status(&self.plan.device.api, status, self.problem,
                             (solution_name(&self.plan.device.api, self.chosen.id),))
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

    cdef int keep(self, weight, TensorView* tensor, Loan* loan) except -1:
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
        if self.process != getpid():
            raise UnsupportedError(
                "this plan was made before the process was forked, with a handle and a "
                "workspace of the parent's; make a new one with mioconv.plan")
        return 0

    def __call__(self, first, second, *, out=None, stream=None):
        cdef TensorView[3] tensors
        cdef TensorView expected
        cdef Loan[3] loans
        cdef Options options
        cdef Kind kind
        cdef bint given = out is not None
        cdef int i
        cdef object context = None
        cdef str first_name = self.names[0], second_name = self.names[1]
        memset(loans, 0, sizeof(loans))
        memset(&options, 0, sizeof(options))
        try:
            ask_stream(stream, &loans[self.first])
            self.check_process()
            borrow(first, first_name, False, &tensors[self.first], &loans[self.first])
            context = take_stream(
                &options, stream, first, &tensors[self.first], loans, self.first, 3)
            borrow(second, second_name, False, &tensors[self.second], &loans[self.second])
            kind = loans[self.first].kind
            check_same(&tensors[self.first], kind, first_name, &tensors[self.second],
                       loans[self.second].kind, second_name)
            check_provider(&tensors[self.first])
            self.check(&tensors[self.first], self.first, first_name)
            self.check(&tensors[self.second], self.second, second_name)
            self.describe(&expected, self.result)
            if given:
                borrow_out(out, kind, &tensors[self.first], first_name, &expected, True,
                           &tensors[self.result], &loans[self.result])
                check_overlap(&tensors[self.result], &tensors[self.first], first_name)
                check_overlap(&tensors[self.result], &tensors[self.second], second_name)
            else:
                tensors[self.result] = expected
                out = new_output(
                    kind, first, &tensors[self.first], &tensors[self.result],
                    self.plan.params.strides[self.result][1] == 1, True, &loans[self.result])
            self.check(&tensors[self.result], self.result, "out")
            await_all(&options, &tensors[self.first], loans, 3)
            with self.one_at_a_time:
                if self.constant_weights:
                    self.keep(second, &tensors[<int>W], &loans[<int>W])
                self.run(tensors, options.stream)
            if given and kind == TORCH:
                note_write(out)
            return out
        finally:
            for i in range(3):
                give_back(&loans[i])
            if context is not None:
                context.__exit__(None, None, None)

    cdef void describe(self, TensorView* view, int operand) noexcept nogil:
        """Shape of an operand as the user knows it."""
        cdef int i, skip = 1 if self.one_dimensional else 0
        view[0] = TensorView()
        view.ndim = 2 + self.plan.params.spatial - skip
        for i in range(<int>view.ndim):
            view.shape[i] = self.plan.params.shape[operand][i if i < 2 else i + skip]

    cdef int check(self, TensorView* tensor, int operand, str name) except -1:
        """The plan's shape, dtype, device, layout and alignment, or a ValueError."""
        cdef TensorView expected
        cdef int i
        self.describe(&expected, operand)
        check_shape(tensor, name, expected.shape, <int>expected.ndim, True)
        if <int64_t>tensor.dtype != self.plan.params.dtype:
            raise TypeError(f"{name}: expected dtype {self.problem.dtype}, as the plan was made "
                            f"for, but got {dtype_name(tensor.dtype)}")
        if self.one_dimensional:
            add_height(tensor)
        for i in range(<int>tensor.ndim):
            if (tensor.shape[i] > 1
                    and tensor.strides[i] != self.plan.params.strides[operand][i]):
                raise ValueError(
                    f"{name}: expected {self.problem.layout.replace('_', '-')} strides, as the "
                    f"plan was made for, and no gaps")
        if tensor.alignment() < self.plan.params.alignment[operand]:
            raise ValueError(f"{name}: expected memory aligned to "
                             f"{self.plan.params.alignment[operand]} bytes")
        return 0

    cdef int run(self, TensorView* tensors, hipStream_t stream) except -1:
        cdef InFlight call
        cdef Operands operands = self.plan.operands
        cdef CurrentDevice current
        cdef CallRecord* record
        cdef Status status
        cdef int i
        for i in range(3):
            operands.data[i] = tensors[i].data
        if self.packed_bytes:
            operands.data[<int>W] = self.packed.data()
        with nogil:
            call.enter(self.plan.device.api)
            self.use_its_threads()
            status = current.set(self.plan.device.api, self.plan.device.index)
            if status.ok():
                status = self.follow(stream)
            if status.ok():
                status = self.plan.calls.run(
                    self.handle.get(), operands, self.plan.convolution(), self.workspace.data(),
                    self.chosen.workspace, self.chosen.id)
                self.note_use(stream)
        if not status.ok():
            self.plan.device.api.hipGetLastError()
            raise_status(&self.plan.device.api, status, self.problem,
                         (solution_name(&self.plan.device.api, self.chosen.id),))
        record = call_record()
        record[0] = CallRecord()
        record.provider = <int>self.plan.device.api.provider
        record.direction = <int>self.plan.params.direction
        record.mode = 2
        record.solution_id = self.chosen.id
        record.workspace = <int64_t>self.chosen.workspace
        return 0
