"""Make the regions of a provider from the records of `python -m tests.fuzz --admit-all --records`,
or add to those that are there what is known here of defects.

A row is an implementation in one direction, element type and form of the activations. It admits the
classes of each feature that were covered and strikes out areas where results were wrong, the memory
around an operand was touched or the process ended. An area is one feature's classes, or those of
two features together. It is chosen greedily: what explains most faults at the least cost in
ordinary problems, so that an area around a fault is rather too large than too small.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .draw import DIRECTIONS, Problem
from .records import read

_ROOT = Path(__file__).parents[2]
_FEATURES = [
    (name, int(count))
    for name, count in re.findall(
        r"FEATURE\((\w+), (\d+)\)", (_ROOT / "providers/common/features.hpp").read_text()
    )
]
_NAMES = [name for name, _ in _FEATURES]
_FORMS = ("packed", "channels_last", "blocked")
_DTYPES = {"float16": 0, "float32": 1, "bfloat16": 5}  # miopenDataType_t
_LEAST_RUNS = 20  # of an implementation, to be admitted at all
_LEAST_OF_CLASS = 3  # runs in which a class was right
# An implementation with more faults, or with faults that no few areas explain, is not admitted.
_MOST_FAULTS = 0.03  # of the runs
_LEAST_EXPLAINED = 0.01  # of the faults, by one area
_MOST_AREAS = 6

Area = tuple[tuple[int, int], ...]  # (feature, mask of classes), one or two


@dataclass
class Runs:
    """What one row's solutions did: the classes of each run, its cost if it is lost, its fault."""

    classes: list[list[int]] = field(default_factory=list)
    ordinary: list[bool] = field(default_factory=list)
    faulty: list[bool] = field(default_factory=list)
    problem: list[int] = field(default_factory=list)
    near: list[bool] = field(default_factory=list)  # drawn where faults were known


def is_ordinary(problem: Problem) -> bool:
    """Of the kind that networks have: to lose it would cost speed that somebody misses."""
    reach = [d * (k - 1) + 1 for d, k in zip(problem.dilation, problem.w[2:], strict=True)]
    return (
        all(s <= 2 for s in problem.stride)
        and all(s == 1 or d == 1 for s, d in zip(problem.stride, problem.dilation, strict=True))
        and all(2 * p <= r for p, r in zip(problem.padding, reach, strict=True))
        and all(k <= 7 for k in problem.w[2:])
    )


def gather(files: Iterable[Path], near: Iterable[Path]) -> dict[tuple[str, str, str, str], Runs]:
    """Runs by implementation, direction of an ordinary convolution, element type and form."""
    rows: dict[tuple[str, str, str, str], Runs] = defaultdict(Runs)
    number = 0
    near = set(near)
    for file in [*files, *near]:
        for problem, outcomes in read(file):
            number += 1
            direction = problem.direction
            if problem.transposed and direction != "BackwardWeights":
                direction = "BackwardData" if direction == "Forward" else "Forward"
            ordinary = is_ordinary(problem)
            for outcome in outcomes:
                if not outcome.basis or outcome.basis.startswith("own "):
                    continue
                implementation, form, *classes = outcome.basis.split()
                runs = rows[implementation, direction, problem.dtype, form]
                runs.classes.append([int(c) for c in classes])
                runs.ordinary.append(ordinary)
                runs.faulty.append(bool(outcome.fault))
                runs.problem.append(number)
                runs.near.append(file in near)
    return rows


def _mask(*classes: int) -> int:
    return sum(1 << c for c in classes)


# What is left without these is what networks have most: strides to 2, no dilation, padding to half
# of the kernel's reach, 7 taps.
_UNUSUAL: list[Area] = [
    *(((_NAMES.index(f"{axis}_{name}"), mask),) for axis in ("width", "rest") for name, mask in (
        ("stride", _mask(2, 3)), ("dilation", _mask(1, 2)), ("padding", _mask(2, 3)),
        ("taps", _mask(3, 4)))),
    ((_NAMES.index("only_padding"), _mask(1)),),
]  # fmt: skip


def _area(**masks: int) -> Area:
    return tuple((_NAMES.index(name), mask) for name, mask in masks.items())


_NOT_8 = _mask(0, 1, 2, 6, 7)
_STRIDED = _mask(1, 2, 3)
_NO_BLOCK = _mask(0, 1, 2, 3, 5, 6, 7)
# Defects whose cause, or whole extent, is known: of oneDNN 3.2, and of cuDNN.
_KNOWN: dict[tuple[str, str], list[Area]] = {
    # Channels are read in pairs, and more of them than there are.
    **{("jit_bf16_1x1", direction): [_area(in_channels=_NOT_8), _area(out_channels=_NOT_8)]
       for direction in DIRECTIONS},
    # The copy of every other pixel is larger than its scratch memory (oneDNN issue 6035).
    ("jit_1x1", "BackwardWeights"): [
        _area(width_stride=_STRIDED, in_channels=_NO_BLOCK),
        _area(rest_stride=_STRIDED, in_channels=_NO_BLOCK)],
    # Sums in parts of 15 rows of results, of which some are lost where a kernel is tall: of 8 taps
    # or more where it is strided.
    ("jit_dw", "BackwardWeights"): [
        _area(rest_taps=_mask(4)), _area(width_taps=_mask(4)),
        _area(rest_taps=_mask(3), rest_stride=_STRIDED)],
    # All of it, where taps are even in number and channels 48, 80, 112, ...
    ("brgconv:avx512_core_amx", "Forward"): [_area(width_stride=_STRIDED, width_padding=_mask(0))],
    # Garbage where a tap or an output meets nothing but padding, or the depth is padded, and in
    # ever new corners with strides, dilations, wide padding or many taps.
    **{(name, "BackwardWeights"): [
        _area(only_padding=_mask(1)), _area(depth_padding=mask), *_UNUSUAL]
       for name, mask in (("jit", _mask(2)), ("jit:avx512_core_amx", _mask(1, 2)),
                          ("jit_bf16", _mask(1, 2)),
                          ("brgconv_bwd_w:avx512_core_amx", _mask(1, 2)))},
}  # fmt: skip
# The same copy, which ends the process where rows are long.
_KNOWN["jit_bf16_1x1", "BackwardWeights"] += [
    _area(width_stride=_STRIDED), _area(rest_stride=_STRIDED),
]  # fmt: skip
# Ends the process where a row has one pixel and gives one.
_KNOWN["jit_bf16", "BackwardWeights"] += [_area(width_stride=_STRIDED, width_out=_mask(0))]
# cuDNN 9.19: reads outside of its operands, which ends the context where nothing is mapped there.
for _dtype in ("float32", "float16", "bfloat16"):
    _KNOWN[f"eng71 {_dtype}", "Forward"] = [_area(in_channels=_NOT_8)]
    # Those that are compiled at run time, at gradients of the input: wrong numbers where padding is
    # as wide as the kernel's reach, and the context ends where an axis is strided and dilated.
    for _engine in (f"eng{number}{split}" for number in range(70, 80) for split in ("", "_split")):
        _KNOWN[f"{_engine} {_dtype}", "BackwardData"] = [
            _area(width_padding=_mask(3)), _area(rest_padding=_mask(3)),
            _area(width_stride=_STRIDED, width_dilation=_mask(1, 2)),
            _area(rest_stride=_STRIDED, rest_dilation=_mask(1, 2)),
        ]  # fmt: skip


# By matrix units, wrong in many corners, of which the fuzz goes on finding new ones: volumes, and
# results that nothing is added to.
_BY_MATRIX_UNITS: list[Area] = [
    *_UNUSUAL, _area(rank=_mask(2)), _area(width_end=_mask(0)), _area(rest_end=_mask(0)),
]  # fmt: skip
# Damages the heap, e.g. at x (2, 64, 6, 6), w (32, 64, 1, 1), channels-last: no area explains it.
_REFUSED = {
    "jit_1x1:avx512_core_amx",
    # By emulated instructions: wrong at gradients of the input, where those of the processor's own
    # are right, e.g. at x (1, 72, 1, 5), w (80, 72, 1, 1).
    "jit_bf16_1x1:avx512_core",
    # Round parts of sums to bfloat16, which small integers do not show.
    "eng58_split bfloat16",
    "eng62_split bfloat16",
}


def _sides() -> list[tuple[int, int]]:
    """Every feature with the masks that make sense of its classes: one, up from it, down to it."""
    sides = []
    for feature, (_, count) in enumerate(_FEATURES):
        masks = set()
        for c in range(count):
            masks |= {1 << c, (1 << count) - (1 << c), (2 << c) - 1}
        if _NAMES[feature].endswith("channels"):
            masks |= {_mask(0, 1, 6), _mask(0, 1, 2, 3, 5, 6, 7), _mask(5, 6, 7)}  # odd; tails
        sides += [(feature, mask) for mask in sorted(masks) if mask != (1 << count) - 1]
    return sides


def wrong_areas(runs: list[Runs], first: list[Area]) -> list[Area] | None:
    """Areas that hold every fault of these rows, which share their code; None: there are no few.

    `first` are struck out in any case.
    """
    classes = np.array([c for r in runs for c in r.classes])
    faulty = np.array([f for r in runs for f in r.faulty])
    # What nobody has in a network costs next to nothing.
    cost = np.where([o for r in runs for o in r.ordinary], 1.0, 0.01)
    if not faulty.any():
        return list(first)
    # Problems count, not solutions: one problem may have a hundred that are alike.
    problem = np.array([n for r in runs for n in r.problem])
    _, group, members = np.unique(problem, return_inverse=True, return_counts=True)
    weight = 1 / members[group]
    sides = _sides()
    inside = np.array([mask >> classes[:, feature] & 1 for feature, mask in sides], dtype=bool)
    total = len(faulty)
    areas: list[Area] = list(first)
    left = faulty.copy()
    for area in first:
        left &= ~np.all([mask >> classes[:, f] & 1 == 1 for f, mask in area], axis=0)
    clean = np.where(faulty, 0.0, cost * weight)
    faults = (weight * faulty).sum()
    while left.any():
        # Gain and cost of every pair of sides at once; the diagonal is a side alone.
        gain = (inside * (left * weight)).astype(np.float32) @ inside.T.astype(np.float32)
        loss = (inside * clean).astype(np.float32) @ inside.T.astype(np.float32)
        score = gain / (loss + 0.01 * clean.sum() + 1)
        # A side alone says more than it need: it is right about more that was not seen.
        score[np.diag_indices_from(score)] *= 2
        for (i, a), (j, b) in itertools.combinations(enumerate(sides), 2):
            if a[0] == b[0]:
                score[i, j] = score[j, i] = -1
        i, j = np.unravel_index(int(np.argmax(score)), score.shape)
        area = (sides[i],) if i == j else (sides[i], sides[j])
        within = inside[i] & inside[j]
        explained = (weight * (faulty & within)).sum()
        if explained < _LEAST_EXPLAINED * faults or len(areas) == _MOST_AREAS + len(first):
            return None
        areas.append(area)
        left &= ~within
        clean = np.where(within, 0.0, clean)
        print(
            f"    {describe(area)}: {int((faulty & within).sum())} of {int(faulty.sum())} faults, "
            f"{int((within & ~faulty).sum())} of {total} runs", file=sys.stderr,
        )  # fmt: skip
    return areas


def describe(area: Area) -> str:
    """An area in words."""
    return " and ".join(
        f"{_NAMES[feature]} {{{','.join(str(c) for c in range(8) if mask >> c & 1)}}}"
        for feature, mask in area
    )


def set_of(implementation: str) -> str:
    """The instruction set that a name ends in."""
    return re.split("[:@]", implementation)[-1]


def family_of(implementation: str, dtype: str) -> str:
    """The name without it: the same source makes the code for each, but for matrix units. cuDNN's
    engines differ in the element type as well."""
    family = re.sub(r"[:@](avx|sse)(?!\w*amx)\w*", "", implementation)
    return f"{family} {dtype}" if family.startswith("eng") else family


@dataclass
class Row:
    """One row of the data file. Those of a family and direction strike out the same areas."""

    key: tuple[str, str, str, str]  # implementation, direction, element type, form
    masks: list[int]  # of each feature; all 0: refused
    areas: list[Area]
    comment: str


def _is_refused(implementation: str, dtype: str) -> bool:
    return implementation in _REFUSED or family_of(implementation, dtype) in _REFUSED


def _known(family: str, direction: str) -> list[Area]:
    return _KNOWN.get((family, direction), []) + (_BY_MATRIX_UNITS if "amx" in family else [])


def _refusal(key: tuple[str, str, str, str]) -> Row:
    """Admits nothing, also where the fuzz has not run and the rest is admitted."""
    return Row(key, [0] * len(_FEATURES), [], "refused")


def to_text(rows: list[Row], sets: str) -> str:
    """The data file."""
    lines: list[str] = []
    struck: list[str] = []
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        implementation, direction, dtype, form = row.key
        family = family_of(implementation, dtype)
        if row.areas and (family, direction) not in first:
            first[family, direction] = len(struck)
            for area in row.areas:
                (a, a_mask), (b, b_mask) = area[0], area[-1]
                struck.append(
                    f"    {{{a}, {a_mask}, {b}, {b_mask}}},  // {family}: {describe(area)}"
                )
        lines.append(
            f'    {{"{implementation}", {DIRECTIONS.index(direction)}, {_DTYPES[dtype]}, '
            f"{_FORMS.index(form)}, {{{', '.join(map(str, row.masks))}}}, "
            f"{first[family, direction] if row.areas else 0}, {len(row.areas)}}},  "
            f"// {row.comment}"
        )
    print(f"{len(lines)} rows, {len(struck)} areas", file=sys.stderr)
    return "\n".join([
        "// Made by `python -m tests.fuzz.regions`; see regions.hpp. A row: name, direction,",
        f"// element type, form, masks of {', '.join(_NAMES)}; its areas.",
        "constexpr Region kRows[] = {", *lines, "};",
        "constexpr Struck kStruck[] = {", *(struck or ["    {}"]), "};",
        f'constexpr provider::Regions kRegions = {{kRows, {len(lines)}, kStruck, " {sets} "}};', "",
    ])  # fmt: skip


def make(rows: dict[tuple[str, str, str, str], Runs]) -> list[Row]:
    """The rows that records make."""
    families: dict[tuple[str, str], list[tuple[str, str, str, str]]] = defaultdict(list)
    for key in rows:
        families[family_of(key[0], key[2]), key[1]].append(key)
    made: list[Row] = []
    total: Counter[str] = Counter()
    for (family, direction), keys in sorted(families.items()):
        if any(any(rows[key].faulty) for key in keys):
            print(f"{family} {direction}:", file=sys.stderr)
        total["runs"] += sum(len(rows[k].faulty) for k in keys)
        made += [_refusal(key) for key in sorted(keys) if _is_refused(key[0], key[2])]
        keys = [key for key in keys if not _is_refused(key[0], key[2])]
        if not keys:
            print("    refused", file=sys.stderr)
            continue
        drawn = [
            f for k in keys for f, n in zip(rows[k].faulty, rows[k].near, strict=True) if not n
        ]
        share = sum(drawn) / max(1, len(drawn))
        if share > _MOST_FAULTS:
            print(f"    {share:.0%} of the runs: not admitted", file=sys.stderr)
            made += [_refusal(key) for key in sorted(keys)]
            continue
        known = _known(family, direction)
        areas = wrong_areas([rows[key] for key in keys], known)
        if areas is None:
            print("    too many kinds; without what is unusual:", file=sys.stderr)
            areas = wrong_areas([rows[key] for key in keys], known + _UNUSUAL)
        if areas is None:
            print("    not admitted", file=sys.stderr)
            made += [_refusal(key) for key in sorted(keys)]
            continue
        for key in sorted(keys):
            runs = rows[key]
            right = np.array(runs.classes)[~np.array(runs.faulty)]
            if len(right) < _LEAST_RUNS:
                total["runs not admitted"] += len(runs.faulty)
                continue
            masks = []
            for feature, (_, count) in enumerate(_FEATURES):
                seen = np.bincount(right[:, feature], minlength=count)
                masks.append(sum(1 << c for c in range(count) if seen[c] >= _LEAST_OF_CLASS))
            made.append(Row(key, masks, areas, f"{len(right)} runs"))
    print(dict(total), file=sys.stderr)
    return made


def read_data(text: str) -> tuple[list[Row], str]:
    """The rows of a data file, and its instruction sets."""

    def numbers(line: str) -> list[int]:
        return [int(n) for n in line.split(",")]

    struck = [numbers(m) for m in re.findall(r"^    \{([\d, ]+)\},", text, re.MULTILINE)]
    rows = []
    dtypes = {number: name for name, number in _DTYPES.items()}
    pattern = r'^    \{"([^"]+)", ([\d, ]+), \{([\d, ]+)\}, (\d+), (\d+)\},  // (.*)$'
    for match in re.finditer(pattern, text, re.MULTILINE):
        direction, dtype, form = numbers(match[2])
        first, count = int(match[4]), int(match[5])
        areas: list[Area] = [
            ((a, a_mask),) if (a, a_mask) == (b, b_mask) else ((a, a_mask), (b, b_mask))
            for a, a_mask, b, b_mask in struck[first : first + count]
        ]
        key = match[1], DIRECTIONS[direction], dtypes[dtype], _FORMS[form]
        rows.append(Row(key, numbers(match[3]), areas, match[6]))
    sets = re.search(r'kStruck, " (.*) "', text)
    assert rows
    assert sets
    return rows, sets[1]


def amended(row: Row) -> Row:
    """A row with what is known here of defects: records of later runs need not be there."""
    implementation, direction, dtype, _ = row.key
    if _is_refused(implementation, dtype):
        return _refusal(row.key)
    if not any(row.masks):
        return row
    known = _known(family_of(implementation, dtype), direction)
    new = [area for area in known if area not in row.areas]
    return Row(row.key, row.masks, row.areas + new, row.comment)


def main() -> None:
    """Read the records, or the data, and write the data."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.regions", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", help="instruction sets or architectures covered")
    parser.add_argument("--near", type=Path, nargs="*", default=[], help="folders, with --near")
    parser.add_argument("records", type=Path, nargs="*", help="folders; none: --out is amended")
    arguments = parser.parse_args()
    if not arguments.records:
        rows, sets = read_data(arguments.out.read_text())
        arguments.out.write_text(to_text([amended(row) for row in rows], sets))
        return
    if not arguments.sets:
        parser.error("records need --sets")
    files = ([f for folder in folders for f in sorted(folder.glob("*.jsonl"))]
             for folders in (arguments.records, arguments.near))  # fmt: skip
    arguments.out.write_text(to_text(make(gather(*files)), " ".join(arguments.sets.split(","))))


if __name__ == "__main__":
    main()
