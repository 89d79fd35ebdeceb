"""mioconv's core for other code: convolutions without Python objects.

The operators that Python calls are in `_operators`; both end in `_execute.convolve`.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from mioconv._execute cimport convolve
from mioconv._flags cimport default_flags
from mioconv._geometry cimport (
    Geometry, Names, check_geometry, check_shape, output_sizes, sizes)
from mioconv._plans cimport Options
from mioconv.dlpack cimport kDLCPU
from mioconv.miopen cimport miopenBFloat16, miopenDataType_t, miopenFloat, miopenHalf
from mioconv.native cimport (
    Direction, Epilogue, Layout, TensorView, max_dims, may_overlap, overlaps_itself,
    set_dense_strides)

cdef Names forward_names = Names("x", "w", "y")


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


cdef int fill_view(TensorView* view, const char* name, const void* data, bint only_shape,
                   miopenDataType_t dtype, int ndim, const int64_t* shape) except -1 nogil:
    """A packed tensor of the host, whose rank has been checked."""
    cdef int i
    if shape == NULL:
        with gil:
            raise ValueError(f"{name.decode()}_shape: expected {ndim} sizes, but got NULL")
    view.data = <void*>data
    view.dtype = dtype
    view.ndim = ndim
    view.device_type = kDLCPU
    view.device_id = 0
    for i in range(ndim):
        view.shape[i] = shape[i]
    if view.too_large():
        with gil:
            raise ValueError(f"{name.decode()}: sizes {sizes(shape, ndim)} are too large")
    set_dense_strides(view[0], Layout.packed)
    if data == NULL and not only_shape and view.count() > 0:
        with gil:
            raise ValueError(
                f"{name.decode()}: expected memory for {sizes(shape, ndim)}, but got NULL")
    return 0


cdef int conv_output_shape(int spatial, const int64_t* x_shape, const int64_t* w_shape,
                           const int64_t* stride, const int64_t* padding, const int64_t* dilation,
                           int64_t groups, int64_t* y_shape) except -1 nogil:
    cdef Geometry geometry
    cdef TensorView x, w
    fill_geometry(&geometry, spatial, stride, padding, dilation, groups)
    fill_view(&x, "x", NULL, True, miopenFloat, spatial + 2, x_shape)
    fill_view(&w, "w", NULL, True, miopenFloat, spatial + 2, w_shape)
    if y_shape == NULL:
        with gil:
            raise ValueError(f"y_shape: expected room for {spatial + 2} sizes, but got NULL")
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
    fill_view(&x_view, "x", x, False, <miopenDataType_t>dtype, spatial + 2, x_shape)
    fill_view(&w_view, "w", w, False, <miopenDataType_t>dtype, spatial + 2, w_shape)
    fill_view(&y_view, "y", y, False, <miopenDataType_t>dtype, spatial + 2, y_shape)
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
