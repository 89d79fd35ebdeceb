"""Convolutions for other Cython and C++ code: no Python object is involved, and no GIL is needed.

The operators that Python calls are in `_call.operators`; both end in `execute.convolve`.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from mioconv._borrow.own_tensor cimport sizes
from mioconv._check.flags cimport Options, default_flags
from mioconv._check.geometry cimport Geometry, Names, check_geometry, check_shape, output_sizes
from mioconv._core.execute cimport Task, convolve, provider_of
from mioconv._native.dlpack cimport kDLCPU
from mioconv._native.hip cimport hipStream_t
from mioconv._native.miopen cimport miopenBFloat16, miopenDataType_t, miopenFloat, miopenHalf
from mioconv._native.native cimport (
    Direction, Epilogue, Layout, TensorView, W, X, Y, max_dims, may_overlap, overlaps_itself,
    result_of, set_dense_strides)

cdef Names names = Names("x", "w", "y")


# --- pointers -------------------------------------------------------------------------------------

cdef int fill_geometry(Geometry* geometry, int spatial, const int64_t* stride,
                       const int64_t* padding, const int64_t* dilation,
                       int64_t groups) except -1 nogil:
    cdef int i
    memset(geometry, 0, sizeof(Geometry))
    geometry.spatial = spatial
    geometry.groups = groups
    if not 1 <= spatial <= max_dims - 2:
        return check_geometry(geometry)
    if stride == NULL or padding == NULL or dilation == NULL:
        with gil:
            raise ValueError("stride, padding, dilation: expected a number for each spatial "
                             "dimension, but got NULL")
    for i in range(spatial):
        geometry.stride[i] = stride[i]
        geometry.padding[i] = padding[i]
        geometry.dilation[i] = dilation[i]
    return check_geometry(geometry)


cdef int fill_view(const Convolution* conv, TensorView* view, const char* name,
                   const int64_t* shape) except -1 nogil:
    """A packed tensor, without its memory; its rank has been checked."""
    cdef int i, ndim = conv.spatial + 2
    if shape == NULL:
        with gil:
            raise ValueError(f"{name.decode()}_shape: expected {ndim} sizes, but got NULL")
    view.dtype = <miopenDataType_t>conv.dtype
    view.ndim = ndim
    view.device_type = conv.device_type
    view.device_id = conv.device_id
    for i in range(ndim):
        view.shape[i] = shape[i]
    if view.too_large():
        with gil:
            raise ValueError(f"{name.decode()}: sizes {sizes(shape, ndim)} are too large")
    set_dense_strides(view[0], Layout.packed)
    return 0


cdef int fill_operands(const Convolution* conv, Geometry* geometry, TensorView* x, TensorView* w,
                       int64_t* y_shape) except -1 nogil:
    """All that follows from the numbers: nothing is read or written."""
    fill_geometry(geometry, conv.spatial, conv.stride, conv.padding, conv.dilation, conv.groups)
    fill_view(conv, x, "x", conv.x_shape)
    fill_view(conv, w, "w", conv.w_shape)
    return output_sizes(geometry, x, w, y_shape, &names)


cdef int conv_output_shape(const Convolution* conv, int64_t* y_shape) except -1 nogil:
    cdef Geometry geometry
    cdef TensorView x, w
    if y_shape == NULL:
        with gil:
            raise ValueError(f"y_shape: expected room for {conv.spatial + 2} sizes, but got NULL")
    return fill_operands(conv, &geometry, &x, &w, y_shape)


cdef int conv_forward(const Convolution* conv, const void* x, const void* w,
                      void* y) except -1 nogil:
    return convolve_pointers(Direction.forward, conv, x, w, y)


cdef int conv_backward_input(const Convolution* conv, void* x, const void* w,
                             const void* y) except -1 nogil:
    return convolve_pointers(Direction.backward_data, conv, x, w, y)


cdef int conv_backward_weight(const Convolution* conv, const void* x, void* w,
                              const void* y) except -1 nogil:
    return convolve_pointers(Direction.backward_weights, conv, x, w, y)


cdef int convolve_pointers(Direction direction, const Convolution* conv, const void* x,
                           const void* w, const void* y) except -1 nogil:
    cdef TensorView[3] tensors
    cdef Geometry geometry
    cdef int64_t[max_dims] y_shape
    if conv.dtype != <int>miopenFloat and conv.dtype != <int>miopenHalf and (
            conv.dtype != <int>miopenBFloat16):
        with gil:
            raise TypeError(
                f"dtype: expected miopenFloat, miopenHalf or miopenBFloat16, but got {conv.dtype}")
    fill_operands(conv, &geometry, &tensors[<int>X], &tensors[<int>W], y_shape)
    fill_view(conv, &tensors[<int>Y], "y", y_shape)
    provider_of(&tensors[<int>X])
    give_memory(&tensors[<int>X], "x", x)
    give_memory(&tensors[<int>W], "w", w)
    give_memory(&tensors[<int>Y], "y", y)
    return convolve_views(direction, tensors, &geometry, <hipStream_t>conv.stream)


cdef int give_memory(TensorView* tensor, const char* name, const void* data) except -1 nogil:
    tensor.data = <void*>data
    if data == NULL and tensor.count() > 0:
        with gil:
            raise ValueError(
                f"{name.decode()}: expected memory for "
                f"{sizes(tensor.shape, <int>tensor.ndim)}, but got NULL")
    return 0


cdef int convolve_views(Direction direction, TensorView* tensors, Geometry* geometry,
                        hipStream_t stream) except -1 nogil:
    """One direction of y = conv(x, w) on tensors whose sizes belong together."""
    cdef Options options
    cdef Epilogue epilogue
    cdef Task task
    cdef int i, result = <int>result_of(direction)
    cdef bint overlaps = overlaps_itself(tensors[result])
    for i in range(3):
        overlaps = overlaps or (i != result and may_overlap(tensors[result], tensors[i]))
    if overlaps:
        with gil:
            raise ValueError(f"{'xwy'[result]}: its memory overlaps another operand or itself; "
                             f"pass memory of its own")
    default_flags(&options)
    options.stream = stream
    task = Task(direction, &tensors[<int>X], &tensors[<int>W], &tensors[<int>Y], NULL, NULL,
                &epilogue, geometry, &options)
    return convolve(&task)


# --- typed memoryviews ----------------------------------------------------------------------------

cdef int convolve_memoryviews(Direction direction, TensorView* tensors, const int64_t* stride,
                              const int64_t* padding, const int64_t* dilation,
                              int64_t groups) except -1 nogil:
    cdef Geometry geometry
    cdef TensorView* x = &tensors[<int>X]
    cdef TensorView* y = &tensors[<int>Y]
    cdef int64_t[max_dims] shape
    cdef int i
    fill_geometry(&geometry, <int>x.ndim - 2, stride, padding, dilation, groups)
    output_sizes(&geometry, x, &tensors[<int>W], shape, &names)
    for i in range(<int>x.ndim):
        if y.shape[i] != shape[i]:
            with gil:
                check_shape(y, "y", shape, <int>x.ndim, True)
    return convolve_views(direction, tensors, &geometry, NULL)


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
        int64_t padding, int64_t dilation, int64_t groups=1, bint bfloat16=False) except -1 nogil:
    """conv1d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 3, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 3, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 3, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.forward, tensors, &stride, &padding, &dilation, groups)


cpdef int conv1d_backward_input_view(
        element[:, :, :] x, const element[:, :, :] w, const element[:, :, :] y, int64_t stride,
        int64_t padding, int64_t dilation, int64_t groups=1, bint bfloat16=False) except -1 nogil:
    """conv1d on typed memoryviews, the gradient of the input, into `x`; uint16 holds
    float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 3, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 3, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 3, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.backward_data, tensors, &stride, &padding, &dilation, groups)


cpdef int conv1d_backward_weight_view(
        const element[:, :, :] x, element[:, :, :] w, const element[:, :, :] y, int64_t stride,
        int64_t padding, int64_t dilation, int64_t groups=1, bint bfloat16=False) except -1 nogil:
    """conv1d on typed memoryviews, the gradient of the weights, into `w`; uint16 holds
    float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 3, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 3, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 3, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.backward_weights, tensors, &stride, &padding, &dilation, groups)


cpdef int conv2d_forward_view(
        const element[:, :, :, :] x, const element[:, :, :, :] w, element[:, :, :, :] y,
        (int64_t, int64_t) stride, (int64_t, int64_t) padding, (int64_t, int64_t) dilation,
        int64_t groups=1, bint bfloat16=False) except -1 nogil:
    """conv2d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 4, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 4, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 4, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.forward, tensors, <int64_t*>&stride, <int64_t*>&padding,
        <int64_t*>&dilation, groups)


cpdef int conv2d_backward_input_view(
        element[:, :, :, :] x, const element[:, :, :, :] w, const element[:, :, :, :] y,
        (int64_t, int64_t) stride, (int64_t, int64_t) padding, (int64_t, int64_t) dilation,
        int64_t groups=1, bint bfloat16=False) except -1 nogil:
    """conv2d on typed memoryviews, the gradient of the input, into `x`; uint16 holds
    float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 4, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 4, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 4, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.backward_data, tensors, <int64_t*>&stride, <int64_t*>&padding,
        <int64_t*>&dilation, groups)


cpdef int conv2d_backward_weight_view(
        const element[:, :, :, :] x, element[:, :, :, :] w, const element[:, :, :, :] y,
        (int64_t, int64_t) stride, (int64_t, int64_t) padding, (int64_t, int64_t) dilation,
        int64_t groups=1, bint bfloat16=False) except -1 nogil:
    """conv2d on typed memoryviews, the gradient of the weights, into `w`; uint16 holds
    float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 4, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 4, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 4, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.backward_weights, tensors, <int64_t*>&stride, <int64_t*>&padding,
        <int64_t*>&dilation, groups)


cpdef int conv3d_forward_view(
        const element[:, :, :, :, :] x, const element[:, :, :, :, :] w, element[:, :, :, :, :] y,
        (int64_t, int64_t, int64_t) stride, (int64_t, int64_t, int64_t) padding,
        (int64_t, int64_t, int64_t) dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv3d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 5, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 5, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 5, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.forward, tensors, <int64_t*>&stride, <int64_t*>&padding,
        <int64_t*>&dilation, groups)


cpdef int conv3d_backward_input_view(
        element[:, :, :, :, :] x, const element[:, :, :, :, :] w, const element[:, :, :, :, :] y,
        (int64_t, int64_t, int64_t) stride, (int64_t, int64_t, int64_t) padding,
        (int64_t, int64_t, int64_t) dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv3d on typed memoryviews, the gradient of the input, into `x`; uint16 holds
    float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 5, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 5, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 5, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.backward_data, tensors, <int64_t*>&stride, <int64_t*>&padding,
        <int64_t*>&dilation, groups)


cpdef int conv3d_backward_weight_view(
        const element[:, :, :, :, :] x, element[:, :, :, :, :] w, const element[:, :, :, :, :] y,
        (int64_t, int64_t, int64_t) stride, (int64_t, int64_t, int64_t) padding,
        (int64_t, int64_t, int64_t) dilation, int64_t groups=1,
        bint bfloat16=False) except -1 nogil:
    """conv3d on typed memoryviews, the gradient of the weights, into `w`; uint16 holds
    float16, or bfloat16 where said so."""
    cdef TensorView[3] tensors
    take_memoryview(&tensors[<int>X], slice_data(x), x.shape, x.strides, 5, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>W], slice_data(w), w.shape, w.strides, 5, sizeof(element),
                    bfloat16)
    take_memoryview(&tensors[<int>Y], slice_data(y), y.shape, y.strides, 5, sizeof(element),
                    bfloat16)
    return convolve_memoryviews(
        Direction.backward_weights, tensors, <int64_t*>&stride, <int64_t*>&padding,
        <int64_t*>&dilation, groups)
