"""Borrowing tensors from Python objects without copying, and making results of the same kind.

NumPy arrays are read through NumPy's C API, tensors of types that have it through DLPack's C
exchange API, everything else through `__dlpack__`, the buffer protocol or
`__cuda_array_interface__`.
"""

cimport numpy as cnp
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBuffer_Release, PyObject_CheckBuffer,
    PyObject_GetBuffer)
from cpython.pycapsule cimport (
    PyCapsule_CheckExact, PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_SetName)
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport uintptr_t

from mioconv._api cimport raise_status, usable
from mioconv._own_tensor cimport Tensor
from mioconv._stream cimport (
    dlpack_stream, find_owner, loadable, order, own_stream, provider_number, stream_pointer)
from mioconv.dlpack cimport (
    DLDataType, DLManagedTensor, DLManagedTensorVersioned, DLPACK_FLAG_BITMASK_IS_COPIED,
    DLPACK_FLAG_BITMASK_READ_ONLY, DLPackExchangeAPI, DLTensor, MIOCONV_DLPACK_MAJOR,
    MIOCONV_DLPACK_MINOR, kDLBfloat, kDLCPU, kDLCUDA, kDLFloat)
from mioconv.hip cimport hipStream_t
from mioconv.miopen cimport miopenBFloat16, miopenFloat, miopenHalf
from mioconv.native cimport (
    Api, CurrentDevice, Layout, Provider, Status, TensorView, max_dims, set_dense_strides)

import sys

from mioconv import second_ways

cnp.import_array()

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
cdef object torch_current_stream = None
cdef bint torch_is_hip = False


cdef bint is_torch(object tensor):
    global torch, torch_tensor, torch_strided, torch_api, torch_is_hip
    if torch is None:
        module = sys.modules.get("torch")
        # A half-imported torch has no Tensor yet; no tensor can exist then either.
        if module is None or not hasattr(module, "Tensor") or not hasattr(module, "strided"):
            return False
        torch = module
        torch_tensor = module.Tensor
        torch_strided = module.strided
        torch_api = exchange_api(torch_tensor)
        torch_is_hip = getattr(getattr(module, "version", None), "hip", None) is not None
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


# Types other than PyTorch's that lend through the exchange API; the answer is kept for each.
cdef dict exchange_apis = {}


cdef const DLPackExchangeAPI* exchange_api_of(object tensor) except? NULL:
    cdef object address = exchange_apis.get(type(tensor))
    if address is None:
        address = <uintptr_t>exchange_api(type(tensor))
        # Types are few; a program that makes them without end must not make us keep them.
        if len(exchange_apis) < 100:
            exchange_apis[type(tensor)] = address
    return <const DLPackExchangeAPI*><uintptr_t>address


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
    if view.device_type == kDLCUDA:
        unmask(view, kind)
    return 0


# Whether tensors that say CUDA are a ROCm build's: such a build exists, and calls its devices so.
cdef bint masquerade = False


cdef int unmask(TensorView* view, Kind kind) except -1:
    """Where no CUDA library can be loaded, or PyTorch says that it is built on HIP, HIP knows
    whether the memory is its own. A tensor of unknown memory keeps what it says."""
    global masquerade
    cdef int device_type = 0, device_id = 0
    cdef bint hip_only = masquerade or (kind == TORCH and torch_is_hip)
    if not hip_only and (usable(<int>Provider.cuda) or loadable(<int>Provider.cuda) != NULL):
        return 0
    if find_owner(view.data, True, &device_type, &device_id):
        masquerade = True
        view.device_type = device_type
        view.device_id = device_id
    return 0


cdef object call_dlpack(object tensor, dict arguments):
    try:
        return tensor.__dlpack__(
            max_version=(MIOCONV_DLPACK_MAJOR, MIOCONV_DLPACK_MINOR), **arguments)
    except TypeError:
        # A producer from before DLPack 1.0 does not know the keyword.
        return tensor.__dlpack__(**arguments)


cdef object ask_for_capsule(object tensor, Loan* loan):
    """A capsule that is safe to use on the stream of the call."""
    cdef int device_type = kDLCPU, device_id = 0
    cdef int provider
    cdef const Api* api
    cdef CurrentDevice current
    cdef Status status
    if hasattr(tensor, "__dlpack_device__"):
        device_type, device_id = tensor.__dlpack_device__()
    provider = provider_number(device_type)
    if provider <= <int>Provider.cpu:
        return call_dlpack(tensor, {})
    if device_type == kDLCUDA and (masquerade or loan.kind == TORCH and torch_is_hip):
        provider = <int>Provider.rocm
    # PyTorch refuses to export from a device that is not current.
    api = loadable(provider)
    if api != NULL:
        status = current.set(api[0], device_id)
        if not status.ok():
            raise_status(api, status, None)
    return call_dlpack(tensor, {"stream": handshake(loan, device_type)})


cdef object handshake(const Loan* loan, int device_type):
    """DLPack's number of the stream that the producer is to make its data ready for."""
    # These two queue on their own current stream, which is the stream of the call.
    if loan.order == Ordering.nothing or loan.kind == TORCH or loan.kind == CUPY:
        return -1
    if loan.order == Ordering.known:
        return dlpack_stream(own_stream(loan.stream, device_type), device_type)
    return dlpack_stream(NULL, device_type)


cdef int borrow_dlpack(object tensor, str name, bint writable, TensorView* view,
                       Loan* loan) except -1:
    cdef const DLPackExchangeAPI* api
    cdef DLTensor lent
    if loan.kind == OTHER and not PyCapsule_CheckExact(tensor):
        api = exchange_api_of(tensor)
        if api != NULL:
            api.dltensor_from_py_object_no_sync(<void*>tensor, &lent)
            return take_dltensor(&lent, name, loan.kind, view)
    capsule = tensor if PyCapsule_CheckExact(tensor) else ask_for_capsule(tensor, loan)
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


# --- __cuda_array_interface__ ---------------------------------------------------------------------

cdef int borrow_cuda_array(object tensor, str name, TensorView* view, Loan* loan) except -1:
    """Numba's protocol, for objects of a GPU that have no DLPack; version 3 and before."""
    cdef int i, shift
    cdef uintptr_t number
    interface = tensor.__cuda_array_interface__
    typestr = interface["typestr"]
    shape, strides = interface["shape"], interface.get("strides")
    if interface.get("mask") is not None:
        raise TypeError(f"{name}: expected a plain array, but got a masked one")
    if typestr[:1] == ">":
        raise TypeError(f"{name}: expected native byte order, but got typestr {typestr!r}")
    if typestr[1:] == "f4":
        view.dtype = miopenFloat
    elif typestr[1:] == "f2":
        view.dtype = miopenHalf
    else:
        raise dtype_error(name, {"f8": "float64", "c8": "complex64"}.get(
            typestr[1:], f"typestr {typestr!r}"), OTHER)
    shift = 2 if view.dtype == miopenFloat else 1
    number, view.read_only = interface["data"]
    view.data = <void*>number
    view.ndim = len(shape)
    for i in range(min(view.ndim, max_dims)):
        view.shape[i] = shape[i]
    if strides is None:
        if view.ndim <= max_dims:
            set_dense_strides(view[0], Layout.packed)
    else:
        for i in range(min(view.ndim, max_dims)):
            if strides[i] % (1 << shift):
                raise BufferError(f"{name}: the array's elements are not aligned to their size")
            view.strides[i] = <Py_ssize_t>strides[i] >> shift
    # The protocol does not say which device it is; an empty array is on any.
    if not find_owner(view.data, masquerade, &view.device_type, &view.device_id):
        view.device_type = kDLCUDA
        view.device_id = 0
    stream = interface.get("stream")
    if stream is not None:
        if not isinstance(stream, int) or stream < 1:
            raise ValueError(f"{name}: expected the stream of __cuda_array_interface__ to be 1, 2 "
                             f"or an address, but got {stream!r}")
        number = stream
        loan.has_ready = True
        loan.ready = own_stream(<hipStream_t>number, kDLCUDA)
    return 0


# --- the stream of a call -------------------------------------------------------------------------

cdef bint current_stream(object tensor, const TensorView* view, const Loan* loan,
                         hipStream_t* stream) except -1:
    """The stream on which the producer of a tensor queues its own work; False where it does not
    say: then the default stream, and `__dlpack__` has made the data ready."""
    cdef const DLPackExchangeAPI* api = NULL
    cdef void* found = NULL
    global torch_current_stream
    stream[0] = NULL
    if loan.kind == TORCH:
        api = torch_api
    elif loan.kind == OTHER and loan.has_ready:
        stream[0] = loan.ready
        return True
    elif loan.kind == OTHER and not PyCapsule_CheckExact(tensor):
        api = exchange_api_of(tensor)
    if api != NULL and api.current_work_stream != NULL:
        # PyTorch's ROCm builds may know their devices by either name: they are asked by their own.
        api.current_work_stream(
            view.device_type, view.device_id, &found)
        stream[0] = <hipStream_t>found
    elif loan.kind == TORCH:
        if torch_current_stream is None:
            torch_current_stream = torch.cuda.current_stream
        stream[0] = <hipStream_t><uintptr_t>torch_current_stream(view.device_id).cuda_stream
    elif loan.kind == CUPY:
        stream[0] = <hipStream_t><uintptr_t>(
            sys.modules["cupy"].cuda.get_current_stream(view.device_id).ptr)
    else:
        return False
    stream[0] = own_stream(stream[0], kDLCUDA)
    return True


cdef object settle_stream(object stream, object tensor, const TensorView* view, const Loan* loan,
                          hipStream_t* settled):
    """The stream of a call on a GPU: the caller's, or the producer's current one.

    A caller's stream waits for the producer's, on which the operands were made; what the array
    library does for the call goes there as well: a context manager that has been entered does that,
    where one is returned.
    """
    cdef hipStream_t producer
    cdef bint known = current_stream(tensor, view, loan, &producer)
    settled[0] = producer
    if stream is None:
        return None
    settled[0] = own_stream(stream_pointer(stream), view.device_type)
    if not known or settled[0] == producer:
        return None
    order(provider_number(view.device_type), view.device_id, producer, settled[0])
    if loan.kind != TORCH and loan.kind != CUPY:
        return None
    context = second_ways.on_stream(loan.kind, <uintptr_t>settled[0], view.device_id)
    context.__enter__()
    return context


cdef int await_ready(const TensorView* view, const Loan* loan, hipStream_t stream) except -1:
    """Let a call's stream wait for the one on which `__cuda_array_interface__` says that the data
    will be ready."""
    if loan.has_ready and loan.ready != stream:
        order(provider_number(view.device_type), view.device_id, loan.ready, stream)
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
        elif hasattr(tensor, "__cuda_array_interface__"):
            borrow_cuda_array(tensor, name, view, loan)
        else:
            raise TypeError(
                f"{name}: expected an array or tensor (NumPy, PyTorch, CuPy, or any object with "
                f"__dlpack__, the buffer protocol or __cuda_array_interface__), but got "
                f"{type(tensor).__name__}")
    view.array_library = <int>loan.kind
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
        set_dense_strides(view[0], layout)
        result = Tensor.__new__(Tensor)
        (<Tensor>result).allocate(view, loan.stream)
        # Its memory is known: no handshake, which would count as handing it to somebody.
        view.data = (<Tensor>result).data
        view.array_library = <int>OTHER
        return result
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
