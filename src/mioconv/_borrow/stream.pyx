"""Streams: what the caller gives, what DLPack calls them, and order between them.

Within mioconv a stream is HIP's (or CUDA's) pointer, and the legacy default stream is NULL.
"""

from libc.stdint cimport uintptr_t

from mioconv._native.api cimport api_of, raise_status
from mioconv._native.dlpack cimport (
    kDLCPU, kDLCUDA, kDLCUDAHost, kDLCUDAManaged, kDLROCM, kDLROCMHost)
from mioconv._native.native cimport (
    Api, CurrentDevice, MemoryType, PointerOwner, Provider, Status, TensorView, order_streams,
    owner_of)

from mioconv.errors import ProviderNotFoundError


cdef int provider_number(int device_type) noexcept nogil:
    """The provider of a DLPack device, -1 for one that none serves. Pinned host memory is host
    memory."""
    if device_type == kDLCPU or device_type == kDLCUDAHost or device_type == kDLROCMHost:
        return <int>Provider.cpu
    if device_type == kDLROCM:
        return <int>Provider.rocm
    if device_type == kDLCUDA or device_type == kDLCUDAManaged:
        return <int>Provider.cuda
    return -1


cdef str device_name(const TensorView* tensor):
    """The device of a tensor, as Python names it."""
    kinds = {kDLCPU: "cpu", kDLCUDA: "cuda", kDLCUDAHost: "cpu (CUDA pinned)", kDLROCM: "rocm",
             kDLROCMHost: "cpu (ROCm pinned)", kDLCUDAManaged: "cuda (managed)"}
    kind = kinds.get(tensor.device_type, f"DLPack device type {tensor.device_type}")
    return kind if kind.startswith("cpu") else f"{kind}:{tensor.device_id}"


# --- from and to Python ---------------------------------------------------------------------------

cdef object stream_number(object stream):
    """The number behind any object that means a stream."""
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        # (version, pointer), by a method; the protocol's first releases had it as an attribute.
        answer = protocol() if callable(protocol) else protocol
        if not isinstance(answer, tuple) or len(answer) != 2 or answer[0] != 0:
            raise TypeError(
                f"stream: expected __cuda_stream__ to answer (0, pointer), but got {answer!r}")
        return answer[1]
    for name in ("cuda_stream", "ptr"):
        if hasattr(stream, name):
            return getattr(stream, name)
    return stream


cdef hipStream_t stream_pointer(object stream) except? NULL:
    """A stream as the caller gives it: an integer, or an object that has one.

    Raises TypeError for other objects, ValueError for numbers that no stream can have.
    """
    number = stream_number(stream)
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(
            f"stream: expected an integer, or an object with __cuda_stream__, .cuda_stream or "
            f".ptr, but got {stream!r}")
    number = number.__index__()
    if not 0 <= number < 1 << 64:
        raise ValueError(f"stream: expected a stream's address, or 0 for the default stream, but "
                         f"got {number}")
    return <hipStream_t><uintptr_t>number


cdef hipStream_t own_stream(hipStream_t stream, int device_type) except? NULL:
    """A caller's stream by our convention, where the device is known. 1 and 2 are names of CUDA's,
    the legacy and the per-thread default stream; DLPack knows them not on ROCm."""
    cdef uintptr_t number = <uintptr_t>stream
    if device_type == kDLROCM and 1 <= number <= 2:
        raise ValueError(f"stream: expected 0 or a stream's address on ROCm, but got {number}")
    if number == 1:
        return NULL
    return stream


cdef object dlpack_stream(hipStream_t stream, int device_type):
    """What `__dlpack__` is told: the legacy default stream is 1 on CUDA and 0 on ROCm."""
    if stream == NULL and device_type != kDLROCM:
        return 1
    return <uintptr_t>stream


# --- order ----------------------------------------------------------------------------------------

cdef int order(int provider, int device, hipStream_t before,
               hipStream_t after) except -1 nogil:
    """Work queued on `after` from now on waits for what is on `before` by now."""
    cdef const Api* api
    cdef CurrentDevice current
    cdef Status status
    if before == after:
        return 0
    api = api_of(provider)
    status = current.set(api[0], device)
    if status.ok():
        status = order_streams(api[0], before, after)
    if not status.ok():
        with gil:
            raise_status(api, status, None)
    return 0


# --- whose memory ---------------------------------------------------------------------------------

cdef const Api* loadable(int provider) except? NULL:
    """The table of a provider, or NULL where it cannot be loaded."""
    try:
        return api_of(provider)
    except ProviderNotFoundError:
        return NULL


cdef bint find_owner(const void* data, bint hip_only, int* device_type,
                     int* device_id) except -1:
    """Ask the runtimes that can be had whose memory this is; False when none knows it."""
    cdef const Api* api
    cdef PointerOwner owner
    cdef int provider
    for provider in (<int>Provider.cuda, <int>Provider.rocm):
        if hip_only and provider == <int>Provider.cuda:
            continue
        api = loadable(provider)
        if api == NULL:
            continue
        owner = owner_of(api[0], data)
        if owner.type == MemoryType.device or owner.type == MemoryType.managed:
            device_type[0] = kDLROCM if provider == <int>Provider.rocm else kDLCUDA
            device_id[0] = owner.device
            return True
        if owner.type == MemoryType.host:
            device_type[0] = kDLCPU
            device_id[0] = 0
            return True
    return False
