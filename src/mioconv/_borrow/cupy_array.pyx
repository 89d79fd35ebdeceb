"""CuPy's arrays: their attributes say what their capsules do, in a tenth of the time."""

cimport numpy as cnp
from cpython.object cimport PyObject_TypeCheck, PyTypeObject
from libc.stdint cimport uintptr_t

from mioconv._borrow.loan cimport CUPY, Loan
from mioconv._borrow.own_tensor cimport sizes
from mioconv._native.dlpack cimport kDLCUDA, kDLROCM
from mioconv._native.hip cimport hipStream_t
from mioconv._native.miopen cimport miopenFloat, miopenHalf
from mioconv._native.native cimport Layout, TensorView, max_dims

import sys

cnp.import_array()

# Looked up once CuPy has been imported by somebody; this package never imports it.
cdef object cupy = None
cdef object array_type = None
cdef object get_current_stream = None
cdef int device_type


cdef bint is_cupy(object tensor) except -1:
    global cupy, array_type, get_current_stream, device_type
    if array_type is None:
        module = sys.modules.get("cupy")
        # A half-imported cupy has no arrays yet.
        if module is None or not hasattr(module, "ndarray") or not hasattr(module, "cuda"):
            return False
        device_type = kDLROCM if module.cuda.runtime.is_hip else kDLCUDA
        get_current_stream = module.cuda.get_current_stream
        cupy = module
        array_type = module.ndarray
    return PyObject_TypeCheck(tensor, <PyTypeObject*>array_type)


cdef bint borrow_cupy(object array, str name, TensorView* view, Loan* loan) except -1:
    """False: not a plain array of float32 or float16, which DLPack describes, or refuses.

    A capsule costs more than all of these together: for each, CuPy asks the driver twice whose
    memory it is.
    """
    cdef object dtype = array.dtype
    cdef object memory, shape, strides
    cdef int i, shift
    loan.kind = CUPY
    if not isinstance(dtype, cnp.dtype) or (<cnp.dtype>dtype).byteorder == c">":
        return False
    if (<cnp.dtype>dtype).type_num == cnp.NPY_FLOAT32:
        view.dtype = miopenFloat
        shift = 2
    elif (<cnp.dtype>dtype).type_num == cnp.NPY_FLOAT16:
        view.dtype = miopenHalf
        shift = 1
    else:
        return False
    memory = array.data
    shape, strides = array.shape, array.strides
    view.data = <void*><uintptr_t>memory.ptr
    view.device_type = device_type
    view.device_id = memory.device_id
    view.ndim = len(shape)
    for i in range(min(view.ndim, max_dims)):
        view.shape[i] = shape[i]
        view.strides[i] = strides[i]
        if view.strides[i] & ((1 << shift) - 1):
            raise BufferError(f"{name}: the array's elements are not aligned to their size")
        view.strides[i] >>= shift
    return True


cdef object new_cupy(object like, TensorView* view, Layout layout):
    """A new array of `view`'s shape; `like` says dtype and device."""
    cdef tuple shape = sizes(view.shape, <int>view.ndim)
    with like.device:  # cupy.empty takes the current device
        if layout == Layout.packed:
            return cupy.empty(shape, dtype=like.dtype)
        return cupy.moveaxis(
            cupy.empty(shape[:1] + shape[2:] + shape[1:2], dtype=like.dtype), -1, 1)


cdef hipStream_t cupy_stream(const TensorView* view) except? NULL:
    """The stream on which CuPy queues its own work for an array's device."""
    return <hipStream_t><uintptr_t>get_current_stream(view.device_id).ptr
