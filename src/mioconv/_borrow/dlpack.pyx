"""DLPack: the C exchange API of types that have it, capsules of everything else."""

from cpython.pycapsule cimport (
    PyCapsule_CheckExact, PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_SetName)
from libc.stdint cimport uintptr_t

from mioconv._borrow.loan cimport CUPY, OTHER, TORCH, Kind, Loan, Ordering
from mioconv._borrow.stream cimport dlpack_stream, find_owner, loadable, own_stream, provider_number
from mioconv._native.api cimport raise_status, usable
from mioconv._native.dlpack cimport (
    DLPACK_FLAG_BITMASK_IS_COPIED, DLPACK_FLAG_BITMASK_READ_ONLY, MIOCONV_DLPACK_MAJOR,
    MIOCONV_DLPACK_MINOR, DLDataType, DLManagedTensor, DLManagedTensorVersioned, DLPackExchangeAPI,
    DLTensor, kDLBfloat, kDLCPU, kDLCUDA, kDLFloat)
from mioconv._native.miopen cimport miopenBFloat16, miopenFloat, miopenHalf
from mioconv._native.native cimport (
    Api, CurrentDevice, Layout, Provider, Status, TensorView, max_dims, set_dense_strides)


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


# DLPack's type codes: those that come in several widths, and those that say theirs.
cdef dict names = {0: "int", 1: "uint", 2: "float", 3: "opaque", 4: "bfloat", 5: "complex"}
cdef dict whole_names = {
    6: "bool", 7: "float8_e3m4", 8: "float8_e4m3", 9: "float8_e4m3b11fnuz", 10: "float8_e4m3fn",
    11: "float8_e4m3fnuz", 12: "float8_e5m2", 13: "float8_e5m2fnuz", 14: "float8_e8m0fnu",
    15: "float6_e2m3fn", 16: "float6_e3m2fn", 17: "float4_e2m1fn"}


cdef int take_dlpack_dtype(DLDataType dtype, str name, Kind kind, TensorView* view) except -1:
    if dtype.lanes == 1 and dtype.code == kDLFloat and dtype.bits == 32:
        view.dtype = miopenFloat
    elif dtype.lanes == 1 and dtype.code == kDLFloat and dtype.bits == 16:
        view.dtype = miopenHalf
    elif dtype.lanes == 1 and dtype.code == kDLBfloat and dtype.bits == 16:
        view.dtype = miopenBFloat16
    else:
        label = whole_names.get(dtype.code)
        if label is None:
            label = names.get(dtype.code, f"type code {dtype.code} of bits ") + str(dtype.bits)
        raise dtype_error(name, f"{label}x{dtype.lanes}" if dtype.lanes != 1 else label, kind)
    return 0


# --- tensors --------------------------------------------------------------------------------------

cdef int take_dltensor(const DLTensor* lent, str name, Kind kind, TensorView* view) except -1:
    cdef int i
    take_dlpack_dtype(lent.dtype, name, kind, view)
    view.data = NULL if lent.data == NULL else <char*>lent.data + lent.byte_offset
    view.ndim = lent.ndim
    view.device_type = lent.device.device_type
    view.device_id = lent.device.device_id
    if lent.shape == NULL and lent.ndim > 0:
        raise BufferError(f"{name}: its producer lends a tensor of {lent.ndim} dimensions without "
                          f"their sizes")
    for i in range(min(view.ndim, max_dims)):
        view.shape[i] = lent.shape[i]
    if lent.strides != NULL:
        for i in range(min(view.ndim, max_dims)):
            view.strides[i] = lent.strides[i]
    elif 0 <= view.ndim <= max_dims:
        set_dense_strides(view[0], Layout.packed)
    if view.device_type == kDLCUDA:
        unmask(view, kind)
    return 0


# Whether tensors that say CUDA are a ROCm build's: such a build exists, and calls its devices so.
cdef bint masquerade = False
cdef bint torch_is_hip = False


cdef bint cuda_is_hip() noexcept:
    return masquerade


cdef void torch_says_hip() noexcept:
    """PyTorch in this process is a ROCm build."""
    global torch_is_hip
    torch_is_hip = True


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
    except TypeError as error:
        if type(error) is not TypeError:
            raise  # of a signal's handler, or the producer's own
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


# --- the exchange API -----------------------------------------------------------------------------

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
