"""Running a problem by its best admissible solution; the next one where that fails.

One code serves the three directions: `DirectionCalls` knows what differs between them.
"""

import os

from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from mioconv._check.flags cimport Options
from mioconv._core.describe cimport entry_solutions, problem_of, solution_name
from mioconv._core.entries cimport append_unlisted, entry_of
from mioconv._core.search cimport search
from mioconv._core.state cimport begin_record, call_record, counted
from mioconv._core.verify cimport inspect_run, is_due
from mioconv._native.api cimport api_of, raise_status
from mioconv._native.native cimport (
    Api, CallRecord, Choice, ConvolutionParams, Device, Direction, Entry, HandleLease, Operands,
    Provider, Solution, Status, W, Workspace, X, Y)

from mioconv._core.describe import log
from mioconv._core.state import DIRECTIONS
from mioconv._loader.advice import kernel_cache_problem
from mioconv._native.api import PROVIDERS
from mioconv.errors import NoSolutionError


cdef int choose(Entry* entry, HandleLease* lease, const Choice& choice, int tried,
                Solution* out) except -1 nogil:
    """The next admissible solution. Where the list has none, what lacked memory gets another
    chance, and then the vendor's general solvers, or the one that is pinned, if they apply."""
    if entry.choose(choice, out) or (
            tried == 0 and entry.forget_out_of_memory() and entry.choose(choice, out)):
        return True
    return append_unlisted(entry, lease, choice.pinned) and entry.choose(choice, out)


cdef int run(Device* device, ConvolutionParams* params, void* x, void* w, void* y,
             const Options* options, shared_ptr[Entry]* used) except -1 nogil:
    """One convolution by the best admissible solution; the result operand is written.

    `used` receives the entry, for what follows the convolution. The device must be current.

    A solution that fails, or whose workspace cannot be had, is remembered as such and the next one
    is tried; the last failure is raised only when none is left.
    """
    cdef Entry* entry
    cdef HandleLease lease
    cdef Operands operands
    cdef Choice choice
    cdef Solution solution
    cdef int tried = 0
    cdef bint leased = True
    cdef cbool wrong
    cdef Status failure, status
    entry = entry_of(device, params, options.stream, used)
    operands = entry.operands
    operands.data[<int>X] = x
    operands.data[<int>W] = w
    operands.data[<int>Y] = y
    choice.pinned = options.solution
    choice.workspace_limit = options.workspace_limit
    choice.exclusions = options.exclusions
    choice.strict_accuracy = options.strict_accuracy
    if options.benchmark and options.solution == 0:
        search(entry, operands, choice, options)
    status = lease.lease(device.handles, options.stream)
    if not status.ok():
        with gil:
            raise_status(&device.api, status, problem_of(params))
    while choose(entry, &lease, choice, tried, &solution):
        run_solution(entry, &lease, operands, &solution, options, &status, &leased, &wrong)
        if status.ok() and not wrong:
            note_solution(
                entry, &solution, 2 if options.solution else 1 if options.benchmark else 0, tried)
            return 0
        device.api.hipGetLastError()
        if not leased and status.capture():
            break
        tried += 1
        if not wrong:
            failure = status
            set_back(entry, &solution, status, leased, &choice)
        choice.tried.push_back(solution.id)
    if status.capture():
        with gil:
            raise_status(&device.api, status, problem_of(params))
    with gil:
        raise_no_solution(entry, options, &choice, failure)


cdef int run_solution(Entry* entry, HandleLease* lease, const Operands& operands,
                      const Solution* solution, const Options* options, Status* status,
                      bint* leased, cbool* wrong) except -1 nogil:
    """Run one solution, and look at its result where that is due. `leased`: there was memory for
    it; `wrong`: it ran, and its result is not there."""
    cdef Workspace workspace
    cdef cbool ran = False
    wrong[0] = False
    leased[0] = True
    if is_due(entry, solution, options):
        with gil:
            status[0] = inspect_run(entry, lease, &operands, solution, options, &ran, wrong)
        if ran or wrong[0]:
            return 0
        # Where memory is too short for guards, nobody looks.
        entry.device.api.hipGetLastError()
    status[0] = workspace.lease(entry.device.workspaces, solution.workspace, options.stream)
    leased[0] = status.ok()
    if leased[0]:
        status[0] = entry.calls.run(lease.get(), operands, entry.convolution(), workspace.data(),
                                    solution.workspace, solution.id)
    return 0


cdef void note_solution(const Entry* entry, const Solution* solution, int mode,
                        int tried) noexcept nogil:
    """What `last_call` and the counters say of a call that a solution served."""
    cdef int direction = <int>entry.params.direction
    cdef CallRecord* record = begin_record(<int>entry.device.api.provider, direction, mode, 0)
    record.solution_id = solution.id
    record.workspace = <int64_t>solution.workspace
    record.tried = tried
    if tried:
        counted().of(<Direction>direction).fallbacks.add(tried)


cdef int set_back(Entry* entry, const Solution* solution, Status status, bint leased,
                  Choice* choice) except -1 nogil:
    """Remember that a solution failed, so that others come before it; a pinned one is not to blame
    for being chosen."""
    if choice.pinned == 0:
        if not status.out_of_memory():
            entry.mark_failed(solution.id)
        else:
            entry.mark_out_of_memory(solution.id)
            if not leased:
                # Only less can help now.
                choice.workspace_limit = <int64_t>solution.workspace - 1
    with gil:
        log_failure(entry, solution, status)
    return 0


cdef int log_failure(Entry* entry, const Solution* solution, Status status) except -1:
    log.debug("%s: %s failed: %s returned %d", problem_of(&entry.params).driver_line(),
              solution_name(&entry.device.api, solution.id), (<bytes>status.call).decode(),
              status.code)
    return 0


cdef int raise_no_solution(Entry* entry, const Options* options, const Choice* choice,
                           Status failure) except -1:
    """Say why no solution served: they failed now, they failed earlier, or none was admitted."""
    cdef const Api* api = &entry.device.api
    cdef vector[Solution] ranked = entry.solutions()
    cdef size_t i
    problem = problem_of(&entry.params)
    line = problem.driver_line()
    if choice.tried.size() and not failure.ok():
        tried = [solution_name(api, choice.tried[i]) for i in range(choice.tried.size())]
        raise_status(api, failure, problem, tuple(tried))
    listed = entry_solutions(entry)
    if options.solution and (fault := entry.fault(options.solution).decode()):
        raise NoSolutionError(
            f"{solution_name(api, options.solution)} is set aside for this problem: {fault}: "
            f"{line}")
    if options.solution and not any(s["id"] == options.solution for s in listed):
        raise ValueError(
            f"solution: {options.solution} is not one of this problem's solutions: "
            + ", ".join([f"{s['id']} ({s['name']})" for s in listed]))
    left = [listed[i] for i in range(ranked.size())
            if options.solution in (0, ranked[i].id)
            and (options.exclusions == NULL or not options.exclusions.excludes(api[0], ranked[i]))]
    if not left:
        raise NoSolutionError(
            f"every solution of this problem is excluded: "
            f"{', '.join([s['name'] for s in listed])}: {line}")
    least = min([s["workspace_bytes"] for s in left])
    if 0 <= options.workspace_limit < least:
        which = "solution " + left[0]["name"] if options.solution else "any solution"
        raise NoSolutionError(
            f"no solution fits workspace_limit={options.workspace_limit} bytes; the least that "
            f"{which} needs is {least}: {line}")
    why = kernel_cache_problem(os.environ) if api.provider == Provider.rocm else None
    raise NoSolutionError(
        f"every solution of this problem that is admitted failed, or was wrong, in an earlier "
        f"call; mioconv.cache_clear() lets them be tried again: {f'{why}; ' if why else ''}{line}")


# --- looking in -----------------------------------------------------------------------------------

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
