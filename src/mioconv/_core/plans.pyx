"""Plans: what is known of each problem, by its key.

Everything that a call needs runs without the GIL; it is taken only to raise an exception, to write
a log line or to look into the cache files, and never while a C++ lock is held.
"""

from cpython.exc cimport PyErr_Occurred
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.vector cimport vector

from mioconv._core.describe cimport log_selection, plan_solutions, problem_of
from mioconv._core.records cimport recall
from mioconv._core.state cimport all_plans, vendor_lock
from mioconv._native.api cimport raise_status
from mioconv._native.hip cimport hipStream_t
from mioconv._native.miopen cimport miopenConvSolution_t, miopenStatusNotImplemented
from mioconv._native.native cimport (
    ConvolutionParams, CurrentDevice, Device, HandleLease, InFlight, Mutex, Plan, Provider,
    Solution, Status, capturing, general_solvers, refused_in_capture, solver_algorithm, solver_name)

from mioconv.errors import NoSolutionError

cdef struct BuildContext:
    Device* device
    hipStream_t stream
    Status* status
    bint built


# The cache passes on what a builder raised: the exception stays with the thread.
ctypedef shared_ptr[Plan] (*PlanBuilder)(const ConvolutionParams&, void*) noexcept nogil


cdef shared_ptr[Plan] build_plan(const ConvolutionParams& params, void* context) except * nogil:
    """Descriptors, and the solutions as far as the library and the cache files know them. Null:
    what was raised, or else the status says why; if that is good, the library has no solution."""
    cdef BuildContext* build = <BuildContext*>context
    cdef shared_ptr[Plan] plan = make_shared[Plan](build.device[0], params)
    cdef HandleLease lease
    cdef CurrentDevice current
    build.built = True
    if capturing(build.device.api, build.stream):
        build.status[0] = refused_in_capture("miopenConvolutionGetSolution")
    else:
        build.status[0] = current.set(build.device.api, build.device.index)
    if build.status.ok():
        build.status[0] = plan.get().describe()
    if build.status.ok():
        build.status[0] = lease.lease(build.device.handles, build.stream)
    if build.status.ok():
        rank_by_heuristic(plan.get(), &lease, build.status)
    if build.status.ok() and plan.get().empty():
        append_unlisted(plan.get(), &lease, 0)
    # An empty list is not kept: a library that is asked again may know better.
    if not build.status.ok() or plan.get().empty():
        plan.reset()
    else:
        with gil:
            recall(plan.get())
        confirm_recalled(plan.get(), &lease)
    return plan


cdef int append(Plan* plan, HandleLease* lease, uint64_t id, bint general,
                bint searched) except -1 nogil:
    """Add a solution that the library did not list, if it says that it applies. `searched`: it is
    not worth a search.

    An answer of 0 bytes proves nothing: MIOpen looks whether a solver applies only where that may
    need a workspace, runs one of another direction as well, and crashes at an id that is not a
    convolution's. So without a workspace only the general ones are believed.
    """
    cdef Solution solution
    cdef vector[Solution] known = plan.solutions()
    cdef size_t i, bytes = 0
    for i in range(known.size()):
        if known[i].id == id:
            return False
    if solver_name(id) == NULL:
        return False
    if not plan.calls.solution_workspace(
            lease.get(), plan.operands, plan.convolution(), id, &bytes).ok():
        plan.device.api.hipGetLastError()
        return False
    if bytes == 0 and not general:
        return False
    solution.id = id
    solution.workspace = bytes
    solution.algorithm = solver_algorithm(id)
    solution.listed = True
    solution.searched = searched
    plan.append(solution)
    return True


cdef int append_unlisted(Plan* plan, HandleLease* lease, uint64_t pinned) except -1 nogil:
    """The vendor's solvers for everything, where its list is used up, or the one that is pinned;
    whether there is any."""
    cdef const uint64_t* general = general_solvers[<int>plan.params.direction]
    cdef bint any = False
    # They are the last resort, and compared with each other only where nothing else runs.
    cdef bint others = plan.any_runs()
    cdef int i
    if plan.device.api.provider != Provider.rocm:
        return False
    if pinned:
        return append(plan, lease, pinned, pinned == general[0] or pinned == general[1], True)
    for i in range(2):
        # Its matrix products take packed tensors only; MIOpen prints an error where it is asked.
        if i == 0 and plan.params.lies_channels_last():
            continue
        if append(plan, lease, general[i], True, others):
            any = True
    return any


cdef int confirm_recalled(Plan* plan, HandleLease* lease) except -1 nogil:
    """What an earlier process knew of solutions that the library does not list now is not believed:
    their workspaces are asked for."""
    cdef vector[Solution] known
    cdef size_t i, bytes
    cdef bint applies
    if plan.device.api.provider != Provider.rocm:
        return 0
    known = plan.solutions()
    for i in range(known.size()):
        if known[i].listed:
            continue
        bytes = 0
        applies = plan.calls.solution_workspace(
            lease.get(), plan.operands, plan.convolution(), known[i].id, &bytes).ok()
        if not applies:
            plan.device.api.hipGetLastError()
        plan.confirm(known[i].id, applies, bytes)
    return 0


cdef int rank_by_heuristic(Plan* plan, HandleLease* lease, Status* status) except -1 nogil:
    """Ask the library for its solutions, best first. None at all leaves the ranking as it was."""
    cdef size_t count = 0, i
    cdef vector[miopenConvSolution_t] found
    cdef vector[Solution] ranked
    cdef Solution solution
    cdef Mutex* lock = vendor_lock(&plan.device)
    if lock != NULL:
        lock.lock()
    try:
        status[0] = plan.calls.solution_count(
            lease.get(), plan.operands, plan.convolution(), &count)
        if status.code == <int>miopenStatusNotImplemented:
            # An unsupported problem answers so, and leaves the count unwritten.
            status[0] = Status()
        elif status.ok() and count > 0:
            # The count is an upper bound; what GetSolution returns is the list.
            # A library that answers nonsense must not make us ask for that much memory.
            count = min(count, <size_t>4096)
            found.resize(count)
            status[0] = plan.calls.solutions(
                lease.get(), plan.operands, plan.convolution(), found.size(), &count, found.data())
            found.resize(min(count, found.size()))
    finally:
        if lock != NULL:
            lock.unlock()
    if not status.ok():
        return 0
    for i in range(found.size()):
        solution = Solution()
        solution.id = found[i].solution_id
        solution.time_ms = found[i].time
        solution.workspace = found[i].workspace_size
        solution.algorithm = found[i].algorithm
        solution.listed = True
        ranked.push_back(solution)
    if not ranked.empty():
        plan.rank(ranked)
    return 0


cdef Plan* plan_of(Device* device, ConvolutionParams* params, hipStream_t stream,
                   shared_ptr[Plan]* held) except NULL nogil:
    cdef Status status
    cdef BuildContext context
    context.device = device
    context.stream = stream
    context.status = &status
    context.built = False
    held[0] = all_plans().get_or_create(params[0], <PlanBuilder>build_plan, &context)
    if held.get() == NULL:
        with gil:
            raise_no_plan(device, params, status)
    if context.built:
        with gil:
            log_selection(held.get(), "listed")
    return held.get()


cdef int raise_no_plan(Device* device, const ConvolutionParams* params, Status status) except -1:
    if PyErr_Occurred() != NULL:
        return -1
    problem = problem_of(params)
    if status.ok():
        raise NoSolutionError(
            f"the library lists no solution for this problem: {problem.driver_line()}")
    return raise_status(&device.api, status, problem)


cdef list list_solutions(Device* device, ConvolutionParams* params, hipStream_t stream):
    cdef InFlight call
    cdef shared_ptr[Plan] held
    cdef Plan* plan
    try:
        with nogil:
            call.enter(device.api)
            plan = plan_of(device, params, stream, &held)
    except NoSolutionError:
        return []
    return plan_solutions(plan)


def recall_all() -> int:
    """Apply what the cache files know to the plans in memory; how many plans that served."""
    cdef vector[shared_ptr[Plan]] entries
    cdef size_t i
    cdef int served = 0
    with nogil:
        entries = all_plans().values()
    for i in range(entries.size()):
        served += recall_again(entries[i].get())
    return served


cdef int recall_again(Plan* plan) except -1:
    cdef HandleLease lease
    cdef CurrentDevice current
    cdef int served = recall(plan)
    if served and current.set(plan.device.api, plan.device.index).ok():
        with nogil:
            if lease.lease(plan.device.handles, NULL).ok():
                confirm_recalled(plan, &lease)
    return served
