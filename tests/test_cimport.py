"""The installed package serves other Cython code: a small module is compiled and called."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import reference
from helpers.cimport import build, build_caller
from helpers.tolerances import assert_close, assert_same_bits, tolerance


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return build_caller(tmp_path_factory.mktemp("cimport"))


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    w = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    return x, w, reference.conv_forward(x, w, padding=1)


def test_typed_memoryviews(caller: ModuleType) -> None:
    x, w, expected = problem()
    y = np.empty(expected.shape, np.float32)
    caller.from_views(x, w, y, 1)
    assert_close(y, expected, tolerance("float32", 27, np.abs(expected).max() + 27))


def test_strided_memoryviews(caller: ModuleType) -> None:
    x, w, expected = problem()
    wide = np.repeat(x, 2, axis=3)[:, :, :, ::2]
    y = np.zeros((*expected.shape, 2), np.float32)
    caller.from_views(wide, w[::-1][::-1], y[..., 0], 1)
    assert_close(y[..., 0], expected, tolerance("float32", 27, np.abs(expected).max() + 27))
    assert not y[..., 1].any()


def test_pointers(caller: ModuleType) -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, 3, 20)).astype(np.float32)
    w = rng.standard_normal((5, 3, 4)).astype(np.float32)
    expected = reference.conv_forward(x, w)
    y = np.empty(expected.shape, np.float32)
    caller.from_pointers(x, w, y)
    assert_close(y, expected, tolerance("float32", 12, np.abs(expected).max() + 12))


@pytest.mark.parametrize("padding", [0, 1])
def test_gradients_of_memoryviews(caller: ModuleType, padding: int) -> None:
    """Of strided operands, into strided results."""
    rng = np.random.default_rng(7)
    x, w, _ = problem()
    y = rng.standard_normal(reference.conv_forward(x, w, padding=padding).shape)
    gradient = np.repeat(y.astype(np.float32), 2, axis=2)[:, :, ::2]
    for_x, for_w = np.zeros((*x.shape, 2), np.float32), np.zeros((*w.shape, 2), np.float32)
    caller.gradient_of_input(for_x[..., 0], w, gradient, padding)
    caller.gradient_of_weight(x, for_w[..., 0], gradient, padding)
    for got, expected in (
        (for_x, reference.conv_backward_input(x.shape, gradient, w, padding=padding)),
        (for_w, reference.conv_backward_weight(w.shape, gradient, x, padding=padding)),
    ):
        terms = 36 if got is for_x else 2 * 9 * 8
        bound = tolerance("float32", terms, np.abs(expected).max() + terms)
        assert_close(got[..., 0], expected, bound)
        assert not got[..., 1].any()


def test_gradients_into_their_own_operands(caller: ModuleType) -> None:
    x, w, expected = problem()
    gradient = expected.astype(np.float32)
    with pytest.raises(ValueError, match="x: its memory overlaps"):
        caller.gradient_of_input(gradient[:, :3], w, gradient, 1)
    memory = np.zeros(x.size, np.float32)
    with pytest.raises(ValueError, match="w: its memory overlaps"):
        caller.gradient_of_weight(
            memory.reshape(x.shape), memory[: w.size].reshape(w.shape), gradient, 1
        )
    assert not memory.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("direction", ["forward", "backward_input", "backward_weight"])
def test_pointers_of_each_direction(caller: ModuleType, direction: str, dtype: type) -> None:
    """With a padding, float16 too; the same bits as the operators give."""
    x, w, expected = problem()
    x, w, y = x.astype(dtype), w.astype(dtype), expected.astype(dtype)
    given = {
        "forward": lambda: mioconv.conv2d_forward(x, w, padding=1),
        "backward_input": lambda: mioconv.conv2d_backward_input(x.shape, y, w, padding=1),
        "backward_weight": lambda: mioconv.conv2d_backward_weight(w.shape, y, x, padding=1),
    }[direction]()
    operands = [x, w, y]
    result = ("backward_input", "backward_weight", "forward").index(direction)
    operands[result] = np.full_like(operands[result], np.nan)
    caller.on_device(
        direction, *((a.ctypes.data, *a.shape) for a in operands), 1 if dtype is np.float32 else 0,
        1, 1, 0, 0,
    )  # fmt: skip
    assert_same_bits(operands[result], given)


def test_the_documented_example(tmp_path: Path) -> None:
    """docs/cython.md's, as it stands."""
    text = (Path(__file__).parents[1] / "docs" / "cython.md").read_text()
    source = tmp_path / "documented.pyx"
    source.write_text(text.partition("```cython\n")[2].partition("```")[0])
    module = build(source, tmp_path)
    x, w, expected = problem()
    y = np.empty(expected.shape, np.float32)
    module.forward(x, w, y)
    assert_same_bits(y, mioconv.conv2d_forward(x, w, padding=1))
    gradient = np.empty(w.shape, np.float32)
    module.weight_gradient(x, gradient, y)
    assert_same_bits(gradient, mioconv.conv2d_backward_weight(w.shape, y, x, padding=1))


def test_errors_come_out(caller: ModuleType) -> None:
    x, w, expected = problem()
    with pytest.raises(ValueError, match="channels"):
        caller.from_views(x[:, :2], w, np.empty(expected.shape, np.float32), 1)
    with pytest.raises(ValueError, match="y"):
        caller.from_views(x, w, np.empty((1, 1, 1, 1), np.float32), 1)
    assert caller.output_shape((2, 3, 9, 8), (4, 3, 3, 3), 2) == (2, 4, 4, 3)
    with pytest.raises(ValueError, match="Kernel size"):
        caller.output_shape((2, 3, 2, 8), (4, 3, 3, 3), 2)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"spatial": 0}, "spatial"),
        ({"spatial": -1}, "spatial"),
        ({"spatial": 4}, "spatial"),
        ({"spatial": 64}, "spatial"),
        ({"spatial": 2**31 - 1}, "spatial"),
        ({"device_type": 8}, "Metal|metal|device"),
        ({"dtype": 3}, "dtype"),
        ({"dtype": -1}, "dtype"),
        ({"x_size": 2}, "channels"),
        ({"x_size": -1}, "negative"),
        ({"x_size": 0}, "size zero"),
        ({"w_size": 2**62}, "w: .*too large"),
        ({"x_size": 2**62}, "x: .*too large"),
        ({"w_size": 2**40, "groups": 2**31 - 1}, "too large"),
        ({"w_size": -(2**62)}, "negative"),
        ({"stride": 0}, "stride"),
        ({"stride": 2**40}, "stride"),
        ({"groups": 0}, "groups"),
        ({"groups": -(2**62)}, "groups"),
        *[({"null": {name}}, f"{name}.*NULL") for name in (
            "x", "x_shape", "w", "w_shape", "y", "stride", "padding", "dilation", "y_shape")],
    ],
    ids=str,
)  # fmt: skip
def test_every_number_is_checked(caller: ModuleType, numbers: dict[str, Any], words: str) -> None:
    """Before it is used: a caller in C is told, and goes on."""
    with pytest.raises((TypeError, ValueError, mioconv.UnsupportedError), match=words):
        caller.from_numbers(**numbers)
    assert caller.from_numbers() == 6


class TestBuffers:
    """The fields of a buffer, each as a producer may leave it."""

    x = np.arange(24, dtype=np.float32).reshape(1, 2, 12)
    w = np.ones((1, 2, 3), np.float32)

    def run(self, caller: ModuleType, **fields: Any) -> Any:
        given = {"shape": self.x.shape, "strides": self.x.strides, **fields}
        made = caller.Buffer(self.x, **{k: v for k, v in given.items() if v is not None})
        return np.asarray(mioconv.conv1d_forward(made, memoryview(self.w)))

    def test_without_strides(self, caller: ModuleType) -> None:
        expected = mioconv.conv1d_forward(self.x, self.w)
        assert_same_bits(self.run(caller), expected)
        assert_same_bits(self.run(caller, strides=None), expected)

    def test_suboffsets_that_say_nothing(self, caller: ModuleType) -> None:
        expected = mioconv.conv1d_forward(self.x, self.w)
        assert_same_bits(self.run(caller, suboffsets=(-1, -1, -1)), expected)

    @pytest.mark.parametrize(
        ("fields", "exception", "words"),
        [
            # Without sizes it is a row, which no convolution has.
            ({"shape": None}, ValueError, "1-D"),
            ({"shape": None, "strides": None}, ValueError, "1-D"),
            ({"shape": (1, 2, -12)}, BufferError, "size"),
            ({"shape": (1, 2, 2**62)}, ValueError, "large"),
            ({"strides": (96, 48, 3)}, BufferError, "aligned"),
            ({"offset": 1}, BufferError, "aligned"),
            ({"suboffsets": (-1, 0, -1)}, BufferError, "pointers"),
            ({"itemsize": 0}, BufferError, "0 bytes"),
            ({"itemsize": 2}, BufferError, "2 bytes"),
            ({"no_format": True}, TypeError, "format 'B'"),
            ({"format": b""}, TypeError, "format ''"),
            ({"format": b"ff"}, TypeError, "format 'ff'"),
            ({"null": True}, BufferError, "no memory"),
            ({"ndim": -1}, BufferError, "-1 dimensions"),
            ({"ndim": 0}, ValueError, "0-D"),
        ],
        ids=str,
    )
    def test_refused(
        self, caller: ModuleType, fields: dict[str, Any], exception: type[Exception], words: str
    ) -> None:
        with pytest.raises(exception, match=f"input: .*{words}"):
            self.run(caller, **fields)

    def test_too_many_dimensions(self, caller: ModuleType) -> None:
        with pytest.raises(ValueError, match=r"input: .*8-D"):
            self.run(caller, ndim=8, shape=(1,) * 8, strides=(4,) * 8)

    def test_ctypes(self) -> None:
        """Its buffers have no strides."""
        x = (ctypes.c_float * 12 * 2 * 1).from_buffer_copy(self.x)
        got = mioconv.conv1d_forward(x, memoryview(self.w))
        assert_same_bits(np.asarray(got), mioconv.conv1d_forward(self.x, self.w))


def test_runs_without_the_gil(caller: ModuleType) -> None:
    """While one thread computes, another one gets on."""
    x = np.ones((8, 32, 64, 64), np.float32)
    w = np.ones((32, 32, 3, 3), np.float32)
    y = np.empty(x.shape, np.float32)
    caller.from_views(x, w, y, 1)
    worker = threading.Thread(target=caller.from_views, args=(x, w, y, 1, 20))
    steps = 0
    worker.start()
    while worker.is_alive():
        steps += 1
    worker.join()
    assert steps > 100
