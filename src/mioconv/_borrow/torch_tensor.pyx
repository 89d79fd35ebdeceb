"""PyTorch's tensors: what they lend, what they refuse, new ones, their stream."""

from cpython.object cimport PyObject_TypeCheck, PyTypeObject
from libc.stdint cimport int64_t, uintptr_t

from mioconv._borrow.dlpack cimport (
    borrow_dlpack, dtype_error, exchange_api, take_dltensor, torch_says_hip)
from mioconv._borrow.loan cimport TORCH, Loan
from mioconv._borrow.own_tensor cimport sizes
from mioconv._native.dlpack cimport DLPackExchangeAPI, DLTensor, kDLBfloat, kDLFloat
from mioconv._native.hip cimport hipStream_t
from mioconv._native.native cimport Layout, TensorView, set_dense_strides

import sys

# Looked up once PyTorch has been imported by somebody; this package never imports it.
cdef object torch = None
cdef object tensor_type = None
cdef object is_grad_enabled = None
cdef object increment_version = None
cdef object empty_strided = None
cdef object current_stream = None
# Private to PyTorch, and not in every release: what is missing is not asked.
cdef object tracing_state = None    # of torch.jit.trace
cdef object modes_active = None     # how many dispatch modes are
cdef object active_mode = None      # one of them, by its key
cdef object function_modes = None   # how many function modes are active: with what comes next
cdef object key_included = None     # whether a dispatch key is
cdef object before_dispatch = None  # that of modes that record before anything else
cdef tuple recording_modes = ()     # keys of those that record operators, or stand in for them
cdef object forward_ad = None
cdef const DLPackExchangeAPI* api = NULL


cdef bint is_torch(object tensor) except -1:
    if tensor_type is None and not find_torch():
        return False
    return PyObject_TypeCheck(tensor, <PyTypeObject*>tensor_type)


cdef bint find_torch() except -1:
    global torch, tensor_type, is_grad_enabled, empty_strided, api
    global tracing_state, modes_active, active_mode, recording_modes, forward_ad
    global function_modes, key_included, before_dispatch
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
    private = module._C
    tracing_state = getattr(private, "_get_tracing_state", None)
    keys = getattr(private, "_TorchDispatchModeKey", None)
    modes_active = getattr(private, "_len_torch_dispatch_stack", None)
    active_mode = getattr(private, "_get_dispatch_mode", None)
    if keys is not None and active_mode is not None:
        recording_modes = tuple(
            [getattr(keys, key) for key in ("FAKE", "PROXY", "FUNCTIONAL") if hasattr(keys, key)])
    before_dispatch = getattr(getattr(private, "DispatchKey", None), "PreDispatch", None)
    function_modes = getattr(private, "_len_torch_function_stack", None)
    if before_dispatch is not None and function_modes is not None:
        key_included = getattr(private, "_dispatch_tls_is_dispatch_key_included", None)
    forward_ad = module.autograd.forward_ad
    torch = module
    tensor_type = module.Tensor
    return True


cdef int borrow_torch(object tensor, str name, bint writable, TensorView* view,
                      Loan* loan) except -1:
    if tensor.requires_grad and is_grad_enabled():
        raise TypeError(
            f"{name}: the tensor requires grad, and this function records no gradient; pass "
            f"{name}.detach(), or use the differentiable operators of mioconv.torch")
    if forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None:
        raise TypeError(
            f"{name}: the tensor has a forward-mode gradient (a tangent), and mioconv has none")
    if writable:
        refuse_recording()
    try:
        # Nothing that is lent says so.
        negated = tensor.is_neg()
    except ValueError as error:  # torch.nn.UninitializedParameter
        raise TypeError(
            f"{name}: the tensor has no values yet ({type(tensor).__name__})") from error
    if negated:
        raise TypeError(f"{name}: the tensor is lazily negated; pass {name}.resolve_neg()")
    return lend(tensor, name, writable, view, loan)


cdef int lend(object tensor, str name, bint writable, TensorView* view, Loan* loan) except -1:
    """Borrow a tensor that carries nothing beyond its memory, as far as that can be asked."""
    cdef DLTensor lent
    loan.kind = TORCH
    if api == NULL:
        refuse(tensor, name)
        borrow_dlpack(tensor, name, writable, view, loan)
        return refuse_empty(tensor, name, view.data)
    try:
        api.dltensor_from_py_object_no_sync(<void*>tensor, &lent)
    except Exception as error:
        # PyTorch's own words are about a data pointer.
        refuse(tensor, name)
        raise TypeError(f"{name}: PyTorch lends no memory of this tensor ({type(tensor).__name__}: "
                        f"{str(error).partition(chr(10))[0]})") from error
    refuse_empty(tensor, name, lent.data)
    if lent.dtype.code != kDLFloat and lent.dtype.code != kDLBfloat:
        refuse(tensor, name)
        raise dtype_error(name, str(tensor.dtype).removeprefix("torch."), TORCH)
    return take_dltensor(&lent, name, TORCH, view)


cdef int refuse_recording() except -1:
    """These calls are none of PyTorch's operators: whoever records or replaces operators would see
    no more of them than an empty result."""
    if tracing_state is not None and tracing_state() is not None:
        raise TypeError("torch.jit.trace sees nothing of this function; use the operators of "
                        "mioconv.torch")
    if key_included is not None and function_modes() and key_included(before_dispatch):
        raise TypeError("what records PyTorch's operators here (pre_dispatch) sees nothing of this "
                        "function; use the operators of mioconv.torch")
    if modes_active is not None and modes_active():
        for key in recording_modes:
            mode = active_mode(key)
            if mode is not None:
                raise TypeError(f"{type(mode).__name__} sees nothing of this function; use the "
                                f"operators of mioconv.torch")
    return 0


cdef int refuse_empty(object tensor, str name, const void* data) except -1:
    """Tensors that wrap others, and have no memory of their own."""
    if data == NULL and tensor.numel() > 0:
        refuse(tensor, name)
        if type(tensor) is tensor_type:
            return 0  # one whose memory was freed, as every producer may lend it
        raise TypeError(f"{name}: expected a plain tensor with values, but PyTorch lends no memory "
                        f"of this one ({type(tensor).__name__})")
    return 0


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
    refuse_recording()
    set_dense_strides(view[0], layout)
    shape = sizes(view.shape, <int>view.ndim)
    strides = sizes(view.strides, <int>view.ndim)
    if type(like) is tensor_type:
        result = like.new_empty_strided(shape, strides)
    else:
        # A subclass would answer with one of its own.
        result = empty_strided(shape, strides, dtype=like.dtype, device=like.device)
    lend(result, "output", True, view, loan)
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
