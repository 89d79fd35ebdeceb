"""Entries: what is known of each problem, by its key.

Everything that a call needs runs without the GIL; it is taken only to raise an exception, to write
a log line or to look into the cache files, and never while a C++ lock is held.
"""

from cpython.exc cimport PyErr_Occurred
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.vector cimport vector

from mioconv._core.describe cimport entry_solutions, log_selection, problem_of
from mioconv._core.records cimport recall
from mioconv._core.state cimport all_entries, vendor_lock
from mioconv._native.api cimport raise_status
from mioconv._native.hip cimport hipStream_t
from mioconv._native.miopen cimport miopenConvSolution_t, miopenStatusNotImplemented
from mioconv._native.native cimport (
    ConvolutionParams, CurrentDevice, Device, Entry, HandleLease, InFlight, Mutex, Provider,
    Solution, Status, capturing, general_solvers, refused_in_capture, solver_algorithm, solver_name)

from mioconv.errors import NoSolutionError

cdef struct BuildContext:
    Device* device
    hipStream_t stream
    Status* status
    bint built


# The cache passes on what a builder raised: the exception stays with the thread.
ctypedef shared_ptr[Entry] (*EntryBuilder)(const ConvolutionParams&, void*) noexcept nogil


cdef shared_ptr[Entry] build_entry(const ConvolutionParams& params, void* context) except * nogil:
    """Descriptors, and the solutions as far as the library and the cache files know them. Null:
    what was raised, or else the status says why; if that is good, the library has no solution."""
    cdef BuildContext* build = <BuildContext*>context
    cdef shared_ptr[Entry] entry = make_shared[Entry](build.device[0], params)
    cdef HandleLease lease
    cdef CurrentDevice current
    build.built = True
    if capturing(build.device.api, build.stream):
        build.status[0] = refused_in_capture("miopenConvolutionGetSolution")
    else:
        build.status[0] = current.set(build.device.api, build.device.index)
    if build.status.ok():
        build.status[0] = entry.get().describe()
    if build.status.ok():
        build.status[0] = lease.lease(build.device.handles, build.stream)
    if build.status.ok():
        rank_by_heuristic(entry.get(), &lease, build.status)
    if build.status.ok() and entry.get().empty():
        append_unlisted(entry.get(), &lease, 0)
    # An empty list is not kept: a library that is asked again may know better.
    if not build.status.ok() or entry.get().empty():
        entry.reset()
    else:
        with gil:
            recall(entry.get())
        confirm_recalled(entry.get(), &lease)
    return entry


cdef int append(Entry* entry, HandleLease* lease, uint64_t id, bint general,
                bint searched) except -1 nogil:
    """Add a solution that the library did not list, if it says that it applies. `searched`: it is
    not worth a search.

    An answer of 0 bytes proves nothing: MIOpen looks whether a solver applies only where that may
    need a workspace, runs one of another direction as well, and crashes at an id that is not a
    convolution's. So without a workspace only the general ones are believed.
    """
    cdef Solution solution
    cdef vector[Solution] known = entry.solutions()
    cdef size_t i, bytes = 0
    for i in range(known.size()):
        if known[i].id == id:
            return False
    if solver_name(id) == NULL:
        return False
    if not entry.calls.solution_workspace(
            lease.get(), entry.operands, entry.convolution(), id, &bytes).ok():
        entry.device.api.hipGetLastError()
        return False
    if bytes == 0 and not general:
        return False
    solution.id = id
    solution.workspace = bytes
    solution.algorithm = solver_algorithm(id)
    solution.listed = True
    solution.searched = searched
    entry.append(solution)
    return True


cdef int append_unlisted(Entry* entry, HandleLease* lease, uint64_t pinned) except -1 nogil:
    """The vendor's solvers for everything, where its list is used up, or the one that is pinned;
    whether there is any."""
    cdef const uint64_t* general = general_solvers[<int>entry.params.direction]
    cdef bint any = False
    # They are the last resort, and compared with each other only where nothing else runs.
    cdef bint others = entry.any_runs()
    cdef int i
    if entry.device.api.provider != Provider.rocm:
        return False
    if pinned:
        return append(entry, lease, pinned, pinned == general[0] or pinned == general[1], True)
    for i in range(2):
        # Its matrix products take packed tensors only; MIOpen prints an error where it is asked.
        if i == 0 and entry.params.lies_channels_last():
            continue
        if append(entry, lease, general[i], True, others):
            any = True
    return any


cdef int confirm_recalled(Entry* entry, HandleLease* lease) except -1 nogil:
    """What an earlier process knew of solutions that the library does not list now is not believed:
    their workspaces are asked for."""
    cdef vector[Solution] known
    cdef size_t i, bytes
    cdef bint applies
    if entry.device.api.provider != Provider.rocm:
        return 0
    known = entry.solutions()
    for i in range(known.size()):
        if known[i].listed:
            continue
        bytes = 0
        applies = entry.calls.solution_workspace(
            lease.get(), entry.operands, entry.convolution(), known[i].id, &bytes).ok()
        if not applies:
            entry.device.api.hipGetLastError()
        entry.confirm(known[i].id, applies, bytes)
    return 0


cdef int rank_by_heuristic(Entry* entry, HandleLease* lease, Status* status) except -1 nogil:
    """Ask the library for its solutions, best first. None at all leaves the ranking as it was."""
    cdef size_t count = 0, i
    cdef vector[miopenConvSolution_t] found
    cdef vector[Solution] ranked
    cdef Solution solution
    cdef Mutex* lock = vendor_lock(&entry.device)
    if lock != NULL:
        lock.lock()
    try:
        status[0] = entry.calls.solution_count(
            lease.get(), entry.operands, entry.convolution(), &count)
        if status.code == <int>miopenStatusNotImplemented:
            # An unsupported problem answers so, and leaves the count unwritten.
            status[0] = Status()
        elif status.ok() and count > 0:
            # The count is an upper bound; what GetSolution returns is the list.
            # A library that answers nonsense must not make us ask for that much memory.
            count = min(count, <size_t>4096)
            found.resize(count)
            status[0] = entry.calls.solutions(
                lease.get(), entry.operands, entry.convolution(), found.size(), &count,
                found.data())
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
        entry.rank(ranked)
    return 0


cdef Entry* entry_of(Device* device, ConvolutionParams* params, hipStream_t stream,
                     shared_ptr[Entry]* held) except NULL nogil:
    cdef Status status
    cdef BuildContext context
    context.device = device
    context.stream = stream
    context.status = &status
    context.built = False
    held[0] = all_entries().get_or_create(params[0], <EntryBuilder>build_entry, &context)
    if held.get() == NULL:
        with gil:
            raise_no_entry(device, params, status)
    if context.built:
        with gil:
            log_selection(held.get(), "listed")
    return held.get()


cdef int raise_no_entry(Device* device, const ConvolutionParams* params, Status status) except -1:
    if PyErr_Occurred() != NULL:
        return -1
    problem = problem_of(params)
    if status.ok():
        raise NoSolutionError(
            f"the library lists no solution for this problem: {problem.driver_line()}")
    return raise_status(&device.api, status, problem)


cdef list list_solutions(Device* device, ConvolutionParams* params, hipStream_t stream):
    cdef InFlight call
    cdef shared_ptr[Entry] held
    cdef Entry* entry
    try:
        with nogil:
            call.enter(device.api)
            entry = entry_of(device, params, stream, &held)
    except NoSolutionError:
        return []
    return entry_solutions(entry)


def recall_all() -> int:
    """Apply what the cache files know to the entries in memory; how many entries that served."""
    cdef vector[shared_ptr[Entry]] entries
    cdef size_t i
    cdef int served = 0
    with nogil:
        entries = all_entries().values()
    for i in range(entries.size()):
        served += recall_again(entries[i].get())
    return served


cdef int recall_again(Entry* entry) except -1:
    cdef HandleLease lease
    cdef CurrentDevice current
    cdef int served = recall(entry)
    if served and current.set(entry.device.api, entry.device.index).ok():
        with nogil:
            if lease.lease(entry.device.handles, NULL).ok():
                confirm_recalled(entry, &lease)
    return served
