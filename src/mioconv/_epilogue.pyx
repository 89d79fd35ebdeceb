"""What follows a convolution: bias, a scaled sum, ReLU; in one operation where the library can.

Fused operations have no solution ids in MIOpen, so a pinned solution always runs separate steps. A
library that cannot fuse a problem says so once and is not asked again for it.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libcpp.memory cimport make_shared, shared_ptr, unique_ptr
from libcpp.utility cimport move

from mioconv._api cimport raise_status
from mioconv._select cimport Options, call_record, plan_of, problem_of, run
from mioconv.miopen cimport miopenFloat, miopenStatusNotImplemented
from mioconv.native cimport (
    Api, BenchmarkCache, CallRecord, ConvolutionParams, CurrentDevice, Device, Direction, Fusion,
    FusionPlan, HandleLease, Plan, Status, Timing, Way, Workspace, Y, apply_relu,
    run_bias_activation, status_of)

cdef BenchmarkCache[Fusion] fusions

cdef enum:
    PLAIN = 0
    RELU = 1
    BIAS_RELU = 2
    ADD_RELU = 3


# --- separate steps --------------------------------------------------------------------------------

cdef void note_refusal(Status* refusal, Status status) noexcept nogil:
    if refusal.ok():
        refusal[0] = status


cdef int steps(Plan* plan, void* result, Epilogue* epilogue, Status* refusal,
               const Options* options) except -1 nogil:
    """Each step by a call of its own, in place. One that is refused leaves those after it pending."""
    cdef const Api* api = &plan.device.api
    cdef HandleLease lease
    cdef Status status = lease.lease(plan.device.handles, options.stream)
    if not status.ok():
        with gil:
            raise_status(api, status, problem_of(&plan.params))
    if epilogue.z != NULL:
        status = plan.add_scaled(lease.get(), epilogue.alpha, epilogue.z, result)
        epilogue.z_pending = not status.ok()
        note_refusal(refusal, status)
    if epilogue.bias != NULL:
        if not epilogue.z_pending:
            status = plan.add_bias(lease.get(), epilogue.bias, result)
        epilogue.bias_pending = not status.ok()
        note_refusal(refusal, status)
    if epilogue.relu:
        if not (epilogue.z_pending or epilogue.bias_pending):
            status = apply_relu(plan[0], lease.get(), result)
        epilogue.relu_pending = not status.ok()
        note_refusal(refusal, status)
    if epilogue.z_pending or epilogue.bias_pending or epilogue.relu_pending:
        api.hipGetLastError()
    return 0


# --- fused -----------------------------------------------------------------------------------------

cdef struct FusionContext:
    shared_ptr[Plan]* convolution
    bint bias


cdef shared_ptr[Fusion] build_fusion(const ConvolutionParams& params,
                                     void* context) noexcept nogil:
    cdef FusionContext* build = <FusionContext*>context
    return make_shared[Fusion](build.convolution[0], build.bias)


cdef Status zero_bias(Plan* plan, Workspace* held, const Options* options) noexcept nogil:
    """The call that takes z wants a bias too."""
    cdef size_t size = 4 if plan.params.dtype == <int64_t>miopenFloat else 2
    cdef size_t bytes = size * <size_t>plan.params.shape[<int>Y][1]
    cdef Status status = held.lease(plan.device.workspaces, bytes, options.stream)
    if not status.ok():
        return status
    return status_of("hipMemsetAsync", plan.device.api.hipMemsetAsync(
        held.data(), 0, bytes, options.stream))


cdef Status fuse(Plan* plan, Fusion* fusion, void* x, void* w, void* y, const Epilogue* epilogue,
                 const Options* options) noexcept nogil:
    """The whole operator as one native operation."""
    cdef HandleLease lease
    cdef Workspace zeros
    cdef unique_ptr[FusionPlan] leased
    cdef const void* bias = epilogue.bias
    cdef Status status
    if epilogue.z != NULL:
        status = lease.lease(plan.device.handles, options.stream)
        if status.ok() and bias == NULL:
            status = zero_bias(plan, &zeros, options)
            bias = zeros.data()
        if status.ok():
            status = run_bias_activation(
                plan[0], lease.get(), x, w, epilogue.alpha, epilogue.z, bias, y)
        return status
    if not FusionPlan.available(plan.device.api):
        return status_of("miopenCreateFusionPlan", miopenStatusNotImplemented)
    status = fusion.lease(options.stream, &leased)
    if status.ok():
        status = leased.get().execute(options.stream, x, w, bias, y)
        fusion.give_back(move(leased))
    return status


cdef bint fused_is_faster(Plan* plan, Fusion* fusion, void* x, void* w, const Epilogue* epilogue,
                          ConvolutionParams* params, const Options* options) except -1 nogil:
    """Time both ways on scratch memory, alternating; the minimum of each counts."""
    cdef Device* device = &plan.device
    cdef Workspace scratch
    cdef Timing timing
    cdef Epilogue copy
    cdef Status status, refusal
    cdef shared_ptr[Plan] used
    cdef size_t bytes = 4 if params.dtype == <int64_t>miopenFloat else 2
    cdef float ms = 0, fused = 1e30, separate = 1e30
    cdef int i, round
    for i in range(2 + <int>params.spatial):
        bytes *= <size_t>params.shape[<int>Y][i]
    status = scratch.lease(device.workspaces, bytes, options.stream)
    if status.ok():
        status = timing.make(device.api)
    if not status.ok():
        device.api.hipGetLastError()
        return True
    for round in range(5):
        status = timing.begin(options.stream)
        if status.ok():
            status = fuse(plan, fusion, x, w, scratch.data(), epilogue, options)
        if status.ok():
            status = timing.end(options.stream, &ms)
        if not status.ok():
            device.api.hipGetLastError()
            return False
        fused = min(fused, ms)
        status = timing.begin(options.stream)
        if status.ok():
            run(device, params, x, w, scratch.data(), options, &used)
            copy = epilogue[0]
            steps(plan, scratch.data(), &copy, &refusal, options)
            status = timing.end(options.stream, &ms)
        if not status.ok() or not refusal.ok():
            device.api.hipGetLastError()
            return True
        separate = min(separate, ms)
    return fused <= separate


cdef bint run_fused(Device* device, ConvolutionParams* params, void* x, void* w, void* y,
                    Epilogue* epilogue, const Options* options) except -1 nogil:
    """Try the fused way; False when it is not to be had, or slower, for this problem."""
    cdef shared_ptr[Plan] held
    cdef shared_ptr[Fusion] entry
    cdef Plan* plan
    cdef Fusion* fusion
    cdef ConvolutionParams key = params[0]
    cdef FusionContext context
    cdef CallRecord* record
    cdef Status status
    cdef bint faster
    plan = plan_of(device, params, options.stream, &held)
    key.fusion = (ADD_RELU if epilogue.z != NULL else
                  BIAS_RELU if epilogue.bias != NULL else RELU)
    context.convolution = &held
    context.bias = epilogue.bias != NULL
    entry = fusions.get_or_create(key, build_fusion, &context)
    fusion = entry.get()
    if fusion.way.load() == Way.separate:
        return False
    if options.benchmark and fusion.way.load() == Way.undecided:
        faster = fused_is_faster(plan, fusion, x, w, epilogue, params, options)
        fusion.way.store(Way.fused if faster else Way.separate)
        if not faster:
            return False
    status = fuse(plan, fusion, x, w, y, epilogue, options)
    if not status.ok():
        device.api.hipGetLastError()
        if not status.out_of_memory():
            fusion.way.store(Way.separate)
        return False
    record = call_record()
    record[0] = CallRecord()
    record.provider = <int>device.api.provider
    record.direction = <int>Direction.forward
    record.mode = 1 if options.benchmark else 0
    record.way = 2
    return True


# --- both ------------------------------------------------------------------------------------------

cdef int run_all(Device* device, ConvolutionParams* params, void* x, void* w, void* y,
                 Epilogue* epilogue, Status* refusal, const Options* options) except -1 nogil:
    """A convolution and what follows it; see `Epilogue` for what may be left to the caller."""
    cdef shared_ptr[Plan] used
    cdef CurrentDevice current
    cdef void *data[3]
    cdef Status status
    if epilogue.relu and options.solution == 0:
        status = current.set(device.api, device.index)
        if not status.ok():
            with gil:
                raise_status(&device.api, status, problem_of(params))
        if run_fused(device, params, x, w, y, epilogue, options):
            return 0
    run(device, params, x, w, y, options, &used)
    if epilogue.bias != NULL or epilogue.z != NULL or epilogue.relu:
        data[0], data[1], data[2] = x, w, y
        steps(used.get(), data[<int>used.get().result()], epilogue, refusal, options)
    return 0


def clear_fusions() -> None:
    """Forget all fused plans and which way is faster."""
    with nogil:
        fusions.clear()
