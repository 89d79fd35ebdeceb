"""`mioconv.Problem`: what it accepts, what it says of the rest, and MIOpenDriver's lines."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mioconv.problem import DIRECTIONS, DTYPES, LAYOUTS, Problem


@st.composite
def problems(draw: st.DrawFn, ranks: tuple[int, ...] = (1, 2, 3)) -> Problem:
    """Any valid problem with small sizes."""
    rank = draw(st.sampled_from(ranks))

    def axes(low: int, high: int) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(low, high)] * rank))

    transposed = draw(st.booleans())
    groups = draw(st.integers(1, 3))
    inputs, outputs = (groups * draw(st.integers(1, 3)) for _ in range(2))
    kernel, stride, dilation = axes(1, 4), axes(1, 3), axes(1, 3)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if transposed:
        first, second = inputs, outputs
        extra = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        sizes = axes(1, 5)
        # As much padding as leaves an output of at least one element.
        padding = tuple(
            draw(st.integers(0, ((n - 1) * s + k + e - 1) // 2))
            for n, s, k, e in zip(sizes, stride, extent, extra, strict=True)
        )
    else:
        first, second = outputs, inputs
        extra = (0,) * rank
        padding = axes(0, 3)
        sizes = tuple(
            draw(st.integers(max(k - 2 * p, 1), k + 6))
            for k, p in zip(extent, padding, strict=True)
        )
    return Problem(
        draw(st.sampled_from(DIRECTIONS)),
        (draw(st.integers(0, 3)), inputs, *sizes),
        (first, second // groups, *kernel),
        dtype=draw(st.sampled_from(DTYPES)),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        layout=draw(st.sampled_from(LAYOUTS)),
        device=draw(st.sampled_from(["cpu", "rocm:0", "cuda:3"])),
        transposed=transposed,
        output_padding=extra,
    )


@given(problems(ranks=(2, 3)))
def test_driver_line_round_trip(problem: Problem) -> None:
    assert Problem.from_driver_line(problem.driver_line(), problem.device) == problem


@given(problems(ranks=(1,)))
def test_driver_line_of_1d_is_the_2d_problem_of_height_1(problem: Problem) -> None:
    lifted = Problem.from_driver_line(problem.driver_line(), problem.device)
    assert lifted.rank == 2
    assert lifted.input_shape == (*problem.input_shape[:2], 1, *problem.input_shape[2:])
    assert lifted.output_shape == (*problem.output_shape[:2], 1, *problem.output_shape[2:])
    assert lifted.driver_line() == problem.driver_line()


@given(problems())
def test_value(problem: Problem) -> None:
    copy = pickle.loads(pickle.dumps(problem))
    assert copy == problem
    assert hash(copy) == hash(problem)
    assert replace(problem) == problem
    assert len(problem.output_shape) == problem.rank + 2
    assert min(problem.output_shape[1:]) >= 1


@given(problems())
def test_transposed_output_goes_back_to_the_input(problem: Problem) -> None:
    """A transposed convolution has the sizes of the gradient of the ordinary one."""
    if not problem.transposed:
        return
    if any(e >= s for e, s in zip(problem.output_padding, problem.stride, strict=True)):
        return  # legal below the dilation; the ordinary size formula then gives one row more
    ordinary = Problem(
        "backward_input",
        problem.output_shape,
        problem.weight_shape,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.groups,
    )
    assert ordinary.output_shape == problem.input_shape


def test_defaults_and_normal_forms() -> None:
    problem = Problem("forward", [2, 3, 8, 8], (4, 3, 3, 3), stride=2, padding=[1], device="rocm")
    assert problem.stride == (2, 2)
    assert problem.padding == (1, 1)
    assert problem.dilation == (1, 1)
    assert problem.device == "rocm:0"
    assert problem.layout == "packed"
    assert problem.dtype == "float32"
    assert problem.output_shape == (2, 4, 4, 4)
    arrays = np.array([2, 3, 8, 8]), np.array([4, 3, 3, 3])
    assert problem == Problem(
        "forward", *arrays, stride=np.array([2]), padding=np.int64(1), device="rocm:0"
    )
    assert problem == Problem(
        "forward", (2, 3, 8, 8), (4, 3, 3, 3), stride=(2, 2), padding=(1, 1), device="rocm:0"
    )
    with pytest.raises(AttributeError):
        problem.groups = 2  # type: ignore[misc]


def test_from_the_log() -> None:
    line = (
        "MIOpen(HIP): Command [LogCmdConvolution] ./bin/MIOpenDriver convfp16 -n 128 -c 64 "
        "-H 28 -W 27 -k 96 -y 3 -x 5 -p 1 -q 2 -u 2 -v 1 -l 1 -j 1 --in_layout NHWC "
        "--fil_layout NHWC --out_layout NHWC -m conv -g 2 -F 4 -t 1 -S 91"
    )
    assert Problem.from_driver_line(line) == Problem(
        "backward_weight",
        (128, 64, 28, 27),
        (96, 32, 3, 5),
        "float16",
        stride=(2, 1),
        padding=(1, 2),
        groups=2,
        layout="channels_last",
    )


def test_depth_options_in_both_forms() -> None:
    long = (
        "convbfp16 --spatial_dim 3 -n 1 -c 16 --in_d 5 -H 10 -W 6 -k 8 --fil_d 2 -y 1 -x 1 "
        "--pad_d 1 -p 0 -q 0 --conv_stride_d 2 -u 1 -v 1 --dilation_d 3 -l 1 -j 1 -F 2"
    )
    short = (
        "MIOPEN_FIND_MODE=1 /opt/rocm/bin/MIOpenDriver convbfp16 -_ 3 -n 1 -c 16 '-!' 5 -H 10 "
        "-W 6 -k 8 -@ 2 -y 1 -x 1 '-$' 1 -# 2 -^ 3 -F 2"
    )
    problem = Problem.from_driver_line(long)
    assert problem == Problem.from_driver_line(short)
    assert problem == Problem(
        "backward_input",
        (1, 16, 5, 10, 6),
        (8, 16, 2, 1, 1),
        "bfloat16",
        stride=(2, 1, 1),
        padding=(1, 0, 0),
        dilation=(3, 1, 1),
    )


def test_transposed_line() -> None:
    line = "MIOpenDriver conv -n 2 -c 6 -H 5 -W 5 -k 4 -y 3 -x 3 -u 2 -v 2 -m trans -g 2 -Y 1 -F 1"
    problem = Problem.from_driver_line(line)
    assert problem.transposed
    assert problem.weight_shape == (6, 2, 3, 3)
    assert problem.output_padding == (1, 0)
    assert problem.output_shape == (2, 4, 12, 11)


def test_all_directions() -> None:
    line = "conv -n 1 -c 1 -k 1"
    assert [p.direction for p in Problem.all_from_driver_line(line)] == list(DIRECTIONS)
    assert [p.direction for p in Problem.all_from_driver_line(f"{line} -F 5")] == [
        "forward",
        "backward_weight",
    ]
    with pytest.raises(ValueError, match="-F names 3 directions"):
        Problem.from_driver_line(line)


def test_driver_defaults() -> None:
    problem = Problem.from_driver_line("conv --forw=1")
    assert problem == Problem("forward", (100, 3, 32, 32), (32, 3, 3, 3))


@pytest.mark.parametrize(
    ("options", "padding"),
    [
        ("-z valid -p 2 -q 2", (0, 0)),
        ("-z same", (1, 1)),
        ("-z same -u 2 -v 2", (0, 0)),  # 32 is a multiple of 2: (3 - 2) // 2
        ("-z same -H 31 -u 2", (1, 1)),
        ("-z same -l 2 -j 2 -p 2", (2, 0)),  # not heeded with a dilation
    ],
)
def test_padding_modes(options: str, padding: tuple[int, ...]) -> None:
    assert Problem.from_driver_line(f"conv -F 1 {options}").padding == padding


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "got nothing"),
        ("MIOpenDriver", "got nothing"),
        ("convint8 -n 1", "convint8"),
        ("bnorm -n 1", "bnorm"),
        ("conv -K 3", "unknown option '-K'"),
        ("conv --colour red", "unknown option '--colour'"),
        ("conv --n 3", "unknown option '--n'"),
        ("conv stray", "unknown option 'stray'"),
        ("conv -n", "option '-n' has no value"),
        ("conv -n many", "integer for --batchsize"),
        ("conv -n 'unclosed", "No closing quotation"),
        ("conv -_ 1", "spatial_dim"),
        ("conv -m diagonal", "--mode"),
        ("conv -z reflect", "--pad_mode"),
        ("conv -F 8", "-F"),
        ("conv -g 2 -c 3", "-g 2 must divide"),
        ("conv -r 1", "--pad_val 1 is not supported"),
        ("conv -Z 1", "--tensor_vect 1 is not supported"),
        ("conv --in_cast_type fp8", "--in_cast_type fp8 is not supported"),
        ("conv --in_layout CHWN", "CHWN"),
        ("conv --in_layout NDHWC", "NDHWC"),
        ("conv --in_layout NHWC", "layouts of input, filter and output differ"),
    ],
)
def test_bad_lines(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Problem.all_from_driver_line(line)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"direction": "sideways"}, ValueError, "direction: .*sideways"),
        ({"dtype": "float64"}, ValueError, "dtype: .*float64"),
        ({"layout": "NHWC"}, ValueError, "layout: .*NHWC"),
        ({"device": "tpu"}, ValueError, "device: .*tpu"),
        ({"device": "cpu:1"}, ValueError, "device: .*cpu:1"),
        ({"device": "rocm:"}, ValueError, "device: .*rocm:"),
        ({"device": 0}, TypeError, "device: expected a string"),
        ({"input_shape": (1, 4)}, ValueError, "input_shape: .*1, 2 or 3 spatial"),
        ({"input_shape": (1, 4, 8, 0)}, ValueError, "input_shape: .*positive"),
        ({"input_shape": (-1, 4, 8, 8)}, ValueError, "input_shape: .*positive"),
        ({"input_shape": (1, 4, 8.0, 8)}, TypeError, "input_shape: .*sequence of integers"),
        ({"input_shape": (1, 5, 8, 8)}, ValueError, "expected 4 channels, but got 5"),
        ({"input_shape": (1, 4, 2, 8)}, ValueError, "Kernel size can't be greater"),
        ({"weight_shape": (8, 4, 3)}, ValueError, "weight_shape: expected 4 dimensions"),
        ({"weight_shape": (0, 4, 3, 3)}, ValueError, "weight_shape: .*positive"),
        ({"groups": 0}, ValueError, "groups: expected a positive number"),
        ({"groups": 3}, ValueError, "divisible by 3 groups at dimension 0"),
        ({"groups": 1.5}, TypeError, "groups: expected integers"),
        ({"stride": True}, TypeError, "stride: expected a sequence of integers"),
        ({"stride": 0}, ValueError, "stride: must be greater than 0"),
        ({"stride": (1, 1, 1)}, ValueError, "stride: .*too many"),
        ({"stride": ()}, ValueError, "stride: .*not enough"),
        ({"dilation": (1, -1)}, ValueError, "dilation: must be greater than 0"),
        ({"padding": -1}, ValueError, "padding: must be non-negative"),
        ({"padding": "same"}, TypeError, "padding: expected a sequence of integers"),
        ({"output_padding": 1}, ValueError, "output_padding: only a transposed"),
        ({"transposed": True, "input_shape": (1, 8, 1, 1), "padding": 2}, ValueError, "too small"),
        (
            {"transposed": True, "input_shape": (1, 8, 4, 4), "output_padding": 1},
            ValueError,
            "output_padding: must be smaller than either stride or dilation",
        ),
    ],
)
def test_bad_problems(changes: dict[str, object], error: type[Exception], message: str) -> None:
    good: dict[str, object] = {
        "direction": "forward",
        "input_shape": (1, 4, 8, 8),
        "weight_shape": (8, 4, 3, 3),
    }
    Problem(**good)  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        Problem(**{**good, **changes})  # type: ignore[arg-type]
