"""Benchmark mode: ranking the solutions of a problem by measurement.

Everything is measured on scratch memory: the caller's result is written once, by the winner.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.string cimport string
from libcpp.vector cimport vector

from mioconv._check.flags cimport Options
from mioconv._core.describe cimport log_selection, problem_of, solution_fields
from mioconv._core.entries cimport append_unlisted, rank_by_heuristic
from mioconv._core.records cimport remember
from mioconv._core.state cimport counted, use_threads, vendor_lock
from mioconv._core.verify cimport set_aside
from mioconv._native.miopen cimport miopenConvAlgoPerf_t
from mioconv._native.native cimport (
    Api, Choice, Direction, DirectionStatistics, Entry, GuardedMemory, HandleLease, Inspection,
    Mutex, Operands, PatternOperands, Provider, Solution, Source, Status, Timing, Turn, Workspace,
    capturing)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec*)


cdef extern from *:
    """
    // Whether this thread is inside a search, of whatever problem.
    static thread_local bool searching_here = false;
    """
    bint searching_here


cdef int64_t now_us() noexcept nogil:
    cdef timespec moment
    clock_gettime(CLOCK_MONOTONIC, &moment)
    return <int64_t>moment.tv_sec * 1000000 + moment.tv_nsec // 1000


# --- progress -------------------------------------------------------------------------------------

# Called after every measurement of the first round, or None; see `mioconv.on_search`.
cdef object watcher = None
cdef bint watched = False


def watch(callback):
    """Set what is told of the progress of searches, and answer what it was before."""
    global watcher, watched
    before = watcher
    watcher = callback
    watched = callback is not None
    return before


cdef int tell(Entry* entry, const Solution* solution, float ms, size_t done,
              size_t total) except -1 nogil:
    """What the callback raises ends the search, and the call that searched."""
    if not watched:
        return 0
    with gil:
        callback = watcher
        if callback is not None:
            fields = solution_fields(&entry.device.api, solution[0])
            fields["time_ms"] = ms
            fields["source"] = "measured"
            callback(problem_of(&entry.params), fields, done, total)
    return 0


cdef int look_at_signals() except -1 nogil:
    """Whoever waits for a search can end it: what a signal's handler raises, as of Ctrl-C, ends it
    as a callback does."""
    with gil:
        PyErr_CheckSignals()
    return 0


# --- measuring ------------------------------------------------------------------------------------

cdef enum:
    ALWAYS_TRIED = 3  # so many of those that rank first are run once, whatever the budget
    FIRST_RUN = 50    # times slower than the fastest: what a first run rules out
    STALL_MS = 20     # but not if it took no longer than this
    SIGNALS_US = 50000  # between two looks at signals, at least


cdef float limit(int round, float fastest, float spent, float budget) noexcept nogil:
    """A solution whose best time is this or less runs in this round.

    A first run loads code, maps memory and fills caches, and a short second one may be stalled by
    whatever else runs: they say little of later ones, and rule out only what is slower than that
    explains. To give all others a third run is worth half of the budget.
    """
    if round < 3 and spent <= budget / 2:
        return max(fastest * (FIRST_RUN if round == 1 else 3), <float>STALL_MS)
    if round == 1 and spent <= budget:
        return fastest * 5
    return fastest * (1.5 if round < 5 else 1.2 if round < 7 else 1.1)


cdef int repeats_for(float ms) noexcept nogil:
    """How many runs of so many milliseconds make a sample of 0.4 ms.

    Events tick too coarsely for one run of a small problem; a cache holds what the solution before
    left there, which the first runs of a sample have to replace; and whatever else runs stalls all
    of a search that is over too soon.
    """
    return 1 + <int>min(49.0, <float>0.4 / max(ms, <float>1e-3))


# What one search works with, and what it has found out so far.
cdef struct Search:
    Entry* entry
    HandleLease* lease
    Operands* operands       # the result's is scratch memory
    GuardedMemory* result
    Inspection* inspection
    const Options* options
    Timing* timing
    float spent              # milliseconds of runs
    int64_t looked           # at signals, the last time


# A solution in a search.
cdef struct Candidate:
    Solution* solution
    float ms                 # its best time, or NEVER
    int repeats              # runs of a sample


cdef float NEVER = 1e30


cdef Status time_candidate(Search* search, Candidate* candidate, void* workspace,
                           float* ms) noexcept nogil:
    """Milliseconds of one run, the mean of `repeats` back to back; what was disturbed is timed
    again, a few times and within the budget. All that it took is counted as spent."""
    cdef Entry* entry = search.entry
    cdef Status status
    cdef int _attempt, _i
    cdef float elapsed = 0
    ms[0] = NEVER
    for _attempt in range(4):
        status = search.timing.begin(search.options.stream, candidate.repeats)
        for _i in range(candidate.repeats):
            if status.ok():
                status = entry.calls.run(
                    search.lease.get(), search.operands[0], entry.convolution(), workspace,
                    candidate.solution.workspace, candidate.solution.id)
        if status.ok():
            status = search.timing.end(search.options.stream, &elapsed)
        if not status.ok():
            break
        search.spent += elapsed
        ms[0] = min(ms[0], elapsed / candidate.repeats)
        if not search.timing.disturbed() or search.spent > search.options.budget_ms:
            break
    if status.ok():
        candidate.ms = min(candidate.ms, ms[0])
    return status


cdef int find_once(Entry* entry, HandleLease* lease, const Operands* operands,
                   const Options* options) except -1 nogil:
    """Let the library fill its own database. Its failure is no error: the list serves without.

    The cpu provider lists all that it has without that, and its Find would time all of it twice.
    """
    cdef size_t bytes = 0
    cdef int count = 0
    cdef miopenConvAlgoPerf_t[8] best
    cdef Workspace workspace
    cdef Mutex* lock = vendor_lock(&entry.device)
    # Find runs whatever the library has; what is excluded must not run.
    if options.exclusions != NULL or entry.device.api.provider == Provider.cpu:
        return 0
    if not entry.calls.workspace(lease.get(), operands[0], entry.convolution(), &bytes).ok():
        bytes = 0
    if options.workspace_limit >= 0:
        bytes = min(bytes, <size_t>options.workspace_limit)
    if not workspace.lease(entry.device.workspaces, bytes, options.stream).ok():
        return 0
    if lock != NULL:
        lock.lock()
    entry.calls.find(
        lease.get(), operands[0], entry.convolution(), 8, &count, best, workspace.data(), bytes)
    if lock != NULL:
        lock.unlock()
    entry.device.api.hipGetLastError()
    return 0


cdef Status inspect(Search* search, const GuardedMemory* workspace, Solution* solution) except *:
    """Look at what a solution left after its first runs; what is wrong is set aside."""
    cdef Entry* entry = search.entry
    cdef string fault
    cdef Status status
    cdef cbool intact = True
    with nogil:
        status = workspace.look(&intact)
        if status.ok() and intact:
            status = search.result.look(&intact)
        if status.ok() and not intact:
            fault = string(b"it wrote outside of its memory")
            status = search.result.restore()
        if status.ok() and intact and search.inspection.begun():
            status = search.inspection.look(
                entry[0], solution[0], search.operands.data[<int>entry.result()],
                search.options.stream, &fault)
    if status.ok() and not fault.empty():
        solution.wrong = True
        set_aside(entry, solution, fault)
    elif status.ok() and search.inspection.begun():
        solution.inspected += 1
    return status


cdef int begin_inspection(Entry* entry, Operands* operands, PatternOperands* replaced,
                          Inspection* inspection, const Options* options) except -1 nogil:
    """On a CPU the operands are in reach. On a GPU, and where they show nothing, they are replaced
    by ones of our own, whose values are chosen so that faults show; where there is no memory for
    these, nobody looks."""
    cdef size_t seed = <size_t>entry.params.direction
    if options.verify == 0 or entry.params.packed_weights:
        return 0
    if entry.device.api.provider == Provider.cpu:
        inspection.begin(entry[0], operands[0], options.stream, seed)
        if inspection.tells():
            return 0
    if replaced.lease(entry[0], operands, options.stream).ok():
        inspection.begin(entry[0], replaced[0], seed)
    else:
        entry.device.api.hipGetLastError()
    return 0


cdef int measure_all(Search* search, const Choice& choice) except -1 nogil:
    """Time the admitted solutions in rounds, so that a disturbance hits all alike, and rank them; 0
    where that was not possible.

    A solution stays in as long as its best time is near the best of all, by `limit`. The minimum is
    kept: noise only ever adds. The budget ends the search, but not before the first few were run at
    all, for whatever ranks first may be slow enough to use it up, and one was timed warm.
    """
    cdef double budget_ms = search.options.budget_ms
    cdef vector[Solution] ranked = search.entry.admitted(choice)
    cdef vector[Candidate] candidates
    cdef Status status
    cdef size_t i, running, tried = 0
    cdef int round
    cdef float fastest
    search.spent = 0
    search.looked = now_us()
    for i in range(ranked.size()):
        candidates.push_back(Candidate(&ranked[i], NEVER, 1))
    for round in range(12):
        running = 0
        fastest = NEVER
        for i in range(candidates.size()):
            fastest = min(fastest, candidates[i].ms)
        for i in range(candidates.size()):
            if ranked[i].failed or ranked[i].out_of_memory or ranked[i].wrong:
                continue
            if round > 0 and candidates[i].ms > limit(round, fastest, search.spent, budget_ms):
                continue
            if search.spent > budget_ms and (
                    round > 1 or (round == 0 and tried >= ALWAYS_TRIED)):
                break
            measure_one(search, &candidates[i], round, i + 1, candidates.size(), &status)
            if status.ok() and not ranked[i].wrong:
                running += 1
                tried += round == 0
            elif status.hip and not status.ok() and not status.out_of_memory():
                return 0  # the clock or the device failed, not this solution
        if running <= 1 and round > 1:
            break
    for i in range(ranked.size()):
        # Those that the budget left out were looked at too: they would be left out again.
        ranked[i].searched = not ranked[i].out_of_memory
        if candidates[i].ms < NEVER:
            ranked[i].time_ms = candidates[i].ms
            ranked[i].measured = True
            if ranked[i].source == Source.heuristic:
                ranked[i].source = Source.measured
    search.entry.recall(ranked, False)
    return 1


cdef int measure_one(Search* search, Candidate* candidate, int round, size_t place, size_t total,
                     Status* status) except -1 nogil:
    """One sample of a candidate; in the first round its result is looked at, and it is told of."""
    cdef Entry* entry = search.entry
    cdef const Options* options = search.options
    cdef Solution* solution = candidate.solution
    cdef Workspace workspace
    cdef GuardedMemory guarded
    cdef void* space
    cdef bint looks = round == 0 and options.verify != 0
    cdef bint too_few
    cdef int enough
    cdef float ms = 0
    if looks:
        status[0] = guarded.lease(
            entry.device.api, entry.device.workspaces, solution.workspace, options.stream)
        space = guarded.data()
        looks = status.ok()  # without the memory for guards, nobody looks
    if not looks:
        status[0] = workspace.lease(entry.device.workspaces, solution.workspace, options.stream)
        space = workspace.data()
    if status.ok() and round == 0:
        # Compiling is not part of the time; a library that cannot do it ahead does it in the run,
        # and says there what is wrong.
        entry.calls.compile(
            search.lease.get(), search.operands[0], entry.convolution(), solution.id)
    if status.ok():
        status[0] = time_candidate(search, candidate, space, &ms)
    if status.ok() and round < 2:
        enough = repeats_for(candidate.ms)
        too_few = round == 1 and enough > 2 * candidate.repeats
        candidate.repeats = enough
        if too_few:  # the first run was much slower than this one
            status[0] = time_candidate(search, candidate, space, &ms)
    if looks and status.ok():
        with gil:
            status[0] = inspect(search, &guarded, solution)
    workspace.give_back()
    guarded.give_back()
    look_up(search)
    if solution.wrong or not status.ok():
        candidate.ms = NEVER
    if not status.ok():
        entry.device.api.hipGetLastError()
        search.result.restore()
        solution.out_of_memory = status.out_of_memory()
        solution.failed = not status.out_of_memory()
    elif round == 0 and not solution.wrong:
        tell(entry, solution, ms, place, total)
        use_its_threads(entry)  # the callback may have called with others
    return 0


cdef int look_up(Search* search) except -1 nogil:
    """From time to time, at signals."""
    if now_us() - search.looked > SIGNALS_US:
        look_at_signals()
        use_its_threads(search.entry)  # a handler may have called with others
        search.looked = now_us()
    return 0


cdef int use_its_threads(Entry* entry) except -1 nogil:
    cdef int64_t threads
    return use_threads(&entry.device.api, <int>entry.params.threads, &threads)


cdef int measure_on_scratch(Entry* entry, Operands* operands, const Choice& choice,
                            const Options* options) except -1 nogil:
    """Find, list again and measure, all on a result buffer of our own: never on the caller's.

    Failing to measure (no scratch memory, no working event) answers 0 and leaves the ranking as it
    was; a later call tries again.
    """
    cdef const Api* api = &entry.device.api
    cdef HandleLease lease
    cdef GuardedMemory scratch
    cdef PatternOperands replaced
    cdef Inspection inspection
    cdef Timing timing
    cdef Search search = Search(
        entry, &lease, operands, &scratch, &inspection, options, &timing, 0, 0)
    cdef Status status = lease.lease(entry.device.handles, options.stream)
    if status.ok():
        status = scratch.lease(
            api[0], entry.device.workspaces, entry.params.bytes(entry.result()), options.stream)
    if not status.ok():
        return 0
    operands.data[<int>entry.result()] = scratch.data()
    begin_inspection(entry, operands, &replaced, &inspection, options)
    find_once(entry, &lease, operands, options)
    # Find ran whatever the library has: nobody else is to be blamed for what that wrote.
    scratch.restore()
    rank_by_heuristic(entry, &lease, &status)
    if status.ok():
        status = timing.make(api[0])
    if not status.ok() or not measure_all(&search, choice):
        return 0
    # Where nothing that is listed runs, the vendor's general solvers are left.
    if not entry.any_runs() and append_unlisted(entry, &lease, 0):
        return measure_all(&search, choice)
    return 1


cdef int search(Entry* entry, Operands operands, const Choice& choice,
                const Options* options) except -1 nogil:
    """Rank the admitted solutions by measurement, once. Whoever comes meanwhile waits for it.

    A call from a callback of another search goes without: two searches could wait for each other.
    """
    cdef int64_t start, end
    cdef DirectionStatistics* row
    cdef bint measured = False
    cdef Turn turn = Turn.later
    global searching_here
    if searching_here or capturing(entry.device.api, options.stream):
        return 0
    while turn == Turn.later:
        turn = entry.begin_search(choice)
        if turn == Turn.later:
            look_at_signals()
    if turn == Turn.nothing:
        return 0
    start = now_us()
    searching_here = True
    try:
        measured = measure_on_scratch(entry, &operands, choice, options)
    finally:
        searching_here = False
        entry.end_search()
        if options.empty_cache_after_find:
            # What the losers needed need not be kept.
            entry.device.workspaces.release_unused()
    if not measured:
        return 0
    end = now_us()
    row = &counted().of(<Direction>entry.params.direction)
    row.finds.add(1)
    row.find_us.add(end - start)
    with gil:
        log_selection(entry, "measured")
        remember(entry, (end - start) / 1000.0)
    return 0
