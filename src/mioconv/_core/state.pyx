"""What the core keeps: devices, the cache of entries, that of fused operations, counters.

It lives here because each extension module has static and thread-local variables of its own: the
others come here for it, and a child after a fork starts anew here. None of it is ever destroyed: at
exit the native libraries are torn down before this module, and other threads may still compute.
"""

import os

from libc.stddef cimport size_t
from libc.stdint cimport SIZE_MAX, int64_t
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from mioconv._native.api cimport api_of, bound_caches, raise_status, trim_caches
from mioconv._native.native cimport (
    Api, BenchmarkCache, CacheCounters, CallRecord, Device, Devices, Direction,
    DirectionStatistics, Entry, Fusion, Mutex, Provider, Statistics, Status,
    last_call as record_of_this_thread)

DIRECTIONS = ("forward", "backward_input", "backward_weight")

# Entries beyond the capacity leave by age.
cdef size_t capacity = 10000
cdef BenchmarkCache[Entry]* cache = new BenchmarkCache[Entry](capacity)
# Each of these keeps handles, so there are few.
cdef size_t fusion_capacity = 100
cdef BenchmarkCache[Fusion]* fusions = new BenchmarkCache[Fusion](fusion_capacity)
cdef Devices* devices = new Devices()
# Two threads inside the vendor's heuristics or Find can crash it (rocm-libraries#9131).
cdef Mutex* vendor_queries = new Mutex()
cdef Statistics statistics


def after_fork() -> None:
    """Start anew in a child. It has none of the threads that may have held a lock when it was
    forked; what is behind those locks stays where it is, unused."""
    global cache, fusions, devices, vendor_queries
    cache = new BenchmarkCache[Entry](capacity)
    fusions = new BenchmarkCache[Fusion](fusion_capacity)
    devices = new Devices()
    vendor_queries = new Mutex()


os.register_at_fork(after_in_child=after_fork)


cdef BenchmarkCache[Entry]* all_entries() noexcept nogil:
    return cache


cdef BenchmarkCache[Fusion]* all_fusions() noexcept nogil:
    return fusions


cdef Devices* all_devices() noexcept nogil:
    return devices


cdef Statistics* counted() noexcept nogil:
    return &statistics


cdef CallRecord* call_record() noexcept nogil:
    """What this thread's last call did."""
    return &record_of_this_thread()


cdef CallRecord* begin_record(int provider, int direction, int mode, int way) noexcept nogil:
    """The record of this thread's call, anew; `CallRecord` has the numbers."""
    cdef CallRecord* record = call_record()
    record[0] = CallRecord()
    record.provider = provider
    record.direction = direction
    record.mode = mode
    record.way = way
    return record


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


# --- the caches -----------------------------------------------------------------------------------

def cache_info() -> dict:
    """Counters of the cache and of selection, as fields of `mioconv.CacheInfo`."""
    cdef const CacheCounters* counters
    cdef DirectionStatistics* row
    cdef int i
    all_counters = {}
    counted_by_direction = cache.counters()
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
    """Forget every choice, every failure, fused plans and which way is faster; the counters start
    again from zero."""
    with nogil:
        cache.clear()
        fusions.clear()
        statistics.clear()
        trim_caches(0)


def set_capacity(entries: int) -> None:
    """How many problems are kept; the least recently used leave first. 0: no bound. Of fused ones
    there are no more than usual, whatever is asked for."""
    global capacity, fusion_capacity
    capacity = entries
    fusion_capacity = min(entries, 100) if entries else 100
    with nogil:
        cache.set_capacity(capacity)
        fusions.set_capacity(fusion_capacity)
        bound_caches(capacity if capacity else SIZE_MAX)


def forget_out_of_memory() -> None:
    """Let solutions that lacked memory be tried again."""
    cdef vector[shared_ptr[Entry]] entries
    cdef size_t i
    with nogil:
        entries = cache.values()
        for i in range(entries.size()):
            entries[i].get().forget_out_of_memory()
