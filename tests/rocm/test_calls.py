"""Which native calls each operator makes, in which order, with which arguments."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

import mioconv
from helpers import operators
from helpers.checks import operands
from helpers.cimport import build_caller
from helpers.operators import Operator
from helpers.problems import Case
from helpers.rocm import Tensor
from helpers.standin import Standin
from helpers.tensors import channels_last, random_array

CASE = Case("call", 2, 4, (7, 6), 6, (3, 2), 1, 1)
TRANSPOSED = Case("call", 2, 4, (7, 6), 6, (3, 2), 1, 1, transposed=True)
OPERATORS = [
    (operators.FORWARD, CASE, "Forward"),
    (operators.BACKWARD_INPUT, CASE, "BackwardData"),
    (operators.BACKWARD_WEIGHT, CASE, "BackwardWeights"),
    (operators.TRANSPOSE_FORWARD, TRANSPOSED, "BackwardData"),
    (operators.TRANSPOSE_BACKWARD_INPUT, TRANSPOSED, "Forward"),
    (operators.TRANSPOSE_BACKWARD_WEIGHT, TRANSPOSED, "BackwardWeights"),
]
each_operator = pytest.mark.parametrize(
    ("op", "case", "family"), OPERATORS, ids=[str(op) for op, _, _ in OPERATORS])  # fmt: skip
MISSING = mioconv.providers()["rocm"].missing
VERSION = mioconv.providers()["rocm"].versions["miopen"]

DESCRIBE = ["miopenCreateTensorDescriptor", "miopenSetTensorDescriptor"] * 4 + [
    "miopenCreateConvolutionDescriptor",
    "miopenInitConvolutionNdDescriptor",
    "miopenSetConvolutionGroupCount",
    "miopenSetConvolutionAttribute",  # deterministic
    # TF32, where the release may know it
    *(["miopenSetConvolutionAttribute"] if VERSION >= (3, 5, 0) else []),
    "miopenSetConvolutionFindMode",
]


def test_handles_are_kept(standin: Standin) -> None:
    """One handle serves one thread, whatever it runs."""
    x, w = Tensor(random_array((2, 4, 7, 6))), Tensor(random_array((6, 4, 3, 2)))
    mioconv.conv2d_forward(x, w)
    standin.clear()
    for padding in range(3):
        mioconv.conv2d_forward(x, w, padding=padding)
    assert not standin.names("miopenCreateWithStream", "miopenSetStream")


@each_operator
def test_first_and_second_call(standin: Standin, op: Operator, case: Case, family: str) -> None:
    a, b = (Tensor(t) for t in operands(op, case))
    out = Tensor(np.zeros(op.result_shape(case), np.float32))
    op(case, a, b, out=out)  # a handle exists from here on
    mioconv.cache_clear()
    standin.clear()
    op(case, a, b, out=out)
    describe = [name for name in DESCRIBE if name not in MISSING]
    assert standin.names("^miopen(?!Destroy)") == [
        *describe,
        f"miopenConvolution{family}GetSolutionCount",
        f"miopenConvolution{family}GetSolution",
        f"miopenConvolution{family}Immediate",
    ]
    standin.clear()
    op(case, a, b, out=out)
    assert standin.names("^miopen") == [f"miopenConvolution{family}Immediate"]
    assert set(standin.names("^hip")) <= {
        "hipGetDevice", "hipStreamIsCapturing", "hipMallocAsync", "hipFreeAsync"}  # fmt: skip
    before = standin.live
    mioconv.cache_clear()
    assert set(standin.live) <= {"miopenCreateWithStream"}
    assert len(before) > len(standin.live)


@each_operator
def test_operands(standin: Standin, op: Operator, case: Case, family: str) -> None:
    """Queries and runs get (w, x, y), (dy, w, dx) and (dy, x, dw), each with its descriptor."""
    a, b = operands(op, case)
    out = np.zeros(op.result_shape(case), np.float32)
    op(case, Tensor(a), Tensor(b), out=Tensor(out))
    (run,) = standin.calls("Immediate")
    (count,) = standin.calls("GetSolutionCount")
    args = run["args"]
    x, w, y = {
        ("conv", "Forward"): (a, b, out),
        ("conv", "BackwardData"): (out, b, a),
        ("conv", "BackwardWeights"): (b, out, a),
        ("conv_transpose", "BackwardData"): (out, b, a),
        ("conv_transpose", "Forward"): (a, b, out),
        ("conv_transpose", "BackwardWeights"): (a, out, b),
    }[op.family, family]  # fmt: skip
    names = {
        "Forward": {"x": x, "w": w, "y": y},
        "BackwardData": {"dy": y, "w": w, "dx": x},
        "BackwardWeights": {"dy": y, "x": x, "dw": w},
    }[family]
    sizes = {
        call["args"]["tensorDesc"]: call["args"] for call in standin.calls("SetTensorDescriptor")
    }
    for name, tensor in names.items():
        assert args[name] == tensor.ctypes.data
        described = sizes[args[f"{name}Desc"]]
        assert described["dimsA"] == list(tensor.shape)
        assert described["stridesA"] == [s // 4 for s in tensor.strides]
        assert count["args"][f"{name}Desc"] == args[f"{name}Desc"]
    (convolution,) = standin.calls("InitConvolutionNd")
    assert convolution["args"]["c_mode" if "c_mode" in convolution["args"] else "mode"] == 0


def test_workspace_is_the_solutions(standin: Standin) -> None:
    """Each run gets exactly the bytes that its solution lists, and memory for them."""
    x, w = Tensor(random_array((2, 8, 9, 9))), Tensor(random_array((8, 8, 3, 3)))
    problem = mioconv.Problem("forward", x.array.shape, w.array.shape, "float32", device="rocm:0")
    for solution in mioconv.find_solutions(problem):
        standin.clear()
        mioconv.conv2d_forward(x, w, solution=solution)
        (run,) = standin.calls("Immediate")
        args = run["args"]
        assert args["solution_id"] % 2**64 == solution.id
        assert args["workSpaceSize"] == solution.workspace_bytes
        assert (args["workSpace"] != 0) == (solution.workspace_bytes > 0)


def test_strides_of_size_one(standin: Standin) -> None:
    """A dimension of size 1 has the packed stride, whatever the array library says of it."""
    odd = np.lib.stride_tricks.as_strided(
        random_array((64,)), (1, 3, 1, 5), (4 * 999, 20, 4 * 77, 4)
    )
    mioconv.conv2d_forward(Tensor(odd), Tensor(random_array((2, 3, 1, 1))))
    strides = [call["args"]["stridesA"] for call in standin.calls("SetTensorDescriptor")]
    assert strides[:3] == [[15, 5, 5, 1], [3, 1, 1, 1], [10, 5, 5, 1]]
    mioconv.cache_clear()
    standin.clear()
    mioconv.conv1d_forward(Tensor(random_array((2, 3, 9))), Tensor(random_array((4, 3, 3))))
    described = [call["args"] for call in standin.calls("SetTensorDescriptor")]
    assert [d["dimsA"] for d in described[:3]] == [[2, 3, 1, 9], [4, 3, 1, 3], [2, 4, 1, 7]]
    assert [d["stridesA"] for d in described[:3]] == [
        [27, 9, 9, 1], [9, 3, 3, 1], [28, 7, 7, 1]]  # fmt: skip


def test_one_layout_for_all(standin: Standin) -> None:
    x, w = random_array((2, 4, 7, 6)), random_array((6, 4, 3, 2))
    mioconv.conv2d_forward(Tensor(channels_last(x)), Tensor(w))
    described = [call["args"] for call in standin.calls("SetTensorDescriptor")]
    run = standin.calls("Immediate")[0]["args"]
    by_id = {d["tensorDesc"]: d for d in described}
    for name in ("xDesc", "wDesc", "yDesc"):
        d = by_id[run[name]]
        _, c, _, width = d["dimsA"]
        assert d["stridesA"][1] == 1
        assert d["stridesA"][3] == c
        assert d["stridesA"][2] == c * width


def test_scalars(standin: Standin) -> None:
    """alpha = 1 and beta = 0 as floats, the scale of z apart."""
    standin.set(fusion=1)
    x, w, b, z = map(random_array, ((2, 4, 7, 6), (6, 4, 3, 2), (6,), (2, 6, 5, 5)))
    mioconv.conv2d_add_relu_forward(Tensor(x), Tensor(w), Tensor(z), 0.25, Tensor(b))
    mioconv.conv2d_backward_bias(Tensor(z))
    seen = {}
    for call in standin.journal:
        scalars = {k: v for k, v in call["args"].items() if k.startswith(("alpha", "beta"))}
        if scalars and "Descriptor" not in call["call"]:
            seen[call["call"]] = scalars
    one = {"alpha": 1.0, "beta": 0.0}
    assert seen == {
        "miopenConvolutionBiasActivationForward": {"alpha1": 1.0, "alpha2": 0.25},
        "miopenOpTensor": {"alpha1": 1.0, "alpha2": 0.25, "beta": 0.0},
        "miopenConvolutionForwardBias": one,
        "miopenActivationForward": one,
        "miopenConvolutionBackwardBias": one,
    }


def test_attributes_come_before_the_questions(standin: Standin) -> None:
    x, w = Tensor(random_array((2, 4, 7, 6))), Tensor(random_array((6, 4, 3, 2)))
    for deterministic, tf32 in ((False, False), (False, True), (True, True)):
        mioconv.cache_clear()
        standin.clear()
        mioconv.conv2d_forward(x, w, deterministic=deterministic, allow_tf32=tf32)
        attributes = [c["args"] for c in standin.calls("SetConvolutionAttribute")]
        strict = [(3, deterministic or not tf32)] if VERSION >= (3, 5, 0) else []
        assert [(a["attr"], a["value"]) for a in attributes] == [(1, deterministic), *strict]
        names = standin.names()
        last = max(i for i, n in enumerate(names) if "Attribute" in n or "FindMode" in n)
        assert last < next(i for i, n in enumerate(names) if "GetSolutionCount" in n)


def test_groups_and_modes(standin: Standin) -> None:
    """From 3.2 on MIOpen maps the modes to the ordinary one; the group count says all."""
    x = Tensor(random_array((2, 4, 7, 6)))
    depthwise = 3 if VERSION < (3, 2, 0) else 0
    for groups, shape, mode in [
        (1, (6, 4, 3, 2), 0),
        (2, (6, 2, 3, 2), 0),
        (4, (8, 1, 3, 2), depthwise),
    ]:
        standin.clear()
        mioconv.conv2d_forward(x, Tensor(random_array(shape)), groups=groups)
        (init,) = standin.calls("InitConvolutionNd")
        assert init["args"].get("c_mode", init["args"].get("mode")) == mode
        (count,) = standin.calls("SetConvolutionGroupCount")
        assert count["args"]["groupCount"] == groups


def test_find_only_when_benchmarking_and_once(standin: Standin) -> None:
    x, w = Tensor(random_array((2, 4, 7, 6))), Tensor(random_array((6, 4, 3, 2)))
    mioconv.conv2d_forward(x, w)
    assert not standin.names("Find(?!Mode)")
    standin.clear()
    out = np.zeros((2, 6, 5, 5), np.float32)
    mioconv.conv2d_forward(x, w, out=Tensor(out), benchmark=True)
    (find,) = standin.calls("^miopenFind")
    assert find["args"]["exhaustiveSearch"] == 0
    # What is measured goes to scratch memory; the caller's output is written once.
    assert find["args"]["y"] != out.ctypes.data
    runs = [run["args"]["y"] for run in standin.calls("Immediate")]
    assert runs.count(out.ctypes.data) == 1
    assert runs[-1] == out.ctypes.data
    standin.clear()
    mioconv.conv2d_forward(x, w, benchmark=True)
    assert not standin.names("Find", "GetSolution")


@pytest.mark.parametrize(("run_us", "first_run_us"), [(3_000, 45_000), (50, 10_000)])
def test_a_slow_first_run_decides_nothing(standin: Standin, run_us: int, first_run_us: int) -> None:
    """The solution that is fastest from its second run on wins, by samples of many runs."""
    x, w = Tensor(random_array((2, 4, 7, 6))), Tensor(random_array((6, 4, 3, 2)))
    problem = mioconv.Problem("forward", x.array.shape, w.array.shape, "float32", device="rocm:0")
    quick = mioconv.find_solutions(problem)[1].id
    standin.set(skip_run=1, quick_id=quick, run_us=run_us, first_run_us=first_run_us)
    standin.clear()
    mioconv.conv2d_forward(x, w, benchmark=True)
    assert mioconv.last_call().solution_id == quick
    samples: list[int] = []  # runs between two events, of the quick one
    for call in standin.calls("hipEventRecord|Immediate"):
        if call["call"] == "hipEventRecord":
            samples.append(0)
        elif call["args"]["solution_id"] % 2**64 == quick:
            samples[-1] += 1
    assert max(samples) > 10


def test_stream_is_set_when_it_changes(standin: Standin) -> None:
    x, w = Tensor(random_array((2, 4, 7, 6))), Tensor(random_array((6, 4, 3, 2)))
    for stream in (0x100, 0x100, 0x200, 0x200, 0x100):
        mioconv.conv2d_forward(x, w, stream=stream)
    changes = [c["args"]["streamID"] for c in standin.calls("miopenSetStream")]
    made = [c["args"]["stream"] for c in standin.calls("miopenCreateWithStream")]
    assert made + changes == [0x100, 0x200, 0x100]
    mioconv.conv2d_forward(x, w)


def test_every_call_is_on_the_tensors_device(standin: Standin) -> None:
    x, w, b = map(random_array, ((2, 4, 7, 6), (6, 4, 3, 2), (6,)))
    big = np.zeros((2, 6, 10, 10), np.float32)[:, :, ::2, ::2]
    one = [Tensor(t, 1) for t in (x, w, b)]
    mioconv.conv2d_relu_forward(*one, out=Tensor(big, 1), benchmark=True)
    got = mioconv.conv2d_forward(*one)
    mioconv.conv2d_backward(one[0], got, one[1])
    grad = mioconv.conv2d_backward_bias(got)
    assert got.device == grad.device == "rocm:1"
    elsewhere = [
        call["call"] for call in standin.journal
        if call["on"] != 1 and not call["call"].startswith(("hipGet", "hipSetDevice", "hipDevice"))
        and "Version" not in call["call"] and "Destroy" not in call["call"]
    ]  # fmt: skip
    assert not elsewhere
    assert standin.names("hipSetDevice")
    # The fixture checks that the device is the one before.


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return build_caller(tmp_path_factory.mktemp("cimport"))


@pytest.mark.parametrize(
    ("result", "stream"),
    [("forward", 0x700), ("backward_input", 0x710), ("backward_weight", 0x720)],
)
def test_pointers_from_cython(
    standin: Standin, caller: ModuleType, result: str, stream: int
) -> None:
    """On the device and the stream that the caller says; nothing waits, the device is restored."""
    x, w = random_array((2, 4, 7, 6)), random_array((6, 4, 3, 3), seed=1)
    y = mioconv.conv2d_forward(x, w, padding=1)
    expected = {
        "forward": y,
        "backward_input": mioconv.conv2d_backward_input(x.shape, y, w, padding=1),
        "backward_weight": mioconv.conv2d_backward_weight(w.shape, y, x, padding=1),
    }[result]
    operands = {"backward_input": x, "backward_weight": w, "forward": y.copy()}
    written = operands[result]
    written[...] = np.nan
    standin.clear()
    caller.on_device(
        result, *((a.ctypes.data, *a.shape) for a in operands.values()), 1, 1, 10, 1, stream
    )
    np.testing.assert_allclose(written, expected, rtol=1e-4, atol=1e-4)
    streams = standin.calls("miopenSetStream|miopenCreateWithStream")
    assert {c["args"].get("streamID", c["args"].get("stream")) for c in streams} == {stream}
    assert [c["args"]["deviceId"] for c in standin.calls("hipSetDevice")] == [1, 0]
    assert not standin.names("hipStreamSynchronize", "hipDeviceSynchronize")
