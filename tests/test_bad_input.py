"""Wrong arguments of the forward operators: refused by name, before anything native is called.

The table is design.md 4. Messages are checked for what they must contain (the argument, what it
was, what was expected), not for their wording.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mioconv
from helpers.checks import operands, refuses, shape_words
from helpers.native import no_native_calls
from helpers.operators import FORWARD
from helpers.problems import CASES, Case, valid_cases
from helpers.tensors import BareTensor, import_torch, random_array, to_torch

BASE = Case("base", 2, 6, (8, 9), 4, (3, 3), 1, 1, 1, 2)


KEEP = object()  # this operand as it is


@dataclass
class Bad:
    """What is changed about a good call of conv2d_forward, and what must come of it."""

    name: str
    exception: Any
    words: list[str]
    x: Any = KEEP
    w: Any = KEEP
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


TABLE = [
    # Ranks.
    Bad("input-2d", ValueError, ["input", r"8.*9"], x=zeros(8, 9)),
    Bad("input-5d", ValueError, ["input", "4D|4-D|4 dim"], x=zeros(2, 6, 8, 9, 1)),
    Bad("input-0d", ValueError, ["input"], x=zeros()),
    Bad("weight-3d", ValueError, ["weight", r"4.*3.*3"], w=zeros(4, 3, 3)),
    Bad("weight-5d", ValueError, ["weight"], w=zeros(4, 3, 3, 3, 3)),
    # dtypes.
    Bad("input-float64", TypeError, ["input", "float64", "float32"],
        x=zeros(2, 6, 8, 9, dtype="f8")),
    Bad("both-float64", TypeError, ["float64", "float32"], zeros(2, 6, 8, 9, dtype="f8"),
        zeros(4, 3, 3, 3, dtype="f8")),
    Bad("input-complex", TypeError, ["input", "complex64", "float32"],
        x=zeros(2, 6, 8, 9, dtype="c8")),
    Bad("input-int", TypeError, ["input", "int32"], x=zeros(2, 6, 8, 9, dtype="i4")),
    Bad("input-bool", TypeError, ["input", "bool"], x=zeros(2, 6, 8, 9, dtype="?")),
    Bad("weight-float16", TypeError, ["weight", "float16", "float32"],
        w=zeros(4, 3, 3, 3, dtype="f2")),
    Bad("bias-float16", TypeError, ["bias", "float16", "float32"],
        arguments={"bias": zeros(4, dtype="f2")}),
    Bad("input-big-endian", TypeError, ["input", "byte.?order|endian"],
        x=zeros(2, 6, 8, 9, dtype=">f4")),
    Bad("bias-big-endian", TypeError, ["bias", "byte.?order|endian"],
        arguments={"bias": zeros(4, dtype=">f4")}),
    # No arrays at all.
    Bad("input-list", TypeError, ["input", "list"], x=[[1.0]]),
    Bad("input-none", TypeError, ["input", "None"], x=None),
    Bad("bias-number", TypeError, ["bias", "float"], arguments={"bias": 1.0}),
    Bad("object-array", TypeError, ["input", "object"], x=zeros(2, 6, 8, 9, dtype=object)),
    Bad("masked-array", TypeError, ["input", "mask"], x=np.ma.zeros((2, 6, 8, 9), "f4")),
    # Zero sizes other than the batch.
    Bad("no-channels", ValueError, ["input", "0"], x=zeros(2, 0, 8, 9)),
    Bad("no-height", ValueError, ["input", "0"], x=zeros(2, 6, 0, 9)),
    Bad("no-outputs", ValueError, ["weight", "0"], w=zeros(0, 3, 3, 3)),
    Bad("empty-kernel", ValueError, ["weight", "0"], w=zeros(4, 3, 0, 3)),
    # Groups and channels.
    Bad("groups-zero", ValueError, ["groups", "0"], arguments={"groups": 0}),
    Bad("groups-negative", ValueError, ["groups", "-1"], arguments={"groups": -1}),
    Bad("groups-do-not-divide-outputs", ValueError, ["weight", "divisible by 2", "dimension 0"],
        w=zeros(5, 3, 3, 3)),
    Bad("groups-do-not-divide-inputs", ValueError, ["channels", "6"],
        w=zeros(4, 1, 3, 3), arguments={"groups": 4}),
    Bad("too-few-channels", ValueError, ["input", "to have 6 channels|expected.* 6 ", "5"],
        x=zeros(2, 5, 8, 9)),
    Bad("weight-channels", ValueError, ["input", "4 channels|expected.* 4 ", "6"],
        w=zeros(4, 2, 3, 3)),
    Bad("more-groups-than-outputs", ValueError, ["groups", "6"],
        w=zeros(4, 1, 3, 3), arguments={"groups": 6}),
    # Bias.
    Bad("bias-size", ValueError, ["bias", "1-dimensional", r"\b4 elements", "3"],
        arguments={"bias": zeros(3)}),
    Bad("bias-2d", ValueError, ["bias", "1-dimensional", "4"], arguments={"bias": zeros(4, 1)}),
    Bad("bias-0d", ValueError, ["bias", "1-dimensional"], arguments={"bias": zeros()}),
    # Stride, padding, dilation.
    Bad("stride-zero", ValueError, ["stride", "greater than (0|zero)|positive", "0"],
        arguments={"stride": 0}),
    Bad("stride-one-negative", ValueError, ["stride", "-2"], arguments={"stride": (1, -2)}),
    Bad("dilation-zero", ValueError, ["dilation", "greater than (0|zero)|positive", "0"],
        arguments={"dilation": (0, 1)}),
    Bad("padding-negative", ValueError, ["padding", "negative", "-1"],
        arguments={"padding": (0, -1)}),
    Bad("stride-too-many", ValueError, ["stride", "too many|expected", "2"],
        arguments={"stride": (1, 1, 1)}),
    Bad("padding-too-many", ValueError, ["padding", "too many|expected", "2"],
        arguments={"padding": (1, 1, 1)}),
    Bad("dilation-none", ValueError, ["dilation", "not enough|expected", "2"],
        arguments={"dilation": ()}),
    Bad("stride-float", TypeError, ["stride", "int"], arguments={"stride": 1.5}),
    Bad("stride-text", TypeError, ["stride", "int"], arguments={"stride": "2"}),
    Bad("dilation-floats", TypeError, ["dilation", "int"], arguments={"dilation": (1.0, 1.0)}),
    Bad("groups-float", TypeError, ["groups", "int"], arguments={"groups": 2.0}),
    Bad("stride-huge", (ValueError, OverflowError), ["stride"], arguments={"stride": 2**40}),
    Bad("padding-huge", (ValueError, OverflowError), ["padding"], arguments={"padding": 2**70}),
    # Named padding.
    Bad("padding-unknown", ValueError, ["padding", "same", "valid", "full"],
        arguments={"padding": "full"}),
    Bad("same-strided", ValueError, ["padding", "same", "stride"],
        arguments={"padding": "same", "stride": 2}),
    Bad("same-strided-once", ValueError, ["padding", "same", "stride"],
        arguments={"padding": "same", "stride": (1, 2)}),
    # The kernel's size.
    Bad("kernel-too-large", ValueError, ["padded input size", "kernel size", "greater", r"\b11\b"],
        w=zeros(4, 3, 11, 3)),
    Bad("kernel-too-large-dilated", ValueError, ["kernel size", "greater"],
        arguments={"dilation": (1, 6)}),
    # Selection.
    Bad("solution-text", TypeError, ["solution"], arguments={"solution": "gemm"}),
    Bad("solution-zero", ValueError, ["solution", "0"], arguments={"solution": 0}),
    Bad("solution-negative", (ValueError, OverflowError), ["solution"],
        arguments={"solution": -1}),
    Bad("workspace-negative", ValueError, ["workspace_limit", "-1"],
        arguments={"workspace_limit": -1}),
    Bad("workspace-text", TypeError, ["workspace_limit"], arguments={"workspace_limit": "1G"}),
]  # fmt: skip


@pytest.mark.parametrize("bad", TABLE, ids=str)
def test_table(bad: Bad) -> None:
    x, w = operands(FORWARD, BASE)
    x = x if bad.x is KEEP else bad.x
    w = w if bad.w is KEEP else bad.w
    arguments = {**BASE.settings, **bad.arguments}
    out = np.full(BASE.output_shape, 3, np.float32)
    with refuses(bad.exception, *bad.words):
        mioconv.conv2d_forward(x, w, out=out, **arguments)
    assert (out == 3).all(), "out was written"


def test_the_base_call_is_good() -> None:
    """What the table changes is valid as it stands."""
    assert FORWARD(BASE, *operands(FORWARD, BASE)).shape == BASE.output_shape


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rank_of_the_function(rank: int) -> None:
    """Each function takes its own rank only, and names it."""
    for other in {1, 2, 3} - {rank}:
        x, w = np.zeros((2, 3, *(4,) * other), "f4"), np.zeros((2, 3, *(2,) * other), "f4")
        function = FORWARD.function(rank)
        with refuses(ValueError, f"conv{rank}d|{rank + 2}.?D", r"2, 3, [24]"):
            function(x, w)


def test_unknown_solution() -> None:
    """Asking the library is the only way to know, so this one may call it."""
    x, w = operands(FORWARD, BASE)
    with refuses(ValueError, "solution", "9223372036854775806", native=True):
        FORWARD(BASE, x, w, solution=0x7FFF_FFFF_FFFF_FFFE)


def test_stream_on_the_cpu() -> None:
    """Host memory has no streams; None is the only one."""
    x, w = operands(FORWARD, BASE)
    with refuses((ValueError, TypeError), "stream"):
        FORWARD(BASE, x, w, stream=12345)
    with refuses((ValueError, TypeError), "stream"):
        FORWARD(BASE, x, w, stream="fast")


def test_missing_and_unknown_arguments() -> None:
    x, w = operands(FORWARD, BASE)
    with refuses(TypeError, "weight|argument"):
        mioconv.conv2d_forward(x)
    with refuses(TypeError, "strides"):
        mioconv.conv2d_forward(x, w, strides=1)
    with refuses(TypeError, "positional"):
        mioconv.conv2d_forward(x, w, None, 1, 0, 1, 1, None)


def test_kinds_must_not_be_mixed_with_torch() -> None:
    torch = import_torch()
    x, w = operands(FORWARD, BASE)
    bias = random_array((4,))
    foreign = [to_torch(x), to_torch(w), to_torch(bias)]
    for arguments in [
        (foreign[0], w, None),
        (x, foreign[1], None),
        (x, w, foreign[2]),
        (BareTensor(x), w, None),
        (foreign[0], BareTensor(w), None),
    ]:
        with refuses(TypeError, "kind|mix|numpy|torch|tensor"):
            mioconv.conv2d_forward(*arguments, padding=1, groups=2)
    out = torch.zeros(BASE.output_shape)
    with refuses(TypeError, "out"):
        FORWARD(BASE, x, w, out=out)


@pytest.mark.parametrize("device", [(2, 0), (10, 0), (7, 0), (99, 3)])
def test_devices_must_not_be_mixed(device: tuple[int, int]) -> None:
    """A tensor on another device than the first, or on one that no provider serves."""
    x, w = operands(FORWARD, BASE)
    with refuses((ValueError, TypeError, BufferError), "weight", "device"):
        FORWARD(BASE, BareTensor(x), BareTensor(w, device=device))


def test_device_without_a_provider() -> None:
    x, w = (BareTensor(a, device=(7, 0)) for a in operands(FORWARD, BASE))
    with refuses(
        (ValueError, TypeError, BufferError, mioconv.UnsupportedError), "device", "7|vulkan"
    ):
        FORWARD(BASE, x, w)


def test_message_names_sizes_as_given() -> None:
    """The shapes in a message are the caller's, not those of a padded or lifted tensor."""
    x, w = np.zeros((5, 7), "f4"), np.zeros((4, 3, 3), "f4")
    with refuses(ValueError, shape_words((5, 7)), "3", "5"):
        mioconv.conv1d_forward(x, w)


class TestFlags:
    """set_flags and flags check their values too."""

    @pytest.mark.parametrize(
        ("value", "exception", "words"),
        [
            ({"no_such_flag": 1}, (TypeError, ValueError), ["no_such_flag"]),
            ({"workspace_limit": -5}, ValueError, ["workspace_limit"]),
            ({"num_threads": -1}, ValueError, ["num_threads"]),
        ],
    )
    def test_wrong(self, value: Any, exception: Any, words: list[str]) -> None:
        with refuses(exception, *words):
            mioconv.set_flags(**value)
        with refuses(exception, *words), mioconv.flags(**value):
            pass


@st.composite
def invalid_calls(draw: st.DrawFn) -> tuple[Case, dict[str, Any], Any, Any]:
    """A valid problem with exactly one thing broken: case, settings, input and weight shapes."""
    case = draw(valid_cases())
    x, w, settings = list(case.input_shape), list(case.weight_shape), dict(case.settings)
    axis = draw(st.integers(0, case.rank - 1))
    kinds = [
        "stride", "dilation", "padding", "count", "zero", "channels", "groups", "kernel", "rank",
    ]  # fmt: skip
    kind = draw(st.sampled_from(kinds))

    def broken(name: str, value: int) -> tuple[int, ...]:
        entries = list(settings[name])
        entries[axis] = value
        return tuple(entries)

    if kind in ("stride", "dilation"):
        settings[kind] = broken(kind, draw(st.integers(-3, 0)))
    elif kind == "padding":
        settings[kind] = broken(kind, draw(st.integers(-3, -1)))
    elif kind == "count":
        name = draw(st.sampled_from(["stride", "dilation", "padding"]))
        # One value serves all dimensions, as in PyTorch, so too few are two of three or none.
        settings[name] = (1,) * draw(st.sampled_from([0, case.rank + 1, case.rank + 2]))
    elif kind == "zero":
        which = draw(st.sampled_from([x, w]))
        which[draw(st.integers(1, len(which) - 1))] = 0
    elif kind == "channels":
        x[1] += draw(st.sampled_from([-1, 1]))
        if x[1] == 0:
            x[1] = case.c + 1
    elif kind == "groups":
        settings["groups"] = draw(st.sampled_from([0, -1, case.k + 1, case.k * 2]))
    elif kind == "kernel":
        extent = settings["dilation"][axis] * (w[2 + axis] - 1) + 1
        x[2 + axis] = extent - 2 * settings["padding"][axis] - 1
        if x[2 + axis] < 1:
            x[2 + axis] = 1
            settings["padding"] = broken("padding", 0)
            w[2 + axis], settings["dilation"] = 2, broken("dilation", 1)
    else:
        x = draw(st.sampled_from([[*x, 1], x[: len(x) - 2]]))
    return case, settings, tuple(x), tuple(w)


@given(call=invalid_calls())
def test_drawn_invalid(call: Any) -> None:
    """One broken argument anywhere: a ValueError, nothing called, nothing written."""
    case, settings, x_shape, w_shape = call
    x, w = np.zeros(x_shape, np.float32), np.zeros(w_shape, np.float32)
    out = np.full(case.output_shape, 3, np.float32)
    with no_native_calls(), pytest.raises(ValueError, match=r".{10}"):
        FORWARD.function(case.rank)(x, w, **settings, out=out)
    assert (out == 3).all()


@given(case=st.sampled_from(CASES), extra=st.integers(1, 3), data=st.data())
def test_drawn_wrong_out(case: Case, extra: int, data: st.DataObject) -> None:
    """`out` of any shape but the right one."""
    shape = list(case.output_shape)
    shape[data.draw(st.integers(0, len(shape) - 1))] += extra
    x, w = operands(FORWARD, case)
    out = np.full(shape, 3, np.float32)
    with no_native_calls(), pytest.raises(ValueError, match="out"):
        FORWARD(case, x, w, out=out)
    assert (out == 3).all()


def test_out_must_not_overlap_the_bias() -> None:
    x, w = operands(FORWARD, BASE)
    memory = np.zeros(int(np.prod(BASE.output_shape)), np.float32)
    with refuses(ValueError, "out", "overlaps bias"):
        mioconv.conv2d_forward(
            x, w, bias=memory[10 : 10 + BASE.k], out=memory.reshape(BASE.output_shape),
            **BASE.settings,
        )  # fmt: skip
    assert not memory.any()
