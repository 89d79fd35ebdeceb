"""Networks of the kinds that people train, in plain torch.nn: small, with every kind of layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """ResNet's bottleneck: 1x1, 3x3, 1x1, and a shortcut that may stride."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.conv = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.expand = nn.Conv2d(width, 2 * channels, 1, bias=False)
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, stride, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in (width, width, 2 * channels))

    def forward(self, x: Any) -> Any:
        y = F.relu(self.norms[0](self.reduce(x)))
        y = F.relu(self.norms[1](self.conv(y)))
        return F.relu(self.norms[2](self.expand(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A 7x7 stem, pooling, bottlenecks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Residual(8, 4, 1), Residual(16, 8, 2))
        self.head = nn.Linear(32, 5)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 3, 2, 1)
        return self.head(self.blocks(x).mean(dim=(2, 3)))


class MobileNet(nn.Module):
    """Depthwise and pointwise convolutions, "same" padding, dilation, grouped 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 5, padding="same", groups=8)
        self.pointwise = nn.Conv2d(8, 12, 1, groups=2)
        self.multiplier = nn.Conv2d(12, 24, 3, 2, 2, 2, groups=12, padding_mode="reflect")
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in (8, 12))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Any) -> Any:
        x = F.relu6(self.stem(x))
        x = F.hardswish(self.norms[0](self.depthwise(x)))
        x = F.relu6(self.norms[1](self.pointwise(x)))
        return self.head(self.multiplier(x).mean(dim=(2, 3)))


class UNet(nn.Module):
    """Down, up by transposed convolutions, and across."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.odd = nn.ConvTranspose2d(8, 4, 3, 2, 1, groups=2, output_padding=1)
        self.last = nn.Conv2d(8, 2, 3, padding=1, padding_mode="circular")

    def forward(self, x: Any) -> Any:
        a = F.elu(self.first(x))
        b = F.elu(self.down(a))
        c = self.up(b) + self.odd(b, output_size=a.shape[2:])
        return self.last(torch.cat([a, torch.tanh(c)], dim=1))


class Volume(nn.Module):
    """Three spatial dimensions there and back, and one: a series of sums over two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.down = nn.Conv3d(4, 6, (2, 3, 2), 2, (0, 1, 1))
        self.up = nn.ConvTranspose3d(6, 2, 2, 2)
        self.series = nn.Conv1d(2, 3, 3, dilation=2)
        self.back = nn.ConvTranspose1d(3, 2, 4, 2)

    def forward(self, x: Any) -> Any:
        y = self.up(F.gelu(self.down(F.gelu(self.conv(x)))))
        return self.back(torch.tanh(self.series(y.mean(dim=(3, 4)))))


Make = Callable[[], nn.Module]

# Name: how to make it, the shape of its input, how many convolutions a forward pass has.
NETWORKS: dict[str, tuple[Make, tuple[int, ...], dict[str, int]]] = {
    "resnet": (ResNet, (4, 3, 32, 32), {"conv2d": 9}),
    "mobilenet": (MobileNet, (4, 3, 24, 24), {"conv2d": 4}),
    "unet": (UNet, (3, 1, 16, 16), {"conv2d": 3, "conv_transpose2d": 2}),
    "volume": (
        Volume,
        (2, 1, 10, 8, 6),
        {"conv3d": 2, "conv_transpose3d": 1, "conv1d": 1, "conv_transpose1d": 1},
    ),
}


def network(name: str) -> tuple[nn.Module, Any]:
    """A network with the same parameters every time, and an input for it."""
    make, shape, _ = NETWORKS[name]
    torch.manual_seed(0)
    model = make()
    return model, torch.randn(shape)
