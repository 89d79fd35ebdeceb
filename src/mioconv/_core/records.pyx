"""What the cache files know of a problem, and what they are told of one."""

import os

from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from mioconv._core.describe cimport problem_of
from mioconv._core.state cimport all_entries
from mioconv._native.miopen cimport miopenConvAlgorithm_t
from mioconv._native.native cimport ConvolutionParams, Device, Entry, Provider, Solution, Source

from mioconv import cache_files
from mioconv._core.describe import SOURCES
from mioconv._loader.installation import forwarding
from mioconv._loader.search import mapped_files
from mioconv._native.api import PROVIDERS, release

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


cdef int recall(Entry* entry) except -1:
    """Take over what an earlier process, or a file that was loaded, knows of this problem. Nothing
    in a file makes this fail; what a signal's handler raises meanwhile is passed on."""
    cdef vector[Solution] known
    cdef Solution solution
    found = cache_files.recall(identity_of(&entry.device), key_words(&entry.params))
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
    entry.recall(known, entry.device.api.provider == Provider.rocm)
    return 1


cdef dict record_of(Entry* entry):
    """An entry as the cache files keep it."""
    cdef vector[Solution] ranked = entry.solutions()
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
        "identity": identity_of(&entry.device),
        "key": key_words(&entry.params),
        "problem": problem_of(&entry.params).driver_line(),
        "source": SOURCES[source],
        "solutions": solutions,
    }


cdef int remember(Entry* entry, double find_ms) except -1:
    """Write what a search, or the user, decided to this process's cache file."""
    record = record_of(entry)
    record["find_ms"] = round(find_ms, 3)
    cache_files.append(record)
    return 0


def records() -> list:
    """All entries in memory as the cache files keep them, most recently used first."""
    cdef vector[shared_ptr[Entry]] entries
    cdef size_t i
    with nogil:
        entries = all_entries().values()
    return [record_of(entries[i].get()) for i in range(entries.size())]
