"""How far a result of Winograd's F(m x m, 3 x 3) may be from the exact one. Derived, not tuned.

Forward is ``A^T [sum over c of (G w_c G^T) (B^T d_c B)] A``. Each of the six one-dimensional
transforms sums at most six terms, each multiplied by a constant that may be rounded itself: no path
from an operand to the result meets more than seven roundings in one. With the product and the sum
over K terms that is K + 1 + 6 * 7 roundings, and Higham's bound for sums of products gives element
by element

    |computed - exact| <= gamma_{K + 43} * |A^T| [sum of (|G| |w_c| |G^T|) (|B^T| |d_c| |B|)] |A|

`forward_magnitude` is what follows the gamma. Unlike that of a plain sum it does not shrink where
the taps that an element really sees are small: the transforms add up large values and cancel them.
The gradient of the input is the same on the output's gradient with the kernel turned around, that
of the weights is the transpose: ``G^T [sum over tiles of (B^T d B) (A dy A^T)] G``.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import tolerances

Float64 = NDArray[np.float64]

# (B^T, G, A^T) of F(2, 3) and F(4, 3), from the interpolation points 0, 1, -1 (, 2, -2), infinity.
_MATRICES: dict[int, tuple[Float64, Float64, Float64]] = {
    2: (
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], float),
        np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
        np.array([[1, 1, 1, 0], [0, 1, -1, -1]], float),
    ),
    4: (
        np.array(
            [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
             [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]], float),
        np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        np.array(
            [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
            float),
    ),
}  # fmt: skip
_TRANSFORM_ROUNDINGS = 6 * 7


def output_tile(solution_name: str) -> int:
    """m of a solution's F(m x m, 3 x 3); 0 if it is a plain sum."""
    found = re.match(r"winograd_(\d)x", solution_name)
    return int(found[1]) if found else 0


def _images(array: Any) -> Float64:
    """Absolute values as (images, C, H, W): a kernel of depth 1 leaves depths alone."""
    values = np.abs(np.asarray(array).astype(np.float64))
    if values.ndim == 5:
        n, c, d, h, w = values.shape
        values = values.transpose(0, 2, 1, 3, 4).reshape(n * d, c, h, w)
    return values


def _tiles(
    images: Float64, rows: int, columns: int, m: int, size: int, pad: tuple[int, int]
) -> Float64:
    """(images, C, rows, columns, size, size): tiles m apart, zero outside of the images."""
    n, c, height, width = images.shape
    canvas = np.zeros((n, c, rows * m + size, columns * m + size))
    canvas[:, :, pad[0] : pad[0] + height, pad[1] : pad[1] + width] = images
    return np.stack(
        [
            np.stack(
                [canvas[:, :, r * m : r * m + size, q * m : q * m + size] for q in range(columns)],
                axis=2,
            )
            for r in range(rows)
        ],
        axis=2,
    )


def forward_magnitude(x: Any, w: Any, padding: tuple[int, int], m: int) -> Float64:
    """Of every output of a convolution of `x` by `w`, both 4-D or 5-D with kernel depth 1."""
    b, g, a = (np.abs(matrix) for matrix in _MATRICES[m])
    images = _images(x)
    weights = np.abs(np.asarray(w).astype(np.float64)).reshape(w.shape[0], w.shape[1], 3, 3)
    height, width = (images.shape[2 + i] + 2 * padding[i] - 2 for i in range(2))
    rows, columns = -(-height // m), -(-width // m)
    tiles = _tiles(images, rows, columns, m, m + 2, padding)
    data = np.einsum("ai,ncrqij,bj->ncrqab", b, tiles, b)
    kernel = np.einsum("as,kcst,bt->kcab", g, weights, g)
    products = np.einsum("ncrqab,kcab->nkrqab", data, kernel)
    found = np.einsum("ia,nkrqab,jb->nkriqj", a, products, a)
    n, k = found.shape[:2]
    found = found.reshape(n, k, rows * m, columns * m)[:, :, :height, :width]
    return _with_depth(found, np.asarray(x).shape)


def weight_magnitude(x: Any, dy: Any, padding: tuple[int, int], m: int) -> Float64:
    """Of every element of the weight's gradient, (K, C, 3, 3), and how many tiles it sums."""
    b, g, a = (np.abs(matrix) for matrix in _MATRICES[m])
    images, gradients = _images(x), _images(dy)
    rows, columns = (-(-size // m) for size in gradients.shape[2:])
    data = _tiles(images, rows, columns, m, m + 2, padding)
    data = np.einsum("ai,ncrqij,bj->ncrqab", b, data, b)
    back = _tiles(gradients, rows, columns, m, m, (0, 0))
    back = np.einsum("ia,nkrqij,jb->nkrqab", a, back, a)
    sums = np.einsum("nkrqab,ncrqab->kcab", back, data)
    return np.einsum("as,kcab,bt->kcst", g, sums, g)


def _with_depth(found: Float64, shape: tuple[int, ...]) -> Float64:
    if len(shape) == 4:
        return found
    n, depth = shape[0], shape[2]
    _, k, h, w = found.shape
    return found.reshape(n, depth, k, h, w).transpose(0, 2, 1, 3, 4)


def error_bound(
    direction: str, x: Any, w: Any, y: Any, padding: tuple[int, ...], m: int
) -> Float64:
    """Largest permitted error of each element of one direction's result.

    Parameters
    ----------
    direction
        "forward", "backward_input" or "backward_weight" of y = conv(x, w).
    x, w, y
        The operands; that of the result's place gives its shape alone.
    padding
        Of every spatial dimension.
    m
        Of F(m x m, 3 x 3).
    """
    if w.ndim == 5 and w.shape[2] != 1:  # the axis with a kernel of 1 takes the depth's place
        flat = 2 + w.shape[2:].index(1)
        x, w, y = (np.moveaxis(np.asarray(array), flat, 2) for array in (x, w, y))
        rest = [p for axis, p in enumerate(padding) if axis != flat - 2]
        return np.moveaxis(error_bound(direction, x, w, y, (0, *rest), m), 2, flat)
    pad = (padding[-2], padding[-1])
    if direction == "forward":
        length, magnitude = w.shape[1], forward_magnitude(x, w, pad, m)
    elif direction == "backward_input":
        # The kernel's absolute values turned around, its channels exchanged.
        turned = np.abs(np.asarray(w).astype(np.float64))[..., ::-1, ::-1].swapaxes(0, 1)
        back = (2 - pad[0], 2 - pad[1])
        length, magnitude = w.shape[0], forward_magnitude(y, turned, back, m)
    else:
        images = _images(y)
        length = images.shape[0] * -(-images.shape[2] // m) * -(-images.shape[3] // m)
        magnitude = weight_magnitude(x, y, pad, m).reshape(w.shape)
    roundings = length + 1 + _TRANSFORM_ROUNDINGS
    return tolerances.gamma(roundings) * magnitude + roundings * 2.0**-126
