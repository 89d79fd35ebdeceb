"""Streams, devices and the protocols that carry them."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import rocm
from helpers.rocm import CupyArray, Interface, Tensor, read, read_interface
from helpers.standin import Standin
from helpers.tensors import BFLOAT16, BareTensor, channels_last, random_array, sliced


@pytest.fixture
def arrays() -> tuple[Any, Any]:
    return random_array((2, 4, 7, 6)), random_array((6, 4, 3, 2), seed=1)


def expected(arrays: tuple[Any, Any]) -> Any:
    return mioconv.conv2d_forward(*arrays)


_recorded: dict[int, int] = {}  # also before the journal was cleared


def waits(standin: Standin) -> list[tuple[int, int]]:
    """(before, after) of every order between streams, by the events that carry it."""
    recorded, found = _recorded, []
    for call in standin.calls("hipEventRecord|hipStreamWaitEvent"):
        args = call["args"]
        if call["call"] == "hipEventRecord":
            recorded[args["event"]] = args["stream"]
        else:
            found.append((recorded[args["event"]], args["stream"]))
    return found


def work_streams(standin: Standin) -> set[int]:
    """The streams that a handle was given."""
    calls = standin.calls("miopenSetStream|miopenCreateWithStream")
    return {args.get("streamID", args.get("stream")) for args in (c["args"] for c in calls)}


class TestGivenStream:
    class Protocol:
        def __cuda_stream__(self) -> tuple[int, int]:
            return (0, 0x700)

    class Attribute:
        __cuda_stream__ = (0, 0x710)

    class Torch:
        cuda_stream = 0x720

    class Cupy:
        ptr = 0x730

    @pytest.mark.parametrize(
        ("stream", "address"),
        [(0x740, 0x740), (np.int64(0x750), 0x750), (Protocol(), 0x700), (Attribute(), 0x710),
         (Torch(), 0x720), (Cupy(), 0x730)],
    )  # fmt: skip
    def test_forms(
        self, standin: Standin, arrays: tuple[Any, Any], stream: Any, address: int
    ) -> None:
        x, w = map(Tensor, arrays)
        got = mioconv.conv2d_forward(x, w, stream=stream)
        assert work_streams(standin) == {address}
        assert [a["stream"] for a in x.arguments + w.arguments] == [address, address]
        np.testing.assert_allclose(read(got), expected(arrays), atol=1e-5)

    def test_default(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        """0 is DLPack's name of ROCm's default stream; 1 and 2 are not allowed there."""
        for stream in (None, 0):
            x, w = map(Tensor, arrays)
            mioconv.conv2d_forward(x, w, stream=stream)
            assert [a["stream"] for a in x.arguments + w.arguments] == [0, 0]

    @pytest.mark.parametrize("stream", [1, 2, -1, 2**64])
    def test_numbers_that_are_no_stream(
        self, standin: Standin, arrays: tuple[Any, Any], stream: int
    ) -> None:
        with pytest.raises(ValueError, match=rf"stream: expected .*{stream}"):
            mioconv.conv2d_forward(*map(Tensor, arrays), stream=stream)

    class Wrong:
        def __cuda_stream__(self) -> tuple[int, int]:
            return (1, 0x700)

    @pytest.mark.parametrize("stream", ["fast", 1.5, True, object(), Wrong()])
    def test_objects_that_are_no_stream(
        self, standin: Standin, arrays: tuple[Any, Any], stream: Any
    ) -> None:
        with pytest.raises(TypeError, match="stream: expected"):
            mioconv.conv2d_forward(*map(Tensor, arrays), stream=stream)

    def test_every_operator(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        x, w = map(Tensor, arrays)
        g = Tensor(expected(arrays))
        for call in (
            lambda **k: mioconv.conv2d_forward(x, w, **k),
            lambda **k: mioconv.conv2d_relu_forward(x, w, **k),
            lambda **k: mioconv.conv2d_backward_input(arrays[0].shape, g, w, **k),
            lambda **k: mioconv.conv2d_backward_weight(arrays[1].shape, g, x, **k),
            lambda **k: mioconv.conv2d_backward(x, g, w, **k),
            lambda **k: mioconv.conv2d_backward_bias(g, **k),
        ):
            call()
            standin.clear()
            call(stream=0x4400)
            used = [
                call["args"] for call in standin.calls("Async|EventRecord|SetStream|CreateWith")
            ]
            streams = {a.get("stream", a.get("streamID")) for a in used} - {0x4400}
            # Fusion plans keep handles; memory of results that are dropped goes its own way.
            assert streams <= {None, 0}, used
            assert 0x4400 in work_streams(standin)
        mioconv.conv2d_forward(x, w)


class TestPlan:
    """Its workspace serves one call after the other, whatever streams they are on."""

    def test_the_next_call_waits(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        x, w = map(Tensor, arrays)
        problem = mioconv.Problem.from_tensors("forward", x, w)
        plan = mioconv.plan(problem)
        out = Tensor(np.zeros_like(expected(arrays)))
        plan(x, w, out=out)
        standin.clear()
        plan(x, w, out=out)
        assert standin.calls("hipEventRecord|hipStreamWaitEvent|Synchronize") == []
        plan(x, w, out=out, stream=0x100)
        assert standin.names("Synchronize") == ["hipDeviceSynchronize"]
        assert waits(standin) == []
        standin.clear()
        # The handle may be that of another stream by now; the host does not wait.
        plan(x, w, out=out, stream=0x100)
        assert waits(standin) == [(0x100, 0x100)]
        plan(x, w, out=out, stream=0x200)
        assert waits(standin) == [(0x100, 0x100), (0x100, 0x200)]
        assert standin.names("Synchronize") == []
        np.testing.assert_allclose(read(out), expected(arrays), atol=1e-5)


class TestOwnTensor:
    def test_consumer_waits(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        got = mioconv.conv2d_forward(*map(Tensor, arrays), stream=0x100)
        assert got.__dlpack_device__() == (10, 0)
        assert "rocm:0" in repr(got)
        assert waits(standin) == []
        got.__dlpack__(stream=0x200)
        assert waits(standin) == [(0x100, 0x200)]
        standin.clear()
        got.__dlpack__(stream=-1)
        assert waits(standin) == []
        # By now the handle may be that of another stream: AMD's library has no numbers for them.
        got.__dlpack__(stream=0x100)
        assert waits(standin) == [(0x100, 0x100)]
        standin.clear()
        got = mioconv.conv2d_forward(*map(Tensor, arrays))
        got.__dlpack__(stream=0)
        assert waits(standin) == []  # the default stream is there for good
        got = mioconv.conv2d_forward(*map(Tensor, arrays), stream=0x100)
        assert waits(standin) == []
        for default in (None, 0):
            standin.clear()
            got.__dlpack__(stream=default)
            assert waits(standin) == [(0x100, 0)]
        with pytest.raises(ValueError, match="stream"):
            got.__dlpack__(stream=1)
        with pytest.raises(TypeError, match="stream"):
            got.__dlpack__(stream="x")
        with pytest.raises(BufferError, match="stream"):
            got.__dlpack__(stream=-2)
        with pytest.raises(BufferError, match="dl_device"):
            got.__dlpack__(dl_device=(1, 0))
        with pytest.raises(BufferError, match="host"):
            memoryview(got)
        assert hash(str(got.shape)) is not None

    def test_as_operand(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        first = mioconv.conv2d_forward(*map(Tensor, arrays), stream=0x100)
        w = random_array((3, 6, 1, 1))
        second = mioconv.conv2d_forward(first, Tensor(w), stream=0x300)
        assert (0x100, 0x300) in waits(standin)
        wanted = mioconv.conv2d_forward(expected(arrays), w)
        np.testing.assert_allclose(read(second), wanted, rtol=1e-4, atol=1e-4)

    def test_freed_in_stream_order(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        got = mioconv.conv2d_forward(*[Tensor(a, 1) for a in arrays], stream=0x100)
        gc.collect()
        standin.clear()
        del got
        gc.collect()
        pools = os.environ["FAKE_ROCM_CONFIG"] == "hip7"
        (freed,) = standin.calls("hipFree")
        assert freed["on"] == 1
        if pools:
            assert freed["call"] == "hipFreeAsync"
            assert freed["args"]["stream"] == 0x100
        # Nobody else worked on it: no waiting.
        assert not standin.names("Synchronize")

    def test_freed_after_others(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        got = mioconv.conv2d_forward(*map(Tensor, arrays), stream=0x100)
        got.__dlpack__(stream=0x200)
        standin.clear()
        del got
        gc.collect()
        assert standin.names("Synchronize", "hipFree")[0] == "hipDeviceSynchronize"

    def test_nothing_leaks(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        mioconv.conv2d_forward(*map(Tensor, arrays))
        mioconv.empty_cache()
        gc.collect()
        before = standin.allocations
        for _ in range(50):
            mioconv.conv2d_forward(*map(Tensor, arrays)).__dlpack__(max_version=(1, 0))
        mioconv.empty_cache()
        gc.collect()
        assert standin.allocations == before


class TestArrayInterface:
    def own(self, standin: Standin, arrays: tuple[Any, Any], index: int = 0) -> None:
        for a in arrays:
            standin.own(a.ctypes.data, a.nbytes, index)

    def test_input_and_output(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        self.own(standin, arrays, 1)
        got = mioconv.conv2d_forward(*map(Interface, arrays))
        assert got.device == "rocm:1"
        interface = got.__cuda_array_interface__
        assert interface["version"] == 3
        assert interface["stream"] == 1
        np.testing.assert_allclose(read_interface(got), expected(arrays), atol=1e-5)
        out = np.zeros_like(expected(arrays))
        standin.own(out.ctypes.data, out.nbytes, 1)
        mioconv.conv2d_forward(*map(Interface, arrays), out=Interface(out))
        np.testing.assert_allclose(out, expected(arrays), atol=1e-5)

    def test_streams(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        """The first operand's stream is the call's; the others are waited for."""
        self.own(standin, arrays)
        x, w = arrays
        got = mioconv.conv2d_forward(Interface(x, 0x100), Interface(w, 0x200))
        assert work_streams(standin) == {0x100}
        assert waits(standin) == [(0x200, 0x100)]
        assert got.__cuda_array_interface__["stream"] == 0x100
        standin.clear()
        mioconv.conv2d_forward(Interface(x, 0x100), Interface(w, 1), stream=0x300)
        assert (0x100, 0x300) in waits(standin)
        assert (0, 0x300) in waits(standin)
        mioconv.conv2d_forward(Interface(x), Interface(w))

    @pytest.mark.parametrize("stream", [0, -1, "x"])
    def test_wrong_stream(self, standin: Standin, arrays: tuple[Any, Any], stream: Any) -> None:
        self.own(standin, arrays)
        with pytest.raises(ValueError, match=r"input: .*__cuda_array_interface__"):
            mioconv.conv2d_forward(Interface(arrays[0], stream), Interface(arrays[1]))

    def test_strides_dtypes_and_masks(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        x, w = arrays
        big = np.zeros((2, 4, 14, 12), np.float32)
        view = big[:, :, ::2, ::2]
        view[...] = x
        standin.own(big.ctypes.data, big.nbytes)
        standin.own(w.ctypes.data, w.nbytes)
        got = mioconv.conv2d_forward(Interface(view), Interface(w, strides=None))
        np.testing.assert_allclose(read(got), expected(arrays), atol=1e-5)
        for wrong, words in [
            ({"typestr": "<f8"}, "float64"), ({"typestr": ">f4"}, "byte order"),
            ({"typestr": "<i4"}, "<i4"), ({"mask": Interface(w)}, "masked"),
        ]:  # fmt: skip
            with pytest.raises(TypeError, match=rf"input: .*{words}"):
                mioconv.conv2d_forward(Interface(view, **wrong), Interface(w))
        w.flags.writeable = False
        with pytest.raises(BufferError, match="read-only"):
            mioconv.conv2d_forward(Interface(view), Interface(w), out=Interface(w))

    @pytest.mark.parametrize(("kind", "device"), [(1, "rocm:0"), (2, "cpu")])
    def test_managed_and_pinned(
        self, standin: Standin, arrays: tuple[Any, Any], kind: int, device: str
    ) -> None:
        for a in arrays:
            standin.own(a.ctypes.data, a.nbytes, 0, kind)
        got = mioconv.conv2d_forward(*map(Interface, arrays))
        assert got.device == device
        np.testing.assert_allclose(read(got), expected(arrays), atol=1e-5)

    @pytest.mark.skipif(BFLOAT16 is None, reason="NumPy's bfloat16 needs ml_dtypes")
    def test_bfloat16_has_no_code(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        got = mioconv.conv2d_forward(*[Tensor(a.astype(BFLOAT16)) for a in arrays])
        assert not hasattr(got, "__cuda_array_interface__")
        host = mioconv.conv2d_forward(*map(BareTensor, arrays))
        assert not hasattr(host, "__cuda_array_interface__")


class TestCupy:
    """A library with a current stream of its own."""

    def test_current_stream(self, standin: Standin, cupy: Any, arrays: tuple[Any, Any]) -> None:
        with cupy.cuda.ExternalStream(0x800):
            got = mioconv.conv2d_forward(*map(CupyArray, arrays))
        assert isinstance(got, CupyArray)
        assert work_streams(standin) == {0x800}
        assert waits(standin) == []
        # It queues on that stream itself, and its attributes say the rest: no handshake.
        assert not [what for what, _ in rocm.log if what == "__dlpack__"]
        np.testing.assert_allclose(got.host, expected(arrays), atol=1e-5)

    def test_layouts(self, standin: Standin, cupy: Any, arrays: tuple[Any, Any]) -> None:
        """Strides count bytes there, and elements here."""
        x, w = arrays
        wanted = expected(arrays)
        for given in (channels_last(x), sliced(x)):
            out = CupyArray(channels_last(np.zeros_like(wanted)))
            assert mioconv.conv2d_forward(CupyArray(given), CupyArray(w), out=out) is out
            np.testing.assert_allclose(out.host, wanted, atol=1e-5)

    def test_half(self, standin: Standin, cupy: Any, arrays: tuple[Any, Any]) -> None:
        got = mioconv.conv2d_forward(*[CupyArray(a.astype(np.float16)) for a in arrays])
        assert got.dtype == np.float16
        np.testing.assert_allclose(got.host, expected(arrays), atol=0.1)

    def test_capsules_of_other_types(
        self, standin: Standin, cupy: Any, arrays: tuple[Any, Any]
    ) -> None:
        """What the attributes do not settle is asked for, and refused, by DLPack."""
        for dtype, name in ((np.float64, "float64"), (np.int32, "int32")):
            with pytest.raises(TypeError, match=name):
                mioconv.conv2d_forward(*[CupyArray(a.astype(dtype)) for a in arrays])
        assert {s for what, s in rocm.log if what == "__dlpack__"} == {-1}

    def test_refusals(self, standin: Standin, cupy: Any, arrays: tuple[Any, Any]) -> None:
        x, w = arrays
        odd = np.lib.stride_tricks.as_strided(x, x.shape, (*x.strides[:3], 6))
        with pytest.raises(BufferError, match=r"input.*aligned"):
            mioconv.conv2d_forward(CupyArray(odd), CupyArray(w))
        with pytest.raises(ValueError, match=r"weight.*rocm:0.*rocm:1"):
            mioconv.conv2d_forward(CupyArray(x), CupyArray(w, 1))
        with pytest.raises(TypeError, match="CuPy array"):
            mioconv.conv2d_forward(CupyArray(x), w)
        with pytest.raises(ValueError, match="input"):
            mioconv.conv2d_forward(CupyArray(np.zeros((1,) * 9, np.float32)), CupyArray(w))

    def test_given_stream(self, standin: Standin, cupy: Any, arrays: tuple[Any, Any]) -> None:
        """It waits for the current one; whatever the array library does goes there."""
        standin.set(fusion=1, no_bias=1)
        with cupy.cuda.ExternalStream(0x800):
            got = mioconv.conv2d_relu_forward(
                *map(CupyArray, (*arrays, random_array((6,)))), stream=0x900
            )
            assert cupy.cuda.get_current_stream(0).ptr == 0x800
        assert isinstance(got, CupyArray)
        assert waits(standin)[0] == (0x800, 0x900)
        assert work_streams(standin) == {0x900}
        done = {what: stream for what, stream in rocm.log if what != "__dlpack__"}
        assert done == {"empty": 0x900, "add": 0x900, "set": 0x900}

    def test_stream_is_left_after_an_error(
        self, standin: Standin, cupy: Any, arrays: tuple[Any, Any]
    ) -> None:
        with cupy.cuda.ExternalStream(0x800), pytest.raises(ValueError, match="padding"):
            mioconv.conv2d_forward(*map(CupyArray, arrays), stream=0x900, padding=-1)
        assert cupy.cuda.get_current_stream(0).ptr == 0

    def test_device(self, standin: Standin, cupy: Any, arrays: tuple[Any, Any]) -> None:
        got = mioconv.conv2d_forward(*[CupyArray(a, 1) for a in arrays])
        assert got.device.id == 1
        big = np.zeros((2, 4, 14, 12), np.float32)[:, :, ::2, ::2]
        big[...] = arrays[0]
        rocm.log.clear()
        got = mioconv.conv2d_forward(CupyArray(big, 1), CupyArray(arrays[1], 1))
        assert ("set", 0) in rocm.log, "CuPy's own copy packs"
        assert not standin.names("Transform")
        np.testing.assert_allclose(got.host, expected(arrays), atol=1e-5)


class TestMasquerade:
    """A ROCm build may call its devices CUDA."""

    def test_hips_memory(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        for a in arrays:
            standin.own(a.ctypes.data, a.nbytes, 1)
        got = mioconv.conv2d_forward(*[BareTensor(a, device=(2, 1)) for a in arrays])
        assert got.device == "rocm:1"
        np.testing.assert_allclose(read(got), expected(arrays), atol=1e-5)

    def test_unknown_memory(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        with pytest.raises(mioconv.ProviderNotFoundError) as error:
            mioconv.conv2d_forward(*[BareTensor(a, device=(2, 0)) for a in arrays])
        text = str(error.value)
        assert "the cuda provider is not available" in text
        assert "HIP was asked too: it does not know this memory" in text


class TestDevices:
    def test_mixed(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        x, w = arrays
        for one, other, words in [
            (Tensor(x, 0), Tensor(w, 1), "rocm:0 like input, but got rocm:1"),
            (Tensor(x, 1), BareTensor(w), "rocm:1 like input, but got cpu"),
            (BareTensor(x), Tensor(w, 1), "cpu like input, but got rocm:1"),
        ]:
            with pytest.raises(ValueError, match=f"weight: expected device {words}"):
                mioconv.conv2d_forward(one, other)
        out = np.zeros_like(expected(arrays))
        with pytest.raises(ValueError, match=r"out: expected device rocm:0.*rocm:1"):
            mioconv.conv2d_forward(Tensor(x), Tensor(w), out=Tensor(out, 1))

    def test_unknown_device(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        with pytest.raises(mioconv.StatusError, match="hip"):
            mioconv.conv2d_forward(*[Tensor(a, 7) for a in arrays])

    def test_current_before_the_producer_is_asked(
        self, standin: Standin, arrays: tuple[Any, Any]
    ) -> None:
        """PyTorch refuses to export a tensor of a device that is not current."""
        seen = []

        class Strict(Tensor):
            def __dlpack__(self, **arguments: Any) -> Any:
                seen.append(standin.current_device)
                return super().__dlpack__(**arguments)

        mioconv.conv2d_forward(*[Strict(a, 1) for a in arrays])
        assert seen == [1, 1]

    def test_describing_needs_no_stream(self, standin: Standin, arrays: tuple[Any, Any]) -> None:
        x, w = map(Tensor, arrays)
        problem = mioconv.Problem.from_tensors("forward", x, w)
        assert problem.device == "rocm:0"
        assert x.arguments[0]["stream"] == -1


def test_fork(standin: Standin, arrays: tuple[Any, Any]) -> None:
    """A child has no GPU: a clear error; the CPU goes on; nothing native is called at its end."""
    kept = mioconv.conv2d_forward(*map(Tensor, arrays))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            standin.clear()
            try:
                mioconv.conv2d_forward(*map(Tensor, arrays))
                text = "no error"
            except mioconv.UnsupportedError as error:
                text = str(error)
            mioconv.conv2d_forward(*arrays)
            del kept
            gc.collect()
            calls = standin.names()
            os.write(writing, f"{text}\n{calls}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    text, calls = os.read(reading, 10000).decode().split("\n")
    os.close(reading)
    assert "rocm provider was in use when this process was forked" in text
    assert "spawn" in text
    assert calls == "[]"
    assert mioconv.conv2d_forward(*map(Tensor, arrays)) is not None, "the parent goes on"
