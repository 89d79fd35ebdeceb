"""MIOpenDriver's command lines: what they say of a problem and of a run, and how one is written.

The options, their defaults and their meaning are MIOpenDriver's own.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from mioconv.problem import Problem

__all__ = ["RUN_OPTIONS", "DriverLine", "parse", "write"]

# By dtype, the driver's verb.
VERBS: Final = {"float32": "conv", "float16": "convfp16", "bfloat16": "convbfp16"}

_DTYPES: Final = {verb: dtype for dtype, verb in VERBS.items()}
# By direction, the driver's bit of -F; 0 there means all three.
_FORW: Final = {"forward": 1, "backward_input": 2, "backward_weight": 4}

# The driver's options: letter, long name, default (MIOpenDriver's own). What describes the problem:
_PROBLEM_OPTIONS: Final = (
    ("_", "spatial_dim", "2"),
    ("F", "forw", "0"),
    ("n", "batchsize", "100"),
    ("c", "in_channels", "3"),
    ("!", "in_d", "32"),
    ("H", "in_h", "32"),
    ("W", "in_w", "32"),
    ("k", "out_channels", "32"),
    ("@", "fil_d", "3"),
    ("y", "fil_h", "3"),
    ("x", "fil_w", "3"),
    ("#", "conv_stride_d", "1"),
    ("u", "conv_stride_h", "1"),
    ("v", "conv_stride_w", "1"),
    ("$", "pad_d", "0"),
    ("p", "pad_h", "0"),
    ("q", "pad_w", "0"),
    ("^", "dilation_d", "1"),
    ("l", "dilation_h", "1"),
    ("j", "dilation_w", "1"),
    ("%", "trans_output_pad_d", "0"),
    ("Y", "trans_output_pad_h", "0"),
    ("X", "trans_output_pad_w", "0"),
    ("g", "group_count", "1"),
    ("m", "mode", "conv"),
    ("z", "pad_mode", "default"),
    ("I", "in_layout", ""),
    ("O", "out_layout", ""),
    ("f", "fil_layout", ""),
)
# What describes the run and not the problem:
RUN_OPTIONS: Final = (
    ("i", "iter"),
    ("V", "verify"),
    ("C", "verification_cache"),
    ("t", "time"),
    ("w", "wall"),
    ("s", "search"),
    ("P", "printconv"),
    ("o", "dump_output"),
    ("d", "in_data"),
    ("e", "weights"),
    ("b", "bias"),
    ("a", "in_bias"),
    ("D", "dout_data"),
    ("S", "solution"),
    ("G", "gpualloc"),
)
# What asks for something that mioconv does not compute is accepted at these values only:
_REFUSED_OPTIONS: Final = (
    ("r", "pad_val", "0"),
    ("Z", "tensor_vect", "0"),
    ("L", "vector_length", "1"),
    ("U", "in_cast_type", "-1"),
    ("T", "out_cast_type", "-1"),
    ("R", "wei_cast_type", "-1"),
)
_LETTERS: Final = {
    **{letter: name for letter, name, _ in _PROBLEM_OPTIONS},
    **dict(RUN_OPTIONS),
    **{letter: name for letter, name, _ in _REFUSED_OPTIONS},
}
_ONLY_VALUE: Final = {name: value for _, name, value in _REFUSED_OPTIONS}
# Names that older releases of the driver had.
_ALIASES: Final = {"conv_stride_0": "conv_stride_h", "conv_stride_1": "conv_stride_w"}
_WORDS: Final = {*_LETTERS.values(), *_ALIASES}
# The driver's suffixes of the spatial dimensions, by rank. It knows no 1-D.
_AXES: Final = {2: ("h", "w"), 3: ("d", "h", "w")}
# The letters of the depth options are characters that a shell takes for its own: write them long.
_SHORT: Final = {
    name: f"-{letter}" if letter.isalpha() else f"--{name}" for letter, name, _ in _PROBLEM_OPTIONS
}


class DriverLine(NamedTuple):
    """What a line says.

    Attributes
    ----------
    problems : list of dict
        Arguments of `Problem` for each direction that it runs.
    run : dict of str to str
        Options of the run that were given, by their long names.
    """

    problems: list[dict[str, Any]]
    run: dict[str, str]


def parse(line: str) -> DriverLine:
    """Read a line; `Problem.all_from_driver_line` says which, and what is wrong with others."""
    verb, options = _tokens(line)
    if verb not in _DTYPES:
        raise ValueError(
            f"driver line: expected one of {', '.join(_DTYPES)}, but got {verb!r}; other "
            "element types and operators are not mioconv's"
        )
    for name, value in _ONLY_VALUE.items():
        if options.get(name, value) != value:
            raise ValueError(
                f"driver line: --{name} {options[name]} is not supported; only {value} is"
            )
    given = {name: options.get(name, default) for _, name, default in _PROBLEM_OPTIONS}

    rank = _number(given, "spatial_dim")
    if rank not in _AXES:
        raise ValueError(f"driver line: expected --spatial_dim 2 or 3, but got {rank}")

    def per_axis(prefix: str) -> tuple[int, ...]:
        return tuple(_number(given, f"{prefix}_{axis}") for axis in _AXES[rank])

    mode = given["mode"]
    if mode not in ("conv", "trans"):
        raise ValueError(f"driver line: expected --mode conv or trans, but got {mode!r}")
    transposed = mode == "trans"
    groups = max(_number(given, "group_count"), 1)
    channels = (_number(given, "in_channels"), _number(given, "out_channels"))
    if any(count % groups for count in channels):
        raise ValueError(
            f"driver line: -g {groups} must divide -c {channels[0]} and -k {channels[1]}"
        )
    first, second = channels if transposed else channels[::-1]
    sizes, kernel, stride = per_axis("in"), per_axis("fil"), per_axis("conv_stride")
    dilation = per_axis("dilation")
    padding = _padding(given["pad_mode"], per_axis("pad"), sizes, kernel, stride, dilation)
    extra = per_axis("trans_output_pad") if transposed else 0
    layout = _layout(given, rank)
    forw = _number(given, "forw")
    if not 0 <= forw <= 7:
        raise ValueError(f"driver line: expected -F from 0 to 7, but got {forw}")
    problems = [
        {
            "direction": direction,
            "input_shape": (_number(given, "batchsize"), channels[0], *sizes),
            "weight_shape": (first, second // groups, *kernel),
            "dtype": _DTYPES[verb],
            "stride": stride,
            "padding": per_axis("pad") if transposed else padding,
            "dilation": dilation,
            "groups": groups,
            "layout": layout,
            "transposed": transposed,
            "output_padding": extra,
        }
        for direction, bit in _FORW.items()
        if forw == 0 or forw & bit
    ]
    run = {name: options[name] for _, name in RUN_OPTIONS if name in options}
    return DriverLine(problems, run)


def write(problem: Problem) -> str:
    """The line of a problem; see `Problem.driver_line`."""
    lift = 1 if problem.rank == 1 else 0
    rank = problem.rank + lift
    sizes = {
        "in": (1,) * lift + problem.input_shape[2:],
        "fil": (1,) * lift + problem.weight_shape[2:],
        "pad": (0,) * lift + problem.padding,
        "conv_stride": (1,) * lift + problem.stride,
        "dilation": (1,) * lift + problem.dilation,
    }
    if any(problem.output_padding):
        sizes["trans_output_pad"] = (0,) * lift + problem.output_padding
    words: list[object] = ["MIOpenDriver", VERBS[problem.dtype]]
    words += ["-n", problem.input_shape[0], "-c", problem.input_shape[1]]
    words += ["-k", problem.output_shape[1]]
    for prefix, values in sizes.items():
        for axis, value in zip(_AXES[rank], values, strict=True):
            words += [_SHORT[f"{prefix}_{axis}"], value]
    if rank == 3:
        words += ["--spatial_dim", 3]
    if problem.layout == "channels_last":
        for name in ("in_layout", "fil_layout", "out_layout"):
            words += [f"--{name}", _layout_name(rank, "channels_last")]
    words += ["-m", "trans" if problem.transposed else "conv", "-g", problem.groups]
    words += ["-F", _FORW[problem.direction]]
    return " ".join(map(str, words))


def _tokens(line: str) -> tuple[str, dict[str, str]]:
    """The verb and the options of a driver line, by their long names."""
    try:
        words = shlex.split(line.strip())
    except ValueError as error:
        raise ValueError(f"driver line: {error}") from None
    # Whatever precedes the program is the log's or the shell's.
    for position, word in enumerate(words):
        if word.rpartition("/")[2] == "MIOpenDriver":
            words = words[position + 1 :]
            break
    if not words:
        raise ValueError("driver line: expected a MIOpenDriver command, but got nothing")
    verb, *rest = words
    options: dict[str, str] = {}
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            known = name[2:] if name[2:] in _WORDS else None
        else:
            known = _LETTERS.get(name[1:]) if name.startswith("-") else None
        if known is None:
            raise ValueError(f"driver line: unknown option {word!r}")
        if not equals:
            if not rest:
                raise ValueError(f"driver line: option {word!r} has no value")
            value = rest.pop(0)
        options[_ALIASES.get(known, known)] = value
    return verb, options


def _number(options: dict[str, str], name: str) -> int:
    try:
        return int(options[name])
    except ValueError:
        raise ValueError(
            f"driver line: expected an integer for --{name}, but got {options[name]!r}"
        ) from None


def _layout_name(rank: int, layout: str) -> str:
    """The driver's name of a layout: NCHW, NDHWC."""
    axes = "".join(_AXES[rank]).upper()
    return f"N{axes}C" if layout == "channels_last" else f"NC{axes}"


def _layout(options: dict[str, str], rank: int) -> str:
    names = [options[name] for name in ("in_layout", "fil_layout", "out_layout")]
    packed = _layout_name(rank, "packed")
    by_name = {_layout_name(rank, layout): layout for layout in ("packed", "channels_last")}
    layouts = set()
    for name in names:
        if (name or packed) not in by_name:
            raise ValueError(
                f"driver line: expected one of the layouts {', '.join(by_name)}, but got {name!r}"
            )
        layouts.add(by_name[name or packed])
    if len(layouts) > 1:
        raise ValueError(
            "driver line: the layouts of input, filter and output differ "
            f"({', '.join(name or packed for name in names)}); a problem has one"
        )
    return layouts.pop()


def _padding(
    mode: str,
    padding: tuple[int, ...],
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """What the driver's padding modes come to."""
    if mode not in ("default", "same", "valid"):
        raise ValueError(
            f"driver line: expected --pad_mode default, same or valid, but got {mode!r}"
        )
    # The driver heeds the mode only where dilation has no effect.
    if mode == "default" or (set(dilation) != {1} and set(kernel) != {1}):
        return padding
    if mode == "valid":
        return (0,) * len(padding)
    # Half of what an output of ceil(size / stride) needs, rounded down: both sides get the same.
    return tuple(
        max(k - (size % s or s), 0) // 2 for size, k, s in zip(sizes, kernel, stride, strict=True)
    )
