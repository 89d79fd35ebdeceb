"""Scratch memory: how much there is, giving it back, taking it from another allocator."""

import os

from cpython.exc cimport PyErr_SetInterrupt
from libc.stddef cimport size_t
from libc.stdint cimport SIZE_MAX, uintptr_t
from libcpp.vector cimport vector

from mioconv._core.state cimport all_devices
from mioconv._native.api cimport trim_caches
from mioconv._native.hip cimport hipErrorOutOfMemory, hipStream_t, hipSuccess
from mioconv._native.native cimport (
    Allocator, Api, Device, MemoryStats, Status, capturing, refused_in_capture, status_of)

from mioconv._core.state import forget_out_of_memory
from mioconv._native.api import PROVIDERS, refusals, stop_after_call


def memory_stats() -> dict:
    """Scratch memory by device ("cpu:0"), in bytes: leased now, their peak, kept for next calls."""
    cdef vector[Device*] used = all_devices().all()
    cdef MemoryStats stats
    cdef size_t i
    found = {}
    for i in range(used.size()):
        stats = used[i].workspaces.stats()
        found[device_text(&used[i].api, used[i].index)] = {
            "current": stats.current, "peak": stats.peak, "reserved": stats.reserved}
    return found


def empty_cache() -> None:
    """Give scratch memory that no call uses back, and retry what ran out of memory."""
    cdef vector[Device*] used
    cdef size_t i
    with nogil:
        used = all_devices().all()
        for i in range(used.size()):
            used[i].workspaces.release_unused()
        trim_caches(SIZE_MAX)
    forget_out_of_memory()


cdef str device_text(const Api* api, int index):
    return f"{PROVIDERS[<int>api.provider]}:{index}"


# --- the user's allocator -------------------------------------------------------------------------

# What Python is asked for memory, and what it answered, by address, until that is given back.
cdef object source = None
cdef bint in_captures = True  # whether it may be asked while a graph is captured
cdef dict held = {}


cdef Status ask_python(const Api& api, int device, size_t bytes, hipStream_t stream,
                       void** data) noexcept nogil:
    with gil:
        return allocate(api, device, bytes, stream, data)


cdef Status allocate(const Api& api, int device, size_t bytes, hipStream_t stream,
                     void** data) noexcept:
    """Any exception means that there is no memory here: the next smaller solution is tried, and if
    none is left the caller gets an OutOfMemoryError that was caused by this exception."""
    cdef uintptr_t address
    data[0] = NULL
    allocator = source
    if allocator is None:
        return Status()
    if not in_captures and capturing(api, stream):
        return refused_in_capture("allocator")
    try:
        owner = allocator(bytes, device_text(&api, device), <uintptr_t>stream)
        if owner is None:
            return Status()
        address = address_of(owner)
        if address == 0 or address % 64:
            raise ValueError(
                f"allocator: expected memory aligned to 64 bytes, but got address {address:#x}")
    except BaseException as error:
        # A smaller solution may do: what is to end more than this call comes when that has ended.
        if isinstance(error, KeyboardInterrupt):
            PyErr_SetInterrupt()
        elif not isinstance(error, Exception):
            stop_after_call(error)
        refusals.last = error
        return status_of("allocator", hipErrorOutOfMemory)
    held[address] = owner
    data[0] = <void*>address
    return status_of("allocator", hipSuccess)


cdef uintptr_t address_of(object owner) except? 0:
    """Where the memory of an array library's object is."""
    if hasattr(owner, "data_ptr"):
        return owner.data_ptr()
    if hasattr(owner, "ptr"):
        return owner.ptr
    for interface in ("__cuda_array_interface__", "__array_interface__"):
        if hasattr(owner, interface):
            return getattr(owner, interface)["data"][0]
    raise TypeError(
        f"allocator: expected memory with data_ptr(), ptr or an array interface, or None, but got "
        f"{type(owner).__name__}")


cdef void drop(void* data) noexcept nogil:
    with gil:
        held.pop(<uintptr_t>data, None)


cdef Allocator of_python
of_python.allocate = ask_python
of_python.free = drop


def set_source(allocator, captures: bool = True) -> None:
    """Where scratch memory comes from; see `mioconv.set_allocator`. None: from the devices."""
    global source, in_captures
    cdef const Allocator* wanted = NULL
    if allocator is not None:
        wanted = &of_python
    source, in_captures = allocator, captures
    all_devices().set_allocator(wanted)


def after_fork() -> None:
    """The devices of a child are new."""
    set_source(source, in_captures)


os.register_at_fork(after_in_child=after_fork)
