"""The operators: borrow the tensors, check the call, run it.

`mioconv.conv` gives these functions their names and defaults; `_select` chooses and runs a solution;
this module stands between: it decides layouts and makes packed copies where a library needs them.
"""

from libc.stdint cimport int64_t, uint16_t
from libc.string cimport memset

from mioconv._flags cimport default_flags, resolve_flags
from mioconv._geometry cimport (
    Geometry, check_bias, check_forward, check_geometry, check_rank, check_shape, parse_geometry,
    sizes)
from mioconv._select cimport Options, device_of, list_solutions, run, use_threads
from mioconv._tensor cimport OTHER, Kind, Loan, Tensor, borrow, give_back, kind_name, new_tensor
from mioconv.dlpack cimport (
    kDLCPU, kDLCUDA, kDLCUDAHost, kDLCUDAManaged, kDLROCM, kDLROCMHost)
from mioconv.miopen cimport (
    miopenBFloat16, miopenConvolution, miopenDataType_t, miopenFloat, miopenHalf)
from mioconv.native cimport (
    CallRecord, ConvolutionParams, Device, Direction, Layout, Provider, TensorView, W, Workspace, X,
    Y, copy_on_host, describe_operand, extents_overlap, last_call as last_record, lies_in, max_dims,
    only_channels_last, result_of, set_dense_strides)

from mioconv.errors import OutOfMemoryError, UnsupportedError


# --- what the operands have in common --------------------------------------------------------------

cdef str device_name(const TensorView* tensor):
    kinds = {kDLCPU: "cpu", kDLCUDA: "cuda", kDLCUDAHost: "cpu (CUDA pinned)", kDLROCM: "rocm",
             kDLROCMHost: "cpu (ROCm pinned)", kDLCUDAManaged: "cuda (managed)"}
    kind = kinds.get(tensor.device_type, f"DLPack device type {tensor.device_type}")
    return kind if kind.startswith("cpu") else f"{kind}:{tensor.device_id}"


cdef str dtype_name(const TensorView* tensor):
    return {<int>miopenFloat: "float32", <int>miopenHalf: "float16"}.get(
        <int>tensor.dtype, "bfloat16")


cdef int provider_of(const TensorView* tensor) except -1 nogil:
    """Where a tensor's memory can be computed on. Pinned host memory is host memory."""
    cdef int device = tensor.device_type
    if device == kDLCPU or device == kDLCUDAHost or device == kDLROCMHost:
        return <int>Provider.cpu
    if device == kDLROCM:
        return <int>Provider.rocm
    if device == kDLCUDA or device == kDLCUDAManaged:
        return <int>Provider.cuda
    with gil:
        raise UnsupportedError(
            f"expected tensors on a CPU, a ROCm or a CUDA device, but got {device_name(tensor)}")


cdef int check_same(const TensorView* first, Kind kind, str first_name, const TensorView* tensor,
                    Kind other, str name) except -1:
    """All tensors of a call are of one kind, dtype and device."""
    if other != kind:
        raise TypeError(
            f"{name}: expected a {kind_name(kind)} like {first_name}, but got a "
            f"{kind_name(other)}; all tensors of a call are of one kind")
    if tensor.dtype != first.dtype:
        raise TypeError(
            f"{name}: expected dtype {dtype_name(first)} like {first_name}, but got "
            f"{dtype_name(tensor)}")
    if tensor.device_type != first.device_type or tensor.device_id != first.device_id:
        raise ValueError(
            f"{name}: expected device {device_name(first)} like {first_name}, but got "
            f"{device_name(tensor)}")
    return 0


cdef int check_overlap(const TensorView* out, const TensorView* tensor, str name) except -1:
    if extents_overlap(out[0], tensor[0]):
        raise ValueError(f"out: its memory overlaps {name}, which is still being read; pass "
                         f"memory of its own")
    return 0


cdef int take_stream(Options* options, object stream, const TensorView* tensor) except -1:
    if stream is not None and provider_of(tensor) == <int>Provider.cpu:
        raise ValueError(f"stream: expected None for tensors on the CPU, but got {stream!r}")
    return 0


# --- forward ---------------------------------------------------------------------------------------

def forward(int spatial, input, weight, bias, stride, padding, dilation, groups, out, benchmark,
            deterministic, allow_tf32, solution, workspace_limit, stream):
    """y = conv(input, weight) + bias; `mioconv.conv2d_forward` documents it."""
    cdef TensorView x, w, b, y
    cdef Loan x_loan, w_loan, b_loan, y_loan
    cdef Geometry geometry
    cdef Options options
    cdef int64_t[max_dims] shape
    cdef bint batched, bias_given = bias is not None
    cdef Layout layout
    cdef int i
    memset(&x_loan, 0, sizeof(Loan))
    memset(&w_loan, 0, sizeof(Loan))
    memset(&b_loan, 0, sizeof(Loan))
    memset(&y_loan, 0, sizeof(Loan))
    try:
        borrow(input, "input", False, &x, &x_loan)
        borrow(weight, "weight", False, &w, &w_loan)
        check_same(&x, x_loan.kind, "input", &w, w_loan.kind, "weight")
        resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, solution)
        take_stream(&options, stream, &x)
        parse_geometry(&geometry, spatial, stride, padding, dilation, groups)
        check_rank(&x, "input", spatial, &batched)
        check_forward(&geometry, &x, &w, shape)
        if bias_given:
            borrow(bias, "bias", False, &b, &b_loan)
            check_same(&x, x_loan.kind, "input", &b, b_loan.kind, "bias")
            check_bias(&b, &w, shape[1])
        if out is not None:
            borrow(out, "out", True, &y, &y_loan)
            check_same(&x, x_loan.kind, "input", &y, y_loan.kind, "out")
            check_shape(&y, "out", shape, spatial + 2, batched)
            check_overlap(&y, &x, "input")
            check_overlap(&y, &w, "weight")
            if bias_given:
                check_overlap(&y, &b, "bias")
        provider_of(&x)
        if out is None:
            layout = (Layout.channels_last if only_channels_last(x) or only_channels_last(w)
                      else Layout.packed)
            y.dtype = x.dtype
            y.ndim = spatial + 2
            for i in range(spatial + 2):
                y.shape[i] = shape[i]
            out = new_output(x_loan.kind, input, &y, layout, batched, &y_loan)
        with nogil:
            convolve(Direction.forward, x, w, y, &b if bias_given else NULL, &geometry, &options)
        return out
    finally:
        give_back(&x_loan)
        give_back(&w_loan)
        give_back(&b_loan)
        give_back(&y_loan)


cdef object new_output(Kind kind, object like, TensorView* y, Layout layout, bint batched,
                       Loan* loan):
    """A result of `y`'s shape, without its batch dimension where the call has none.

    It is made with the batch and loses that by indexing, so that its layout is the same either way.
    """
    result = new_tensor(kind, like, y, layout, loan)
    if batched:
        return result
    return (<Tensor>result).without_batch() if kind == OTHER else result[0]


# --- one convolution -------------------------------------------------------------------------------

cdef int stage(Device* device, TensorView* tensor, Workspace* held,
               const Options* options) except -1 nogil:
    """Point a dense tensor to scratch memory of its size."""
    if provider_of(tensor) != <int>Provider.cpu:
        with gil:
            raise UnsupportedError(
                f"a tensor on {device_name(tensor)} is not packed (neither contiguous nor "
                f"channels-last); make it contiguous")
    if not held.lease(device.workspaces, tensor.bytes(), options.stream).ok():
        with gil:
            raise OutOfMemoryError(f"no memory for a packed copy of {tensor.bytes()} bytes")
    tensor.data = held.data()
    return 0


cdef bint settle_layout(TensorView* tensor, Layout wanted, bint mixed) noexcept nogil:
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
        copy_on_host(original, tensor[0])
    return 0


cdef int pad(Device* device, TensorView* tensor, const Geometry* geometry, Layout layout, bint read,
             Workspace* held, const Options* options) except -1 nogil:
    """Replace the input by a larger one with zeros behind it: "same" with an even kernel."""
    cdef TensorView original = tensor[0]
    cdef TensorView inner
    cdef int i, first = <int>tensor.ndim - geometry.spatial
    for i in range(geometry.spatial):
        tensor.shape[first + i] += geometry.pad_end[i]
    set_dense_strides(tensor[0], layout)
    stage(device, tensor, held, options)
    if read:
        memset(tensor.data, 0, tensor.bytes())
        inner = tensor[0]
        for i in range(<int>inner.ndim):
            inner.shape[i] = original.shape[i]
        copy_on_host(original, inner)
    return 0


cdef bint pads_end(const Geometry* geometry) noexcept nogil:
    cdef int i
    for i in range(geometry.spatial):
        if geometry.pad_end[i]:
            return True
    return False


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
    params.mode = <int64_t>miopenConvolution
    params.dtype = <int64_t>tensors[0].dtype
    params.deterministic = options.deterministic
    params.allow_tf32 = options.allow_tf32
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


cdef int convolve(Direction direction, TensorView x, TensorView w, TensorView y,
                  const TensorView* bias, const Geometry* geometry,
                  const Options* options) except -1 nogil:
    cdef Device* device
    cdef ConvolutionParams params
    cdef CallRecord* record
    cdef TensorView[3] tensors
    cdef TensorView target, dense_bias
    cdef Workspace[4] held
    cdef bint mixed, staged
    cdef int i, result = <int>result_of(direction)
    cdef Layout layout = Layout.packed
    if x.count() == 0:
        record = &last_record()
        record[0] = CallRecord()
        record.provider = provider_of(&x)
        record.direction = <int>direction
        record.way = 1
        return 0
    device = device_of(provider_of(&x), x.device_id)
    mixed = device.api.mixed_layouts()
    tensors[<int>X] = x
    tensors[<int>W] = w
    tensors[<int>Y] = y
    for i in range(3):
        if only_channels_last(tensors[i]):
            layout = Layout.channels_last
        if geometry.spatial == 1:
            add_height(&tensors[i])
    target = tensors[result]
    staged = False
    for i in range(3):
        if i == <int>X and pads_end(geometry):
            pad(device, &tensors[i], geometry, layout, i != result, &held[i], options)
        elif not settle_layout(&tensors[i], layout, mixed):
            pack(device, &tensors[i], layout, i != result, &held[i], options)
        else:
            continue
        staged = staged or i == result
    if bias != NULL:
        dense_bias = bias[0]
        if not settle_layout(&dense_bias, Layout.packed, False):
            pack(device, &dense_bias, Layout.packed, True, &held[3], options)
    fill_params(&params, device, direction, tensors, geometry, options)
    run(device, &params, tensors[<int>X].data, tensors[<int>W].data, tensors[<int>Y].data,
        dense_bias.data if bias != NULL else NULL, options)
    if staged:
        copy_on_host(tensors[result], target)
    return 0


# --- without Python objects ------------------------------------------------------------------------

cdef int fill_geometry(Geometry* geometry, int spatial, const int64_t* stride,
                       const int64_t* padding, const int64_t* dilation,
                       int64_t groups) except -1 nogil:
    cdef int i
    memset(geometry, 0, sizeof(Geometry))
    geometry.spatial = spatial
    geometry.groups = groups
    for i in range(spatial):
        geometry.stride[i] = stride[i]
        geometry.padding[i] = padding[i]
        geometry.dilation[i] = dilation[i]
    return check_geometry(geometry)


cdef void fill_view(TensorView* view, const void* data, miopenDataType_t dtype, int ndim,
                    const int64_t* shape) noexcept nogil:
    cdef int i
    view.data = <void*>data
    view.dtype = dtype
    view.ndim = ndim
    view.device_type = kDLCPU
    view.device_id = 0
    for i in range(ndim):
        view.shape[i] = shape[i]
    set_dense_strides(view[0], Layout.packed)


cdef int conv_output_shape(int spatial, const int64_t* x_shape, const int64_t* w_shape,
                           const int64_t* stride, const int64_t* padding, const int64_t* dilation,
                           int64_t groups, int64_t* y_shape) except -1 nogil:
    cdef Geometry geometry
    cdef TensorView x, w
    fill_geometry(&geometry, spatial, stride, padding, dilation, groups)
    fill_view(&x, NULL, miopenFloat, spatial + 2, x_shape)
    fill_view(&w, NULL, miopenFloat, spatial + 2, w_shape)
    return check_forward(&geometry, &x, &w, y_shape)


cdef int conv_forward(int spatial, int dtype, const void* x, const int64_t* x_shape, const void* w,
                      const int64_t* w_shape, void* y, const int64_t* stride,
                      const int64_t* padding, const int64_t* dilation,
                      int64_t groups) except -1 nogil:
    cdef TensorView x_view, w_view, y_view
    cdef int64_t[max_dims] y_shape
    conv_output_shape(spatial, x_shape, w_shape, stride, padding, dilation, groups, y_shape)
    fill_view(&x_view, x, <miopenDataType_t>dtype, spatial + 2, x_shape)
    fill_view(&w_view, w, <miopenDataType_t>dtype, spatial + 2, w_shape)
    fill_view(&y_view, y, <miopenDataType_t>dtype, spatial + 2, y_shape)
    return forward_views(&x_view, &w_view, &y_view, stride, padding, dilation, groups)


cdef int forward_views(TensorView* x, TensorView* w, TensorView* y, const int64_t* stride,
                       const int64_t* padding, const int64_t* dilation,
                       int64_t groups) except -1 nogil:
    cdef Geometry geometry
    cdef Options options
    cdef int64_t[max_dims] shape
    cdef int i
    fill_geometry(&geometry, <int>x.ndim - 2, stride, padding, dilation, groups)
    check_forward(&geometry, x, w, shape)
    for i in range(<int>x.ndim):
        if y.ndim != x.ndim or y.shape[i] != shape[i]:
            with gil:
                check_shape(y, "y", shape, <int>x.ndim, True)
    default_flags(&options)
    return convolve(Direction.forward, x[0], w[0], y[0], NULL, &geometry, &options)


cdef int take_memoryview(TensorView* view, const void* data, const Py_ssize_t* shape,
                         const Py_ssize_t* strides, int ndim, int itemsize,
                         bint bfloat16) except -1 nogil:
    """A typed memoryview as a tensor; its strides count bytes."""
    cdef int i
    view.data = <void*>data
    view.ndim = ndim
    view.device_type = kDLCPU
    view.device_id = 0
    view.dtype = miopenFloat if itemsize == 4 else miopenBFloat16 if bfloat16 else miopenHalf
    for i in range(ndim):
        if strides[i] % itemsize:
            with gil:
                raise BufferError("the buffer's elements are not aligned to their size")
        view.shape[i] = shape[i]
        view.strides[i] = strides[i] // itemsize
    return 0


# `&x[0, 0, 0]` of an empty view would read its shape: `&x` of Cython's struct has the pointer itself.
cdef extern from *:
    """
    template <typename Slice> static inline void* slice_data(const Slice& slice) {
        return slice.data;
    }
    """
    void* slice_data(...) noexcept nogil


cpdef int conv1d_forward_view(
        const element[:, :, :] x, const element[:, :, :] w, element[:, :, :] y, int64_t stride,
        int64_t padding, int64_t dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv1d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView x_view, w_view, y_view
    take_memoryview(&x_view, slice_data(x), x.shape, x.strides, 3, sizeof(element), bfloat16)
    take_memoryview(&w_view, slice_data(w), w.shape, w.strides, 3, sizeof(element), bfloat16)
    take_memoryview(&y_view, slice_data(y), y.shape, y.strides, 3, sizeof(element), bfloat16)
    return forward_views(&x_view, &w_view, &y_view, &stride, &padding, &dilation, groups)


cpdef int conv2d_forward_view(
        const element[:, :, :, :] x, const element[:, :, :, :] w, element[:, :, :, :] y,
        (int64_t, int64_t) stride, (int64_t, int64_t) padding,
        (int64_t, int64_t) dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv2d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView x_view, w_view, y_view
    take_memoryview(&x_view, slice_data(x), x.shape, x.strides, 4, sizeof(element), bfloat16)
    take_memoryview(&w_view, slice_data(w), w.shape, w.strides, 4, sizeof(element), bfloat16)
    take_memoryview(&y_view, slice_data(y), y.shape, y.strides, 4, sizeof(element), bfloat16)
    return forward_views(
        &x_view, &w_view, &y_view, <int64_t*>&stride, <int64_t*>&padding, <int64_t*>&dilation,
        groups)


cpdef int conv3d_forward_view(
        const element[:, :, :, :, :] x, const element[:, :, :, :, :] w,
        element[:, :, :, :, :] y, (int64_t, int64_t, int64_t) stride,
        (int64_t, int64_t, int64_t) padding,
        (int64_t, int64_t, int64_t) dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv3d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView x_view, w_view, y_view
    take_memoryview(&x_view, slice_data(x), x.shape, x.strides, 5, sizeof(element), bfloat16)
    take_memoryview(&w_view, slice_data(w), w.shape, w.strides, 5, sizeof(element), bfloat16)
    take_memoryview(&y_view, slice_data(y), y.shape, y.strides, 5, sizeof(element), bfloat16)
    return forward_views(
        &x_view, &w_view, &y_view, <int64_t*>&stride, <int64_t*>&padding, <int64_t*>&dilation,
        groups)


# --- questions -------------------------------------------------------------------------------------

def describe_tensor(tensor) -> tuple:
    """Shape, dtype name, layout ("packed" or "channels_last") and device name of any tensor.

    A strided tensor counts as packed: that is how it will be handed over.
    """
    cdef TensorView view
    cdef Loan loan
    memset(&loan, 0, sizeof(Loan))
    try:
        borrow(tensor, "tensor", False, &view, &loan)
        if view.ndim > max_dims:
            raise ValueError(f"tensor: expected at most {max_dims} dimensions, but got {view.ndim}")
        layout = "channels_last" if view.ndim > 2 and only_channels_last(view) else "packed"
        return sizes(view.shape, <int>view.ndim), dtype_name(&view), layout, device_name(&view)
    finally:
        give_back(&loan)


def find_solutions(problem, benchmark, deterministic, allow_tf32, workspace_limit) -> list:
    """The ranked solutions of a `mioconv.Problem`, as dicts; `mioconv.find_solutions` documents it."""
    cdef Geometry geometry
    cdef Options options
    cdef TensorView[3] tensors
    cdef ConvolutionParams params
    cdef Device* device
    cdef int i, number, spatial = problem.rank
    kind, _, index = problem.device.partition(":")
    number = ("cpu", "rocm", "cuda").index(kind)
    resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, None)
    parse_geometry(&geometry, spatial, problem.stride, problem.padding, problem.dilation,
                   problem.groups)
    # A transposed convolution is the gradient of the ordinary one: its input is that one's output.
    first, last = problem.input_shape, problem.output_shape
    if problem.transposed:
        first, last = last, first
    for i, shape in enumerate((first, problem.weight_shape, last)):
        fill_problem_tensor(&tensors[i], shape, problem.dtype, problem.layout)
        if spatial == 1:
            add_height(&tensors[i])
        set_dense_strides(
            tensors[i],
            Layout.channels_last if problem.layout == "channels_last" else Layout.packed)
    device = device_of(number, int(index or 0))
    fill_params(&params, device, direction_of(problem), tensors, &geometry, &options)
    return list_solutions(device, &params, &options)


cdef int fill_problem_tensor(TensorView* view, tuple shape, str dtype, str layout) except -1:
    """A tensor that only exists on paper; the best alignment is assumed."""
    cdef int i
    view.data = <void*>64
    view.dtype = {"float32": miopenFloat, "float16": miopenHalf, "bfloat16": miopenBFloat16}[dtype]
    view.ndim = len(shape)
    for i in range(<int>view.ndim):
        view.shape[i] = shape[i]
    return 0


cdef Direction direction_of(problem) except *:
    cdef int direction = ("forward", "backward_input", "backward_weight").index(problem.direction)
    if problem.transposed and direction < 2:
        direction = 1 - direction
    return <Direction>direction
