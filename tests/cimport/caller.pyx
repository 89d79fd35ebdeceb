# A user's module: calls mioconv's core without the GIL, from typed memoryviews and from pointers.

from libc.stdint cimport int64_t, uintptr_t

from mioconv._core cimport (
    Convolution, conv2d_backward_input_view, conv2d_backward_weight_view, conv2d_forward_view,
    conv_backward_input, conv_backward_weight, conv_forward, conv_output_shape)
from mioconv._native.dlpack cimport kDLCPU


def from_views(const float[:, :, :, :] x, const float[:, :, :, :] w, float[:, :, :, :] y,
               int64_t padding, int calls=1):
    cdef int _i
    with nogil:
        for _i in range(calls):
            conv2d_forward_view[float](x, w, y, (1, 1), (padding, padding), (1, 1), 1, False)


def gradient_of_input(float[:, :, :, :] x, const float[:, :, :, :] w, const float[:, :, :, :] y,
                      int64_t padding):
    with nogil:
        conv2d_backward_input_view[float](x, w, y, (1, 1), (padding, padding), (1, 1), 1, False)


def gradient_of_weight(const float[:, :, :, :] x, float[:, :, :, :] w, const float[:, :, :, :] y,
                       int64_t padding):
    with nogil:
        conv2d_backward_weight_view[float](x, w, y, (1, 1), (padding, padding), (1, 1), 1, False)


cdef Convolution convolution(int spatial, int64_t* x_shape, int64_t* w_shape, int64_t* one,
                             int64_t* zero) noexcept:
    """Of float32 on the host, one group, without strides and dilations."""
    return Convolution(
        spatial=spatial, dtype=1, x_shape=x_shape, w_shape=w_shape, stride=one, padding=zero,
        dilation=one, groups=1, device_type=kDLCPU, device_id=0, stream=NULL)


def from_pointers(const float[:, :, ::1] x, const float[:, :, ::1] w, float[:, :, ::1] y):
    cdef int64_t[3] x_shape = [x.shape[0], x.shape[1], x.shape[2]]
    cdef int64_t[3] w_shape = [w.shape[0], w.shape[1], w.shape[2]]
    cdef int64_t one = 1, zero = 0
    cdef Convolution conv = convolution(1, x_shape, w_shape, &one, &zero)
    with nogil:
        conv_forward(&conv, &x[0, 0, 0], &w[0, 0, 0], &y[0, 0, 0])


def on_device(str which, tuple x, tuple w, tuple y, int dtype, int64_t padding, int device_type,
              int device_id, uintptr_t stream):
    """One direction in two dimensions on any device: (address, *sizes) of x and w, the address of y.
    """
    cdef int64_t[4] x_shape = [x[1], x[2], x[3], x[4]]
    cdef int64_t[4] w_shape = [w[1], w[2], w[3], w[4]]
    cdef int64_t[2] one = [1, 1]
    cdef int64_t[2] paddings = [padding, padding]
    cdef Convolution conv = Convolution(
        spatial=2, dtype=dtype, x_shape=<int64_t*>x_shape, w_shape=<int64_t*>w_shape,
        stride=<int64_t*>one, padding=<int64_t*>paddings, dilation=<int64_t*>one, groups=1,
        device_type=device_type, device_id=device_id, stream=<void*>stream)
    cdef void* x_data = <void*><uintptr_t>x[0]
    cdef void* w_data = <void*><uintptr_t>w[0]
    cdef void* y_data = <void*><uintptr_t>y[0]
    cdef int direction = ("forward", "backward_input", "backward_weight").index(which)
    with nogil:
        if direction == 0:
            conv_forward(&conv, x_data, w_data, y_data)
        elif direction == 1:
            conv_backward_input(&conv, x_data, w_data, y_data)
        else:
            conv_backward_weight(&conv, x_data, w_data, y_data)


def output_shape(tuple x, tuple w, int64_t stride):
    cdef int64_t[4] x_shape, w_shape, y_shape
    cdef int64_t[2] strides = [stride, stride]
    cdef int64_t[2] paddings = [0, 0]
    cdef int64_t[2] dilations = [1, 1]
    cdef int i
    for i in range(4):
        x_shape[i], w_shape[i] = x[i], w[i]
    cdef Convolution conv = convolution(2, x_shape, w_shape, dilations, paddings)
    conv.stride = strides
    with nogil:
        conv_output_shape(&conv, y_shape)
    return y_shape[0], y_shape[1], y_shape[2], y_shape[3]


cdef void* unless(bint null, void* pointer):
    return NULL if null else pointer


def from_numbers(int spatial=1, int dtype=1, null=(), int64_t x_size=1,
                 int64_t w_size=1, int64_t stride=1, int64_t groups=1, int device_type=kDLCPU):
    """One element each, or what the numbers say; `null` names the pointers that are NULL."""
    cdef float[1] x = [2], w = [3], y = [0]
    cdef int64_t[64] x_shape, w_shape, y_shape, strides, paddings, dilations
    cdef int i
    cdef Convolution conv
    for i in range(64):
        x_shape[i] = w_shape[i] = y_shape[i] = dilations[i] = 1
        strides[i], paddings[i] = stride, 0
    x_shape[1], w_shape[1] = x_size, w_size
    conv = Convolution(
        spatial=spatial, dtype=dtype, x_shape=<int64_t*>unless("x_shape" in null, x_shape),
        w_shape=<int64_t*>unless("w_shape" in null, w_shape),
        stride=<int64_t*>unless("stride" in null, strides),
        padding=<int64_t*>unless("padding" in null, paddings),
        dilation=<int64_t*>unless("dilation" in null, dilations), groups=groups,
        device_type=device_type, device_id=0, stream=NULL)
    conv_forward(&conv, unless("x" in null, x), unless("w" in null, w), unless("y" in null, y))
    conv_output_shape(&conv, <int64_t*>unless("y_shape" in null, y_shape))
    return y[0]


cdef class Buffer:
    """A producer of buffers whose fields are what it is told; NULL for those that it is not."""
    cdef object array
    cdef dict fields
    cdef Py_ssize_t[8] shape, strides, suboffsets
    cdef bytes format

    def __init__(self, array, **fields):
        self.array, self.fields = array, fields

    cdef Py_ssize_t* row(self, str name, Py_ssize_t* room):
        values = self.fields.get(name)
        if values is None:
            return NULL
        for i, value in enumerate(values):
            room[i] = value
        return room

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        cdef unsigned char[::1] memory = self.array.reshape(-1).view("u1")
        cdef int64_t offset = self.fields.get("offset", 0)
        buffer.buf = &memory[0] + offset
        if self.fields.get("null"):
            buffer.buf = NULL
        buffer.obj = self
        buffer.len = self.array.nbytes
        buffer.itemsize = self.fields.get("itemsize", 4)
        self.format = self.fields.get("format", b"f")
        buffer.format = self.format
        if self.fields.get("no_format"):
            buffer.format = NULL
        buffer.ndim = self.fields.get("ndim", self.array.ndim)
        buffer.shape = self.row("shape", self.shape)
        buffer.strides = self.row("strides", self.strides)
        buffer.suboffsets = self.row("suboffsets", self.suboffsets)
        buffer.readonly = 0
        buffer.internal = NULL
