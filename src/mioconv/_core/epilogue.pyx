"""What follows a convolution: bias, a scaled sum, ReLU; in one operation where the library can.

Fused operations have no solution ids in MIOpen, so calls with a pinned or an excluded solution run
separate steps. A library that cannot fuse a problem says so once and is not asked again for it.
"""

from libcpp cimport bool as cbool
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.string cimport string

from mioconv._check.flags cimport Options
from mioconv._core.describe cimport problem_of
from mioconv._core.entries cimport entry_of
from mioconv._core.run cimport run
from mioconv._core.state cimport all_fusions, begin_record
from mioconv._core.verify cimport is_due, warn_of
from mioconv._native.api cimport raise_status
from mioconv._native.miopen cimport miopenFloat
from mioconv._native.native cimport (
    Api, ConvolutionParams, Device, Direction, Entry, Epilogue, Fusion, HandleLease, Provider,
    Solution, Status, Timing, Way, Workspace, Y, apply_relu, capturing)

from mioconv.errors import MioconvError

cdef enum:
    PLAIN = 0
    RELU = 1
    BIAS_RELU = 2
    ADD_RELU = 3


# --- separate steps -------------------------------------------------------------------------------

cdef bint refused(Epilogue* epilogue, Status status) noexcept nogil:
    """Whether the library does not do this step; the first such answer is kept."""
    if not status.ok() and epilogue.refusal.ok():
        epilogue.refusal = status
    return not status.ok()


cdef int steps(Entry* entry, void* result, Epilogue* epilogue,
               const Options* options) except -1 nogil:
    """Each step by a call of its own, in place. A refused one leaves those after it pending."""
    cdef const Api* api = &entry.device.api
    cdef HandleLease lease
    cdef Status status = lease.lease(entry.device.handles, options.stream)
    if not status.ok():
        with gil:
            raise_status(api, status, problem_of(&entry.params))
    if epilogue.z != NULL:
        status = entry.add_scaled(lease.get(), epilogue.alpha, epilogue.z, result)
        epilogue.z_pending = refused(epilogue, status)
    if epilogue.bias != NULL and status.ok():
        status = entry.add_bias(lease.get(), epilogue.bias, result)
    epilogue.bias_pending = epilogue.bias != NULL and refused(epilogue, status)
    if epilogue.relu and status.ok():
        status = apply_relu(entry[0], lease.get(), result)
    epilogue.relu_pending = epilogue.relu and refused(epilogue, status)
    if epilogue.pending():
        api.hipGetLastError()
        # Lack of memory is no opinion about the step.
        if epilogue.refusal.out_of_memory():
            with gil:
                raise_status(api, epilogue.refusal, problem_of(&entry.params))
    return 0


# --- fused ----------------------------------------------------------------------------------------

cdef struct FusionContext:
    shared_ptr[Entry]* convolution
    bint bias


# As for entries, what a builder raises stays with the thread.
ctypedef shared_ptr[Fusion] (*FusionBuilder)(const ConvolutionParams&, void*) noexcept nogil


cdef shared_ptr[Fusion] build_fusion(const ConvolutionParams& params, void* context) except * nogil:
    cdef FusionContext* build = <FusionContext*>context
    return make_shared[Fusion](build.convolution[0], build.bias)


cdef bint fusion_is_due(Entry* entry, Fusion* fusion, const Options* options) noexcept nogil:
    """As `is_due` of verify.pyx, for a fused call. What bias and z hold, only the host can see."""
    cdef Solution stand_in
    stand_in.inspected = <int>fusion.inspected.load()
    return entry.device.api.provider == Provider.cpu and is_due(entry, &stand_in, options)


cdef enum Look:
    NOBODY_LOOKED  # there was no memory for guards, or it failed
    RIGHT
    WRONG


cdef Status inspect_fusion(Entry* entry, Fusion* fusion, void* x, void* w, void* y,
                           const Epilogue* epilogue, const Options* options, Look* look) except *:
    """As `inspect_run` of verify.pyx, for a fused call."""
    cdef string fault
    cdef Status status
    cdef cbool ran = False
    with nogil:
        status = fusion.run_inspected(x, w, y, epilogue[0], options.stream, &ran, &fault)
    look[0] = RIGHT if ran else NOBODY_LOOKED
    if status.ok() and not fault.empty():
        look[0] = WRONG
        fusion.way.store(Way.separate)  # whatever becomes of the warning
        warn_of(entry, "a fused operation", fault)
    return status


cdef int faster_way(Entry* entry, Fusion* fusion, void* x, void* w, const Epilogue* epilogue,
                    ConvolutionParams* params, const Options* options) except -1 nogil:
    """Time both ways on scratch memory, alternating; the minimum of each counts. The `Way`; lack of
    memory decides nothing."""
    cdef Device* device = &entry.device
    cdef Workspace scratch
    cdef Timing timing
    cdef Epilogue copy
    cdef Status status
    cdef float ms = 0, fused = 1e30, separate = 1e30
    cdef Look look
    cdef int _round
    status = scratch.lease(device.workspaces, params.bytes(Y), options.stream)
    if status.ok():
        status = timing.make(device.api)
    if not status.ok():
        device.api.hipGetLastError()
        return <int>Way.undecided
    if fusion_is_due(entry, fusion, options):
        with gil:
            inspect_fusion(entry, fusion, x, w, scratch.data(), epilogue, options, &look)
        if look == WRONG:
            return <int>Way.separate
    for _round in range(5):
        status = timing.begin(options.stream, 4)
        if status.ok():
            status = fusion.run(x, w, scratch.data(), epilogue[0], options.stream)
        if status.ok():
            status = timing.end(options.stream, &ms)
        if not status.ok():
            device.api.hipGetLastError()
            return <int>(Way.undecided if status.out_of_memory() else Way.separate)
        fused = min(fused, ms)
        status = timing.begin(options.stream, 4)
        if status.ok():
            copy = epilogue[0]
            if not run_separately(device, params, x, w, scratch.data(), &copy, options):
                return <int>Way.fused
            status = timing.end(options.stream, &ms)
        if not status.ok():
            device.api.hipGetLastError()
            return <int>Way.undecided
        separate = min(separate, ms)
    return <int>(Way.fused if fused <= separate else Way.separate)


cdef bint run_separately(Device* device, ConvolutionParams* params, void* x, void* w, void* y,
                         Epilogue* epilogue, const Options* options) except? False nogil:
    """The other way, for timing; False where it is not to be had: no solution within the limit, a
    step that the library refuses. What a callback of a search raises goes through."""
    cdef shared_ptr[Entry] used
    with gil:
        try:
            with nogil:
                run(device, params, x, w, y, options, &used)
                steps(used.get(), y, epilogue, options)
        except MioconvError:
            return False
    return not epilogue.pending()


cdef bint run_fused(Device* device, ConvolutionParams* params, void* x, void* w, void* y,
                    Epilogue* epilogue, const Options* options) except -1 nogil:
    """Try the fused way; False when it is not to be had, or slower, for this problem."""
    cdef shared_ptr[Entry] held
    cdef shared_ptr[Fusion] kept
    cdef Entry* entry
    cdef Fusion* fusion
    cdef ConvolutionParams key = params[0]
    cdef FusionContext context
    cdef Status status
    cdef Look look = NOBODY_LOOKED
    cdef Way way = Way.undecided
    entry = entry_of(device, params, options.stream, &held)
    # The library picks the algorithm of a fused operation, perhaps one that its list has.
    if options.strict_accuracy and not entry.sums_plainly():
        return False
    key.fusion = (ADD_RELU if epilogue.z != NULL else
                  BIAS_RELU if epilogue.bias != NULL else RELU)
    context.convolution = &held
    context.bias = epilogue.bias != NULL
    kept = all_fusions().get_or_create(key, <FusionBuilder>build_fusion, &context)
    fusion = kept.get()
    if fusion == NULL:
        return -1
    if fusion.way.load() == Way.separate:
        return False
    # While one thread times, others run fused: deterministic calls keep to that way.
    if (options.benchmark and not options.deterministic
            and not capturing(device.api, options.stream) and fusion.begin_timing()):
        try:
            way = <Way>faster_way(entry, fusion, x, w, epilogue, params, options)
        finally:
            fusion.way.store(way)
        if way == Way.separate:
            return False
    if fusion_is_due(entry, fusion, options):
        with gil:
            status = inspect_fusion(entry, fusion, x, w, y, epilogue, options, &look)
        if look == WRONG:
            return False
    if look == NOBODY_LOOKED:
        status = fusion.run(x, w, y, epilogue[0], options.stream)
    if not status.ok():
        device.api.hipGetLastError()
        if not status.out_of_memory() and not status.capture():
            fusion.way.store(Way.separate)
        return False
    begin_record(<int>device.api.provider, <int>Direction.forward, 1 if options.benchmark else 0, 2)
    return True


# --- both -----------------------------------------------------------------------------------------

cdef int run_all(Device* device, ConvolutionParams* params, void* x, void* w, void* y,
                 Epilogue* epilogue, const Options* options) except -1 nogil:
    """A convolution and what follows it; see `Epilogue` for what may be left to the caller. The
    device must be current."""
    cdef shared_ptr[Entry] used
    cdef void *data[3]
    # Ours on the CPU fuses with what it lists; of other libraries nobody knows. MIOpen's fused
    # kernel accepts groups that it does not know of, and reads past the weights. To ours another
    # alpha is another problem, to be listed and compiled: worth it where it saves a rounding.
    if (epilogue.relu and options.solution == 0 and options.exclusions == NULL
            and not (params.groups > 1 and device.api.provider == Provider.rocm)
            and (epilogue.z == NULL or epilogue.alpha == 1 or params.dtype != miopenFloat
                 or device.api.provider == Provider.rocm)
            and (not options.strict_accuracy or device.api.provider == Provider.cpu)):
        if run_fused(device, params, x, w, y, epilogue, options):
            return 0
    if epilogue.z_in_place:
        epilogue.undone = True
        return 0
    run(device, params, x, w, y, options, &used)
    data[0], data[1], data[2] = x, w, y
    return steps(used.get(), data[<int>used.get().result()], epilogue, options)
