"""What the machine could do at best: its peak on a large matrix product, and its bandwidth."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from . import libraries

MEGABYTE = 1 << 20
# Working sets whose bandwidth is measured: from what the caches hold to what they do not.
LADDER = (1, 8, 32, 256)


@dataclass(frozen=True)
class Machine:
    """Measured limits: FLOP/s, and bytes/s by the megabytes of the working set."""

    peak: float
    bandwidth: dict[int, float]

    def floor_seconds(self, flops: float, bytes_moved: float) -> float:
        """No convolution that reads and writes its tensors once can be faster than this."""
        fitting = [size for size in sorted(self.bandwidth) if bytes_moved <= size * MEGABYTE]
        size = fitting[0] if fitting else max(self.bandwidth)
        return max(flops / self.peak, bytes_moved / self.bandwidth[size])

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, object]) -> Machine:
        bandwidth = data["bandwidth"]
        assert isinstance(bandwidth, dict)
        peak = data["peak"]
        assert isinstance(peak, (int, float))
        return cls(float(peak), {int(size): float(rate) for size, rate in bandwidth.items()})


def measure(dtype: str, threads: int, quick: bool = False) -> Machine:
    """Measure this machine, now, with that many threads."""
    size = 256 if quick else 2048
    products = libraries.matrix_products(size, dtype, threads)
    peak = max(2.0 * size**3 / _best(product, 2 if quick else 7) for product in products)
    ladder = LADDER[:1] if quick else LADDER
    return Machine(peak, {size: _bandwidth(size * MEGABYTE, threads) for size in ladder})


def _best(function: Callable[[], object], repeats: int) -> float:
    function()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def _bandwidth(working_set: int, threads: int) -> float:
    """Bytes read and written per second by a copy, half of the working set to the other half."""
    half = working_set // 2 // threads
    sources = [np.ones(half, np.uint8) for _ in range(threads)]
    targets = [np.empty_like(source) for source in sources]
    repeats = max(1, 64 * MEGABYTE // working_set)

    def copy(i: int) -> None:
        for _ in range(repeats):
            np.copyto(targets[i], sources[i])  # without the GIL

    with ThreadPoolExecutor(threads) as pool:
        seconds = _best(lambda: list(pool.map(copy, range(threads))), 5)
    return 2 * half * threads * repeats / seconds
