"""mioconv's core for other code: convolutions without Python objects, and questions about problems.

The operators that Python calls are in `_operators`; both end in `_execute.convolve`.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from mioconv._execute cimport add_height, convolve, device_name, fill_params
from mioconv._flags cimport default_flags, resolve_flags
from mioconv._geometry cimport (
    Geometry, Names, check_geometry, check_shape, output_sizes, parse_geometry,
    parse_output_padding, sizes, split_output_padding)
from mioconv._select cimport Options, device_of, list_solutions
from mioconv._tensor cimport Loan, borrow, dtype_name, give_back
from mioconv.dlpack cimport kDLCPU
from mioconv.miopen cimport miopenBFloat16, miopenDataType_t, miopenFloat, miopenHalf
from mioconv.native cimport (
    ConvolutionParams, Device, Direction, Epilogue, Layout, TensorView, Y, max_dims, may_overlap,
    only_channels_last, overlaps_itself, result_of, set_dense_strides)

from mioconv._api import PROVIDERS

cdef Names forward_names = Names("x", "w", "y")


# --- without Python objects -----------------------------------------------------------------------

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
    return output_sizes(&geometry, &x, &w, y_shape, &forward_names)


cdef int conv_forward(int spatial, int dtype, const void* x, const int64_t* x_shape, const void* w,
                      const int64_t* w_shape, void* y, const int64_t* stride,
                      const int64_t* padding, const int64_t* dilation,
                      int64_t groups) except -1 nogil:
    cdef TensorView x_view, w_view, y_view
    cdef int64_t[max_dims] y_shape
    if dtype != <int>miopenFloat and dtype != <int>miopenHalf and dtype != <int>miopenBFloat16:
        with gil:
            raise TypeError(
                f"dtype: expected miopenFloat, miopenHalf or miopenBFloat16, but got {dtype}")
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
    cdef Epilogue epilogue
    cdef int64_t[max_dims] shape
    cdef int i
    fill_geometry(&geometry, <int>x.ndim - 2, stride, padding, dilation, groups)
    output_sizes(&geometry, x, w, shape, &forward_names)
    for i in range(<int>x.ndim):
        if y.ndim != x.ndim or y.shape[i] != shape[i]:
            with gil:
                check_shape(y, "y", shape, <int>x.ndim, True)
    if overlaps_itself(y[0]) or may_overlap(y[0], x[0]) or may_overlap(y[0], w[0]):
        with gil:
            raise ValueError("y: its memory overlaps x, w or itself; pass memory of its own")
    default_flags(&options)
    return convolve(Direction.forward, x, w, y, NULL, NULL, &epilogue, &geometry, &options)


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


# The pointer of a view that may be empty: `&x[0, 0, 0]` would be out of its bounds.
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


# --- questions ------------------------------------------------------------------------------------

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
        return sizes(view.shape, <int>view.ndim), dtype_name(view.dtype), layout, device_name(&view)
    finally:
        give_back(&loan)


def shape_of(tensor) -> tuple:
    """The sizes of any tensor, one of more than five dimensions excepted."""
    return describe_tensor(tensor)[0]


def find_solutions(problem, benchmark, deterministic, allow_tf32, workspace_limit) -> list:
    """The ranked solutions of a `mioconv.Problem`, as fields of `mioconv.Solution`."""
    cdef Geometry geometry
    cdef Options options
    cdef TensorView[3] tensors
    cdef ConvolutionParams params
    cdef Device* device
    cdef int i, j, number, spatial = problem.rank
    kind, _, index = problem.device.partition(":")
    number = PROVIDERS.index(kind)
    resolve_flags(&options, benchmark, deterministic, allow_tf32, workspace_limit, None)
    parse_geometry(&geometry, spatial, problem.stride, problem.padding, problem.dilation,
                   problem.groups)
    if problem.transposed:
        parse_output_padding(&geometry, problem.output_padding)
        split_output_padding(&geometry)
    # A transposed convolution is the gradient of the ordinary one: its input is that one's output.
    first, last = problem.input_shape, problem.output_shape
    if problem.transposed:
        first, last = last, first
    for i, shape in enumerate((first, problem.weight_shape, last)):
        fill_problem_tensor(&tensors[i], shape, problem.dtype)
        if i == <int>Y:
            for j in range(spatial):
                tensors[i].shape[2 + j] += geometry.y_end[j]
        if spatial == 1:
            add_height(&tensors[i])
    settle_problem_layout(tensors, <int>result_of(direction_of(problem)),
                          problem.layout == "channels_last")
    device = device_of(number, int(index or 0))
    fill_params(&params, device, direction_of(problem), tensors, &geometry, &options)
    return list_solutions(device, &params, &options)


cdef void settle_problem_layout(TensorView* tensors, int result, bint channels_last) noexcept:
    """The strides that a call on such tensors would use: channels-last only where an operand's
    sizes leave no doubt about it."""
    cdef int i
    cdef bint sure = False
    for i in range(3):
        set_dense_strides(tensors[i], Layout.channels_last)
        sure = sure or (i != result and only_channels_last(tensors[i]))
    if not (channels_last and sure):
        for i in range(3):
            set_dense_strides(tensors[i], Layout.packed)


cdef int fill_problem_tensor(TensorView* view, tuple shape, str dtype) except -1:
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
