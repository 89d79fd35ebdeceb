"""A convolution problem as a value: what to compute, without the data.

`Problem` is what `find_solutions` takes, and what MIOpenDriver command lines are turned into and
made from.
"""

from __future__ import annotations

import operator
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, SupportsIndex, cast

__all__ = ["Direction", "Layout", "Problem"]

Direction = Literal["forward", "backward_input", "backward_weight"]
Layout = Literal["packed", "channels_last"]

DIRECTIONS: Final[tuple[Direction, ...]] = ("forward", "backward_input", "backward_weight")
LAYOUTS: Final[tuple[Layout, ...]] = ("packed", "channels_last")
# By dtype, the driver's verb.
VERBS: Final = {"float32": "conv", "float16": "convfp16", "bfloat16": "convbfp16"}

_DTYPES: Final = {verb: dtype for dtype, verb in VERBS.items()}
# By direction, the driver's bit of -F; 0 there means all three.
_FORW: Final[dict[Direction, int]] = {"forward": 1, "backward_input": 2, "backward_weight": 4}

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
# What describes the run and not the problem is accepted and left out:
_RUN_OPTIONS: Final = (
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
    **dict(_RUN_OPTIONS),
    **{letter: name for letter, name, _ in _REFUSED_OPTIONS},
}
_ONLY_VALUE: Final = {name: value for _, name, value in _REFUSED_OPTIONS}
# Names that older releases of the driver had.
_ALIASES: Final = {"conv_stride_0": "conv_stride_h", "conv_stride_1": "conv_stride_w"}
_WORDS: Final = {*_LETTERS.values(), *_ALIASES}
# The driver's suffixes of the spatial dimensions, by rank. It knows no 1-D.
_AXES: Final = {2: ("h", "w"), 3: ("d", "h", "w")}


@dataclass(frozen=True, slots=True, init=False)
class Problem:
    """One convolution: its direction, sizes, type, layout and device.

    The shapes are always those of the forward operator, in PyTorch's order and with the batch;
    `direction` tells which of its three tensors is computed.

    Parameters
    ----------
    direction : {"forward", "backward_input", "backward_weight"}
        What is computed: the output, or the gradient of the input or of the weight.
    input_shape : sequence of int
        `[N, Cin, …]` with one, two or three spatial sizes. Only the batch may be 0.
    weight_shape : sequence of int
        `[Cout, Cin / groups, k…]`; transposed: `[Cin, Cout / groups, k…]`.
    dtype : {"float32", "float16", "bfloat16"}, optional
        Element type of all tensors.
    stride, padding, dilation : int or sequence of int, optional
        In elements; one number for all spatial dimensions or one for each.
    groups : int, optional
        Number of groups; divides both channel counts.
    layout : {"packed", "channels_last"}, optional
        Memory order of all tensors: `N, C, spatial…` or `N, spatial…, C`.
    device : str, optional
        "cpu", or a provider's name and a device index: "rocm:0", "cuda:1".
    transposed : bool, optional
        A transposed convolution.
    output_padding : int or sequence of int, optional
        Added to the output's size on one side; only for transposed convolutions, and smaller than
        the stride or the dilation.

    Raises
    ------
    TypeError
        A size that is not an integer, or a name that is not a string.
    ValueError
        Anything that does not make a convolution; the message names the argument, what it was and
        what was expected.

    Examples
    --------
    >>> problem = Problem("forward", (8, 64, 56, 56), (64, 64, 3, 3), padding=1)
    >>> problem.output_shape
    (8, 64, 56, 56)
    >>> Problem.from_driver_line(problem.driver_line()) == problem
    True
    """

    direction: Direction
    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    dtype: str
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    layout: Layout
    device: str
    transposed: bool
    output_padding: tuple[int, ...]

    def __init__(
        self,
        direction: Direction,
        input_shape: Sequence[SupportsIndex],
        weight_shape: Sequence[SupportsIndex],
        dtype: str = "float32",
        stride: SupportsIndex | Sequence[SupportsIndex] = 1,
        padding: SupportsIndex | Sequence[SupportsIndex] = 0,
        dilation: SupportsIndex | Sequence[SupportsIndex] = 1,
        groups: SupportsIndex = 1,
        layout: Layout = "packed",
        device: str = "cpu",
        transposed: bool = False,
        output_padding: SupportsIndex | Sequence[SupportsIndex] = 0,
    ) -> None:
        _one_of("direction", direction, DIRECTIONS)
        _one_of("dtype", dtype, tuple(VERBS))
        _one_of("layout", layout, LAYOUTS)
        inputs = _integers("input_shape", input_shape)
        weights = _integers("weight_shape", weight_shape)
        if len(inputs) not in (3, 4, 5):
            raise ValueError(
                "input_shape: expected a batch, the channels and 1, 2 or 3 spatial sizes, "
                f"but got {inputs}"
            )
        if len(weights) != len(inputs):
            raise ValueError(
                f"weight_shape: expected {len(inputs)} dimensions as in input_shape {inputs}, "
                f"but got {weights}"
            )
        rank = len(inputs) - 2
        values = {
            "direction": direction,
            "input_shape": inputs,
            "weight_shape": weights,
            "dtype": dtype,
            "stride": _expand("stride", stride, rank, least=1),
            "padding": _expand("padding", padding, rank, least=0),
            "dilation": _expand("dilation", dilation, rank, least=1),
            "groups": _integer("groups", groups),
            "layout": layout,
            "device": _device(device),
            "transposed": bool(transposed),
            "output_padding": _expand("output_padding", output_padding, rank, least=0),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        if self.input_shape[0] < 0 or min(self.input_shape[1:]) < 1:
            raise ValueError(
                f"input_shape: every size but the batch must be positive, but got "
                f"{self.input_shape}"
            )
        if min(self.weight_shape) < 1:
            raise ValueError(
                f"weight_shape: every size must be positive, but got {self.weight_shape}"
            )
        if self.groups < 1:
            raise ValueError(f"groups: expected a positive number, but got {self.groups}")
        if self.weight_shape[0] % self.groups:
            raise ValueError(
                f"weight_shape: expected weight to be divisible by {self.groups} groups at "
                f"dimension 0, but got {self.weight_shape}"
            )
        channels = self.weight_shape[0] if self.transposed else self.weight_shape[1] * self.groups
        if self.input_shape[1] != channels:
            raise ValueError(
                f"input_shape: given groups={self.groups} and weight of size {self.weight_shape}, "
                f"expected {channels} channels, but got {self.input_shape[1]} in "
                f"{self.input_shape}"
            )
        for stride, dilation, extra in zip(
            self.stride, self.dilation, self.output_padding, strict=True
        ):
            if extra and not self.transposed:
                raise ValueError(
                    "output_padding: only a transposed convolution has it, but got "
                    f"{self.output_padding}"
                )
            if extra and extra >= max(stride, dilation):
                raise ValueError(
                    "output_padding: must be smaller than either stride or dilation, but got "
                    f"{self.output_padding} for stride {self.stride} and dilation {self.dilation}"
                )
        if not self.transposed:
            padded = tuple(
                size + 2 * pad for size, pad in zip(self.input_shape[2:], self.padding, strict=True)
            )
            if any(k > size for k, size in zip(self._kernel_extent(), padded, strict=True)):
                raise ValueError(
                    f"weight_shape: calculated padded input size per channel: {padded}. Kernel "
                    f"size: {self._kernel_extent()}. Kernel size can't be greater than actual "
                    "input size"
                )
        elif min(self.output_shape[2:]) < 1:
            raise ValueError(
                f"input_shape: given input size per channel: {self.input_shape[2:]}. Calculated "
                f"output size per channel: {self.output_shape[2:]}. Output size is too small"
            )

    def _kernel_extent(self) -> tuple[int, ...]:
        """The kernel's size with the gaps of the dilation."""
        return tuple(
            dilation * (size - 1) + 1
            for size, dilation in zip(self.weight_shape[2:], self.dilation, strict=True)
        )

    @property
    def rank(self) -> int:
        """Number of spatial dimensions: 1, 2 or 3."""
        return len(self.input_shape) - 2

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the forward operator's output, `[N, Cout, …]`."""
        axes = zip(
            self.input_shape[2:],
            self._kernel_extent(),
            self.stride,
            self.padding,
            self.output_padding,
            strict=True,
        )
        if self.transposed:
            channels = self.weight_shape[1] * self.groups
            sizes = [(size - 1) * s - 2 * pad + k + extra for size, k, s, pad, extra in axes]
        else:
            channels = self.weight_shape[0]
            sizes = [(size + 2 * pad - k) // s + 1 for size, k, s, pad, _ in axes]
        return (self.input_shape[0], channels, *sizes)

    @classmethod
    def from_tensors(
        cls,
        direction: Direction,
        input: Any,
        weight: Any,
        stride: SupportsIndex | Sequence[SupportsIndex] = 1,
        padding: SupportsIndex | Sequence[SupportsIndex] = 0,
        dilation: SupportsIndex | Sequence[SupportsIndex] = 1,
        groups: SupportsIndex = 1,
        transposed: bool = False,
        output_padding: SupportsIndex | Sequence[SupportsIndex] = 0,
    ) -> Problem:
        """Describe the convolution of two tensors; neither is read.

        Parameters
        ----------
        direction : {"forward", "backward_input", "backward_weight"}
            What is computed.
        input, weight : array_like
            Anything that the convolution functions take. For a gradient, tensors of the shapes
            that the forward operator had.
        stride, padding, dilation, groups, transposed, output_padding
            As for `Problem`.

        Returns
        -------
        Problem
            Channels-last if either tensor unambiguously is. An input without a batch dimension
            gets a batch of 1.

        Raises
        ------
        TypeError
            Not a tensor, or an element type that convolutions do not have.
        ValueError
            The two differ in element type or device, or do not make a convolution.
        """
        # Imported here: a problem can be described where the compiled core is not needed.
        from mioconv._problems import describe_tensor

        input_shape, dtype, input_layout, device = describe_tensor(input)
        weight_shape, weight_dtype, weight_layout, weight_device = describe_tensor(weight)
        if weight_dtype != dtype:
            raise ValueError(f"weight: expected dtype {dtype} of input, but got {weight_dtype}")
        if weight_device != device:
            raise ValueError(f"weight: expected device {device} of input, but got {weight_device}")
        if len(input_shape) == len(weight_shape) - 1:
            input_shape = (1, *input_shape)
        return cls(
            direction,
            input_shape,
            weight_shape,
            dtype,
            stride,
            padding,
            dilation,
            groups,
            "channels_last" if "channels_last" in (input_layout, weight_layout) else "packed",
            device,
            transposed,
            output_padding,
        )

    @classmethod
    def from_driver_line(cls, line: str, device: str = "cpu") -> Problem:
        """Read a MIOpenDriver command line that names one direction.

        Parameters
        ----------
        line : str
            As typed in a shell, or as MIOpen logs it. See `all_from_driver_line`.
        device : str, optional
            Device of the problem; the line has none.

        Returns
        -------
        Problem

        Raises
        ------
        ValueError
            As for `all_from_driver_line`, or the line runs more than one direction.
        """
        problems = cls.all_from_driver_line(line, device)
        if len(problems) > 1:
            raise ValueError(
                f"driver line: -F names {len(problems)} directions "
                f"({', '.join(p.direction for p in problems)}); give -F 1, 2 or 4, or use "
                "Problem.all_from_driver_line"
            )
        return problems[0]

    @classmethod
    def all_from_driver_line(cls, line: str, device: str = "cpu") -> tuple[Problem, ...]:
        """Read a MIOpenDriver command line: one problem for each direction that it runs.

        Parameters
        ----------
        line : str
            `MIOpenDriver conv -n 8 -c 64 …`, with or without the program's name, a path before it,
            variables before that, or the prefix that MIOpen's log puts there. Options are read in
            their short and long forms; what is not given has MIOpenDriver's default, which for
            `-F` is all three directions.
        device : str, optional
            Device of the problems; the line has none.

        Returns
        -------
        tuple of Problem
            In the order forward, backward_input, backward_weight.

        Raises
        ------
        ValueError
            Not such a line, an option that is unknown or lacks its value, or one that asks for
            what mioconv does not compute.

        Notes
        -----
        Options of the run (`-i`, `-V`, `-t`, `-S`, `-b` and their like) are left out. In a
        transposed problem (`-m trans`), `-k` counts the output channels of all groups, as
        MIOpenDriver reads it. MIOpen itself *logs* another number there when there are groups (and
        in older releases always), and logs no output padding: such a line describes another
        problem than the one that ran, to MIOpenDriver too.
        """
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
        return tuple(
            cls(
                direction,
                (_number(given, "batchsize"), channels[0], *sizes),
                (first, second // groups, *kernel),
                _DTYPES[verb],
                stride,
                padding if not transposed else per_axis("pad"),
                dilation,
                groups,
                layout,
                device,
                transposed,
                extra,
            )
            for direction, bit in _FORW.items()
            if forw == 0 or forw & bit
        )

    def driver_line(self) -> str:
        """Write the problem as a MIOpenDriver command line.

        Returns
        -------
        str
            `MIOpenDriver conv -n …`. The device is not in it. MIOpenDriver knows no 1-D: such a
            problem is written as the 2-D one of height 1 that it runs as.
        """
        lift = 1 if self.rank == 1 else 0
        rank = self.rank + lift
        sizes = {
            "in": (1,) * lift + self.input_shape[2:],
            "fil": (1,) * lift + self.weight_shape[2:],
            "pad": (0,) * lift + self.padding,
            "conv_stride": (1,) * lift + self.stride,
            "dilation": (1,) * lift + self.dilation,
        }
        if any(self.output_padding):
            sizes["trans_output_pad"] = (0,) * lift + self.output_padding
        words: list[object] = ["MIOpenDriver", VERBS[self.dtype]]
        words += ["-n", self.input_shape[0], "-c", self.input_shape[1]]
        words += ["-k", self.output_shape[1]]
        for prefix, values in sizes.items():
            for axis, value in zip(_AXES[rank], values, strict=True):
                words += [_SHORT[f"{prefix}_{axis}"], value]
        if rank == 3:
            words += ["--spatial_dim", 3]
        if self.layout == "channels_last":
            for name in ("in_layout", "fil_layout", "out_layout"):
                words += [f"--{name}", _layout_name(rank, "channels_last")]
        words += ["-m", "trans" if self.transposed else "conv", "-g", self.groups]
        words += ["-F", _FORW[self.direction]]
        return " ".join(map(str, words))


# The letters of the depth options are characters that a shell takes for its own: write them long.
_SHORT: Final = {
    name: f"-{letter}" if letter.isalpha() else f"--{name}" for letter, name, _ in _PROBLEM_OPTIONS
}


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, but got {value!r}")


def _integer(name: str, value: SupportsIndex) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected integers, but got {value!r}") from None


def _integers(name: str, values: Sequence[SupportsIndex]) -> tuple[int, ...]:
    try:
        return tuple(_integer(name, value) for value in values)
    except TypeError:
        raise TypeError(f"{name}: expected a sequence of integers, but got {values!r}") from None


def _expand(
    name: str, value: SupportsIndex | Sequence[SupportsIndex], rank: int, least: int
) -> tuple[int, ...]:
    """One number for each spatial dimension."""
    # An array has __index__ too, which works for some arrays only: trying is the test.
    try:
        numbers = (_integer(name, cast("SupportsIndex", value)),) * rank
    except TypeError:
        numbers = _integers(name, cast("Sequence[SupportsIndex]", value))
        if len(numbers) == 1:
            numbers *= rank
    if len(numbers) != rank:
        words = "too many" if len(numbers) > rank else "not enough"
        raise ValueError(f"{name}: expected 1 or {rank} values, but got {words}: {numbers}")
    if min(numbers) < least:
        words = "greater than 0" if least else "non-negative"
        raise ValueError(f"{name}: must be {words}, but got {numbers}")
    return numbers


def _device(device: str) -> str:
    """The device's name in its one spelling: "cpu", "rocm:0"."""
    if not isinstance(device, str):
        raise TypeError(f"device: expected a string, but got {device!r}")
    provider, colon, index = device.partition(":")
    if provider == "cpu" and index in ("", "0"):
        return "cpu"
    if provider in ("rocm", "cuda") and (not colon or index.isdecimal()):
        return f"{provider}:{int(index or 0)}"
    raise ValueError(f'device: expected "cpu", "rocm:N" or "cuda:N", but got {device!r}')


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


def _layout_name(rank: int, layout: Layout) -> str:
    """The driver's name of a layout: NCHW, NDHWC."""
    axes = "".join(_AXES[rank]).upper()
    return f"N{axes}C" if layout == "channels_last" else f"NC{axes}"


def _layout(options: dict[str, str], rank: int) -> Layout:
    names = [options[name] for name in ("in_layout", "fil_layout", "out_layout")]
    packed = _layout_name(rank, "packed")
    by_name: dict[str, Layout] = {_layout_name(rank, layout): layout for layout in LAYOUTS}
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
