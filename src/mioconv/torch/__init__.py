"""Convolutions that PyTorch differentiates, compiles and exports, computed by mioconv.

    import mioconv.torch

    y = mioconv.torch.conv2d(x, w, padding=1)      # a function, with its gradients
    layer = mioconv.torch.Conv2d(64, 128, 3)       # a module, with torch.nn's arguments
    with mioconv.torch.use():                      # every convolution of code that exists
        model(x).sum().backward()

Needs PyTorch, which `import mioconv` never imports.
"""

try:
    import torch as _torch
except ImportError as error:
    raise ImportError(
        "mioconv.torch needs PyTorch, which cannot be imported here "
        f"({error}); everything else in mioconv works without it"
    ) from error

# The oldest release that has all that is needed has this.
if not hasattr(_torch.library, "register_vmap"):
    raise ImportError(f"mioconv.torch needs PyTorch 2.5 or newer, but found {_torch.__version__}")

from mioconv.torch.functional import (
    conv1d,
    conv1d_add_relu,
    conv1d_relu,
    conv2d,
    conv2d_add_relu,
    conv2d_relu,
    conv3d,
    conv3d_add_relu,
    conv3d_relu,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    depthwise_conv1d,
    depthwise_conv2d,
    depthwise_conv3d,
)
from mioconv.torch.modules import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvReLU2d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from mioconv.torch.switch import Routing, convert, use

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvReLU2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Routing",
    "conv1d",
    "conv1d_add_relu",
    "conv1d_relu",
    "conv2d",
    "conv2d_add_relu",
    "conv2d_relu",
    "conv3d",
    "conv3d_add_relu",
    "conv3d_relu",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convert",
    "depthwise_conv1d",
    "depthwise_conv2d",
    "depthwise_conv3d",
    "use",
]
