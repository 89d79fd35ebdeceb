"""One convolution on tensors of any strides: layouts, packed copies, the key, the run.

Native libraries get packed tensors only: some of their solvers accept others and compute wrong
numbers.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset
from libcpp.memory cimport shared_ptr

from mioconv._borrow.loan cimport CUPY, TORCH
from mioconv._borrow.stream cimport device_name, provider_number
from mioconv._check.flags cimport Options
from mioconv._check.geometry cimport Geometry
from mioconv._core.copies cimport (
    add, add_half, add_height, any_of, clear, copy, extend, lies_densely, pack, round_sum, stage)
from mioconv._core.epilogue cimport run_all
from mioconv._core.run cimport run
from mioconv._core.state cimport begin_record, device_of, use_threads
from mioconv._native.api cimport raise_status, raise_stop
from mioconv._native.miopen cimport (
    miopenConvolution, miopenDepthwise, miopenFloat, miopenStatusNotImplemented)
from mioconv._native.native cimport (
    ConvolutionParams, CurrentDevice, Device, Direction, Entry, Epilogue, HalfSum, HandleLease,
    InFlight, Layout, Provider, Status, TensorView, W, Workspace, X, Y, bias_gradient, copy_on_host,
    describe_operand, lies_in, only_channels_last, result_of, same_memory, status_of)

from mioconv.errors import UnsupportedError


cdef int provider_of(const TensorView* tensor) except -1 nogil:
    """Where a tensor's memory can be computed on."""
    cdef int provider = provider_number(tensor.device_type)
    if provider >= 0:
        return provider
    with gil:
        raise UnsupportedError(
            f"expected tensors on a CPU, a ROCm or a CUDA device, but got {device_name(tensor)}")


# --- the call -------------------------------------------------------------------------------------

cdef int fill_params(ConvolutionParams* params, Device* device, Direction direction,
                     const TensorView* tensors, const Geometry* geometry,
                     const Options* options) except -1 nogil:
    """The key of a problem whose tensors are dense and have two or three spatial dimensions."""
    cdef int i, skip = 1 if geometry.spatial == 1 else 0
    memset(params, 0, sizeof(ConvolutionParams))
    params.provider = <int64_t>device.api.provider
    params.device = device.index
    params.architecture = device.architecture_hash
    use_threads(&device.api, options.threads, &params.threads)
    params.direction = <int64_t>direction
    # What counts is the group count; the mode says the same in MIOpen's words.
    params.mode = <int64_t>miopenConvolution
    if geometry.groups > 1 and geometry.groups == tensors[<int>X].shape[1]:
        params.mode = <int64_t>miopenDepthwise
    params.dtype = <int64_t>tensors[0].dtype
    params.deterministic = options.deterministic
    # Deterministic TF32 gradients of MIOpen are faulty, and PyTorch asks for strict arithmetic too.
    params.allow_tf32 = options.allow_tf32 and not options.deterministic
    params.spatial = geometry.spatial + skip
    params.groups = geometry.groups
    if skip:
        params.stride[0] = params.dilation[0] = 1
    for i in range(geometry.spatial):
        params.padding[i + skip] = geometry.padding[i]
        params.stride[i + skip] = geometry.stride[i]
        params.dilation[i + skip] = geometry.dilation[i]
    describe_operand(params[0], X, tensors[<int>X])
    describe_operand(params[0], W, tensors[<int>W])
    describe_operand(params[0], Y, tensors[<int>Y])
    return 0


cdef int nothing_to_compute(const Task* task) except -1 nogil:
    """Batch 0: an empty result, or the gradient of a weight that nothing went through: zero."""
    begin_record(provider_of(task.x), <int>task.direction, 0, 1)
    if task.direction == Direction.backward_weights:
        return fill_zero(task.w, task.options)
    return 0


cdef int fill_zero(const TensorView* tensor, const Options* options) except -1 nogil:
    """Zeros into a tensor of any strides."""
    cdef Device* device
    cdef CurrentDevice current
    cdef Workspace held
    cdef float zero = 0
    cdef TensorView zeros = tensor[0]
    cdef int i
    if provider_of(tensor) == <int>Provider.cpu:
        zeros.data = &zero
        for i in range(<int>zeros.ndim):
            zeros.strides[i] = 0
        copy_on_host(zeros, tensor[0])
        return 0
    device = device_of(provider_of(tensor), tensor.device_id)
    make_current(device, &current)
    if lies_in(tensor[0], Layout.packed) or lies_in(tensor[0], Layout.channels_last):
        return clear(device, tensor, options)
    pack(device, &zeros, Layout.packed, False, &held, options)
    clear(device, &zeros, options)
    return copy(device, &zeros, tensor, options)


cdef int make_current(Device* device, CurrentDevice* current) except -1 nogil:
    cdef Status status
    if device.api.provider == Provider.cpu:
        return 0
    status = current.set(device.api, device.index)
    if not status.ok():
        with gil:
            raise_status(&device.api, status, None)
    return 0


cdef int convolve(const Task* task) except -1 nogil:
    """The result operand is written."""
    cdef InFlight call
    cdef Device* device
    cdef CurrentDevice current
    cdef int64_t samples
    if task.x.shape[0] == 0:
        return nothing_to_compute(task)
    device = device_of(provider_of(task.x), task.x.device_id)
    call.enter(device.api)
    make_current(device, &current)
    samples = samples_at_once(device, task)
    if samples < task.x.shape[0]:
        if task.epilogue.z_in_place:
            task.epilogue.undone = True
            return 0
        convolve_parts(device, samples, task)
    else:
        convolve_whole(device, task)
    return raise_stop()


cdef int convolve_whole(Device* device, const Task* task) except -1 nogil:
    cdef ConvolutionParams params
    cdef TensorView[3] tensors
    cdef TensorView target, inner
    cdef Workspace[5] held
    cdef shared_ptr[Entry] used
    cdef bint staged
    cdef int i, result = <int>result_of(task.direction)
    tensors[<int>X] = task.x[0]
    tensors[<int>W] = task.w[0]
    tensors[<int>Y] = task.y[0]
    staged = make_dense(device, task, tensors, &target, held)
    fill_params(&params, device, task.direction, tensors, task.geometry, task.options)
    if make_epilogue_dense(device, task, &tensors[result], target, &held[3]):
        run_all(device, &params, tensors[<int>X].data, tensors[<int>W].data, tensors[<int>Y].data,
                task.epilogue, task.options)
    else:
        run(device, &params, tensors[<int>X].data, tensors[<int>W].data, tensors[<int>Y].data,
            task.options, &used)
    if staged and not task.epilogue.undone:
        # Padding that the result got has no place in the caller's memory.
        inner = tensors[result]
        for i in range(<int>inner.ndim):
            inner.shape[i] = target.shape[i]
        copy(device, &inner, &target, task.options)
    return 0


cdef bint make_dense(Device* device, const Task* task, TensorView* tensors, TensorView* target,
                     Workspace* held) except -1 nogil:
    """Give the tensors the layout of the call, by copies where they do not lie so; whether the
    result is one, of which `target` is the caller's memory."""
    cdef bint mixed = device.api.mixed_layouts(), staged = False
    cdef int i, result = <int>result_of(task.direction)
    cdef const int64_t* ends
    cdef Layout layout = Layout.packed
    for i in range(3):
        if only_channels_last(tensors[i]):
            layout = Layout.channels_last
        if task.geometry.spatial == 1:
            add_height(&tensors[i])
    for i in range(3):
        if device.api.mistakes_channels_last(tensors[i].ndim, tensors[i].shape):
            layout = Layout.packed
    target[0] = tensors[result]
    for i in range(3):
        ends = <const int64_t*>task.geometry.y_end
        if i == <int>X:
            ends = <const int64_t*>task.geometry.x_end
        if i != <int>W and any_of(ends, task.geometry.spatial):
            extend(device, &tensors[i], ends, task.geometry.spatial, layout, i != result, &held[i],
                   task.options)
        elif not lies_densely(&tensors[i], layout, mixed):
            pack(device, &tensors[i], layout, i != result, &held[i], task.options)
        else:
            continue
        staged = staged or i == result
    return staged


cdef bint make_epilogue_dense(Device* device, const Task* task, const TensorView* result,
                              TensorView target, Workspace* held) except -1 nogil:
    """Bias and z as the library takes them; whether anything follows the convolution."""
    cdef TensorView bias, z
    if task.bias != NULL:
        bias = task.bias[0]
        if not lies_densely(&bias, Layout.packed, False):
            pack(device, &bias, Layout.packed, True, &held[0], task.options)
        task.epilogue.bias = bias.data
    # BLAS's convention: what is multiplied by zero is not read.
    if task.z != NULL and task.epilogue.alpha != 0:
        z = task.z[0]
        if task.geometry.spatial == 1:
            add_height(&z)
        align_z(device, &z, result, target, task.epilogue.z_in_place, &held[1], task.options)
        task.epilogue.z = z.data
    return task.epilogue.anything()


cdef int align_z(Device* device, TensorView* z, const TensorView* result, TensorView target,
                 bint in_place, Workspace* held, const Options* options) except -1 nogil:
    """Make `z` lie exactly as the result does, by a copy where it does not.

    Separate steps write the convolution before they read z: where that is the result's own memory,
    its values must be kept aside, unless it stays `in_place` for a fused operation.
    """
    cdef TensorView original = z[0]
    cdef int i
    cdef bint equal = in_place or not same_memory(original, target)
    for i in range(<int>z.ndim):
        equal = equal and (z.shape[i] == 1 or z.strides[i] == result.strides[i])
    if equal:
        return 0
    for i in range(<int>z.ndim):
        z.strides[i] = result.strides[i]
    stage(device, z, held, options)
    return copy(device, &original, z, options)


# --- tensors that 32-bit descriptors cannot describe ----------------------------------------------

# Elements that a tensor may have without 64-bit descriptors.
cdef int64_t element_limit = 2**31 - 1


def limit_elements(limit: int) -> int:
    """For tests: another limit than that of 32-bit descriptors; answers the one before."""
    global element_limit
    before, element_limit = element_limit, limit
    return before


cdef int64_t sample_elements(const TensorView* tensor, const int64_t* ends,
                             const Geometry* geometry) noexcept nogil:
    """Elements of one sample, padded as it will be handed over."""
    cdef int64_t product = tensor.shape[1]
    cdef int i
    for i in range(geometry.spatial):
        product *= tensor.shape[2 + i] + ends[i]
    return product


cdef int64_t samples_at_once(Device* device, const Task* task) except -1 nogil:
    """How many samples of the batch one call may take: all of them, unless the tensors are too
    large and the library has 32-bit descriptors only."""
    cdef const Geometry* geometry = task.geometry
    cdef int64_t largest, batch = task.x.shape[0], weights = task.w.count()
    if device.api.miopenSetTensorDescriptorV2 != NULL:
        return batch
    largest = max(sample_elements(task.x, <const int64_t*>geometry.x_end, geometry),
                  sample_elements(task.y, <const int64_t*>geometry.y_end, geometry))
    if largest <= element_limit // batch and weights <= element_limit:
        return batch
    if largest > element_limit or weights > element_limit:
        with gil:
            raise UnsupportedError(
                f"a sample of {largest} elements with a weight of {weights} is more than this "
                f"MIOpen describes: it lacks miopenSetTensorDescriptorV2 and so takes at most "
                f"{element_limit} elements")
    return element_limit // largest


cdef int convolve_parts(Device* device, int64_t samples, const Task* task) except -1 nogil:
    """A convolution part by part of its batch. Gradients of weights are added up, those of half
    types in float32; what follows the convolution is left to the caller, which does it for the
    whole."""
    cdef const TensorView* w = task.w
    cdef const Options* options = task.options
    cdef TensorView part_x = task.x[0], part_y = task.y[0], part_w = w[0], total = w[0]
    cdef TensorView wide = w[0]
    cdef Workspace held_total, held_part, held_wide
    cdef HalfSum on_host
    cdef Epilogue none
    cdef Task part = task[0]
    cdef int64_t start = 0, count
    cdef bint sums = task.direction == Direction.backward_weights
    cdef bint half = sums and w.dtype != miopenFloat
    cdef Layout layout = Layout.channels_last if only_channels_last(w[0]) else Layout.packed
    if sums:
        if not lies_in(w[0], layout):
            pack(device, &total, layout, False, &held_total, options)
        part_w = total
        pack(device, &part_w, layout, False, &held_part, options)
    if half:
        on_host.begin(w.dtype, w.count())
        wide.dtype = miopenFloat
        if w.array_library == TORCH or w.array_library == CUPY:
            pack(device, &wide, layout, False, &held_wide, options)
    part.x, part.y, part.epilogue = &part_x, &part_y, &none
    part.bias = part.z = NULL
    while start < task.x.shape[0]:
        count = min(samples, task.x.shape[0] - start)
        part_x.shape[0] = part_y.shape[0] = count
        part_x.data = <char*>task.x.data + start * task.x.strides[0] * task.x.itemsize()
        part_y.data = <char*>task.y.data + start * task.y.strides[0] * task.y.itemsize()
        part.w = &part_w if half or start > 0 else &total
        convolve_whole(device, &part)
        if half:
            add_half(device, &part_w, &wide, start == 0, &on_host, options)
        elif sums and start > 0:
            add(device, &part_w, &total, options)
        start += count
    if half:
        round_sum(device, &wide, &total, &on_host, options)
    if sums and total.data != w.data:
        copy(device, &total, w, options)
    task.epilogue.bias_pending = task.bias != NULL
    task.epilogue.z_pending = task.z != NULL and task.epilogue.alpha != 0
    task.epilogue.relu_pending = task.epilogue.relu
    task.epilogue.refusal = status_of("miopenSetTensorDescriptorV2", miopenStatusNotImplemented)
    return 0


# --- the gradient of a bias -----------------------------------------------------------------------

cdef int sum_to_bias(const TensorView* gradient, const TensorView* bias, const Options* options,
                     Status* refusal) except -1 nogil:
    """The sum over every dimension but the channels; `refusal` where the library does not do it."""
    cdef TensorView dense = gradient[0]
    cdef TensorView target = bias[0]
    cdef InFlight call
    cdef Device* device
    cdef CurrentDevice current
    cdef HandleLease lease
    cdef Workspace[2] held
    cdef Status status
    cdef int64_t threads
    cdef bint staged
    cdef Layout layout = (
        Layout.channels_last if only_channels_last(dense) else Layout.packed)
    device = device_of(provider_of(gradient), gradient.device_id)
    if device.api.miopenSetTensorDescriptorV2 == NULL and dense.count() > element_limit:
        refusal[0] = status_of("miopenSetTensorDescriptorV2", miopenStatusNotImplemented)
        return 0
    call.enter(device.api)
    make_current(device, &current)
    use_threads(&device.api, options.threads, &threads)
    if dense.ndim == 3:
        add_height(&dense)
    if not lies_densely(&dense, layout, False):
        pack(device, &dense, layout, True, &held[0], options)
    staged = not lies_densely(&target, Layout.packed, False)
    if staged:
        pack(device, &target, Layout.packed, False, &held[1], options)
    status = lease.lease(device.handles, options.stream)
    if not status.ok():
        with gil:
            raise_status(&device.api, status, None)
    status = bias_gradient(device.api, lease.get(), dense, target)
    if not status.ok():
        device.api.hipGetLastError()
        refusal[0] = status
    elif staged:
        copy(device, &target, bias, options)
    return 0
