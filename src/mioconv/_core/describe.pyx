"""Problems, entries and solutions as Python objects: for messages, logs and listings."""

import logging

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libcpp.vector cimport vector

from mioconv._native.native cimport (
    Api, ConvolutionParams, Entry, Solution, X, algorithm_name, name_of)

from mioconv._core.state import DIRECTIONS
from mioconv._native.api import PROVIDERS
from mioconv.problem import Problem

log = logging.getLogger("mioconv")

SOURCES = ("heuristic", "measured", "pinned")


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


cdef list entry_solutions(Entry* entry):
    """The ranking as dicts with the fields of `mioconv.Solution`."""
    cdef vector[Solution] ranked = entry.solutions()
    cdef size_t i
    listed = [solution_fields(&entry.device.api, ranked[i]) for i in range(ranked.size())]
    for i in range(ranked.size()):
        if ranked[i].wrong:
            listed[i]["fault"] = entry.fault(ranked[i].id).decode()
    return listed


cdef int log_selection(Entry* entry, str how) except -1:
    """One line for each decision: the problem, the first of the ranking, how it came there."""
    if log.isEnabledFor(logging.DEBUG):
        listed = entry_solutions(entry)
        if listed:
            log.debug(
                "%s: %d solutions %s; first %s (%s), workspace %d bytes, %s %.4g ms",
                problem_of(&entry.params).driver_line(), len(listed), how, listed[0]["name"],
                listed[0]["id"], listed[0]["workspace_bytes"], listed[0]["source"],
                listed[0]["time_ms"])
    return 0
