"""The flags: process-wide values, overrides of the running context, and keywords of one call.

A keyword given to a function wins, then the innermost ``with mioconv.flags(...)`` that sets the
flag (contexts follow threads and tasks as contextvars do), then the process-wide value.
"""

from cpython.contextvars cimport PyContextVar_Get, PyContextVar_New, PyContextVar_Set
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from mioconv._native.native cimport Exclusions

from numpy import bool_

# Names, in the order of the arrays below; those of every call that are on or off come first. The
# kind says what values a flag takes.
cdef enum:
    BENCHMARK
    DETERMINISTIC
    ALLOW_TF32
    WORKSPACE_LIMIT
    NUM_THREADS
    BENCHMARK_BUDGET_MS
    EXCLUDE
    EMPTY_CACHE_AFTER_FIND
    STRICT_ACCURACY
    VERIFY
    FLAGS

cdef tuple names = ("benchmark", "deterministic", "allow_tf32", "workspace_limit", "num_threads",
                    "benchmark_budget_ms", "exclude", "empty_cache_after_find", "strict_accuracy",
                    "verify")
cdef tuple kinds = ("bool", "bool", "bool", "limit", "count", "count", "exclude", "bool",
                    "bool", "verify")

# The values of verify, by the number that stands for each.
cdef tuple verify_values = ("off", "first", "always")

cdef int64_t UNSET = -(1 << 62)
cdef int64_t NO_LIMIT = -1

cdef int64_t[FLAGS] process
process[:] = [0, 0, 0, NO_LIMIT, 0, 1000, 0, 1, 0, 1]


cdef class Overrides:
    """Values of the flags that a context sets; UNSET where it leaves them alone."""
    cdef int64_t[FLAGS] values


cdef object context = PyContextVar_New("mioconv.flags", NULL)
# Contexts that ever set something: while there is none, calls need not ask for theirs.
cdef bint any_override = False


cdef int64_t to_value(int flag, object given) except? -2:
    if given is True and flag <= ALLOW_TF32:
        return 1
    if given is False and flag <= ALLOW_TF32:
        return 0
    kind = kinds[flag]
    if kind == "bool":
        if not isinstance(given, (bool, bool_)):
            raise TypeError(f"{names[flag]}: expected True or False, but got {given!r}")
        return bool(given)
    if kind == "exclude":
        return to_exclusions(given)
    if kind == "verify":
        if not isinstance(given, str):
            raise TypeError(f"verify: expected a string, but got {given!r}")
        if given not in verify_values:
            raise ValueError(
                f"verify: expected {', '.join(map(repr, verify_values))}, but got {given!r}")
        return verify_values.index(given)
    if given is None and kind == "limit":
        return NO_LIMIT
    if isinstance(given, bool) or not hasattr(given, "__index__"):
        expected = "an integer or None" if kind == "limit" else "an integer"
        raise TypeError(f"{names[flag]}: expected {expected}, but got {given!r}")
    value = given.__index__()
    largest = (1 << 62) - 1 if kind == "limit" else (1 << 31) - 1
    if not 0 <= value <= largest:
        raise ValueError(
            f"{names[flag]}: expected a number from 0 to {largest}, but got {given!r}")
    return value


cdef object from_value(int flag, int64_t value):
    if kinds[flag] == "bool":
        return bool(value)
    if kinds[flag] == "exclude":
        return next(wanted for wanted, address in addresses.items() if address == value)
    if kinds[flag] == "verify":
        return verify_values[value]
    return None if value == NO_LIMIT else value


# Sets of exclusions are few and small: each distinct one is kept for good, by what it excludes. The
# flag's value is its address, 0 for none.
cdef dict addresses = {(): 0}


cdef int64_t to_exclusions(object given) except? -1:
    """A set of ids and name patterns, from one or a sequence of them."""
    cdef Exclusions* made
    if given is None:
        return 0
    if isinstance(given, (bytes, bytearray)):
        raise TypeError(f"exclude: expected ids or strings, but got {given!r}")
    if isinstance(given, str) or hasattr(given, "id") or not hasattr(given, "__iter__"):
        given = (given,)
    ids, patterns = set(), set()
    for one in given:
        if isinstance(one, str):
            if not one:
                raise ValueError("exclude: expected a pattern for the names of solutions, but got "
                                 "an empty string")
            patterns.add(one)
        else:
            ids.add(to_solution(one, "exclude"))
    wanted = (*sorted(ids), *sorted(patterns))
    if wanted not in addresses:
        made = new Exclusions()
        try:
            for id in sorted(ids):
                made.ids.push_back(id)
            for pattern in sorted(patterns):
                made.patterns.push_back(pattern.encode())
            addresses[wanted] = <int64_t>made
        except MemoryError:
            del made
            raise
    return addresses[wanted]


cdef Overrides current_overrides():
    cdef PyObject* found = NULL
    PyContextVar_Get(context, NULL, &found)
    if found == NULL:
        return None
    overrides = <Overrides><object>found
    return overrides


cdef int64_t in_force(int flag, Overrides overrides) noexcept:
    if overrides is not None and overrides.values[flag] != UNSET:
        return overrides.values[flag]
    return process[flag]


cdef int resolve_flags(Options* options, object benchmark, object deterministic, object allow_tf32,
                       object workspace_limit, object exclude, object solution) except -1:
    """Fill in what decides a call; None stands for the flag in force."""
    cdef Overrides overrides = current_overrides() if any_override else None
    options.benchmark = (
        in_force(BENCHMARK, overrides) if benchmark is None else to_value(BENCHMARK, benchmark))
    options.deterministic = (
        in_force(DETERMINISTIC, overrides) if deterministic is None
        else to_value(DETERMINISTIC, deterministic))
    options.allow_tf32 = (
        in_force(ALLOW_TF32, overrides) if allow_tf32 is None
        else to_value(ALLOW_TF32, allow_tf32))
    options.workspace_limit = (
        in_force(WORKSPACE_LIMIT, overrides) if workspace_limit is None
        else to_value(WORKSPACE_LIMIT, workspace_limit))
    options.exclusions = <const Exclusions*>(
        in_force(EXCLUDE, overrides) if exclude is None else to_exclusions(exclude))
    options.threads = <int>in_force(NUM_THREADS, overrides)
    options.budget_ms = <double>in_force(BENCHMARK_BUDGET_MS, overrides)
    options.empty_cache_after_find = in_force(EMPTY_CACHE_AFTER_FIND, overrides)
    options.strict_accuracy = in_force(STRICT_ACCURACY, overrides)
    options.verify = <int>in_force(VERIFY, overrides)
    options.solution = 0 if solution is None else to_solution(solution, "solution")
    options.stream = NULL
    return 0


cdef int default_flags(Options* options) noexcept nogil:
    """The process-wide flags, for callers that have no Python context."""
    options.benchmark = process[BENCHMARK]
    options.deterministic = process[DETERMINISTIC]
    options.allow_tf32 = process[ALLOW_TF32]
    options.workspace_limit = process[WORKSPACE_LIMIT]
    options.threads = <int>process[NUM_THREADS]
    options.budget_ms = <double>process[BENCHMARK_BUDGET_MS]
    options.empty_cache_after_find = process[EMPTY_CACHE_AFTER_FIND]
    options.strict_accuracy = process[STRICT_ACCURACY]
    options.verify = <int>process[VERIFY]
    options.exclusions = <const Exclusions*>process[EXCLUDE]
    options.solution = 0
    options.stream = NULL
    return 0


cdef uint64_t to_solution(object given, str name) except? 0:
    """An id, or a `mioconv.Solution`."""
    id = getattr(given, "id", given)
    if isinstance(id, bool) or not hasattr(id, "__index__"):
        raise TypeError(f"{name}: expected a solution or its id, but got {given!r}")
    id = id.__index__()
    if not 0 < id < 1 << 64:
        raise ValueError(f"{name}: expected an id from find_solutions, but got {given!r}")
    return id


def get() -> dict:
    """All flags as they are in force here and now."""
    overrides = current_overrides()
    return {name: from_value(flag, in_force(flag, overrides)) for flag, name in enumerate(names)}


def set_process(values: dict) -> None:
    """Set process-wide values; nothing is set when one of them is wrong."""
    cdef int64_t[FLAGS] wanted = process
    for name, given in values.items():
        flag = flag_of(name)
        wanted[flag] = to_value(flag, given)
    process[:] = wanted


def push(values: dict) -> object:
    """Override flags in this context; the token undoes it with `pop`."""
    global any_override
    cdef Overrides outer = current_overrides()
    cdef Overrides inner = Overrides.__new__(Overrides)
    cdef int flag
    for flag in range(FLAGS):
        inner.values[flag] = UNSET if outer is None else outer.values[flag]
    for name, given in values.items():
        flag = flag_of(name)
        inner.values[flag] = to_value(flag, given)
    any_override = True
    return PyContextVar_Set(context, inner)


def pop(token) -> None:
    """Undo the `push` that answered this token."""
    context.reset(token)


cdef int flag_of(str name) except -1:
    if name not in names:
        raise TypeError(f"unknown flag {name!r}; flags are {', '.join(names)}")
    return names.index(name)
