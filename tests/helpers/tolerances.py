"""How far a right answer may be from the exact one. Derived, not tuned.

Every operator here computes elements of the form ``s = a_1 b_1 + … + a_K b_K``, in float32, and
rounds the result once to the storage dtype. Let ``u = 2^-24`` be the unit roundoff of float32.

1. *Accumulation.* Products of two float16 or two bfloat16 numbers are exact in float32, products
   of float32 numbers carry one rounding, and each addition one more. For any order of summation
   (tree, blocked, fused multiply-add or not) Higham's bound holds element by element::

       |computed - s| <= gamma_K * sum |a_i b_i|,      gamma_K = K u / (1 - K u)

   `magnitude` is ``sum |a_i b_i|``: the same operator run on absolute values in float64. `length`
   is K: every term that enters the sum, bias and z included, as each adds one rounding.
2. *Storage.* Rounding a value v to a dtype with unit roundoff w costs at most ``w |v|``, or half
   of its smallest subnormal where v is that small. For float32 the accumulator already has the
   storage's format, so nothing is added.
3. *Flush to zero.* Matrix units may drop subnormal intermediate values: ``K`` times the smallest
   normal float32, some 1e-38 a term.

Algorithms that are no plain sum: Winograd and FFT mix neighbouring elements, so an error scales
with the largest magnitude of the tensor and not with the element's own, and their transforms
amplify it. `amplification` is the factor of the transforms; giving one switches the bound to the
norm-wise form ``amplification * gamma_K * max(magnitude)``. TF32 rounds each operand to 11 bits
first: `operand_roundoff` of 2^-11 adds ``(2 r + r^2) * magnitude``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .tensors import to_numpy

FLOAT32_ROUNDOFF = 2.0**-24
TF32_ROUNDOFF = 2.0**-11

# dtype name: (unit roundoff, half of the smallest subnormal). Zeros: storage is the accumulator.
_STORAGE = {
    "float32": (0.0, 0.0),
    "float16": (2.0**-11, 2.0**-25),
    "bfloat16": (2.0**-8, 2.0**-134),
}
_SMALLEST_NORMAL = 2.0**-126


def gamma(length: float, roundoff: float = FLOAT32_ROUNDOFF) -> float:
    """Higham's gamma_K: the relative growth of K roundings."""
    assert length * roundoff < 1, "a sum this long has no digit left"
    return length * roundoff / (1 - length * roundoff)


def error_bound(
    dtype: Any,
    abs_result: ArrayLike,
    magnitude: ArrayLike,
    length: int,
    *,
    amplification: float | None = None,
    operand_roundoff: float = 0.0,
    stored_between: int = 0,
) -> NDArray[np.float64]:
    """Largest permitted error of each element.

    Parameters
    ----------
    dtype
        Storage dtype of the result.
    abs_result
        Absolute value of the exact result.
    magnitude
        The same operator on absolute values.
    length
        Terms in the longest sum.
    amplification
        None for plain sums; the transforms' factor for algorithms that mix elements.
    operand_roundoff
        Roundoff of operands that are rounded before they are multiplied, as TF32 does.
    stored_between
        How often an intermediate value is rounded to the storage dtype on its way, as separate
        steps do where one fused kernel would not.
    """
    magnitude = np.asarray(magnitude, dtype=np.float64)
    roundoff, half_subnormal = _STORAGE[np.dtype(dtype).name]
    spread = magnitude
    growth = gamma(length)
    if amplification is not None:
        spread = np.full_like(magnitude, magnitude.max(initial=0.0))
        growth *= amplification
    operands = (2 * operand_roundoff + operand_roundoff**2) * magnitude
    accumulated = growth * spread + operands + length * _SMALLEST_NORMAL
    # An intermediate value is at most the sum of the magnitudes.
    between = np.maximum(roundoff * (magnitude + accumulated), half_subnormal) * stored_between
    accumulated = accumulated + between * (1 + roundoff) ** stored_between
    stored = np.asarray(abs_result, dtype=np.float64) + accumulated
    return accumulated + np.maximum(roundoff * stored, half_subnormal)


def tolerance(dtype: Any, accumulation_length: int, scale: float = 1.0) -> float:
    """One absolute tolerance for results whose terms sum to at most `scale` in absolute value."""
    return float(error_bound(dtype, scale, scale, accumulation_length))


def assert_close(actual: Any, expected: ArrayLike, bound: ArrayLike) -> None:
    """Every element within its bound; NaN and infinities must be the same in both.

    `actual` may be any array that `to_numpy` understands.
    """
    got = to_numpy(actual)
    expected = np.asarray(expected, dtype=np.float64)
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    values = got.astype(np.float64)
    limit = np.broadcast_to(np.asarray(bound, dtype=np.float64), expected.shape)
    finite = np.isfinite(expected)
    same = (values == expected) | (np.isnan(values) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        error = np.abs(values - expected)
        bad = np.where(finite, ~(error <= limit), ~same)
    if not bad.any():
        return
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.where(bad, np.where(np.isnan(error), np.inf, error / limit), -1.0)
    worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
    raise AssertionError(
        f"{int(bad.sum())} of {bad.size} elements outside their bound ({got.dtype}); worst at "
        f"{tuple(map(int, worst))}: got {values[worst]!r}, expected {expected[worst]!r}, "
        f"error {error[worst]:.3g}, bound {limit[worst]:.3g}, ratio {excess[worst]:.3g}"
    )


def assert_same_bits(first: Any, second: Any) -> None:
    """Bitwise equality, so that -0.0 and NaN payloads count too."""
    a, b = to_numpy(first), to_numpy(second)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    same = a.tobytes() == b.tobytes()
    assert same, f"{np.count_nonzero(a != b)} of {a.size} elements differ"
