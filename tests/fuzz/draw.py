"""Problems drawn at random: all ranks, directions, element types, layouts and alignments.

Every class of a feature (providers/common/features.hpp) has to come often enough together with
every class of another one, so values are drawn by class first and not uniformly.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass, replace

from helpers import reference

DTYPES = ("float32", "float16", "bfloat16")
DIRECTIONS = ("Forward", "BackwardData", "BackwardWeights")  # as MIOpen's functions are called


@dataclass(frozen=True)
class Problem:
    """One direction of a convolution, and how its operands lie and what they hold."""

    direction: str
    dtype: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool
    last: tuple[bool, bool, bool]  # x, w, y: channels-last
    offset: tuple[int, int, int]  # of each address, in elements, from a multiple of 64 bytes
    at_end: tuple[bool, bool, bool]  # the guard lies behind the operand, not before it
    threads: int
    tf32: bool
    values: str  # "signs", "positive": small integers; "normal"
    seed: int

    @property
    def y(self) -> tuple[int, ...]:
        if self.transposed:
            sizes = reference.transposed_output_size(
                self.x[2:], self.w[2:], self.stride, self.padding, 0, self.dilation
            )
            return (self.x[0], self.w[1] * self.groups, *sizes)
        sizes = reference.output_size(
            self.x[2:], self.w[2:], self.stride, self.padding, self.dilation
        )
        return (self.x[0], self.w[0], *sizes)

    @property
    def terms(self) -> int:
        """Of the longest sum that one result is."""
        taps = math.prod(self.w[2:])
        wide = self.w[0] // self.groups
        if self.direction == "BackwardWeights":
            return self.x[0] * math.prod((self.x if self.transposed else self.y)[2:])
        return taps * (wide if self.transposed == (self.direction == "Forward") else self.w[1])

    @property
    def operations(self) -> int:
        """Products of two numbers in the whole problem."""
        small = self.x if self.transposed else self.y
        return small[0] * math.prod(small[2:]) * math.prod(self.w)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Problem:
        fields = json.loads(text)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def _channels(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.14:
        return 1
    if kind < 0.30:
        return rng.choice((2, 3, 3, 4, 5, 6, 7))
    if kind < 0.38:
        return 8
    if kind < 0.48:
        return rng.randint(9, 15)
    if kind < 0.68:
        return 16 * rng.randint(1, 5)
    if kind < 0.78:
        return 8 * rng.choice((3, 5, 7, 9))
    return rng.randint(17, 79)


def _taps(rng: random.Random, rank: int) -> int:
    kind = rng.random()
    if kind < 0.30:
        return 1
    if kind < 0.68:
        return rng.choice((2, 3, 3, 3))
    if kind < 0.88:
        return rng.randint(4, 7)
    if kind < 0.95 or rank == 3:
        return rng.randint(4, 7) if rank == 3 else rng.randint(8, 15)
    return rng.randint(16, 48 if rank == 1 else 31)


def _step(rng: random.Random, plain: float) -> int:
    kind = rng.random()
    if kind < plain:
        return 1
    if kind < plain + 0.6 * (1 - plain):
        return 2
    return rng.randint(3, 4) if kind < plain + 0.85 * (1 - plain) else rng.randint(5, 8)


def _padding(rng: random.Random, reach: int) -> int:
    kind = rng.random()
    if kind < 0.30:
        return 0
    if kind < 0.62:
        return rng.choice(((reach - 1) // 2, rng.randint(0, max(0, (reach - 1) // 2))))
    if kind < 0.84:
        return rng.randint(0, reach - 1)
    return rng.randint(reach, 2 * reach + 2)


def _out(rng: random.Random, axis_is_width: bool) -> int:
    kind = rng.random()
    if kind < 0.10:
        return 1
    if kind < 0.40:
        return rng.randint(2, 7)
    if not axis_is_width:
        return rng.randint(8, 20)
    if kind < 0.60:
        return rng.randint(8, 15)
    if kind < 0.78:
        return rng.randint(16, 31)
    return rng.randint(32, 63) if kind < 0.92 else rng.randint(64, 300)


def _batch(rng: random.Random) -> int:
    kind = rng.random()
    return 1 if kind < 0.4 else rng.randint(2, 7) if kind < 0.85 else rng.randint(8, 20)


def _groups(rng: random.Random) -> tuple[int, int, int]:
    """Groups, and the channels of one, in and out."""
    kind = rng.random()
    if kind < 0.55:
        return 1, _channels(rng), _channels(rng)
    if kind < 0.72:
        return rng.choice((16, 32, 48, 64, 2, 3, 5, 8, 12, 20, 24, 33)), 1, 1
    if kind < 0.80:
        return rng.choice((2, 3, 8, 16, 24)), 1, rng.randint(2, 4)
    return rng.choice((2, 2, 3, 4, 5, 8, 16)), _channels(rng), _channels(rng)


def _attempt(rng: random.Random, provider: str, large: bool) -> Problem | None:
    rank = rng.choice((1, 2, 2, 2, 3))
    groups, wide, narrow = _groups(rng)
    taps = [_taps(rng, rank) for _ in range(rank)]
    if rank == 3 and rng.random() < 0.5:
        taps[rng.randrange(3)] = 1
    stride = [_step(rng, 0.55) for _ in range(rank)]
    dilation = [_step(rng, 0.65) if k > 1 else 1 for k in taps]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, taps, strict=True)]
    padding = [_padding(rng, r) for r in reach]
    if rank == 3 and rng.random() < 0.25:  # as in networks that filter space and time in turns
        first = rng.randrange(2)
        for axis in (first, first + 1):
            taps[axis] = stride[axis] = dilation[axis] = reach[axis] = 1
            padding[axis] = 0
    out = [_out(rng, i == rank - 1) for i in range(rank)]
    if large and rank < 3:
        out = [rng.randint(8, 40) for _ in range(rank - 1)] + [rng.randint(8, 70 ** (3 - rank))]
    sizes = []
    for o, s, r, p in zip(out, stride, reach, padding, strict=True):
        left_over = rng.randint(0, s - 1) if rng.random() < 0.5 else 0
        sizes.append(max(1, (o - 1) * s + r - 2 * p + left_over))
    if rank == 1:  # as mioconv hands it over
        taps, stride, dilation, padding, sizes = (
            [v, *rest] for v, rest in zip((1, 1, 1, 0, 1), (taps, stride, dilation, padding, sizes),
                                          strict=True)
        )  # fmt: skip
    if any(n + 2 * p < d * (k - 1) + 1 for n, p, d, k in zip(sizes, padding, dilation, taps,
                                                             strict=True)):  # fmt: skip
        return None
    transposed = rng.random() < 0.12
    batch = _batch(rng)
    w = (groups * narrow, wide, *taps)
    src = (batch, groups * wide, *sizes)
    ordinary = Problem("Forward", "float32", src, w, tuple(stride), tuple(padding),
                       tuple(dilation), groups, False, (False,) * 3, (0,) * 3, (True,) * 3, 1,
                       False, "signs", 0)  # fmt: skip
    x = src
    if transposed:
        x = ordinary.y
        if min(replace(ordinary, x=x, transposed=True).y) < 1:
            return None
    dtype = rng.choice(DTYPES)
    layout = rng.random()
    if layout < 0.45:
        last = (False,) * 3
    elif layout < 0.82 or provider != "cpu":
        last = (True,) * 3
    else:
        last = tuple(rng.random() < 0.5 for _ in range(3))
    offset = (0, 0, 0) if rng.random() < 0.5 else tuple(rng.choice((0, 1, 2, 4, 5)) for _ in "xwy")
    kind = rng.random()
    values = "signs" if kind < 0.55 else "positive" if kind < 0.8 else "normal"
    problem = Problem(
        rng.choice(DIRECTIONS), dtype, x, w, tuple(stride), tuple(padding), tuple(dilation),
        groups, transposed, last, offset, tuple(rng.random() < 0.7 for _ in "xwy"),
        rng.choice((1, 2, 2, 3, 4)), rng.random() < 0.3, values, rng.randrange(1 << 30),
    )  # fmt: skip
    elements = max(map(math.prod, (problem.x, problem.w, problem.y)))
    # Small ones are many in the same time; only large ones run on more than one thread.
    least, most = (1_600_000, 12_000_000) if large else (0, 4_000_000)
    if not least <= problem.operations <= most or elements > 1_500_000:
        return None
    if values == "positive" and problem.terms * 9 > 60_000:
        return None  # float16 ends at 65504
    return problem


def _is_possible(problem: Problem) -> bool:
    small = zip(
        problem.y[2:] if problem.transposed else problem.x[2:], problem.padding, problem.dilation,
        problem.w[2:], strict=True,
    )  # fmt: skip
    fits = all(n >= 1 and n + 2 * p >= d * (k - 1) + 1 for n, p, d, k in small)
    return (
        fits
        and min(problem.y) >= 1
        and problem.operations <= 12_000_000
        and max(map(math.prod, (problem.x, problem.w, problem.y))) <= 500_000
        and (problem.values != "positive" or problem.terms * 9 <= 60_000)
    )


def near(rng: random.Random, problem: Problem) -> Problem:
    """A problem that differs from another one in a few numbers: to find how far a fault reaches."""
    while True:
        fields = {name: getattr(problem, name) for name in problem.__dataclass_fields__}
        for _ in range(rng.randint(1, 3)):
            axis = rng.randrange(2, len(problem.x))
            kind = rng.choice(
                ("dtype", "stride", "dilation", "padding", "taps", "size", "in", "out", "groups",
                 "batch", "last", "threads")
            )  # fmt: skip
            if kind == "dtype":
                fields["dtype"] = rng.choice(DTYPES)
            elif kind in ("stride", "dilation", "padding"):
                values = list(fields[kind])
                least = 0 if kind == "padding" else 1
                values[axis - 2] = max(least, values[axis - 2] + rng.choice((-3, -2, -1, 1, 2, 5)))
                fields[kind] = tuple(values)
            elif kind == "last":
                fields["last"] = (rng.random() < 0.5,) * 3
            elif kind == "threads":
                fields["threads"] = rng.choice((1, 2, 3))
            else:
                x, w = list(fields["x"]), list(fields["w"])
                step = rng.choice((-16, -5, -2, -1, 1, 2, 5, 16))
                channel = w[1] if kind == "in" else w[0] // fields["groups"]
                channel = max(1, channel + step) if rng.random() < 0.7 else _channels(rng)
                if kind == "taps":
                    w[axis] = max(1, w[axis] + rng.choice((-2, -1, 1, 2)))
                elif kind == "size":
                    x[axis] = max(1, x[axis] + step)
                elif kind == "batch":
                    x[0] = _batch(rng)
                elif kind == "groups":
                    narrow = w[0] // fields["groups"]
                    fields["groups"] = rng.choice((1, 1, 2, 3, 8, 16))
                    w[0] = fields["groups"] * narrow
                elif kind == "in":
                    w[1] = channel
                else:
                    w[0] = fields["groups"] * channel
                x[1] = w[0] if fields["transposed"] else w[1] * fields["groups"]
                fields["x"], fields["w"] = tuple(x), tuple(w)
        fields["seed"] = rng.randrange(1 << 30)
        changed = Problem(**fields)
        if _is_possible(changed):
            return changed


def draw(rng: random.Random, provider: str) -> Problem:
    """One problem for that provider, of at most some ten million products."""
    large = rng.random() < 0.25
    while (problem := _attempt(rng, provider, large)) is None:
        pass
    return problem
