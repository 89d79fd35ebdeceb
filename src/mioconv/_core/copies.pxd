# Dense copies of tensors, in scratch memory.

from libc.stdint cimport int64_t

from mioconv._check.flags cimport Options
from mioconv._native.hip cimport hipMemcpyKind, hipStream_t
from mioconv._native.native cimport Device, HalfSum, Layout, Status, TensorView, Workspace

cdef int clear(Device* device, const TensorView* dense, const Options* options) except -1 nogil
cdef int copy(
    Device* device, const TensorView* source, const TensorView* target,
    const Options* options) except -1 nogil
cdef int add(
    Device* device, const TensorView* source, const TensorView* target,
    const Options* options) except -1 nogil
cdef Status copy_and_wait(
    Device* device, void* target, const void* source, size_t bytes, hipMemcpyKind kind,
    hipStream_t stream) noexcept nogil
cdef int add_half(
    Device* device, const TensorView* part, const TensorView* total, bint first, HalfSum* on_host,
    const Options* options) except -1 nogil
cdef int round_sum(
    Device* device, const TensorView* total, const TensorView* target, HalfSum* on_host,
    const Options* options) except -1 nogil
cdef int stage(
    Device* device, TensorView* tensor, Workspace* held, const Options* options) except -1 nogil
cdef bint lies_densely(TensorView* tensor, Layout wanted, bint mixed) noexcept nogil
cdef void add_height(TensorView* tensor) noexcept nogil
cdef int pack(
    Device* device, TensorView* tensor, Layout layout, bint read, Workspace* held,
    const Options* options) except -1 nogil
cdef int extend(
    Device* device, TensorView* tensor, const int64_t* ends, int spatial, Layout layout, bint read,
    Workspace* held, const Options* options) except -1 nogil
cdef bint any_of(const int64_t* ends, int spatial) noexcept nogil
