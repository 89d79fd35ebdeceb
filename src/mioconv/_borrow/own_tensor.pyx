"""The tensor that mioconv makes where the caller's array library is none that it knows."""

cimport cython
from cpython.buffer cimport (
    PyBUF_ANY_CONTIGUOUS, PyBUF_C_CONTIGUOUS, PyBUF_F_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND,
    PyBUF_STRIDES)
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_New
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from mioconv._borrow.stream cimport order, own_stream, provider_number
from mioconv._native.api cimport api_of, raise_status, usable
from mioconv._native.dlpack cimport (
    MIOCONV_DLPACK_MAJOR, MIOCONV_DLPACK_MINOR, DLManagedTensor, DLManagedTensorVersioned, DLTensor,
    kDLBfloat, kDLCPU, kDLFloat, kDLROCM)
from mioconv._native.hip cimport hipStream_t
from mioconv._native.miopen cimport miopenBFloat16, miopenDataType_t, miopenFloat, miopenHalf
from mioconv._native.native cimport Api, CurrentDevice, Provider, Status, TensorView

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)


cdef str dtype_name(miopenDataType_t dtype):
    if dtype == miopenFloat:
        return "float32"
    return "float16" if dtype == miopenHalf else "bfloat16"


cdef tuple sizes(const int64_t* values, int count):
    return tuple([values[i] for i in range(count)])


@cython.final
cdef class Tensor:
    """The result of a call whose operands are of no kind that mioconv knows how to make.

    It owns memory of the operands' device and hands it on by `__dlpack__`; host memory, except for
    bfloat16, by the buffer protocol too, and a GPU's by `__cuda_array_interface__`:
    ``numpy.from_dlpack(t)``, ``numpy.asarray(t)``, ``jax.numpy.from_dlpack(t)``.

    Attributes
    ----------
    shape : tuple of int
    strides : tuple of int
        In elements.
    dtype : str
        "float32", "float16" or "bfloat16".
    device : str
        "cpu", or "rocm:0" and the like.
    """

    def __init__(self):
        raise TypeError("mioconv.Tensor is made by mioconv's functions only")

    cdef int allocate(self, TensorView* view, hipStream_t stream) except -1:
        """Memory for `view`, on its device; a GPU's is made and freed in the order of `stream`."""
        cdef size_t bytes = <size_t>view.bytes()
        cdef int provider, i
        cdef Status status
        self.ndim = <int>view.ndim
        self.type = view.dtype
        for i in range(self.ndim):
            self.sizes[i] = view.shape[i]
            self.steps[i] = view.strides[i]
            self.buffer_shape[i] = view.shape[i]
            self.buffer_strides[i] = view.strides[i] * view.itemsize()
        provider = provider_number(view.device_type)
        if provider == <int>Provider.cpu:
            self.device_type = kDLCPU
            self.data = aligned_alloc(64, (bytes + 64) // 64 * 64)
            if self.data == NULL:
                raise MemoryError(f"output: no memory for {bytes} bytes")
            return 0
        self.device_type = view.device_type
        self.device_id = view.device_id
        status = self.memory.allocate(
            api_of(provider)[0], view.device_id, max(bytes, <size_t>1), stream)
        if not status.ok():
            raise_status(api_of(provider), status, None)
        self.data = self.memory.data()
        return 0

    cdef int show(self, const TensorView* view) except -1:
        """Stand for memory that somebody else owns and keeps for as long as this is used."""
        cdef int i
        self.lent = True
        self.device_type = view.device_type
        self.device_id = view.device_id
        self.data = view.data
        self.type = view.dtype
        self.ndim = <int>view.ndim
        for i in range(self.ndim):
            self.sizes[i] = view.shape[i]
            self.steps[i] = view.strides[i]
        return 0

    cdef Tensor without_batch(self):
        """This tensor itself, its leading dimension dropped; only before it is handed out."""
        cdef int i
        self.ndim -= 1
        for i in range(self.ndim):
            self.sizes[i] = self.sizes[i + 1]
            self.steps[i] = self.steps[i + 1]
            self.buffer_shape[i] = self.buffer_shape[i + 1]
            self.buffer_strides[i] = self.buffer_strides[i + 1]
        return self

    def __dealloc__(self):
        if self.lent:
            return
        if self.device_type == kDLCPU:
            free(self.data)
        elif self.data != NULL and not usable(provider_number(self.device_type)):
            self.memory.abandon()
            self.computed.abandon()

    @property
    def shape(self):
        return tuple([self.sizes[i] for i in range(self.ndim)])

    @property
    def strides(self):
        return tuple([self.steps[i] for i in range(self.ndim)])

    @property
    def dtype(self):
        return dtype_name(self.type)

    @property
    def device(self):
        if self.device_type == kDLCPU:
            return "cpu"
        return f"{'rocm' if self.device_type == kDLROCM else 'cuda'}:{self.device_id}"

    def __len__(self):
        return self.sizes[0]

    def __repr__(self):
        return f"mioconv.Tensor(shape={self.shape}, dtype={self.dtype}, device={self.device})"

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        cdef int i
        cdef bint row_major = True, column_major = True
        cdef int64_t step = 1
        self.require_memory()
        if self.device_type != kDLCPU:
            raise BufferError(f"the tensor is on {self.device}, whose memory is not the host's; "
                              f"use __dlpack__")
        for i in range(self.ndim - 1, -1, -1):
            row_major = row_major and (self.sizes[i] == 1 or self.steps[i] == step)
            step *= self.sizes[i]
        step = 1
        for i in range(self.ndim):
            column_major = column_major and (self.sizes[i] == 1 or self.steps[i] == step)
            step *= self.sizes[i]
        if not row_major and ((flags & PyBUF_STRIDES) != PyBUF_STRIDES
                              or (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS):
            raise BufferError("the tensor is channels-last, and the consumer takes row-major only")
        if not column_major and (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS:
            raise BufferError("the tensor is not column-major, and the consumer takes that only")
        if not row_major and not column_major and (
                flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS:
            raise BufferError("the tensor is channels-last, and the consumer takes contiguous only")
        if self.type == miopenBFloat16:
            raise BufferError("the buffer protocol has no code for bfloat16; use __dlpack__")
        buffer.buf = self.data
        buffer.obj = self
        buffer.itemsize = 4 if self.type == miopenFloat else 2
        buffer.len = buffer.itemsize
        for i in range(self.ndim):
            buffer.len *= self.buffer_shape[i]
        # Consumers that do not ask for these take plain bytes, and no pointers that they must know.
        buffer.format = NULL
        if flags & PyBUF_FORMAT:
            buffer.format = <char*>(b"f" if self.type == miopenFloat else b"e")
        buffer.ndim = 1
        buffer.shape = NULL
        if flags & PyBUF_ND:
            buffer.ndim = self.ndim
            buffer.shape = self.buffer_shape
        buffer.strides = NULL
        if (flags & PyBUF_STRIDES) == PyBUF_STRIDES:
            buffer.strides = self.buffer_strides
        buffer.suboffsets = NULL
        buffer.internal = NULL
        buffer.readonly = 0

    @property
    def __cuda_array_interface__(self):
        """Version 3 of the protocol, for consumers on the same GPU that have no DLPack."""
        if self.device_type in (0, kDLCPU) or self.type == miopenBFloat16:
            raise AttributeError("__cuda_array_interface__")
        cdef int itemsize = 4 if self.type == miopenFloat else 2
        cdef uintptr_t stream = <uintptr_t>self.memory.stream()
        self.memory.share()
        return {
            "version": 3,
            "shape": self.shape,
            "strides": tuple([step * itemsize for step in self.strides]),
            "typestr": "<f4" if self.type == miopenFloat else "<f2",
            "data": (<uintptr_t>self.data, False),
            "stream": stream or 1,
        }

    cdef int require_memory(self) except -1:
        """`Tensor.__new__` makes one that nothing was allocated for."""
        if self.data == NULL and self.device_type == 0:
            raise BufferError("this tensor was never made by mioconv and has no memory")
        return 0

    def __dlpack_device__(self):
        self.require_memory()
        return (self.device_type, self.device_id)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """Hand the memory to another library, as DLPack's Python protocol says.

        Parameters
        ----------
        stream : int, optional
            On a GPU the consumer's stream, as DLPack numbers them; what it queues there from now on
            comes after this tensor was computed. None: the default stream; -1: no ordering.

        Raises BufferError for what the memory cannot do: a stream on the CPU, another device, a
        copy.
        """
        self.require_memory()
        here = (self.device_type, self.device_id)
        if dl_device is not None and tuple(dl_device) != here:
            raise BufferError(f"dl_device: the tensor is on {here}, not {dl_device}")
        if copy:
            raise BufferError("copy: this tensor hands out its own memory only")
        if self.device_type != kDLCPU:
            self.make_ready(stream)
        elif stream is not None:
            raise BufferError("stream: host memory has none; expected None")
        if max_version is not None and max_version[0] >= 1:
            return export_versioned(self)
        return export_legacy(self)

    cdef void note_computed(self) noexcept:
        """What computes it is queued."""
        cdef const Api* api = self.memory.api()
        cdef CurrentDevice current
        if api != NULL and current.set(api[0], self.device_id).ok():
            if not self.computed.note(api[0], self.memory.stream(), True).ok():
                api.hipGetLastError()

    cdef int make_ready(self, object stream) except -1:
        """Let the consumer's stream wait for the one that computed this tensor."""
        cdef hipStream_t consumer
        cdef const Api* api
        cdef CurrentDevice current
        cdef Status status
        number = 0 if stream is None else stream
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise TypeError(f"stream: expected an integer or None, but got {stream!r}")
        number = number.__index__()
        if stream is not None and self.device_type != kDLROCM and number == 0:
            raise BufferError("stream: 0 is ambiguous on CUDA; expected 1, 2 or an address")
        if number < -1:
            raise BufferError(f"stream: expected a stream's number or -1, but got {number}")
        if number == -1 or self.lent:
            return 0
        consumer = own_stream(<hipStream_t><uintptr_t>number, self.device_type)
        api = api_of(provider_number(self.device_type))
        if self.computed.is_on(api[0], consumer):
            return 0
        self.memory.share()
        if not self.computed.recorded():
            # It is a captured graph's, whose stream is there.
            return order(provider_number(self.device_type), self.device_id, self.memory.stream(),
                         consumer)
        status = current.set(api[0], self.device_id)
        if status.ok():
            status = self.computed.wait(api[0], consumer)
        if not status.ok():
            raise_status(api, status, None)
        return 0


cdef void fill_dltensor(Tensor tensor, DLTensor* lent) noexcept:
    lent.data = tensor.data
    lent.device.device_type = tensor.device_type
    lent.device.device_id = tensor.device_id
    lent.ndim = tensor.ndim
    lent.dtype.code = kDLBfloat if tensor.type == miopenBFloat16 else kDLFloat
    lent.dtype.bits = 32 if tensor.type == miopenFloat else 16
    lent.dtype.lanes = 1
    lent.shape = tensor.sizes
    lent.strides = tensor.steps
    lent.byte_offset = 0


cdef object export_versioned(Tensor tensor):
    cdef DLManagedTensorVersioned* managed = <DLManagedTensorVersioned*>malloc(
        sizeof(DLManagedTensorVersioned))
    if managed == NULL:
        raise MemoryError()
    memset(managed, 0, sizeof(DLManagedTensorVersioned))
    managed.version.major = MIOCONV_DLPACK_MAJOR
    managed.version.minor = MIOCONV_DLPACK_MINOR
    managed.deleter = delete_versioned
    fill_dltensor(tensor, &managed.dl_tensor)
    capsule = PyCapsule_New(managed, "dltensor_versioned", drop_versioned)
    Py_INCREF(tensor)
    managed.manager_ctx = <void*>tensor
    return capsule


cdef object export_legacy(Tensor tensor):
    cdef DLManagedTensor* managed = <DLManagedTensor*>malloc(sizeof(DLManagedTensor))
    if managed == NULL:
        raise MemoryError()
    memset(managed, 0, sizeof(DLManagedTensor))
    managed.deleter = delete_legacy
    fill_dltensor(tensor, &managed.dl_tensor)
    capsule = PyCapsule_New(managed, "dltensor", drop_legacy)
    Py_INCREF(tensor)
    managed.manager_ctx = <void*>tensor
    return capsule


# A consumer may delete from any thread, with or without the GIL.
cdef void delete_versioned(DLManagedTensorVersioned* managed) noexcept with gil:
    Py_XDECREF(<PyObject*>managed.manager_ctx)
    free(managed)


cdef void delete_legacy(DLManagedTensor* managed) noexcept with gil:
    Py_XDECREF(<PyObject*>managed.manager_ctx)
    free(managed)


# A capsule that nobody consumed still owns the tensor.
cdef void drop_versioned(object capsule) noexcept:
    if PyCapsule_IsValid(capsule, "dltensor_versioned"):
        delete_versioned(<DLManagedTensorVersioned*>PyCapsule_GetPointer(
            capsule, "dltensor_versioned"))


cdef void drop_legacy(object capsule) noexcept:
    if PyCapsule_IsValid(capsule, "dltensor"):
        delete_legacy(<DLManagedTensor*>PyCapsule_GetPointer(capsule, "dltensor"))
