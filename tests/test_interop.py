"""The same numbers through NumPy, PyTorch and bare DLPack; nothing copied, nothing leaked."""

from __future__ import annotations

import array
import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import dlpack
from helpers.checks import arguments, check_refcounts, refuses
from helpers.operators import FORWARD
from helpers.problems import CASES, FEW, Case
from helpers.tensors import (
    BFLOAT16,
    DTYPES,
    KINDS,
    BareTensor,
    byte_offset,
    channels_last,
    data_pointer,
    import_torch,
    is_channels_last,
    negative_stride,
    random_array,
    sliced,
    to_torch,
)
from helpers.tolerances import assert_same_bits

PLAIN = next(case for case in CASES if case.name == "2d")
kinds = pytest.mark.parametrize("kind", [name for name in KINDS if name != "numpy"])


def run(case: Case, x: Any, w: Any, bias: Any, **more: Any) -> Any:
    return FORWARD(case, x, w, bias=bias, **more)


@kinds
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last", "sliced", "fortran", "byte_offset"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_same_bits(kind: str, case: Case, layout: str, dtype: Any) -> None:
    given = arguments(case, dtype, layout)
    wrapped = [KINDS[kind](a) for a in given]
    assert_same_bits(run(case, *wrapped), run(case, *given))


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_with_negative_strides(dtype: Any) -> None:
    """DLPack can say them; torch cannot."""
    given = [negative_stride(a) for a in arguments(PLAIN, dtype)]
    assert_same_bits(run(PLAIN, *map(BareTensor, given)), run(PLAIN, *given))


class TestKindOfTheOutput:
    def test_numpy(self) -> None:
        assert type(run(PLAIN, *arguments(PLAIN))) is np.ndarray

    def test_numpy_subclass(self) -> None:
        class Mine(np.ndarray[Any, Any]):
            pass

        given = arguments(PLAIN)
        got = run(PLAIN, given[0].view(Mine), *given[1:])
        assert isinstance(got, np.ndarray)
        assert_same_bits(np.asarray(got), run(PLAIN, *given))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_torch(self, dtype: Any) -> None:
        torch = import_torch()
        given = [to_torch(a) for a in arguments(PLAIN, dtype)]
        got = run(PLAIN, *given)
        assert type(got) is torch.Tensor
        assert got.dtype == given[0].dtype
        assert got.device == given[0].device
        assert not got.requires_grad
        assert got.is_contiguous()

    def test_torch_channels_last(self) -> None:
        torch = import_torch()
        x, w, bias = (to_torch(a) for a in arguments(PLAIN))
        got = run(PLAIN, x.to(memory_format=torch.channels_last), w, bias)
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert not got.is_contiguous()

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("versioned", [True, False])
    def test_dlpack(self, dtype: Any, versioned: bool) -> None:
        """A producer without a known library gets a mioconv.Tensor, itself a producer."""
        given = arguments(PLAIN, dtype)
        got = run(PLAIN, *(BareTensor(a, versioned=versioned) for a in given))
        assert type(got) is mioconv.Tensor
        assert got.__dlpack_device__() == (1, 0)
        assert tuple(got.shape) == PLAIN.output_shape
        assert_same_bits(got, run(PLAIN, *given))
        if dtype != BFLOAT16:
            view = np.from_dlpack(got)
            assert_same_bits(view, run(PLAIN, *given))
            del got
            gc.collect()
            assert_same_bits(view, run(PLAIN, *given))  # the view keeps the memory

    def test_tensor_goes_back_in(self) -> None:
        """What mioconv gave is what it takes, of the same kind as its producer's others."""
        x, w, _ = arguments(PLAIN)
        first = mioconv.conv2d_forward(BareTensor(x), BareTensor(w))
        w2 = random_array((2, PLAIN.k, 1, 1), seed=9)
        again = mioconv.conv2d_forward(first, BareTensor(w2))
        assert_same_bits(again, mioconv.conv2d_forward(mioconv.conv2d_forward(x, w), w2))

    def test_tensor_into_torch(self) -> None:
        torch = import_torch()
        given = arguments(PLAIN, BFLOAT16 or np.float32)
        got = torch.from_dlpack(run(PLAIN, *map(BareTensor, given)))
        assert_same_bits(got, run(PLAIN, *given))

    @pytest.mark.parametrize("make", [memoryview, lambda a: array.array("f", a.ravel().tolist())])
    def test_buffers(self, make: Any) -> None:
        """Anything with the buffer protocol; a flat one has the wrong rank, and is told so."""
        x, w, _ = arguments(PLAIN)
        if make is memoryview:
            got = mioconv.conv2d_forward(memoryview(x), memoryview(w))
            assert_same_bits(got, mioconv.conv2d_forward(x, w))
        else:
            with refuses(ValueError, "input"):
                mioconv.conv2d_forward(make(x), memoryview(w))


class TestNoCopy:
    """The memory that is read and written is the caller's."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_out_is_the_callers(self, kind: str) -> None:
        given = arguments(PLAIN)
        memory = np.zeros(PLAIN.output_shape, np.float32)
        out = KINDS[kind](memory)
        pointer = data_pointer(out)
        got = run(PLAIN, *(KINDS[kind](a) for a in given), out=out)
        assert got is out
        assert data_pointer(out) == pointer == data_pointer(memory)
        assert_same_bits(memory, run(PLAIN, *given))

    @pytest.mark.parametrize("kind", KINDS)
    def test_input_is_read_where_it_is(self, kind: str) -> None:
        """A change in the caller's memory is seen by the next call through the same object."""
        x, w, bias = arguments(PLAIN)
        wrapped = [KINDS[kind](a) for a in (x, w, bias)]
        run(PLAIN, *wrapped)
        x *= 2
        w += 1
        assert_same_bits(run(PLAIN, *wrapped), run(PLAIN, x, w, bias))

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_large_inputs_cost_no_memory(self) -> None:
        """Peak memory of a call stays far below a copy of its input."""
        import resource

        x = np.ones((1, 1, 6000, 6000), np.float32)  # 137 MiB
        w = np.ones((1, 1, 1, 1), np.float32)
        out = np.zeros((1, 1, 1, 1), np.float32)
        mioconv.conv2d_forward(x[..., :6, :6].copy(), w, stride=6, out=out)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        mioconv.conv2d_forward(x, w, stride=6000, out=out)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert (after - before) * 1024 < x.nbytes // 2


class TestReferences:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_counts_are_back(self, kind: str, case: Case) -> None:
        if kind == "torch":
            import_torch()
        check_refcounts(FORWARD, case, KINDS[kind])

    @pytest.mark.parametrize("kind", KINDS)
    def test_counts_are_back_after_errors(self, kind: str) -> None:
        x, w, bias = (KINDS[kind](a) for a in arguments(PLAIN))
        wrong = KINDS[kind](np.zeros(3, np.float32))
        before = [sys.getrefcount(t) for t in (x, w, bias, wrong)]
        for _ in range(20):
            for call in (
                lambda: run(PLAIN, x, w, wrong),
                lambda: run(PLAIN, w, x, bias),
                lambda: run(PLAIN, x, w, bias, out=wrong),
            ):
                with pytest.raises(ValueError, match=r"."):
                    call()
        gc.collect()
        assert [sys.getrefcount(t) for t in (x, w, bias, wrong)] == before

    def test_result_dies_with_its_last_reference(self) -> None:
        class Watched(BareTensor):
            pass

        producers = [Watched(a) for a in arguments(PLAIN)]
        references = [weakref.ref(p) for p in producers]
        got = run(PLAIN, *producers)
        del producers
        gc.collect()
        assert all(r() is None for r in references), "an input is kept by the result"
        assert got is not None


class TestCapsules:
    """DLPack's rules of ownership."""

    @pytest.mark.parametrize("versioned", [True, False])
    def test_consumed_and_deleted_once(self, versioned: bool) -> None:
        live = dlpack.live_exports()
        producers = [BareTensor(a, versioned=versioned) for a in arguments(PLAIN)]
        for calls in (1, 2, 3):
            run(PLAIN, *producers)
            for producer in producers:
                assert producer.deleted == producer.exports >= calls
        for producer in producers:
            for capsule in producer.capsules:
                name = "used_dltensor_versioned" if versioned else "used_dltensor"
                assert dlpack.capsule_name(capsule) == name
            assert all(a["stream"] is None for a in producer.arguments), "the CPU has no streams"
        assert dlpack.live_exports() == live

    def test_asks_for_a_version_first(self) -> None:
        producer = BareTensor(arguments(PLAIN)[0])
        run(PLAIN, producer, *map(BareTensor, arguments(PLAIN)[1:]))
        assert producer.arguments[0]["max_version"][0] >= 1

    def test_deleted_after_errors(self) -> None:
        live = dlpack.live_exports()
        x, w, bias = arguments(PLAIN)
        for bad in (
            [BareTensor(x), BareTensor(w), BareTensor(bias[:2])],
            [BareTensor(x), BareTensor(w.astype(np.float16)), None],
            [BareTensor(x), BareTensor(w, device=(2, 0)), None],
            [BareTensor(x), BareTensor(w, lanes=2), None],
            [BareTensor(x), w, None],
        ):
            with pytest.raises((ValueError, TypeError, BufferError)):
                run(PLAIN, *bad)
            assert all(b.deleted == b.exports for b in bad if isinstance(b, BareTensor))
        assert dlpack.live_exports() == live

    def test_read_only_input(self) -> None:
        given = arguments(PLAIN)
        wrapped = [BareTensor(a, flags=dlpack.READ_ONLY) for a in given]
        assert_same_bits(run(PLAIN, *wrapped), run(PLAIN, *given))

    @pytest.mark.parametrize("flag", [dlpack.READ_ONLY, dlpack.IS_COPIED])
    def test_out_must_be_writable_and_no_copy(self, flag: int) -> None:
        wrapped = [BareTensor(a) for a in arguments(PLAIN)]
        out = BareTensor(np.full(PLAIN.output_shape, 3, np.float32), flags=flag)
        words = "read-?only|writ" if flag == dlpack.READ_ONLY else "cop"
        with refuses((BufferError, ValueError), "out", words):
            run(PLAIN, *wrapped, out=out)
        assert (out.array == 3).all()
        assert out.deleted == out.exports

    def test_copied_input_is_fine(self) -> None:
        given = arguments(PLAIN)
        wrapped = [BareTensor(a, flags=dlpack.IS_COPIED) for a in given]
        assert_same_bits(run(PLAIN, *wrapped), run(PLAIN, *given))

    def test_newer_major_version(self) -> None:
        """Only the deleter may be called on a structure that is not understood."""
        x, w, _ = arguments(PLAIN)
        newer = BareTensor(x, version=(2, 0))
        with refuses(BufferError, "input", "2.0|version"):
            mioconv.conv2d_forward(newer, BareTensor(w))
        assert newer.deleted == newer.exports == 1

    def test_newer_minor_version(self) -> None:
        given = arguments(PLAIN)
        wrapped = [BareTensor(a, version=(1, 99)) for a in given]
        assert_same_bits(run(PLAIN, *wrapped), run(PLAIN, *given))

    @pytest.mark.parametrize("offset", [4, 64, 4096])
    def test_byte_offset(self, offset: int) -> None:
        given = arguments(PLAIN)
        wrapped = [BareTensor(a, byte_offset=offset) for a in given]
        assert_same_bits(run(PLAIN, *wrapped), run(PLAIN, *given))
        out = BareTensor(np.zeros(PLAIN.output_shape, np.float32), byte_offset=offset)
        run(PLAIN, *wrapped, out=out)
        assert_same_bits(out.array, run(PLAIN, *given))

    def test_null_strides(self) -> None:
        given = arguments(PLAIN)
        wrapped = [BareTensor(a, null_strides=True, versioned=False) for a in given]
        assert_same_bits(run(PLAIN, *wrapped), run(PLAIN, *given))

    def test_host_memory_of_a_gpu(self) -> None:
        """Pinned host memory is host memory: kDLCUDAHost 3, kDLROCMHost 11."""
        given = arguments(PLAIN)
        for device in ((3, 0), (11, 0)):
            wrapped = [BareTensor(a, device=device) for a in given]
            assert_same_bits(run(PLAIN, *wrapped), run(PLAIN, *given))

    def test_lanes_and_types(self) -> None:
        x, w, _ = arguments(PLAIN)
        with refuses(TypeError, "input"):
            run(PLAIN, BareTensor(x, lanes=4), BareTensor(w), None)
        for dtype in ("f8", "i4", "u1", "c8", "?"):
            wrong = BareTensor(x.astype(dtype))
            with refuses(TypeError, "input", "dtype|type"):
                run(PLAIN, wrong, BareTensor(w), None)

    @pytest.mark.parametrize("answer", [None, 1, "capsule", object()])
    def test_no_capsule(self, answer: Any) -> None:
        class Liar(BareTensor):
            def __dlpack__(self, **_: Any) -> Any:
                return answer

        x, w, _ = arguments(PLAIN)
        with refuses((BufferError, TypeError), "input|capsule"):
            run(PLAIN, Liar(x), BareTensor(w), None)

    def test_used_capsule(self) -> None:
        """A capsule that somebody consumed already must not be read again."""
        x, w, _ = arguments(PLAIN)
        producer = BareTensor(x)
        run(PLAIN, producer, BareTensor(w), None)
        used = producer.capsules[-1]

        class Again(BareTensor):
            def __dlpack__(self, **_: Any) -> Any:
                return used

        with refuses((BufferError, ValueError), "input"):
            run(PLAIN, Again(x), BareTensor(w), None)

    def test_type_error_of_a_handler(self) -> None:
        """Only a plain one says that the producer does not know a keyword."""

        class Mine(TypeError):
            pass

        class Interrupted(BareTensor):
            def __dlpack__(self, **how: Any) -> Any:
                raise Mine

        x, w, bias = arguments(PLAIN)
        with pytest.raises(Mine):
            run(PLAIN, Interrupted(x), BareTensor(w), BareTensor(bias))

    def test_producer_that_raises(self) -> None:
        class Broken(BareTensor):
            def __dlpack__(self, **_: Any) -> Any:
                raise RuntimeError("out of order")

        x, w, _ = arguments(PLAIN)
        with pytest.raises(RuntimeError, match="out of order"):
            run(PLAIN, Broken(x), BareTensor(w), None)


class TestOwnTensor:
    """mioconv.Tensor as a producer, read by NumPy's, PyTorch's and our own consumer."""

    def tensor(self, layout: str = "packed", dtype: Any = np.float32) -> Any:
        return run(PLAIN, *map(BareTensor, arguments(PLAIN, dtype, layout)))

    def test_both_protocols(self) -> None:
        got = self.tensor()
        assert dlpack.capsule_name(got.__dlpack__()) == "dltensor"
        assert dlpack.capsule_name(got.__dlpack__(max_version=(1, 0))) == "dltensor_versioned"
        assert dlpack.capsule_name(got.__dlpack__(max_version=(0, 8))) == "dltensor"
        assert dlpack.capsule_name(got.__dlpack__(stream=None)) == "dltensor"

    def test_capsule_dropped_unused(self) -> None:
        """The capsule's destructor frees what nobody took."""
        got = self.tensor()
        before = sys.getrefcount(got)
        for version in (None, (1, 0)):
            for _ in range(100):
                got.__dlpack__(max_version=version)
        gc.collect()
        assert sys.getrefcount(got) == before

    def test_views_share_memory(self) -> None:
        got = self.tensor()
        first, second = np.from_dlpack(got), np.from_dlpack(got)
        assert first.ctypes.data == second.ctypes.data

    def test_channels_last(self) -> None:
        got = np.from_dlpack(self.tensor("channels_last"))
        assert is_channels_last(got)
        assert_same_bits(got, run(PLAIN, *arguments(PLAIN, layout="channels_last")))

    def test_cannot_be_made_by_hand(self) -> None:
        with pytest.raises(TypeError):
            mioconv.Tensor()
        empty = mioconv.Tensor.__new__(mioconv.Tensor)
        for use in (
            empty.__dlpack__, empty.__dlpack_device__, lambda: memoryview(empty),
            lambda: empty.__dlpack__(max_version=(1, 0), stream=-1),
        ):  # fmt: skip
            with pytest.raises(BufferError, match="never made"):
                use()
        assert not hasattr(empty, "__cuda_array_interface__")

    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    def test_buffer_is_what_was_asked_for(self, layout: str) -> None:
        """As PEP 3118 has it: no contiguity that is not there, no field that nobody asked for."""
        testbuffer = pytest.importorskip("_testbuffer", reason="this Python has no test modules")
        got = self.tensor(layout)
        simple, full = testbuffer.PyBUF_SIMPLE, testbuffer.PyBUF_FULL_RO
        fits = {
            "PyBUF_C_CONTIGUOUS": layout == "packed",
            "PyBUF_F_CONTIGUOUS": False,
            "PyBUF_ANY_CONTIGUOUS": layout == "packed",
            "PyBUF_ND": layout == "packed",
            "PyBUF_SIMPLE": layout == "packed",
            "PyBUF_STRIDES": True,
            "PyBUF_FULL_RO": True,
        }
        for name, fit in fits.items():
            if not fit:
                with pytest.raises(BufferError):
                    testbuffer.ndarray(got, getbuf=getattr(testbuffer, name))
                continue
            lent = testbuffer.ndarray(got, getbuf=getattr(testbuffer, name))
            assert lent.nbytes == np.asarray(got).nbytes
        lent = testbuffer.ndarray(got, getbuf=full)
        assert (lent.shape, lent.format) == (got.shape, "f")
        assert lent.strides == tuple(4 * step for step in got.strides)
        if layout == "packed":
            lent = testbuffer.ndarray(got, getbuf=simple)
            assert (lent.shape, lent.strides, lent.format) == ((), (), "")


def test_odd_layouts_of_bare_tensors() -> None:
    """No alignment beyond the element's, gaps and negative strides, all at once."""
    x, w, bias = arguments(PLAIN)
    odd = [BareTensor(byte_offset(x)), BareTensor(sliced(w)), BareTensor(bias[::-1])]
    assert_same_bits(run(PLAIN, *odd), run(PLAIN, x, w, bias[::-1].copy()))
    assert is_channels_last(channels_last(x))


class TestWhatProducersSay:
    """Fields that a producer may leave out, and such as none should have."""

    x = random_array((1, 2, 12), seed=3)
    w = random_array((1, 2, 3), seed=4)

    def run(self, **fields: Any) -> Any:
        return mioconv.conv1d_forward(BareTensor(self.x, fields=fields), BareTensor(self.w))

    def test_what_may_be_left_out(self) -> None:
        expected = mioconv.conv1d_forward(self.x, self.w)
        assert_same_bits(self.run(strides=None), expected)
        empty = BareTensor(self.x[:0], fields={"data": None})
        assert tuple(mioconv.conv1d_forward(empty, BareTensor(self.w)).shape) == (0, 1, 10)

    @pytest.mark.parametrize(
        ("fields", "exception", "words"),
        [
            ({"data": None}, BufferError, "no memory"),
            ({"data": None, "byte_offset": 64}, BufferError, "no memory"),
            ({"byte_offset": 2}, BufferError, "aligned"),
            ({"shape": None}, BufferError, "without their sizes"),
            ({"shape": (1, 2, -12)}, BufferError, "-12"),
            ({"shape": (1, -2, -12)}, BufferError, "-12"),
            ({"shape": (1, 2, 2**62)}, ValueError, "large"),
            ({"shape": (1, 2, 2**62), "strides": None}, ValueError, "large"),
            ({"ndim": -1}, BufferError, "-1 dimensions"),
            ({"ndim": 0, "shape": None, "strides": None}, ValueError, "0-D"),
        ],
        ids=str,
    )
    def test_refused(self, fields: dict[str, Any], exception: type[Exception], words: str) -> None:
        with refuses(exception, "input", words):
            self.run(**fields)
        assert dlpack.live_exports() == 0

    def test_torch_elements_that_straddle(self) -> None:
        """PyTorch can make them: they are no memory that a library takes."""
        torch = import_torch()
        x = torch.frombuffer(bytearray(4 * 24 + 1), dtype=torch.float32, offset=1)
        with refuses(BufferError, "input", "aligned"):
            mioconv.conv1d_forward(x.reshape(1, 2, 12), to_torch(self.w))
