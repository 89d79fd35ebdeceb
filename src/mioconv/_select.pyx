"""Choosing a solution for a problem, remembering the choice, and running it.

Everything here runs without the GIL; it is taken only to raise an exception or to write a log
line, and never while a C++ lock is held. One code serves the three directions: `DirectionCalls`
knows what differs between them.
"""

import logging

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.vector cimport vector

from mioconv._api cimport api_of, raise_status
from mioconv.hip cimport hipStream_t
from mioconv.miopen cimport (
    miopenConvAlgoPerf_t, miopenConvSolution_t, miopenStatusNotImplemented)
from mioconv.native cimport (
    Api, BenchmarkCache, CacheCounters, CallRecord, Choice, ConvolutionParams, CurrentDevice,
    Device, Devices, Direction, DirectionStatistics, HandleLease, MemoryStats, Mutex, Operands,
    Plan, Provider, Solution, Source, Statistics, Status, Timing, W, Workspace, X, Y,
    last_call as record_of_this_thread, order_measured_first)

from mioconv._api import PROVIDERS
from mioconv.errors import NoSolutionError
from mioconv.problem import Problem

# Never destroyed: at exit the native libraries are torn down before this module, and other threads
# may still compute. Entries beyond the capacity leave by age.
cdef BenchmarkCache[Plan]* plans = new BenchmarkCache[Plan](10000)
cdef Devices* devices = new Devices()
cdef Statistics statistics
# Two threads inside the vendor's heuristics or Find can crash it (rocm-libraries#9131).
cdef Mutex vendor_queries

log = logging.getLogger("mioconv")

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec*)


cdef int64_t now_us() noexcept nogil:
    cdef timespec moment
    clock_gettime(CLOCK_MONOTONIC, &moment)
    return <int64_t>moment.tv_sec * 1000000 + moment.tv_nsec // 1000


ALGORITHMS = {0: "GEMM", 1: "Direct", 2: "FFT", 3: "Winograd", 4: "GEMM", 5: "ImplicitGEMM"}
DIRECTIONS = ("forward", "backward_input", "backward_weight")


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


# --- plans ----------------------------------------------------------------------------------------

cdef struct BuildContext:
    Device* device
    hipStream_t stream
    Status* status


cdef shared_ptr[Plan] build_plan(const ConvolutionParams& params, void* context) noexcept nogil:
    """Descriptors and the library's own ranking of a problem's solutions. Null: see the status; if
    that is good, the library has no solution."""
    cdef BuildContext* build = <BuildContext*>context
    cdef shared_ptr[Plan] plan = make_shared[Plan](build.device[0], params)
    cdef HandleLease lease
    cdef CurrentDevice current
    build.status[0] = current.set(build.device.api, build.device.index)
    if build.status.ok():
        build.status[0] = plan.get().describe()
    if build.status.ok():
        build.status[0] = lease.lease(build.device.handles, build.stream)
    if build.status.ok():
        build.status[0] = rank_by_heuristic(plan.get(), &lease)
    # An empty list is not kept: a library that is asked again may know better.
    if not build.status.ok() or plan.get().empty():
        plan.reset()
    return plan


cdef Status rank_by_heuristic(Plan* plan, HandleLease* lease) noexcept nogil:
    """Ask the library for its solutions, best first. None at all leaves the ranking as it was."""
    cdef size_t count = 0, i
    cdef vector[miopenConvSolution_t] found
    cdef vector[Solution] ranked
    cdef Solution solution
    cdef cbool vendor = plan.device.api.provider == Provider.rocm
    cdef Status status
    if vendor:
        vendor_queries.lock()
    status = plan.calls.solution_count(lease.get(), plan.operands, plan.convolution(), &count)
    if status.code == <int>miopenStatusNotImplemented:
        # An unsupported problem answers so, and leaves the count unwritten.
        status = Status()
    elif status.ok() and count > 0:
        # The count is an upper bound; what GetSolution returns is the list.
        # A library that answers nonsense must not make us ask for that much memory.
        count = min(count, <size_t>4096)
        found.resize(count)
        status = plan.calls.solutions(
            lease.get(), plan.operands, plan.convolution(), found.size(), &count, found.data())
        found.resize(min(count, found.size()))
    if vendor:
        vendor_queries.unlock()
    if not status.ok():
        return status
    for i in range(found.size()):
        solution = Solution()
        solution.id = found[i].solution_id
        solution.time_ms = found[i].time
        solution.workspace = found[i].workspace_size
        solution.algorithm = found[i].algorithm
        ranked.push_back(solution)
    if not ranked.empty():
        plan.rank(ranked)
    return status


cdef Plan* plan_of(Device* device, ConvolutionParams* params, hipStream_t stream,
                   shared_ptr[Plan]* held) except NULL nogil:
    cdef Status status
    cdef BuildContext context
    context.device = device
    context.stream = stream
    context.status = &status
    held[0] = plans.get_or_create(params[0], build_plan, &context)
    if held.get() == NULL:
        with gil:
            problem = problem_of(params)
            if status.ok():
                raise NoSolutionError(
                    f"the library lists no solution for this problem: {problem.driver_line()}")
            raise_status(&device.api, status, problem)
    return held.get()


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


# --- benchmark mode -------------------------------------------------------------------------------

cdef Status time_solution(Plan* plan, HandleLease* lease, const Operands* operands,
                          Workspace* workspace, const Solution* solution, hipStream_t stream,
                          Timing* timing, int repeats, float* ms) noexcept nogil:
    """Milliseconds of one run, the mean of `repeats` back to back."""
    cdef Status status = timing.begin(stream)
    cdef int _i
    for _i in range(repeats):
        if status.ok():
            status = plan.calls.run(
                lease.get(), operands[0], plan.convolution(), workspace.data(), solution.workspace,
                solution.id)
    if status.ok():
        status = timing.end(stream, ms)
    ms[0] /= repeats
    return status


cdef void find_once(Plan* plan, HandleLease* lease, const Operands* operands,
                    const Options* options) noexcept nogil:
    """Let the library fill its own database. Its failure is no error: the list serves without."""
    cdef size_t bytes = 0
    cdef int count = 0
    cdef miopenConvAlgoPerf_t[8] best
    cdef Workspace workspace
    cdef cbool vendor = plan.device.api.provider == Provider.rocm
    if not plan.calls.workspace(lease.get(), operands[0], plan.convolution(), &bytes).ok():
        bytes = 0
    if options.workspace_limit >= 0:
        bytes = min(bytes, <size_t>options.workspace_limit)
    if not workspace.lease(plan.device.workspaces, bytes, options.stream).ok():
        return
    if vendor:
        vendor_queries.lock()
    plan.calls.find(
        lease.get(), operands[0], plan.convolution(), 8, &count, best, workspace.data(), bytes)
    if vendor:
        vendor_queries.unlock()
    plan.device.api.hipGetLastError()


cdef Status measure_all(Plan* plan, HandleLease* lease, const Operands* operands,
                        const Options* options, Timing* timing, float spent) noexcept nogil:
    """Time the listed solutions in rounds, so that a disturbance hits all alike, and re-rank them.

    A solution stays in as long as its best time is near the best of all. The minimum is kept: noise
    only ever adds. `spent`, in ms, counts against the budget, which ends the search once at least
    one solution was timed warm.
    """
    cdef const Api* api = &plan.device.api
    cdef vector[Solution] ranked = plan.solutions()
    cdef vector[float] best
    cdef vector[int] repeats
    cdef Workspace workspace
    cdef Status status, last
    cdef size_t i, running
    cdef int round
    cdef float ms = 0, fastest = 1e30, keep
    best.resize(ranked.size(), <float>1e30)
    repeats.resize(ranked.size(), 1)
    for round in range(12):
        running = 0
        fastest = 1e30
        for i in range(best.size()):
            fastest = min(fastest, best[i])
        # The first round warms up; who is far behind then, or by less later, cannot win any more.
        keep = fastest * (5.0 if round < 2 else 1.5 if round < 3 else 1.2 if round < 5 else 1.1)
        for i in range(ranked.size()):
            if ranked[i].failed or (round > 0 and best[i] > keep):
                continue
            if (options.workspace_limit >= 0
                    and ranked[i].workspace > <size_t>options.workspace_limit):
                continue
            if spent > options.budget_ms and (round > 1 or (round == 0 and fastest < 1e30)):
                break
            status = workspace.lease(plan.device.workspaces, ranked[i].workspace, options.stream)
            if status.ok() and round == 0:
                # Compiling is not part of the time; a library that cannot do it ahead does it in
                # the run, and says there what is wrong.
                plan.calls.compile(lease.get(), operands[0], plan.convolution(), ranked[i].id)
            if status.ok():
                status = time_solution(plan, lease, operands, &workspace, &ranked[i],
                                       options.stream, timing, repeats[i], &ms)
            workspace.give_back()
            if not status.ok():
                api.hipGetLastError()
                last = status
                ranked[i].failed = not status.out_of_memory()
                best[i] = 1e30
                continue
            running += 1
            spent += ms * repeats[i]
            if round == 0:
                # Events tick too coarsely for one run of a small problem.
                repeats[i] = 1 if ms > 0.1 else <int>(0.1 / ms) + 1 if ms > 0.002 else 50
            best[i] = min(best[i], ms)
            fastest = min(fastest, best[i])
        if running <= 1 and round > 1:
            break
    if fastest >= 1e30:
        return last
    for i in range(ranked.size()):
        if best[i] < 1e30:
            ranked[i].time_ms = best[i]
            ranked[i].source = Source.measured
    order_measured_first(ranked)
    plan.rank(ranked)
    return Status()


cdef Status measure_on_scratch(Plan* plan, Operands* operands, size_t result_bytes,
                               const Options* options) noexcept nogil:
    """Find, list again and measure, all on a result buffer of our own: never on the caller's."""
    cdef const Api* api = &plan.device.api
    cdef HandleLease lease
    cdef Workspace scratch
    cdef Timing timing
    cdef int64_t start = now_us()
    cdef Status status = lease.lease(plan.device.handles, options.stream)
    if not status.ok():
        return status
    status = scratch.lease(plan.device.workspaces, result_bytes, options.stream)
    if not status.ok():
        return status
    operands.data[<int>plan.result()] = scratch.data()
    find_once(plan, &lease, operands, options)
    status = rank_by_heuristic(plan, &lease)
    if not status.ok():
        return status
    status = timing.make(api[0])
    if status.ok():
        status = measure_all(plan, &lease, operands, options, &timing,
                             (now_us() - start) / 1000.0)
    return status


cdef void search(Plan* plan, Operands operands, const Options* options) noexcept nogil:
    """Rank a plan by measurement, once. Whoever comes meanwhile waits and uses the outcome.

    Failing to measure (no scratch memory, no working event) leaves the library's own ranking in
    force; a later call tries again.
    """
    cdef int64_t start
    cdef DirectionStatistics* row = &statistics.of(<Direction>plan.params.direction)
    plan.searching.lock()
    if not plan.measured.load():
        start = now_us()
        if measure_on_scratch(
                plan, &operands, plan.params.bytes(plan.result()), options).ok():
            plan.measured.store(True)
        # What the losers needed need not be kept.
        plan.device.workspaces.release_unused()
        row.finds.add(1)
        row.find_us.add(now_us() - start)
    plan.searching.unlock()


# --- running --------------------------------------------------------------------------------------

cdef CallRecord* call_record() noexcept nogil:
    """What `last_call` reads. Each extension module has thread-local variables of its own, so that
    the others come here for this one."""
    return &record_of_this_thread()


cdef int run(Device* device, ConvolutionParams* params, void* x, void* w, void* y,
             const Options* options, shared_ptr[Plan]* used) except -1 nogil:
    """One convolution by the best admissible solution; the result operand is written.

    `used` receives the plan, for what follows the convolution. The device must be current.

    A solution that fails, or whose workspace cannot be had, is remembered as such and the next one
    is tried; the last failure is raised only when none is left.
    """
    cdef const Api* api = &device.api
    cdef Plan* plan
    cdef HandleLease lease
    cdef Workspace workspace
    cdef Operands operands
    cdef Choice choice
    cdef Solution solution
    cdef CallRecord* record
    cdef int tried = 0
    cdef Status failure, status
    plan = plan_of(device, params, options.stream, used)
    operands = plan.operands
    operands.data[<int>X] = x
    operands.data[<int>W] = w
    operands.data[<int>Y] = y
    choice.pinned = options.solution
    choice.workspace_limit = options.workspace_limit
    if options.benchmark and options.solution == 0 and not plan.measured.load():
        search(plan, operands, options)
        with gil:
            log_ranking(plan, "measured")
    status = lease.lease(device.handles, options.stream)
    if not status.ok():
        with gil:
            raise_status(api, status, problem_of(params))
    while plan.choose(choice, &solution):
        status = workspace.lease(device.workspaces, solution.workspace, options.stream)
        if not status.ok():
            if not options.solution and status.out_of_memory():
                plan.mark_out_of_memory(solution.id)
                # Only less can help now.
                choice.workspace_limit = <int64_t>solution.workspace - 1
        else:
            status = plan.calls.run(lease.get(), operands, plan.convolution(), workspace.data(),
                                    solution.workspace, solution.id)
            if status.ok():
                record = call_record()
                record.provider = <int>api.provider
                record.direction = <int>params.direction
                record.mode = 2 if options.solution else 1 if options.benchmark else 0
                record.way = 0
                record.solution_id = solution.id
                record.workspace = <int64_t>solution.workspace
                record.tried = tried
                statistics.of(<Direction>params.direction).fallbacks.add(tried)
                return 0
            api.hipGetLastError()
            if options.solution == 0:
                if status.out_of_memory():
                    plan.mark_out_of_memory(solution.id)
                else:
                    plan.mark_failed(solution.id)
        failure = status
        tried += 1
        choice.tried.push_back(solution.id)
        workspace.give_back()
    with gil:
        raise_no_solution(plan, options, tried, failure)


cdef int raise_no_solution(Plan* plan, const Options* options, int tried,
                           Status failure) except -1:
    cdef const Api* api = &plan.device.api
    problem = problem_of(&plan.params)
    listed = plan_solutions(plan)
    if tried:
        log.debug("%s: %d of %s failed", problem.driver_line(), tried, [s["name"] for s in listed])
        raise_status(api, failure, problem)
    if options.solution and not any(s["id"] == options.solution for s in listed):
        raise ValueError(
            f"solution: {options.solution} is not one of this problem's solutions: "
            + ", ".join([f"{s['id']} ({s['name']})" for s in listed]))
    line = problem.driver_line()
    wanted = [s for s in listed if options.solution in (0, s["id"])]
    least = min([s["workspace_bytes"] for s in wanted])
    if 0 <= options.workspace_limit < least:
        which = "solution " + wanted[0]["name"] if options.solution else "any solution"
        raise NoSolutionError(
            f"no solution fits workspace_limit={options.workspace_limit} bytes; the least that "
            f"{which} needs is {least}: {line}")
    raise NoSolutionError(
        f"every solution of this problem failed in an earlier call; mioconv.cache_clear() lets "
        f"them be tried again: {line}")


# --- looking in -----------------------------------------------------------------------------------

cdef str solution_name(const Api* api, uint64_t id):
    cdef char[256] text
    if api.mioconvGetSolutionName != NULL and api.mioconvGetSolutionName(id, text, 256) == 0:
        return (<bytes>text).decode()
    return f"solution {id}"


cdef list plan_solutions(Plan* plan):
    """The ranking as dicts with the fields of `mioconv.Solution`."""
    cdef vector[Solution] ranked = plan.solutions()
    cdef Solution solution
    cdef size_t i
    found = []
    for i in range(ranked.size()):
        solution = ranked[i]
        found.append({
            "id": solution.id,
            "name": solution_name(&plan.device.api, solution.id),
            "algorithm": ALGORITHMS.get(<int>solution.algorithm, str(<int>solution.algorithm)),
            "time_ms": solution.time_ms,
            "workspace_bytes": solution.workspace,
            "source": "measured" if solution.source == Source.measured else "heuristic",
        })
    return found


cdef int log_ranking(Plan* plan, str how) except -1:
    if log.isEnabledFor(logging.DEBUG):
        listed = plan_solutions(plan)
        best = listed[0] if listed else None
        log.debug("%s: %d solutions %s, best %s", problem_of(&plan.params).driver_line(),
                  len(listed), how, best)
    return 0


cdef list list_solutions(Device* device, ConvolutionParams* params, const Options* options):
    cdef shared_ptr[Plan] held
    cdef Plan* plan
    try:
        with nogil:
            plan = plan_of(device, params, options.stream, &held)
    except NoSolutionError:
        return []
    return plan_solutions(plan)


def last_call() -> dict | None:
    """What this thread's last call did, as fields of `mioconv.CallInfo`; None before any call."""
    cdef CallRecord record = call_record()[0]
    if record.provider < 0:
        return None
    solution = record.solution_id
    return {
        "provider": PROVIDERS[record.provider],
        "direction": DIRECTIONS[record.direction],
        "mode": ("immediate", "benchmark", "pinned")[record.mode],
        "way": ("separate", "nothing to compute", "fused")[record.way],
        "solution_id": solution or None,
        "solution_name": solution_name(api_of(record.provider), solution) if solution else None,
        "workspace_bytes": record.workspace,
        "tried": record.tried,
    }


def cache_info() -> dict:
    """Counters of the cache and of selection, as fields of `mioconv.CacheInfo`."""
    cdef CacheCounters counters = plans.counters()
    cdef DirectionStatistics* row
    cdef int i
    by_direction = {}
    for i in range(3):
        row = &statistics.of(<Direction>i)
        by_direction[DIRECTIONS[i]] = {
            "finds": row.finds.load(), "find_ms": row.find_us.load() / 1000.0,
            "fallbacks": row.fallbacks.load()}
    info = {
        "hits": counters.hits, "misses": counters.misses, "evictions": counters.evictions,
        "entries": counters.entries, "by_direction": by_direction,
    }
    for name in ("finds", "find_ms", "fallbacks"):
        info[name] = sum([counts[name] for counts in by_direction.values()])
    return info


def cache_clear() -> None:
    """Forget every choice and every failure; the counters start again from zero."""
    with nogil:
        plans.clear()
        statistics.clear()


def memory_stats() -> dict:
    """Scratch memory by device ("cpu:0"), in bytes: leased now, their peak, kept for next calls."""
    cdef vector[Device*] used = devices.all()
    cdef MemoryStats stats
    cdef size_t i
    found = {}
    for i in range(used.size()):
        stats = used[i].workspaces.stats()
        name = PROVIDERS[<int>used[i].api.provider]
        found[f"{name}:{used[i].index}"] = {
            "current": stats.current, "peak": stats.peak, "reserved": stats.reserved}
    return found


def empty_cache() -> None:
    """Give scratch memory that no call uses back, and retry what ran out of memory."""
    cdef vector[shared_ptr[Plan]] entries
    cdef vector[Device*] used
    cdef size_t i
    with nogil:
        used = devices.all()
        for i in range(used.size()):
            used[i].workspaces.release_unused()
        entries = plans.values()
        for i in range(entries.size()):
            entries[i].get().forget_out_of_memory()
