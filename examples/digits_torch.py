"""The network of digits.py in PyTorch, its convolutions computed by mioconv and by PyTorch.

Same pictures, same starting weights, same order of batches as in digits.py, so that all three learn
the same. Prints the accuracy and the time per epoch of each.

    python examples/digits_torch.py [EPOCHS]
"""

from __future__ import annotations

import sys
import time
from typing import Any

import digits
import numpy as np
import torch
from torch import nn

import mioconv.torch


def network(layers: list[digits.Layer], by_mioconv: bool) -> nn.Sequential:
    """The layers of digits.py as modules, with the same weights."""
    modules: list[nn.Module] = []
    for layer in layers:
        maps, channels, *kernel = layer.weight.shape
        settings: Any = (channels, maps, tuple(kernel), layer.stride, layer.padding)
        if by_mioconv:
            kind = mioconv.torch.ConvReLU2d if layer.relu else mioconv.torch.Conv2d
            modules.append(kind(*settings))
        else:
            modules.append(nn.Conv2d(*settings))
        with torch.no_grad():
            modules[-1].weight.copy_(torch.from_numpy(layer.weight))
            modules[-1].bias.zero_()
        if layer.relu and not by_mioconv:
            modules.append(nn.ReLU())
    return nn.Sequential(*modules, nn.Flatten())


def accuracy(model: nn.Module, x: np.ndarray, labels: np.ndarray) -> float:
    with torch.no_grad():
        return float((model(torch.from_numpy(x)).argmax(dim=1).numpy() == labels).mean())


def train(
    model: nn.Module, rng: np.random.Generator, x: np.ndarray, labels: np.ndarray, epochs: int
) -> float:
    """Train as digits.py does; the median time of an epoch, in seconds."""
    optimizer = torch.optim.SGD(
        model.parameters(), momentum=digits.MOMENTUM, weight_decay=digits.DECAY
    )
    times = []
    for epoch in range(epochs):
        start = time.perf_counter()
        rate = digits.LEARNING_RATE * (1 + np.cos(np.pi * epoch / epochs)) / 2
        optimizer.param_groups[0]["lr"] = rate
        for chosen in digits.batches(rng, len(x)):
            batch = torch.from_numpy(digits.shifted(x[chosen], rng))
            loss = nn.functional.cross_entropy(model(batch), torch.from_numpy(labels[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main(epochs: int = digits.EPOCHS) -> None:
    """Train twice, and report."""
    x, test_x, labels, test_labels = digits.load()
    torch.set_num_threads(1)
    mioconv.set_flags(num_threads=1)
    for name, by_mioconv in (("mioconv", True), ("PyTorch", False)):
        rng = np.random.default_rng(digits.SEED)
        model = network(digits.network(rng), by_mioconv)
        seconds = train(model, rng, x, labels, epochs)
        right = accuracy(model, test_x, test_labels)
        print(f"{name}    {right:.2%} of the test digits, {seconds * 1e3:.0f} ms an epoch")
        if epochs == digits.EPOCHS and right < digits.GOAL:
            raise SystemExit(f"the accuracy is below {digits.GOAL:.0%}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
