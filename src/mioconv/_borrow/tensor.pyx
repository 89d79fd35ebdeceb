"""Borrowing tensors from Python objects without copying, and making results of the same kind.

NumPy arrays are read through NumPy's C API, tensors of types that have it through DLPack's C
exchange API, everything else through `__dlpack__`, the buffer protocol or
`__cuda_array_interface__`.
"""

cimport numpy as cnp
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBuffer_Release, PyObject_CheckBuffer,
    PyObject_GetBuffer)
from cpython.pycapsule cimport PyCapsule_CheckExact
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memset

from mioconv._borrow.cupy_array cimport borrow_cupy, cupy_stream, is_cupy, new_cupy
from mioconv._borrow.dlpack cimport borrow_dlpack, cuda_is_hip, dtype_error, exchange_api_of
from mioconv._borrow.loan cimport CUPY, NUMPY, OTHER, TORCH, Kind, Loan, Ordering
from mioconv._borrow.own_tensor cimport Tensor, dtype_name, sizes
from mioconv._borrow.stream cimport (
    device_name, find_owner, order, own_stream, provider_number, stream_pointer)
from mioconv._borrow.torch_tensor cimport borrow_torch, is_torch, new_torch, torch_stream
from mioconv._native.dlpack cimport (
    DLManagedTensor, DLManagedTensorVersioned, DLPackExchangeAPI, kDLCPU, kDLCUDA)
from mioconv._native.hip cimport hipStream_t
from mioconv._native.miopen cimport miopenBFloat16, miopenFloat, miopenHalf
from mioconv._native.native cimport (
    Layout, TensorView, max_dims, only_channels_last, set_dense_strides)

import sys

from mioconv._borrow import second_ways

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    object PyArray_Empty(int ndim, cnp.npy_intp* shape, cnp.dtype dtype, int fortran)
    bint PyArray_ISBYTESWAPPED(cnp.ndarray)
    bint PyArray_ISALIGNED(cnp.ndarray)


# --- NumPy ----------------------------------------------------------------------------------------

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
            raise unaligned(name)
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


cdef object unaligned(str name):
    return BufferError(f"{name}: the array's elements are not aligned to their size")


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
    if buffer.itemsize != view.itemsize():
        raise BufferError(f"{name}: the buffer has elements of {buffer.itemsize} bytes, which is "
                          f"not what its format {code!r} says")
    if buffer.suboffsets != NULL:
        for i in range(buffer.ndim):
            if buffer.suboffsets[i] >= 0:
                raise BufferError(f"{name}: the buffer consists of pointers to its parts")
    view.data = buffer.buf
    view.ndim = buffer.ndim
    view.device_type = kDLCPU
    view.device_id = 0
    view.read_only = buffer.readonly
    # Without sizes it is a row of elements, without strides it has no gaps.
    if buffer.shape == NULL and buffer.ndim > 0:
        view.ndim = 1
        view.shape[0] = buffer.len // buffer.itemsize
    else:
        for i in range(min(view.ndim, max_dims)):
            view.shape[i] = buffer.shape[i]
    if buffer.shape == NULL or buffer.strides == NULL:
        if 0 <= view.ndim <= max_dims:
            set_dense_strides(view[0], Layout.packed)
        return 0
    for i in range(min(view.ndim, max_dims)):
        if buffer.strides[i] % buffer.itemsize:
            raise unaligned(name)
        view.strides[i] = buffer.strides[i] // buffer.itemsize
    return 0


# --- __cuda_array_interface__ ---------------------------------------------------------------------

cdef object malformed(str name, str what):
    return BufferError(
        f"{name}: its __cuda_array_interface__ is not what the protocol says: {what}")


cdef int64_t whole(str name, object value) except? -1:
    """One size or stride."""
    try:
        return value
    except (OverflowError, TypeError):
        raise malformed(name, f"a size or stride of {value!r}") from None


cdef int borrow_cuda_array(object tensor, str name, TensorView* view, Loan* loan) except -1:
    """Numba's protocol, for objects of a GPU that have no DLPack; version 3 and before."""
    cdef int i, shift
    cdef uintptr_t number
    interface = tensor.__cuda_array_interface__
    try:
        typestr = interface["typestr"]
        shape, strides = tuple(interface["shape"]), interface.get("strides")
        number, view.read_only = interface["data"]
        if strides is not None:
            strides = tuple(strides)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise malformed(name, f"{type(error).__name__}: {error}") from None
    if interface.get("mask") is not None:
        raise TypeError(f"{name}: expected a plain array, but got a masked one")
    if not isinstance(typestr, str):
        raise malformed(name, f"its typestr is {typestr!r}")
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
    view.data = <void*>number
    view.ndim = len(shape)
    if strides is not None and len(strides) != view.ndim:
        raise malformed(name, f"{len(strides)} strides for {view.ndim} dimensions")
    for i in range(min(view.ndim, max_dims)):
        view.shape[i] = whole(name, shape[i])
    if strides is None:
        if view.ndim <= max_dims:
            set_dense_strides(view[0], Layout.packed)
    else:
        for i in range(min(view.ndim, max_dims)):
            view.strides[i] = whole(name, strides[i])
            if view.strides[i] & ((1 << shift) - 1):
                raise unaligned(name)
            view.strides[i] >>= shift
    # The protocol does not say which device it is; an empty array is on any.
    if not find_owner(view.data, cuda_is_hip(), &view.device_type, &view.device_id):
        view.device_type = kDLCUDA
        view.device_id = 0
    stream = interface.get("stream")
    if stream is not None:
        if not isinstance(stream, int) or not 1 <= stream < 1 << 64:
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
    cdef const DLPackExchangeAPI* api
    cdef void* found = NULL
    stream[0] = NULL
    if loan.kind == TORCH:
        stream[0] = torch_stream(view)
    elif loan.kind == CUPY:
        stream[0] = cupy_stream(view)
    elif loan.has_ready:
        stream[0] = loan.ready
        return True
    else:
        if PyCapsule_CheckExact(tensor):
            return False
        api = exchange_api_of(tensor)
        if api == NULL or api.current_work_stream == NULL:
            return False
        api.current_work_stream(view.device_type, view.device_id, &found)
        stream[0] = <hipStream_t>found
    stream[0] = own_stream(stream[0], kDLCUDA)
    return True


cdef object call_stream(object stream, object tensor, const TensorView* view, const Loan* loan,
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


cdef int borrow(object tensor, str name, bint writable, TensorView* view, Loan* loan) except -1:
    """Fill `view` from any supported object; `loan` must be given back after the call.

    Raises TypeError for objects, dtypes and states that cannot be used, BufferError for what the
    producer or its memory rules out.
    """
    if cnp.PyArray_Check(tensor):
        borrow_numpy(tensor, name, writable, view, loan)
    elif is_torch(tensor):
        borrow_torch(tensor, name, writable, view, loan)
    elif is_cupy(tensor):
        if not borrow_cupy(tensor, name, view, loan):
            borrow_dlpack(tensor, name, writable, view, loan)
    else:
        loan.kind = OTHER
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
    # A rank that no convolution has is refused with the others' rank, and nothing is read before.
    if view.ndim <= max_dims:
        check_lent(view, name)
    return 0


cdef int check_lent(const TensorView* view, str name) except -1:
    """What no producer of tensors should say, and one may: everything is computed from it."""
    cdef int i
    for i in range(<int>view.ndim):
        if view.shape[i] < 0:
            raise BufferError(f"{name}: its producer lends a tensor of size "
                              f"{sizes(view.shape, <int>view.ndim)}")
    if view.ndim < 0:
        raise BufferError(f"{name}: its producer lends a tensor of {view.ndim} dimensions")
    if view.too_large():
        raise ValueError(f"{name}: sizes {sizes(view.shape, <int>view.ndim)} are too large")
    if view.count() == 0:
        return 0
    if view.data == NULL:
        raise BufferError(f"{name}: its producer lends no memory, as for a tensor without values")
    if <uintptr_t>view.data & (view.itemsize() - 1):
        raise unaligned(name)
    return 0


cdef void give_back(Loan* loan) noexcept:
    """End a loan. Safe on one that was never filled, and twice."""
    cdef DLManagedTensor* managed = loan.managed
    cdef DLManagedTensorVersioned* versioned = loan.versioned
    cdef PyObject* held = loan.held
    cdef PyObject* made = loan.made
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
    if made != NULL:
        loan.made = NULL
        (<Tensor>made).note_computed()
        Py_XDECREF(made)


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
        return new_torch(like, view, layout, loan)
    elif kind == CUPY:
        result = new_cupy(like, view, layout)
    else:
        set_dense_strides(view[0], layout)
        result = Tensor.__new__(Tensor)
        (<Tensor>result).allocate(view, loan.stream)
        if view.device_type != kDLCPU:
            Py_INCREF(result)
            loan.made = <PyObject*>result
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


# --- looking in -----------------------------------------------------------------------------------

def describe_tensor(tensor) -> tuple:
    """Shape, dtype name, layout ("packed" or "channels_last") and device name of any tensor.

    A strided tensor counts as packed: that is how it will be handed over.
    """
    cdef TensorView view
    cdef Loan loan
    memset(&loan, 0, sizeof(Loan))
    try:
        loan.order = Ordering.nothing
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
