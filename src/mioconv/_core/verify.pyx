"""Looking at results before they are believed: guards around what a solution writes, and some of
its results beside plain sums of the same operands.

A library that lists a solution does not prove that it is right; see docs/design.md.
"""

import warnings

from libc.stddef cimport size_t
from libcpp cimport bool as cbool
from libcpp.string cimport string

from mioconv._check.flags cimport Options
from mioconv._core.describe cimport problem_of, solution_name
from mioconv._native.native cimport (
    Entry, HandleLease, Operands, Provider, Solution, Status, capturing, first_runs, run_inspected,
    run_on_pattern)

from mioconv.errors import WrongResultWarning

cdef enum:
    OFF = 0
    FIRST = 1
    ALWAYS = 2


cdef bint is_due(const Entry* entry, const Solution* solution,
                 const Options* options) noexcept nogil:
    """Whether a call by this solution is to be looked at."""
    if options.verify == OFF or entry.params.packed_weights:
        return False
    if options.verify == FIRST and (solution.inspected >= first_runs
                                    or entry.device.api.provider != Provider.cpu):
        return False
    return not capturing(entry.device.api, options.stream)


cdef Status inspect_run(Entry* entry, HandleLease* lease, const Operands* operands,
                        const Solution* solution, const Options* options,
                        cbool* ran, cbool* wrong) except *:
    """One run that is looked at. `ran` is false where there was no memory to guard it. `wrong`: its
    result is not there, and the solution is set aside."""
    cdef string fault
    cdef Status status
    cdef size_t seed = <size_t>solution.id + solution.inspected
    cdef int looks = 0
    wrong[0] = False
    with nogil:
        status = run_inspected(entry[0], lease.get(), operands[0], solution[0], options.stream,
                               seed, ran, &looks, &fault)
        if status.ok() and fault.empty():
            entry.mark_inspected(solution.id, looks)
    if status.ok() and not fault.empty():
        wrong[0] = True
        set_aside(entry, solution, fault)
    return status


cdef int set_aside(Entry* entry, const Solution* solution, const string& fault) except -1:
    """Never choose it again for this problem, and say so."""
    entry.set_aside(solution.id, fault)
    return warn_of(entry, solution_name(&entry.device.api, solution.id), fault)


cdef int warn_of(Entry* entry, str what, const string& fault) except -1:
    warnings.warn(
        f"{what} computes something else than the convolution and is not used for this problem any "
        f"more: {fault.c_str().decode()}; please report this with the problem: "
        f"{problem_of(&entry.params).driver_line()}", WrongResultWarning, stacklevel=2)
    return 0


cdef int passes_on_pattern(Entry* entry, HandleLease* lease, const Solution* solution,
                           const Options* options) except -1:
    """Whether a solution is right on operands of our own, for those who will call it with nobody
    looking; if not, it is set aside. One that could not be run, for lack of memory or because it
    fails, is left to its calls."""
    cdef Status status
    cdef string fault
    with nogil:
        status = run_on_pattern(
            entry[0], lease.get(), solution[0], options.stream, &fault)
    if not status.ok():
        entry.device.api.hipGetLastError()
        return True
    if not fault.empty():
        set_aside(entry, solution, fault)
        return False
    entry.mark_inspected(solution.id, first_runs)
    return True
