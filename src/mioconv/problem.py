"""A convolution problem as a value: what to compute, without the data.

`Problem` is what `find_solutions` takes, and what MIOpenDriver command lines are turned into and
made from.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, SupportsIndex, cast

from mioconv import driver_line
from mioconv._borrow.tensor import describe_tensor

__all__ = ["Direction", "Layout", "Problem"]

Direction = Literal["forward", "backward_input", "backward_weight"]
Layout = Literal["packed", "channels_last"]

DIRECTIONS: Final[tuple[Direction, ...]] = ("forward", "backward_input", "backward_weight")
LAYOUTS: Final[tuple[Layout, ...]] = ("packed", "channels_last")
# By their elements; the driver's verbs are in driver_line.
DTYPES: Final = ("float32", "float16", "bfloat16")


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
        _one_of("dtype", dtype, DTYPES)
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
        return tuple(cls(device=device, **fields) for fields in driver_line.parse(line).problems)

    def driver_line(self) -> str:
        """Write the problem as a MIOpenDriver command line.

        Returns
        -------
        str
            `MIOpenDriver conv -n …`. The device is not in it. MIOpenDriver knows no 1-D: such a
            problem is written as the 2-D one of height 1 that it runs as.
        """
        return driver_line.write(self)


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
