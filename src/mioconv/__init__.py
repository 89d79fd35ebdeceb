"""Convolutions on AMD GPUs through MIOpen, and the same code on CPUs and NVIDIA GPUs.

    import numpy as np
    from mioconv import conv2d_forward

    y = conv2d_forward(x, w, padding=1)      # x: N, C, H, W; w: K, C, R, S; y: N, K, H', W'

Tensors may be NumPy arrays, PyTorch or CuPy tensors, or anything with DLPack or the buffer
protocol; the result is of the caller's kind. Importing this package loads no native library but its
own core.
"""

import os as _os

import mioconv._native.interpreter as _interpreter  # noqa: F401 - before all that is compiled
from mioconv._borrow.own_tensor import Tensor
from mioconv._native.api import version as _version
from mioconv.conv import (
    conv1d_add_relu_forward,
    conv1d_backward,
    conv1d_backward_bias,
    conv1d_backward_input,
    conv1d_backward_weight,
    conv1d_forward,
    conv1d_relu_forward,
    conv2d_add_relu_forward,
    conv2d_backward,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv2d_forward,
    conv2d_relu_forward,
    conv3d_add_relu_forward,
    conv3d_backward,
    conv3d_backward_bias,
    conv3d_backward_input,
    conv3d_backward_weight,
    conv3d_forward,
    conv3d_relu_forward,
    conv_transpose1d_backward,
    conv_transpose1d_backward_input,
    conv_transpose1d_backward_weight,
    conv_transpose1d_forward,
    conv_transpose2d_backward,
    conv_transpose2d_backward_input,
    conv_transpose2d_backward_weight,
    conv_transpose2d_forward,
    conv_transpose3d_backward,
    conv_transpose3d_backward_input,
    conv_transpose3d_backward_weight,
    conv_transpose3d_forward,
    depthwise_conv1d_backward,
    depthwise_conv1d_backward_input,
    depthwise_conv1d_backward_weight,
    depthwise_conv1d_forward,
    depthwise_conv2d_backward,
    depthwise_conv2d_backward_input,
    depthwise_conv2d_backward_weight,
    depthwise_conv2d_forward,
    depthwise_conv3d_backward,
    depthwise_conv3d_backward_input,
    depthwise_conv3d_backward_weight,
    depthwise_conv3d_forward,
)
from mioconv.errors import (
    CaptureError,
    MioconvError,
    NoSolutionError,
    OutOfMemoryError,
    ProviderNotFoundError,
    StatusError,
    UnsupportedError,
)
from mioconv.flags import flags, get_flags, set_flags
from mioconv.memory import empty_cache, memory_stats, set_allocator
from mioconv.preparation import (
    ConvolutionPlan,
    Prepared,
    SearchProgress,
    on_search,
    plan,
    prepare,
)
from mioconv.problem import Problem
from mioconv.providers import ProviderInfo, get_version_info, providers
from mioconv.selection import (
    CacheInfo,
    CallInfo,
    cache_clear,
    cache_info,
    cache_load,
    cache_path,
    cache_save,
    find_solutions,
    last_call,
    set_cache_capacity,
)
from mioconv.solution import Solution

__version__ = _version

__all__ = [
    "CacheInfo",
    "CallInfo",
    "CaptureError",
    "ConvolutionPlan",
    "MioconvError",
    "NoSolutionError",
    "OutOfMemoryError",
    "Prepared",
    "Problem",
    "ProviderInfo",
    "ProviderNotFoundError",
    "SearchProgress",
    "Solution",
    "StatusError",
    "Tensor",
    "UnsupportedError",
    "cache_clear",
    "cache_info",
    "cache_load",
    "cache_path",
    "cache_save",
    "conv1d_add_relu_forward",
    "conv1d_backward",
    "conv1d_backward_bias",
    "conv1d_backward_input",
    "conv1d_backward_weight",
    "conv1d_forward",
    "conv1d_relu_forward",
    "conv2d_add_relu_forward",
    "conv2d_backward",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv2d_forward",
    "conv2d_relu_forward",
    "conv3d_add_relu_forward",
    "conv3d_backward",
    "conv3d_backward_bias",
    "conv3d_backward_input",
    "conv3d_backward_weight",
    "conv3d_forward",
    "conv3d_relu_forward",
    "conv_transpose1d_backward",
    "conv_transpose1d_backward_input",
    "conv_transpose1d_backward_weight",
    "conv_transpose1d_forward",
    "conv_transpose2d_backward",
    "conv_transpose2d_backward_input",
    "conv_transpose2d_backward_weight",
    "conv_transpose2d_forward",
    "conv_transpose3d_backward",
    "conv_transpose3d_backward_input",
    "conv_transpose3d_backward_weight",
    "conv_transpose3d_forward",
    "depthwise_conv1d_backward",
    "depthwise_conv1d_backward_input",
    "depthwise_conv1d_backward_weight",
    "depthwise_conv1d_forward",
    "depthwise_conv2d_backward",
    "depthwise_conv2d_backward_input",
    "depthwise_conv2d_backward_weight",
    "depthwise_conv2d_forward",
    "depthwise_conv3d_backward",
    "depthwise_conv3d_backward_input",
    "depthwise_conv3d_backward_weight",
    "depthwise_conv3d_forward",
    "empty_cache",
    "find_solutions",
    "flags",
    "get_flags",
    "get_include",
    "get_version_info",
    "last_call",
    "memory_stats",
    "on_search",
    "plan",
    "prepare",
    "providers",
    "set_allocator",
    "set_cache_capacity",
    "set_flags",
]


def get_include() -> str:
    """Folder of the C++ headers, for building Cython or C++ code against this package."""
    return _os.path.join(_os.path.dirname(__file__), "include")
