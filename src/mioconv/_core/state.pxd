# What the core keeps; see state.pyx.

from libc.stdint cimport int64_t

from mioconv._native.native cimport (
    Api, BenchmarkCache, CallRecord, Device, Devices, Entry, Fusion, Mutex, Statistics)

cdef BenchmarkCache[Entry]* all_entries() noexcept nogil
cdef BenchmarkCache[Fusion]* all_fusions() noexcept nogil
cdef Devices* all_devices() noexcept nogil
cdef Statistics* counted() noexcept nogil
cdef CallRecord* call_record() noexcept nogil
cdef CallRecord* begin_record(int provider, int direction, int mode, int way) noexcept nogil
cdef Mutex* vendor_lock(const Device* device) noexcept nogil
cdef Device* device_of(int provider, int index) except NULL nogil
cdef int use_threads(const Api* api, int threads, int64_t* used) except -1 nogil
