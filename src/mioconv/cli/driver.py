"""Run one convolution as MIOpenDriver does, on any provider.

    mioconv driver [--device DEVICE] conv -n 8 -c 64 -H 56 -W 56 -k 64 -y 3 -x 3 -p 1 -q 1 -F 1

The options are MIOpenDriver's, with its defaults; one that is not known here is named in the error.
Of those of the run: -i iterations (10), -V 1 verify against float64 (1), -t 1 print times (0),
-w 1 print wall-clock times (0), -S solution id, -s 1 search first (0).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mioconv import driver_line
from mioconv._call import problems as _problems
from mioconv.cli.reference import error_bound, reference
from mioconv.flags import get_flags
from mioconv.problem import Problem
from mioconv.selection import CallInfo, find_solutions, last_call

__all__ = ["add_arguments", "run"]

# Of a direction: the driver's words for it, in its own lines and in the one with the statistics.
_WORDS: Final = {
    "forward": ("Forward Conv.", "fwd-conv", "Forward Convolution"),
    "backward_input": ("Backward Data Conv.", "bwdd-conv", "Backward Convolution Data"),
    "backward_weight": ("Backward Weights Conv.", "bwdw-conv", "Backward Convolution Weights"),
}
# Options of the run that change nothing here at these values, and are not supported at others.
_ONLY: Final = {
    "verification_cache": "", "printconv": "1", "dump_output": "0", "in_data": "", "weights": "",
    "bias": "0", "in_bias": "", "dout_data": "", "gpualloc": "0",
}  # fmt: skip

Array = npt.NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("--device", default="cpu", help='"cpu", "rocm:0", … (default: %(default)s)')
    parser.add_argument(
        "line", nargs=argparse.REMAINDER, metavar="conv …", help="what MIOpenDriver takes"
    )


def run(args: argparse.Namespace) -> int:
    """Run every direction that the line names; 1 if a result is wrong, 2 for a line that is."""
    line = shlex.join(args.line)
    try:
        parsed = driver_line.parse(line)
        problems = [Problem(device=args.device, **fields) for fields in parsed.problems]
        options = _run_options(parsed.run)
    except ValueError as error:
        print(f"mioconv driver: {error}", file=sys.stderr)
        return 2
    print(f"MIOpenDriver {line}")
    right = [_run_one(problem, options) for problem in problems]
    return 0 if all(right) else 1


def _run_options(given: dict[str, str]) -> dict[str, int]:
    for name, value in given.items():
        if name in _ONLY and value != _ONLY[name]:
            only = f"only {_ONLY[name]!r} is" if _ONLY[name] else "it is not"
            raise ValueError(f"driver line: --{name} {value} is not supported; {only}")
    options = {"iter": 10, "verify": 1, "time": 0, "wall": 0, "search": 0, "solution": 0}
    for name in options:
        if name in given:
            try:
                options[name] = int(given[name])
            except ValueError:
                raise ValueError(
                    f"driver line: expected an integer for --{name}, but got {given[name]!r}"
                ) from None
    if options["iter"] < 1:
        raise ValueError(f"driver line: expected --iter 1 or more, but got {options['iter']}")
    return options


def _run_one(problem: Problem, options: dict[str, int]) -> bool:
    """Run and report one direction; whether its result is right, as far as that was asked."""
    words, short, long = _WORDS[problem.direction]
    operands = _operands(problem)
    buffers = [
        np.empty(_size(problem, shape), np.uint8) if values is None else _store(problem, values)
        for values, shape in operands
    ]
    start = time.perf_counter()
    times, channels_last = _problems.execute(
        problem,
        buffers,
        options["iter"],
        bool(options["search"]) or None,
        None,
        None,
        options["solution"] or None,
        None,
        None,
    )
    wall = (time.perf_counter() - start) / len(times) * 1e3
    # The first run may compile, and counts only where it is alone.
    mean = float(np.mean(times[1:] or times))
    call = last_call()
    assert call is not None
    print(f"MIOpen {words} {_algorithm(call)}")
    if options["time"]:
        print(f"GPU Kernel Time {words} Elapsed: {mean:f} ms (average)")
        print("\n".join(_statistics(problem, short, mean)))
    if options["wall"]:
        print(f"Wall-clock Time {words} Elapsed: {wall:f} ms (average, with copies)")
    if not options["verify"]:
        return True
    place = next(i for i, (values, _) in enumerate(operands) if values is None)
    result = _load(problem, buffers[place], operands[place][1], channels_last)
    given = _in_call_order(problem, operands)
    expected = reference(problem, *given)
    error = _relative_error(result, expected)
    bound = error_bound(
        problem,
        *given,
        expected,
        mixes=_mixes(problem, call),
        tf32=problem.device != "cpu" and bool(get_flags()["allow_tf32"]),
    )
    # NaN is within no bound.
    right = bool((np.abs(result - expected) <= bound).all())
    verdict = "Verifies OK on" if right else "FAILED against"
    print(f"{long} {verdict} CPU reference ({error:.3g})")
    return right


def _algorithm(call: CallInfo) -> str:
    return f"Solution: {call.solution_id}/{call.solution_name}"


def _mixes(problem: Problem, call: CallInfo) -> bool:
    """Whether the solution that ran is no plain sum."""
    found = find_solutions(problem)
    return any(
        solution.id == call.solution_id and solution.algorithm in ("Winograd", "FFT")
        for solution in found
    )


def _statistics(problem: Problem, short: str, ms: float) -> Iterator[str]:
    """The driver's two lines of numbers; sizes of 3-D problems are their last two."""
    n, c, *_ = problem.input_shape
    k, *out = problem.output_shape[1:]
    kernel, stride = problem.weight_shape[2:], problem.stride
    x, w, y = problem.input_shape, problem.weight_shape, problem.output_shape
    size = 4 if problem.dtype == "float32" else 2
    positions = x if problem.transposed else y
    multiplications = positions[0] * np.prod(positions[2:]) * np.prod(w)
    operations = 2 * int(multiplications)
    written = {"forward": y, "backward_input": x, "backward_weight": w}[problem.direction]
    moved = [int(np.prod(shape)) * size for shape in (x, w, y)]
    bytes_written = int(np.prod(written)) * size
    bytes_read = sum(moved) - bytes_written
    seconds = ms / 1e3
    yield (
        "stats: name, n, c, ho, wo, y, x, k, flopCnt, bytesRead, bytesWritten, GFLOPs, GB/s, timeMs"
    )
    yield (
        f"stats: {short}{'x'.join(map(str, kernel))}u{stride[-2]}, {n}, {c}, {out[-2]}, {out[-1]}, "
        f"{kernel[-2]}, {kernel[-1]}, {k}, {operations}, {bytes_read}, {bytes_written}, "
        f"{operations / seconds / 1e9:.0f}, {(bytes_read + bytes_written) / seconds / 1e9:.0f}, "
        f"{ms:f}"
    )


# --- data -----------------------------------------------------------------------------------------


def _operands(problem: Problem) -> list[tuple[Array | None, tuple[int, ...]]]:
    """Values and shape of x, w and y of y = conv(x, w); no values for the result."""
    rng = np.random.default_rng(0)
    input, weight, output = problem.input_shape, problem.weight_shape, problem.output_shape
    x, y = (output, input) if problem.transposed else (input, output)
    result = {"forward": output, "backward_input": input, "backward_weight": weight}
    shapes = [x, weight, y]
    place = {
        "forward": 0 if problem.transposed else 2,
        "backward_input": 2 if problem.transposed else 0,
        "backward_weight": 1,
    }[problem.direction]
    assert shapes[place] == result[problem.direction]
    return [
        (None if i == place else _rounded(problem, rng.uniform(-0.5, 0.5, shape)), shape)
        for i, shape in enumerate(shapes)
    ]


def _in_call_order(
    problem: Problem, operands: list[tuple[Array | None, tuple[int, ...]]]
) -> tuple[Array, Array]:
    """The two operands as the function of this direction takes them."""
    x, w, y = (values for values, _ in operands)
    if problem.transposed:
        x, y = y, x
    first = x if problem.direction == "forward" else y
    second = x if problem.direction == "backward_weight" else w
    assert first is not None
    assert second is not None
    return first, second


def _size(problem: Problem, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * (4 if problem.dtype == "float32" else 2)


def _rounded(problem: Problem, values: Array) -> Array:
    """Values that the element type has."""
    return _from_bits(problem, _bits(problem, values)).reshape(values.shape)


def _bits(problem: Problem, values: Array) -> Array:
    if problem.dtype == "float16":
        return values.astype(np.float16).view(np.uint16)
    single = values.astype(np.float32)
    if problem.dtype == "float32":
        return single
    # bfloat16 is the upper half of a float32; to the nearest, ties to even.
    words: Array = single.view(np.uint32)
    upper: Array = (words + np.uint32(0x7FFF) + ((words >> 16) & 1)) >> 16
    return upper.astype(np.uint16)


def _from_bits(problem: Problem, bits: Array) -> Array:
    if problem.dtype == "float16":
        return bits.view(np.float16).astype(np.float64)
    if problem.dtype == "float32":
        return bits.astype(np.float64)
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _store(problem: Problem, values: Array) -> Array:
    """The bytes of a tensor in the problem's layout."""
    if problem.layout == "channels_last":
        values = np.moveaxis(values, 1, -1)
    return _bits(problem, np.ascontiguousarray(values)).reshape(-1).view(np.uint8)


def _load(problem: Problem, buffer: Array, shape: tuple[int, ...], channels_last: bool) -> Array:
    bits = buffer.view(np.float32 if problem.dtype == "float32" else np.uint16)
    values = _from_bits(problem, bits)
    if not channels_last:
        return values.reshape(shape)
    return np.moveaxis(values.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def _relative_error(result: Array, expected: Array) -> float:
    """Root mean square of the difference over the largest value, as MIOpenDriver prints it."""
    largest = max(np.abs(expected).max(initial=0), np.abs(result).max(initial=0))
    if not np.isfinite(result).all():
        return float("inf")
    return float(np.sqrt(np.mean((result - expected) ** 2)) / largest) if largest else 0.0
