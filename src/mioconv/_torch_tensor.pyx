"""PyTorch's tensors: what they lend, what they refuse, new ones, their stream."""

from cpython.object cimport PyObject_TypeCheck, PyTypeObject
from libc.stdint cimport int64_t, uintptr_t

from mioconv._dlpack cimport (
    borrow_dlpack, dtype_error, exchange_api, take_dltensor, torch_says_hip)
from mioconv._geometry cimport sizes
from mioconv.dlpack cimport DLPackExchangeAPI, DLTensor, kDLBfloat, kDLFloat
from mioconv.hip cimport hipStream_t
from mioconv.loan cimport TORCH, Loan
from mioconv.native cimport Layout, TensorView, set_dense_strides

import sys

# Looked up once PyTorch has been imported by somebody; this package never imports it.
cdef object torch = None
cdef object tensor_type = None
cdef object is_grad_enabled = None
cdef object increment_version = None
cdef object empty_strided = None
cdef object current_stream = None
cdef const DLPackExchangeAPI* api = NULL


cdef bint is_torch(object tensor) except -1:
    if tensor_type is None and not find_torch():
        return False
    return PyObject_TypeCheck(tensor, <PyTypeObject*>tensor_type)


cdef bint find_torch() except -1:
    global torch, tensor_type, is_grad_enabled, empty_strided, api
    module = sys.modules.get("torch")
    # A half-imported torch lacks some of these; no tensor can exist then either.
    for name in ("Tensor", "strided", "is_grad_enabled", "empty_strided"):
        if not hasattr(module, name):
            return False
    if getattr(getattr(module, "version", None), "hip", None) is not None:
        torch_says_hip()
    api = exchange_api(module.Tensor)
    is_grad_enabled = module.is_grad_enabled
    empty_strided = module.empty_strided
    torch = module
    tensor_type = module.Tensor
    return True


cdef int borrow_torch(object tensor, str name, bint writable, TensorView* view,
                      Loan* loan) except -1:
    cdef DLTensor lent
    loan.kind = TORCH
    if tensor.requires_grad and is_grad_enabled():
        raise TypeError(
            f"{name}: the tensor requires grad, and this function records no gradient; pass "
            f"{name}.detach(), or use the differentiable operators of mioconv.torch")
    # Nothing that is lent says so.
    if tensor.is_neg():
        raise TypeError(f"{name}: the tensor is lazily negated; pass {name}.resolve_neg()")
    if api == NULL:
        refuse(tensor, name)
        return borrow_dlpack(tensor, name, writable, view, loan)
    try:
        api.dltensor_from_py_object_no_sync(<void*>tensor, &lent)
    except Exception as error:
        # PyTorch's own words are about a data pointer.
        refuse(tensor, name)
        raise TypeError(f"{name}: PyTorch lends no memory of this tensor ({type(tensor).__name__}: "
                        f"{str(error).partition(chr(10))[0]})") from error
    if lent.dtype.code != kDLFloat and lent.dtype.code != kDLBfloat:
        refuse(tensor, name)
        raise dtype_error(name, str(tensor.dtype).removeprefix("torch."), TORCH)
    return take_dltensor(&lent, name, TORCH, view)


cdef int refuse(object tensor, str name) except -1:
    """Say what is wrong with a tensor that lends no plain numbers, where we know it."""
    wrapped = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", None)
    if wrapped is not None and wrapped(tensor):
        raise TypeError(
            f"{name}: the tensor is one of a transform of torch.func, as vmap and grad make them; "
            f"use the operators of mioconv.torch")
    if tensor.is_nested:
        raise TypeError(f"{name}: expected a plain tensor, but got a nested one; pass its parts")
    if tensor.is_quantized:
        raise TypeError(
            f"{name}: expected a plain tensor, but got a quantized one of {tensor.dtype}; pass "
            f"{name}.dequantize()")
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name}: expected a dense (strided) tensor, but got {tensor.layout}")
    if tensor.is_meta:
        raise TypeError(f"{name}: the tensor is on the meta device and has no values")
    if tensor.is_conj():
        raise TypeError(f"{name}: the tensor is lazily conjugated; pass {name}.resolve_conj()")
    return 0


cdef object new_torch(object like, TensorView* view, Layout layout, Loan* loan):
    """A new tensor of `view`'s shape, borrowed into it; `like` says dtype and device."""
    cdef tuple shape, strides
    set_dense_strides(view[0], layout)
    shape = sizes(view.shape, <int>view.ndim)
    strides = sizes(view.strides, <int>view.ndim)
    if type(like) is tensor_type:
        result = like.new_empty_strided(shape, strides)
    else:
        # A subclass would answer with one of its own.
        result = empty_strided(shape, strides, dtype=like.dtype, device=like.device)
    borrow_torch(result, "output", True, view, loan)
    return result


cdef hipStream_t torch_stream(const TensorView* view) except? NULL:
    """The stream on which PyTorch queues its own work for a tensor's device."""
    cdef void* found = NULL
    global current_stream
    if api != NULL and api.current_work_stream != NULL:
        # ROCm builds may know their devices by either name: they are asked by their own.
        api.current_work_stream(view.device_type, view.device_id, &found)
        return <hipStream_t>found
    if current_stream is None:
        current_stream = torch.cuda.current_stream
    return <hipStream_t><uintptr_t>current_stream(view.device_id).cuda_stream


cdef object hold(object tensor):
    """A tensor that keeps the memory of another one, whatever becomes of that one, and counts what
    is written to it through either."""
    return tensor.detach()


cdef int64_t version_of(object tensor) except? -1:
    """How often PyTorch wrote to a tensor's memory; 0 always for tensors of inference mode."""
    return 0 if tensor.is_inference() else tensor._version


cdef int note_write(object tensor) except -1:
    """Tell PyTorch that the memory changed, so that autograd notices stale saved values."""
    global increment_version
    if increment_version is None:
        increment_version = torch.autograd.graph.increment_version
    try:
        increment_version(tensor)
    except RuntimeError:
        # Tensors of inference mode have no version; not every release passes them over.
        if not tensor.is_inference():
            raise
    return 0
