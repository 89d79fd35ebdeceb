"""Plans: what is known of each problem, by its key, and the devices that they run on.

Everything that a call needs runs without the GIL; it is taken only to raise an exception, to write
a log line or to look into the cache files, and never while a C++ lock is held.
"""

import logging
import os

from cpython.exc cimport PyErr_Occurred
from libc.stddef cimport size_t
from libc.stdint cimport SIZE_MAX, int64_t, uint64_t
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.vector cimport vector

from mioconv._api cimport api_of, bound_caches, raise_status, trim_caches
from mioconv.hip cimport hipStream_t
from mioconv.miopen cimport (
    miopenConvAlgorithm_t, miopenConvSolution_t, miopenStatusNotImplemented)
from mioconv.native cimport (
    Api, BenchmarkCache, CacheCounters, ConvolutionParams, CurrentDevice, Device, Devices,
    Direction, DirectionStatistics, HandleLease, InFlight, Mutex, Plan, Provider, Solution,
    Source, Statistics, Status, X, algorithm_name, capturing, general_solvers, name_of,
    refused_in_capture, solver_algorithm, solver_name)

from mioconv import cache_files
from mioconv._api import PROVIDERS, release
from mioconv._loader.installation import forwarding
from mioconv._loader.search import mapped_files
from mioconv.errors import NoSolutionError
from mioconv.problem import Problem

# Entries beyond the capacity leave by age. None of these is ever destroyed: at exit the native
# libraries are torn down before this module, and other threads may still compute.
cdef size_t capacity = 10000
cdef BenchmarkCache[Plan]* plans = new BenchmarkCache[Plan](capacity)
cdef Devices* devices = new Devices()
# Two threads inside the vendor's heuristics or Find can crash it (rocm-libraries#9131).
cdef Mutex* vendor_queries = new Mutex()
cdef Statistics statistics

log = logging.getLogger("mioconv")

DIRECTIONS = ("forward", "backward_input", "backward_weight")
SOURCES = ("heuristic", "measured", "pinned")


cdef Statistics* counted() noexcept nogil:
    """The statistics of selection. Each extension module has static variables of its own, so that
    the others come here for these."""
    return &statistics


def after_fork() -> None:
    """Start anew in a child. It has none of the threads that may have held a lock when it was
    forked; what is behind those locks stays where it is, unused."""
    global plans, devices, vendor_queries
    plans = new BenchmarkCache[Plan](capacity)
    devices = new Devices()
    vendor_queries = new Mutex()


os.register_at_fork(after_in_child=after_fork)


cdef Devices* all_devices() noexcept nogil:
    return devices


# --- devices --------------------------------------------------------------------------------------

cdef Device* device_of(int provider, int index) except NULL nogil:
    """The state kept for a device; loads its provider at the first use."""
    cdef const Api* api = api_of(provider)
    cdef Device* device = NULL
    cdef Status status = devices.get(api[0], index, &device)
    if not status.ok():
        with gil:
            raise_status(api, status, None)
    return device


cdef int use_threads(const Api* api, int threads, int64_t* used) except -1 nogil:
    """Bound the CPU threads of this thread's next call, and say how many they are; 0 on GPUs."""
    cdef int count = 0
    if api.mioconvSetNumThreads != NULL and api.mioconvGetNumThreads != NULL:
        api.mioconvSetNumThreads(threads)
        api.mioconvGetNumThreads(&count)
    used[0] = count
    return 0


cdef Mutex* vendor_lock(const Device* device) noexcept nogil:
    """What must be held around the library's heuristics and Find; NULL: nothing."""
    return vendor_queries if device.api.provider == Provider.rocm else NULL


# --- plans ----------------------------------------------------------------------------------------

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
    held[0] = plans.get_or_create(params[0], <PlanBuilder>build_plan, &context)
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


cdef object problem_of(const ConvolutionParams* params):
    """The problem as the user knows it, for messages and listings."""
    cdef int i
    cdef int dims = 2 + <int>params.spatial
    shapes = [tuple([params.shape[operand][i] for i in range(dims)]) for operand in range(3)]
    last = params.strides[<int>X][1] == 1 and shapes[0][1] != 1
    return Problem(
        DIRECTIONS[params.direction], shapes[0], shapes[1],
        ("float16", "float32")[params.dtype] if params.dtype < 2 else "bfloat16",
        stride=tuple([params.stride[i] for i in range(params.spatial)]),
        padding=tuple([params.padding[i] for i in range(params.spatial)]),
        dilation=tuple([params.dilation[i] for i in range(params.spatial)]),
        groups=params.groups, layout="channels_last" if last else "packed",
        device=PROVIDERS[params.provider] + (f":{params.device}" if params.provider else ""))


# --- cache files ----------------------------------------------------------------------------------

# By the address of a device: what its results depend on, beside the problem.
cdef dict identities = {}


cdef tuple identity_of(Device* device):
    """Provider, library versions and device, as cache files tell results apart."""
    found = identities.get(<size_t>device)
    if found is None:
        provider = PROVIDERS[<int>device.api.provider]
        architecture = device.info.architecture.decode(errors="replace")
        if device.api.provider == Provider.cpu:
            # The same instruction set runs at different speeds on different processors; how many
            # threads may be used is in the key.
            architecture = f"{device.info.name.decode(errors='replace')} {architecture}"
        else:
            architecture = f"{architecture} {device.info.compute_units} CU"
        found = (provider, release(provider), architecture, *layers_before(provider))
        identities[<size_t>device] = found
    return found


cdef tuple layers_before(str provider):
    """What stands between the provider's interface and its library, and makes other solutions."""
    if provider != "rocm":
        return ()
    layers = {forwarding(library, os.environ) for library in mapped_files("libMIOpen")}
    return tuple(sorted(layers - {None}))


cdef tuple key_words(const ConvolutionParams* params):
    """The key as numbers, without what `identity_of` says better."""
    cdef ConvolutionParams key = params[0]
    cdef const int64_t* words = <const int64_t*>&key
    cdef size_t i
    key.device = 0
    key.architecture = 0
    return tuple([words[i] for i in range(sizeof(ConvolutionParams) // 8)])


cdef int recall(Plan* plan) except -1:
    """Take over what an earlier process, or a file that was loaded, knows of this problem. Nothing
    in a file makes this fail; what a signal's handler raises meanwhile is passed on."""
    cdef vector[Solution] known
    cdef Solution solution
    found = cache_files.recall(identity_of(&plan.device), key_words(&plan.params))
    if found is None:
        return 0
    for id, time_ms, workspace, algorithm, searched, pinned in found:
        solution = Solution()
        solution.id = id
        solution.measured = time_ms is not None
        solution.time_ms = time_ms or 0
        solution.workspace = workspace
        solution.algorithm = <miopenConvAlgorithm_t><int>algorithm
        solution.searched = searched
        solution.source = (Source.pinned if pinned else
                           Source.measured if solution.measured else Source.heuristic)
        known.push_back(solution)
    # Our own providers list all that they have. The vendor's list is shorter than what it can run
    # as long as its database does not know the problem.
    plan.recall(known, plan.device.api.provider == Provider.rocm)
    return 1


cdef dict record_of(Plan* plan):
    """A plan as the cache files keep it."""
    cdef vector[Solution] ranked = plan.solutions()
    cdef Solution solution
    cdef size_t i
    solutions = []
    source = 0
    for i in range(ranked.size()):
        solution = ranked[i]
        if solution.wrong:
            continue
        source = max(source, <int>solution.source)
        solutions.append((
            solution.id, solution.time_ms if solution.measured else None, solution.workspace,
            <int>solution.algorithm, bool(solution.searched), solution.source == Source.pinned))
    return {
        "identity": identity_of(&plan.device),
        "key": key_words(&plan.params),
        "problem": problem_of(&plan.params).driver_line(),
        "source": SOURCES[source],
        "solutions": solutions,
    }


cdef int remember(Plan* plan, double find_ms) except -1:
    """Write what a search, or the user, decided to this process's cache file."""
    record = record_of(plan)
    record["find_ms"] = round(find_ms, 3)
    cache_files.append(record)
    return 0


def records() -> list:
    """All plans in memory as the cache files keep them, most recently used first."""
    cdef vector[shared_ptr[Plan]] entries
    cdef size_t i
    with nogil:
        entries = plans.values()
    return [record_of(entries[i].get()) for i in range(entries.size())]


def recall_all() -> int:
    """Apply what the cache files know to the plans in memory; how many plans that served."""
    cdef vector[shared_ptr[Plan]] entries
    cdef size_t i
    cdef int served = 0
    with nogil:
        entries = plans.values()
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


# --- looking in -----------------------------------------------------------------------------------

cdef str solution_name(const Api* api, uint64_t id):
    cdef char[256] text
    if name_of(api[0], id, text, 256):
        return (<bytes>text).decode()
    return f"unknown solver {id}"


cdef dict solution_fields(const Api* api, const Solution& solution):
    """A solution with the fields of `mioconv.Solution`."""
    return {
        "id": solution.id,
        "name": solution_name(api, solution.id),
        "algorithm": (<bytes>algorithm_name(solution.algorithm)).decode(),
        "time_ms": solution.time_ms,
        "workspace_bytes": solution.workspace,
        "source": SOURCES[<int>solution.source],
    }


cdef list plan_solutions(Plan* plan):
    """The ranking as dicts with the fields of `mioconv.Solution`."""
    cdef vector[Solution] ranked = plan.solutions()
    cdef size_t i
    listed = [solution_fields(&plan.device.api, ranked[i]) for i in range(ranked.size())]
    for i in range(ranked.size()):
        if ranked[i].wrong:
            listed[i]["fault"] = plan.fault(ranked[i].id).decode()
    return listed


cdef int log_selection(Plan* plan, str how) except -1:
    """One line for each decision: the problem, the first of the ranking, how it came there."""
    if log.isEnabledFor(logging.DEBUG):
        listed = plan_solutions(plan)
        if listed:
            log.debug(
                "%s: %d solutions %s; first %s (%s), workspace %d bytes, %s %.4g ms",
                problem_of(&plan.params).driver_line(), len(listed), how, listed[0]["name"],
                listed[0]["id"], listed[0]["workspace_bytes"], listed[0]["source"],
                listed[0]["time_ms"])
    return 0


cdef list list_solutions(Device* device, ConvolutionParams* params, const Options* options):
    cdef InFlight call
    cdef shared_ptr[Plan] held
    cdef Plan* plan
    try:
        with nogil:
            call.enter(device.api)
            plan = plan_of(device, params, options.stream, &held)
    except NoSolutionError:
        return []
    return plan_solutions(plan)


def cache_info() -> dict:
    """Counters of the cache and of selection, as fields of `mioconv.CacheInfo`."""
    cdef const CacheCounters* counters
    cdef DirectionStatistics* row
    cdef int i
    all_counters = {}
    counted_by_direction = plans.counters()
    for i in range(3):
        row = &statistics.of(<Direction>i)
        counters = &counted_by_direction[i]
        all_counters[DIRECTIONS[i]] = {
            "hits": counters.hits, "misses": counters.misses, "evictions": counters.evictions,
            "finds": row.finds.load(), "find_ms": row.find_us.load() / 1000.0,
            "fallbacks": row.fallbacks.load(), "entries": counters.entries}
    info = {
        name: sum([counts[name] for counts in all_counters.values()])
        for name in ("hits", "misses", "evictions", "finds", "find_ms", "fallbacks", "entries")}
    info["by_direction"] = all_counters
    return info


def cache_clear() -> None:
    """Forget every choice and every failure; the counters start again from zero."""
    with nogil:
        plans.clear()
        statistics.clear()
        trim_caches(0)


def set_capacity(entries: int) -> None:
    """How many problems are kept; the least recently used leave first. 0: no bound."""
    global capacity
    capacity = entries
    with nogil:
        plans.set_capacity(capacity)
        bound_caches(capacity if capacity else SIZE_MAX)


def forget_out_of_memory() -> None:
    """Let solutions that lacked memory be tried again."""
    cdef vector[shared_ptr[Plan]] entries
    cdef size_t i
    with nogil:
        entries = plans.values()
        for i in range(entries.size()):
            entries[i].get().forget_out_of_memory()
