# A user's module: calls mioconv's core without the GIL, from typed memoryviews and from pointers.

from libc.stdint cimport int64_t

from mioconv._core cimport conv2d_forward_view, conv_forward, conv_output_shape


def from_views(const float[:, :, :, :] x, const float[:, :, :, :] w, float[:, :, :, :] y,
               int64_t padding, int calls=1):
    cdef int _i
    with nogil:
        for _i in range(calls):
            conv2d_forward_view[float](x, w, y, (1, 1), (padding, padding), (1, 1), 1, False)


def from_pointers(const float[:, :, ::1] x, const float[:, :, ::1] w, float[:, :, ::1] y):
    cdef int64_t[3] x_shape = [x.shape[0], x.shape[1], x.shape[2]]
    cdef int64_t[3] w_shape = [w.shape[0], w.shape[1], w.shape[2]]
    cdef int64_t one = 1, zero = 0
    with nogil:
        conv_forward(1, 1, &x[0, 0, 0], x_shape, &w[0, 0, 0], w_shape, &y[0, 0, 0], &one, &zero,
                     &one, 1)


def output_shape(tuple x, tuple w, int64_t stride):
    cdef int64_t[4] x_shape, w_shape, y_shape
    cdef int64_t[2] strides = [stride, stride]
    cdef int64_t[2] paddings = [0, 0]
    cdef int64_t[2] dilations = [1, 1]
    cdef int i
    for i in range(4):
        x_shape[i], w_shape[i] = x[i], w[i]
    with nogil:
        conv_output_shape(2, x_shape, w_shape, strides, paddings, dilations, 1, y_shape)
    return y_shape[0], y_shape[1], y_shape[2], y_shape[3]


cdef void* unless(bint null, void* pointer):
    return NULL if null else pointer


def from_numbers(int spatial=1, int dtype=1, null=(), int64_t x_size=1,
                 int64_t w_size=1, int64_t stride=1, int64_t groups=1):
    """One element each, or what the numbers say; `null` names the pointers that are NULL."""
    cdef float[1] x = [2], w = [3], y = [0]
    cdef int64_t[64] x_shape, w_shape, y_shape, strides, paddings, dilations
    cdef int i
    for i in range(64):
        x_shape[i] = w_shape[i] = y_shape[i] = dilations[i] = 1
        strides[i], paddings[i] = stride, 0
    x_shape[1], w_shape[1] = x_size, w_size
    conv_forward(
        spatial, dtype, unless("x" in null, x), <int64_t*>unless("x_shape" in null, x_shape),
        unless("w" in null, w), <int64_t*>unless("w_shape" in null, w_shape),
        unless("y" in null, y), <int64_t*>unless("stride" in null, strides),
        <int64_t*>unless("padding" in null, paddings),
        <int64_t*>unless("dilation" in null, dilations), groups)
    conv_output_shape(
        spatial, x_shape, w_shape, strides, paddings, dilations, groups,
        <int64_t*>unless("y_shape" in null, y_shape))
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
