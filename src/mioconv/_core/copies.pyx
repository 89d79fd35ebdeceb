"""Dense copies of tensors, in scratch memory, for libraries that take nothing else.

On a GPU they are made in the order of the call's stream.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from mioconv._borrow.loan cimport CUPY, TORCH
from mioconv._borrow.own_tensor cimport Tensor
from mioconv._borrow.stream cimport device_name
from mioconv._check.flags cimport Options
from mioconv._native.api cimport raise_status
from mioconv._native.hip cimport (
    hipMemcpyDeviceToDevice, hipMemcpyDeviceToHost, hipMemcpyHostToDevice, hipMemcpyKind,
    hipStream_t)
from mioconv._native.native cimport (
    Device, HalfSum, HandleLease, Layout, Provider, Status, TensorView, Workspace, accumulate,
    copy_on_host, lies_in, only_channels_last, set_dense_strides, status_of, transform)

from mioconv._borrow import second_ways
from mioconv.errors import UnsupportedError


# --- copies ---------------------------------------------------------------------------------------

cdef object lend(const TensorView* tensor):
    """A tensor's memory as a DLPack object, for as long as a call of the array library takes."""
    cdef Tensor lent = Tensor.__new__(Tensor)
    lent.show(tensor)
    return lent


cdef int clear(Device* device, const TensorView* dense, const Options* options) except -1 nogil:
    """Zeros into a dense tensor."""
    cdef Status status
    if device.api.provider == Provider.cpu:
        memset(dense.data, 0, dense.bytes())
        return 0
    status = status_of("hipMemsetAsync", device.api.hipMemsetAsync(
        dense.data, 0, dense.bytes(), options.stream))
    if not status.ok():
        with gil:
            raise_status(&device.api, status, None)
    return 0


cdef int copy(Device* device, const TensorView* source, const TensorView* target,
              const Options* options) except -1 nogil:
    """Element by element, whatever the strides; on a GPU in the order of the call's stream.

    There the array library does it where it is one that we know: its copies take any strides and
    element type. Other producers have MIOpen's, which refuses some.
    """
    cdef HandleLease lease
    cdef Status status
    cdef Layout layout = Layout.packed
    if device.api.provider == Provider.cpu:
        copy_on_host(source[0], target[0])
        return 0
    if target.count() == 0:
        return 0
    if only_channels_last(target[0]):
        layout = Layout.channels_last
    if lies_in(source[0], layout) and lies_in(target[0], layout):
        status = status_of("hipMemcpyAsync", device.api.hipMemcpyAsync(
            target.data, source.data, target.bytes(), hipMemcpyDeviceToDevice, options.stream))
        if not status.ok():
            with gil:
                raise_status(&device.api, status, None)
    elif source.array_library == TORCH or source.array_library == CUPY:
        with gil:
            second_ways.copy_into(lend(target), lend(source), source.array_library)
    else:
        status = lease.lease(device.handles, options.stream)
        if status.ok():
            status = transform(device.api, lease.get(), source[0], target[0])
        if not status.ok():
            with gil:
                refuse_copy(device, source, status)
    return 0


cdef int add(Device* device, const TensorView* source, const TensorView* target,
             const Options* options) except -1 nogil:
    """target += source, on a GPU, for dense tensors that lie alike."""
    cdef HandleLease lease
    cdef Status status
    if source.array_library == TORCH or source.array_library == CUPY:
        with gil:
            second_ways.add(lend(target), lend(source), source.array_library)
        return 0
    status = lease.lease(device.handles, options.stream)
    if status.ok():
        status = accumulate(device.api, lease.get(), source[0], target[0])
    if not status.ok():
        with gil:
            device.api.hipGetLastError()
            raise UnsupportedError(
                f"the gradient of the weights of so large a tensor is a sum of parts, and the "
                f"library does not add them ({(<bytes>status.call).decode()} answered "
                f"{status.code}); pass a smaller batch, or PyTorch or CuPy tensors")
    return 0


cdef Status copy_and_wait(Device* device, void* target, const void* source, size_t bytes,
                          hipMemcpyKind kind, hipStream_t stream) noexcept nogil:
    """Between the host and a device, in the order of a stream; it is over when this returns."""
    cdef Status status = status_of(
        "hipMemcpyAsync", device.api.hipMemcpyAsync(target, source, bytes, kind, stream))
    if status.ok():
        status = status_of("hipStreamSynchronize", device.api.hipStreamSynchronize(stream))
    return status


cdef int add_half(Device* device, const TensorView* part, const TensorView* total, bint first,
                  HalfSum* on_host, const Options* options) except -1 nogil:
    """Add a gradient of a half type to a sum in float32: by the array library, into `total`, or for
    other producers on the host, since MIOpen has no sum of two types."""
    cdef Status status
    if part.array_library == TORCH or part.array_library == CUPY:
        with gil:
            if first:
                second_ways.copy_into(lend(total), lend(part), part.array_library)
            else:
                second_ways.add(lend(total), lend(part), part.array_library)
        return 0
    status = copy_and_wait(device, on_host.data(), part.data, on_host.bytes(),
                           hipMemcpyDeviceToHost, options.stream)
    if not status.ok():
        with gil:
            raise_status(&device.api, status, None)
    on_host.add()
    return 0


cdef int round_sum(Device* device, const TensorView* total, const TensorView* target,
                   HalfSum* on_host, const Options* options) except -1 nogil:
    """What `add_half` added up, rounded once, into a dense tensor of the half type."""
    cdef Status status
    if target.array_library == TORCH or target.array_library == CUPY:
        with gil:
            second_ways.copy_into(lend(target), lend(total), target.array_library)
        return 0
    on_host.round()
    status = copy_and_wait(device, target.data, on_host.data(), on_host.bytes(),
                           hipMemcpyHostToDevice, options.stream)
    if not status.ok():
        with gil:
            raise_status(&device.api, status, None)
    return 0


cdef int refuse_copy(Device* device, const TensorView* tensor, Status status) except -1:
    device.api.hipGetLastError()
    if status.out_of_memory():
        raise_status(&device.api, status, None)
    raise UnsupportedError(
        f"a tensor on {device_name(tensor)} is not packed (neither contiguous nor channels-last), "
        f"or has to be padded, and the library does not copy it "
        f"({(<bytes>status.call).decode()} answered {status.code}); make it contiguous, or pass "
        f"PyTorch or CuPy tensors")


# --- layouts --------------------------------------------------------------------------------------

cdef int stage(Device* device, TensorView* tensor, Workspace* held,
               const Options* options) except -1 nogil:
    """Point a dense tensor to scratch memory of its size."""
    cdef Status status = held.lease(device.workspaces, tensor.bytes(), options.stream)
    if not status.ok():
        with gil:
            raise_status(&device.api, status, None)
    tensor.data = held.data()
    return 0


cdef bint lies_densely(TensorView* tensor, Layout wanted, bint mixed) noexcept nogil:
    """Write out the strides of a dense tensor; False when it needs a packed copy."""
    cdef Layout other = Layout.packed if wanted == Layout.channels_last else Layout.channels_last
    if lies_in(tensor[0], wanted):
        set_dense_strides(tensor[0], wanted)
    elif mixed and lies_in(tensor[0], other):
        set_dense_strides(tensor[0], other)
    else:
        return False
    return True


cdef void add_height(TensorView* tensor) noexcept nogil:
    """One spatial dimension runs as two with height 1."""
    tensor.shape[3] = tensor.shape[2]
    tensor.strides[3] = tensor.strides[2]
    tensor.shape[2] = 1
    tensor.strides[2] = 1
    tensor.ndim = 4


cdef int pack(Device* device, TensorView* tensor, Layout layout, bint read, Workspace* held,
              const Options* options) except -1 nogil:
    """Replace a tensor by a dense one in scratch memory; `read`: with its values."""
    cdef TensorView original = tensor[0]
    set_dense_strides(tensor[0], layout)
    stage(device, tensor, held, options)
    if read:
        copy(device, &original, tensor, options)
    return 0


cdef int extend(Device* device, TensorView* tensor, const int64_t* ends, int spatial, Layout layout,
                bint read, Workspace* held, const Options* options) except -1 nogil:
    """Replace a tensor by a larger one with zeros behind it in each spatial dimension."""
    cdef TensorView original = tensor[0]
    cdef TensorView inner
    cdef int i, first = <int>tensor.ndim - spatial
    for i in range(spatial):
        tensor.shape[first + i] += ends[i]
    set_dense_strides(tensor[0], layout)
    stage(device, tensor, held, options)
    if read:
        clear(device, tensor, options)
        inner = tensor[0]
        for i in range(<int>inner.ndim):
            inner.shape[i] = original.shape[i]
        copy(device, &original, &inner, options)
    return 0


cdef bint any_of(const int64_t* ends, int spatial) noexcept nogil:
    cdef int i
    for i in range(spatial):
        if ends[i]:
            return True
    return False
