"""Borrowing tensors from Python objects without copying, and making results of the same kind.

NumPy arrays are read through NumPy's C API, PyTorch tensors through DLPack's C exchange API where
the tensor type has it, everything else through `__dlpack__` or the buffer protocol.
"""

cimport cython
cimport numpy as cnp
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBuffer_Release,
    PyObject_CheckBuffer, PyObject_GetBuffer)
from cpython.pycapsule cimport (
    PyCapsule_CheckExact, PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_New,
    PyCapsule_SetName)
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from mioconv.dlpack cimport (
    DLDataType, DLManagedTensor, DLManagedTensorVersioned, DLPACK_FLAG_BITMASK_IS_COPIED,
    DLPACK_FLAG_BITMASK_READ_ONLY, DLPackExchangeAPI, DLTensor, MIOCONV_DLPACK_MAJOR,
    MIOCONV_DLPACK_MINOR, kDLBfloat, kDLCPU, kDLCUDAHost, kDLFloat, kDLROCMHost)
from mioconv.miopen cimport miopenBFloat16, miopenDataType_t, miopenFloat, miopenHalf
from mioconv.native cimport Layout, TensorView, max_dims, set_dense_strides

import sys

from mioconv.errors import UnsupportedError

cnp.import_array()

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef extern from "numpy/arrayobject.h":
    object PyArray_Empty(int ndim, cnp.npy_intp* shape, cnp.dtype dtype, int fortran)
    bint PyArray_ISBYTESWAPPED(cnp.ndarray)
    bint PyArray_ISALIGNED(cnp.ndarray)


# --- dtypes ---------------------------------------------------------------------------------------

cdef str advice(Kind kind, str dtype):
    if dtype in ("float64", "complex64", "complex128") or "int" in dtype or dtype == "bool":
        how = "x.float()" if kind == TORCH else "x.astype(numpy.float32)"
        return f"convert it to float32, for example with {how}"
    return "convert it to float32, float16 or bfloat16"


cdef object dtype_error(str name, str dtype, Kind kind):
    return TypeError(
        f"{name}: expected dtype float32, float16 or bfloat16, but got {dtype}; "
        f"{advice(kind, dtype)}")


cdef str dtype_name(miopenDataType_t dtype):
    if dtype == miopenFloat:
        return "float32"
    return "float16" if dtype == miopenHalf else "bfloat16"


# ml_dtypes' bfloat16 is a user-defined NumPy dtype, known by its scalar type.
cdef object bfloat16_scalar = None


cdef bint is_bfloat16(object dtype):
    global bfloat16_scalar
    if bfloat16_scalar is None:
        module = sys.modules.get("ml_dtypes")
        if module is None:
            return False
        bfloat16_scalar = module.bfloat16
    return dtype.type is bfloat16_scalar


cdef int take_dlpack_dtype(DLDataType dtype, str name, Kind kind, TensorView* view) except -1:
    if dtype.lanes == 1 and dtype.code == kDLFloat and dtype.bits == 32:
        view.dtype = miopenFloat
    elif dtype.lanes == 1 and dtype.code == kDLFloat and dtype.bits == 16:
        view.dtype = miopenHalf
    elif dtype.lanes == 1 and dtype.code == kDLBfloat and dtype.bits == 16:
        view.dtype = miopenBFloat16
    else:
        codes = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
        label = codes.get(dtype.code, f"code {dtype.code} ")
        label = label if label == "bool" else f"{label}{dtype.bits}"
        raise dtype_error(name, f"{label}x{dtype.lanes}" if dtype.lanes != 1 else label, kind)
    return 0


# --- NumPy ----------------------------------------------------------------------------------------

cdef int borrow_numpy(cnp.ndarray array, str name, bint writable, TensorView* view,
                      Loan* loan) except -1:
    cdef int type_number = cnp.PyArray_TYPE(array)
    cdef int i
    cdef int shift  # of bytes to elements; all sizes are powers of two
    loan.kind = NUMPY
    if type_number == cnp.NPY_FLOAT32:
        view.dtype = miopenFloat
    elif type_number == cnp.NPY_FLOAT16:
        view.dtype = miopenHalf
    elif is_bfloat16(array.dtype):
        view.dtype = miopenBFloat16
    else:
        raise dtype_error(name, str(array.dtype), NUMPY)
    if PyArray_ISBYTESWAPPED(array):
        raise TypeError(
            f"{name}: expected native byte order, but got dtype {array.dtype.str!r}; convert it "
            f"with x.astype(x.dtype.newbyteorder('='))")
    if not cnp.PyArray_CheckExact(array) and isinstance(array, sys.modules["numpy"].ma.MaskedArray):
        raise TypeError(f"{name}: expected a plain array, but got a masked one; use x.filled(0)")
    shift = 2 if view.dtype == miopenFloat else 1
    view.read_only = not cnp.PyArray_ISWRITEABLE(array)
    view.ndim = cnp.PyArray_NDIM(array)
    if not PyArray_ISALIGNED(array) or misaligned_strides(array, shift):
        # Elements that straddle addresses cannot be read in place by any library.
        if writable:
            raise BufferError(f"{name}: the array's elements are not aligned to their size")
        array = array.copy()
        Py_INCREF(array)
        loan.held = <PyObject*>array
    view.data = cnp.PyArray_DATA(array)
    for i in range(min(view.ndim, max_dims)):
        view.shape[i] = cnp.PyArray_DIM(array, i)
        view.strides[i] = cnp.PyArray_STRIDE(array, i) >> shift
    view.device_type = kDLCPU
    view.device_id = 0
    return 0


cdef bint misaligned_strides(cnp.ndarray array, int shift) noexcept:
    cdef int i
    cdef cnp.npy_intp bits = 0
    for i in range(cnp.PyArray_NDIM(array)):
        bits |= cnp.PyArray_STRIDE(array, i)
    return (bits & ((1 << shift) - 1)) != 0


# --- PyTorch --------------------------------------------------------------------------------------

# Looked up once PyTorch has been imported by somebody; this package never imports it.
cdef object torch = None
cdef object torch_tensor = None
cdef object torch_strided = None
cdef const DLPackExchangeAPI* torch_api = NULL


cdef bint is_torch(object tensor):
    global torch, torch_tensor, torch_strided, torch_api
    if torch is None:
        module = sys.modules.get("torch")
        # A half-imported torch has no Tensor yet; no tensor can exist then either.
        if module is None or not hasattr(module, "Tensor") or not hasattr(module, "strided"):
            return False
        torch = module
        torch_tensor = module.Tensor
        torch_strided = module.strided
        torch_api = exchange_api(torch_tensor)
    return isinstance(tensor, torch_tensor)


cdef const DLPackExchangeAPI* exchange_api(object tensor_type) except? NULL:
    """The C exchange API of a tensor type, or NULL when it has none that we can read."""
    capsule = getattr(tensor_type, "__dlpack_c_exchange_api__", None)
    if capsule is None or not PyCapsule_IsValid(capsule, "dlpack_exchange_api"):
        return NULL
    cdef const DLPackExchangeAPI* api = <const DLPackExchangeAPI*>PyCapsule_GetPointer(
        capsule, "dlpack_exchange_api")
    while api != NULL and api.header.version.major != MIOCONV_DLPACK_MAJOR:
        api = <const DLPackExchangeAPI*>api.header.prev_api
    if api == NULL or api.dltensor_from_py_object_no_sync == NULL:
        return NULL
    return api


cdef int borrow_torch(object tensor, str name, bint writable, TensorView* view,
                      Loan* loan) except -1:
    cdef DLTensor lent
    if tensor.requires_grad and torch.is_grad_enabled():
        raise TypeError(
            f"{name}: the tensor requires grad, and this function records no gradient; pass "
            f"{name}.detach(), or use the differentiable operators of mioconv.torch")
    # The exchange API does not carry these properties: it would lend the wrong values.
    if tensor.layout is not torch_strided:
        raise TypeError(f"{name}: expected a dense (strided) tensor, but got {tensor.layout}")
    if tensor.is_neg():
        raise TypeError(f"{name}: the tensor is lazily negated; pass {name}.resolve_neg()")
    if tensor.is_conj():
        raise TypeError(f"{name}: the tensor is lazily conjugated; pass {name}.resolve_conj()")
    loan.kind = TORCH
    if tensor.is_meta:
        raise TypeError(f"{name}: the tensor is on the meta device and has no values")
    if torch_api == NULL:
        return borrow_dlpack(tensor, name, writable, view, loan)
    torch_api.dltensor_from_py_object_no_sync(<void*>tensor, &lent)
    return take_dltensor(&lent, name, TORCH, view)


# --- DLPack ---------------------------------------------------------------------------------------

cdef int take_dltensor(const DLTensor* lent, str name, Kind kind, TensorView* view) except -1:
    cdef int i
    take_dlpack_dtype(lent.dtype, name, kind, view)
    view.data = <char*>lent.data + lent.byte_offset
    view.ndim = lent.ndim
    view.device_type = lent.device.device_type
    view.device_id = lent.device.device_id
    for i in range(min(view.ndim, max_dims)):
        view.shape[i] = lent.shape[i]
    if lent.strides != NULL:
        for i in range(min(view.ndim, max_dims)):
            view.strides[i] = lent.strides[i]
    elif view.ndim <= max_dims:
        set_dense_strides(view[0], Layout.packed)
    return 0


cdef object ask_for_capsule(object tensor):
    try:
        return tensor.__dlpack__(max_version=(MIOCONV_DLPACK_MAJOR, MIOCONV_DLPACK_MINOR))
    except TypeError:
        # A producer from before DLPack 1.0 does not know the keyword.
        return tensor.__dlpack__()


cdef int borrow_dlpack(object tensor, str name, bint writable, TensorView* view,
                       Loan* loan) except -1:
    capsule = tensor if PyCapsule_CheckExact(tensor) else ask_for_capsule(tensor)
    if PyCapsule_IsValid(capsule, "dltensor_versioned"):
        borrow_versioned(capsule, name, writable, view, loan)
    elif PyCapsule_IsValid(capsule, "dltensor"):
        loan.managed = <DLManagedTensor*>PyCapsule_GetPointer(capsule, "dltensor")
        PyCapsule_SetName(capsule, "used_dltensor")
        take_dltensor(&loan.managed.dl_tensor, name, loan.kind, view)
    else:
        raise BufferError(
            f"{name}: expected a DLPack capsule named 'dltensor' or 'dltensor_versioned' that was "
            f"not consumed yet, but got {capsule!r}")
    return 0


cdef int borrow_versioned(object capsule, str name, bint writable, TensorView* view,
                          Loan* loan) except -1:
    cdef DLManagedTensorVersioned* managed = <DLManagedTensorVersioned*>PyCapsule_GetPointer(
        capsule, "dltensor_versioned")
    PyCapsule_SetName(capsule, "used_dltensor_versioned")
    # From here on the tensor is ours to delete; in a version that is too new only that is known.
    loan.versioned = managed
    if managed.version.major > MIOCONV_DLPACK_MAJOR:
        raise BufferError(
            f"{name}: the producer speaks DLPack {managed.version.major}."
            f"{managed.version.minor}; this library reads versions up to {MIOCONV_DLPACK_MAJOR}")
    take_dltensor(&managed.dl_tensor, name, loan.kind, view)
    view.read_only = (managed.flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0
    if writable and managed.flags & DLPACK_FLAG_BITMASK_IS_COPIED:
        raise BufferError(
            f"{name}: the producer handed out a copy, so nothing written would reach the original")
    return 0


# --- buffer protocol ------------------------------------------------------------------------------

cdef int borrow_buffer(object tensor, str name, bint writable, TensorView* view,
                       Loan* loan) except -1:
    cdef int i
    PyObject_GetBuffer(tensor, &loan.buffer, PyBUF_STRIDES | PyBUF_FORMAT | PyBUF_ND)
    loan.has_buffer = True
    cdef Py_buffer* buffer = &loan.buffer
    cdef bytes format = buffer.format if buffer.format != NULL else b"B"
    code = format.decode(errors="replace")
    if code[:1] in (">", "!"):
        raise TypeError(f"{name}: expected native byte order, but got buffer format {code!r}")
    code = code.lstrip("@=<")
    if code == "f":
        view.dtype = miopenFloat
    elif code == "e":
        view.dtype = miopenHalf
    else:
        raise dtype_error(name, {"d": "float64", "Zf": "complex64"}.get(code, f"format {code!r}"),
                          OTHER)
    view.data = buffer.buf
    view.ndim = buffer.ndim
    view.device_type = kDLCPU
    view.device_id = 0
    view.read_only = buffer.readonly
    for i in range(min(view.ndim, max_dims)):
        if buffer.strides[i] % buffer.itemsize:
            raise BufferError(f"{name}: the buffer's elements are not aligned to their size")
        view.shape[i] = buffer.shape[i]
        view.strides[i] = buffer.strides[i] // buffer.itemsize
    return 0


# --- all kinds ------------------------------------------------------------------------------------

cdef str kind_name(Kind kind):
    return ("NumPy array", "PyTorch tensor", "CuPy array", "DLPack or buffer object")[<int>kind]


cdef bint is_cupy(object tensor):
    module = sys.modules.get("cupy")
    return module is not None and isinstance(tensor, module.ndarray)


cdef int borrow(object tensor, str name, bint writable, TensorView* view, Loan* loan) except -1:
    """Fill `view` from any supported object; `loan` must be given back after the call.

    Raises TypeError for objects, dtypes and states that cannot be used, BufferError for what the
    producer or its memory rules out.
    """
    if cnp.PyArray_Check(tensor):
        borrow_numpy(tensor, name, writable, view, loan)
    elif is_torch(tensor):
        borrow_torch(tensor, name, writable, view, loan)
    else:
        loan.kind = CUPY if is_cupy(tensor) else OTHER
        if PyCapsule_CheckExact(tensor) or hasattr(tensor, "__dlpack__"):
            borrow_dlpack(tensor, name, writable, view, loan)
        elif PyObject_CheckBuffer(tensor):
            borrow_buffer(tensor, name, writable, view, loan)
        else:
            raise TypeError(
                f"{name}: expected an array or tensor (NumPy, PyTorch, CuPy, or any object with "
                f"__dlpack__ or the buffer protocol), but got {type(tensor).__name__}")
    if writable and view.read_only:
        raise BufferError(f"{name}: the array is read-only")
    if view.ndim <= max_dims and view.too_large():
        raise ValueError(f"{name}: sizes {shape_tuple(view)} are too large")
    return 0


cdef void give_back(Loan* loan) noexcept:
    """End a loan. Safe on one that was never filled, and twice."""
    cdef DLManagedTensor* managed = loan.managed
    cdef DLManagedTensorVersioned* versioned = loan.versioned
    cdef PyObject* held = loan.held
    if managed != NULL:
        loan.managed = NULL
        if managed.deleter != NULL:
            managed.deleter(managed)
    if versioned != NULL:
        loan.versioned = NULL
        if versioned.deleter != NULL:
            versioned.deleter(versioned)
    if loan.has_buffer:
        loan.has_buffer = False
        PyBuffer_Release(&loan.buffer)
    if held != NULL:
        loan.held = NULL
        Py_XDECREF(held)


cdef object new_tensor(Kind kind, object like, TensorView* view, Layout layout, Loan* loan):
    """A new tensor of the caller's kind, with `view`'s shape and dtype, borrowed into `view`.

    `like` is the operand whose dtype, device and allocator the result takes.
    """
    cdef cnp.npy_intp[max_dims] shape
    cdef int i, ndim = <int>view.ndim
    cdef object result
    if kind == NUMPY:
        dtype = (<cnp.ndarray>like).dtype
        Py_INCREF(dtype)  # PyArray_Empty takes the reference over
        if layout == Layout.packed or ndim < 3:
            for i in range(ndim):
                shape[i] = view.shape[i]
            result = PyArray_Empty(ndim, shape, dtype, 0)
        else:
            result = empty_channels_last(view, ndim, dtype)
    elif kind == TORCH:
        set_dense_strides(view[0], layout)
        result = torch.empty_strided(
            shape_tuple(view), [view.strides[i] for i in range(ndim)],
            dtype=like.dtype, device=like.device)
    elif kind == CUPY:
        cupy = sys.modules["cupy"]
        sizes = shape_tuple(view)
        with like.device:  # cupy.empty takes the current device
            if layout == Layout.packed:
                result = cupy.empty(sizes, dtype=like.dtype)
            else:
                result = cupy.moveaxis(
                    cupy.empty(sizes[:1] + sizes[2:] + sizes[1:2], dtype=like.dtype), -1, 1)
    else:
        if view.device_type not in (kDLCPU, kDLCUDAHost, kDLROCMHost):
            raise UnsupportedError(
                "out: mioconv makes results in host memory only for DLPack objects that are not "
                "PyTorch or CuPy tensors; pass out=")
        set_dense_strides(view[0], layout)
        result = Tensor.__new__(Tensor)
        (<Tensor>result).allocate(view)
    borrow(result, "output", True, view, loan)
    return result


cdef object empty_channels_last(TensorView* view, int ndim, object dtype):
    """N, C, spatial by shape; N, spatial, C in memory. Takes over the reference to `dtype`."""
    cdef cnp.npy_intp[max_dims] shape
    cdef cnp.npy_intp[max_dims] axes
    cdef cnp.PyArray_Dims permutation
    cdef int i
    shape[0] = view.shape[0]
    shape[ndim - 1] = view.shape[1]
    axes[0] = 0
    axes[1] = ndim - 1
    for i in range(2, ndim):
        shape[i - 1] = view.shape[i]
        axes[i] = i - 1
    permutation.ptr = axes
    permutation.len = ndim
    return cnp.PyArray_Transpose(PyArray_Empty(ndim, shape, dtype, 0), &permutation)


cdef tuple shape_tuple(TensorView* view):
    return tuple([view.shape[i] for i in range(view.ndim)])


# --- our own tensor -------------------------------------------------------------------------------

@cython.final
cdef class Tensor:
    """The result of a call whose operands are of no kind that mioconv knows how to make.

    It owns host memory and hands it on by `__dlpack__` and, except for bfloat16, by the buffer
    protocol: ``numpy.from_dlpack(t)``, ``numpy.asarray(t)``, ``jax.numpy.from_dlpack(t)``.

    Attributes
    ----------
    shape : tuple of int
    strides : tuple of int
        In elements.
    dtype : str
        "float32", "float16" or "bfloat16".
    """

    def __init__(self):
        raise TypeError("mioconv.Tensor is made by mioconv's functions only")

    cdef int allocate(self, TensorView* view) except -1:
        cdef size_t bytes = <size_t>view.bytes()
        cdef int i
        self.ndim = <int>view.ndim
        self.type = view.dtype
        for i in range(self.ndim):
            self.sizes[i] = view.shape[i]
            self.steps[i] = view.strides[i]
            self.buffer_shape[i] = view.shape[i]
            self.buffer_strides[i] = view.strides[i] * view.itemsize()
        self.data = aligned_alloc(64, (bytes + 64) // 64 * 64)
        if self.data == NULL:
            raise MemoryError(f"output: no memory for {bytes} bytes")
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
        free(self.data)

    @property
    def shape(self):
        return tuple([self.sizes[i] for i in range(self.ndim)])

    @property
    def strides(self):
        return tuple([self.steps[i] for i in range(self.ndim)])

    @property
    def dtype(self):
        return dtype_name(self.type)

    def __len__(self):
        return self.sizes[0]

    def __repr__(self):
        return f"mioconv.Tensor(shape={self.shape}, dtype={self.dtype}, device=cpu)"

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        cdef int i
        cdef bint row_major = True
        cdef int64_t step = 1
        if self.data == NULL:
            raise BufferError("this tensor was never made by mioconv and has no memory")
        for i in range(self.ndim - 1, -1, -1):
            row_major = row_major and (self.sizes[i] == 1 or self.steps[i] == step)
            step *= self.sizes[i]
        if not row_major and ((flags & PyBUF_STRIDES) != PyBUF_STRIDES
                              or (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS):
            raise BufferError("the tensor is channels-last, and the consumer takes row-major only")
        if self.type == miopenBFloat16:
            raise BufferError("the buffer protocol has no code for bfloat16; use __dlpack__")
        buffer.buf = self.data
        buffer.obj = self
        buffer.itemsize = 4 if self.type == miopenFloat else 2
        buffer.len = buffer.itemsize
        for i in range(self.ndim):
            buffer.len *= self.buffer_shape[i]
        buffer.format = <char*>(b"f" if self.type == miopenFloat else b"e")
        buffer.ndim = self.ndim
        buffer.shape = self.buffer_shape
        buffer.strides = self.buffer_strides
        buffer.suboffsets = NULL
        buffer.internal = NULL
        buffer.readonly = 0

    def __dlpack_device__(self):
        return (kDLCPU, 0)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """Hand the memory to another library, as DLPack's Python protocol says.

        Raises BufferError for what host memory cannot do: a stream, another device, a copy.
        """
        if stream is not None:
            raise BufferError("stream: host memory has none; expected None")
        if dl_device is not None and tuple(dl_device) != (kDLCPU, 0):
            raise BufferError(f"dl_device: the tensor is on {(kDLCPU, 0)}, not {dl_device}")
        if copy:
            raise BufferError("copy: this tensor hands out its own memory only")
        if max_version is not None and max_version[0] >= 1:
            return export_versioned(self)
        return export_legacy(self)


cdef void fill_dltensor(Tensor tensor, DLTensor* lent) noexcept:
    lent.data = tensor.data
    lent.device.device_type = kDLCPU
    lent.device.device_id = 0
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
