"""How an operator runs under `torch.func.vmap`: the mapped dimension is folded into another.

Into the batch, where every weight is shared. Otherwise into the channels, with so many more groups:
each mapped problem keeps its own weight, and its own gradient of that. Nothing is run in a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["rule"]


_ACTIVATIONS = frozenset({"input", "grad_output", "z"})  # with a batch and channels


def _fold_batch(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    tensor = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return tensor.flatten(0, 1)


def _fold_channels(tensor: Tensor, dim: int | None, size: int, place: int) -> Tensor:
    """Into dimension `place`, which holds the channels: 1 of an activation, 0 of a parameter."""
    if dim is None:
        tensor = tensor.unsqueeze(place)
        tensor = tensor.expand(*tensor.shape[:place], size, *tensor.shape[place + 1 :])
    else:
        tensor = tensor.movedim(dim, place)
    return tensor.flatten(place, place + 1)


def rule(op: Any) -> Callable[..., Any]:
    """The batching rule of an operator, from the names of its arguments.

    An operator has one result, an activation, or those of a backward operator: the gradients of
    input, weight and bias.
    """
    names = [argument.name for argument in op._schema.arguments]
    backward = "output_mask" in names

    def run(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        size = info.batch_size
        given = dict(zip(names, args, strict=True))
        dims = dict(zip(names, in_dims, strict=True))
        tensors = {name for name, value in given.items() if isinstance(value, Tensor)}
        mask = given.get("output_mask", (True, False, False))
        shared = all(dims[name] is None for name in tensors - _ACTIVATIONS) and not any(mask[1:])
        for name in tensors:
            value, dim = given[name], dims[name]
            if shared:
                if name in _ACTIVATIONS:
                    given[name] = _fold_batch(value, dim, size)
            else:
                given[name] = _fold_channels(value, dim, size, int(name in _ACTIVATIONS))
        if not shared and "groups" in given:
            given["groups"] = given["groups"] * size
        results = op(*given.values())
        if not backward:
            place = 0 if shared else 1
            return _unfold(results, place, size), place
        places = (0 if shared else 1, 0, 0)
        unfolded = tuple(
            _unfold(result, place, size) if wanted else result
            for result, place, wanted in zip(results, places, mask, strict=True)
        )
        return unfolded, tuple(
            place if wanted else None for place, wanted in zip(places, mask, strict=True)
        )

    return run


def _unfold(tensor: Tensor, place: int, size: int) -> Tensor:
    return tensor.unflatten(place, (size, tensor.shape[place] // size))
