"""Checks that every operator must pass; the test modules choose operators and problems."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from .native import no_native_calls
from .operators import FORWARD, Operator
from .problems import Case
from .tensors import (
    BFLOAT16,
    LAYOUTS,
    channels_last,
    is_channels_last,
    is_packed,
    random_array,
    sliced,
    to_numpy,
)
from .tolerances import assert_close, assert_same_bits


def operands(op: Operator, case: Case, dtype: Any = np.float32, seed: int = 0) -> tuple[Any, Any]:
    """The two tensors of an operator, packed."""
    first, second = op.shapes(case)
    return random_array(first, dtype, seed), random_array(second, dtype, seed + 1)


def random_bias(case: Case, dtype: Any = np.float32, seed: int = 7) -> Any:
    return random_array((case.k,), dtype, seed)


def arguments(case: Case, dtype: Any = np.float32, layout: str = "packed") -> list[Any]:
    """x, w and bias of a forward convolution, in a layout."""
    x, w = (LAYOUTS[layout](a) for a in operands(FORWARD, case, dtype))
    return [x, w, random_bias(case, dtype)]


def check(
    op: Operator,
    case: Case,
    dtype: Any = np.float32,
    layouts: tuple[str, str] = ("packed", "packed"),
    bias: bool = False,
    wrap: Callable[[Any], Any] = lambda a: a,
    **more: Any,
) -> Any:
    """Call an operator and compare with the reference; returns what the call gave."""
    a, b = (
        LAYOUTS[layout](t) for layout, t in zip(layouts, operands(op, case, dtype), strict=True)
    )
    before = a.tobytes(), b.tobytes()
    given = random_bias(case, dtype) if bias else None
    keywords = {"bias": wrap(given), **more} if bias else more
    result = op(case, wrap(a), wrap(b), **keywords)
    values = to_numpy(result)
    assert values.dtype == dtype
    assert values.shape == op.result_shape(case)
    assert_close(values, *op.expected(case, a, b, given))
    assert (a.tobytes(), b.tobytes()) == before, "an input was written"
    return result


def unambiguously_channels_last(a: Any) -> bool:
    """Channels-last, and not packed as well."""
    return is_channels_last(a) and not is_packed(a)


def check_layout_rule(op: Operator, case: Case, dtype: Any = np.float32) -> None:
    """Channels-last out exactly when an operand is channels-last and cannot be read as packed."""
    for layouts in [
        ("packed", "packed"),
        ("channels_last", "packed"),
        ("packed", "channels_last"),
        ("channels_last", "channels_last"),
    ]:
        result = check(op, case, dtype, layouts)
        arrays = [
            LAYOUTS[layout](a) for layout, a in zip(layouts, operands(op, case, dtype), strict=True)
        ]
        if any(map(unambiguously_channels_last, arrays)):
            assert is_channels_last(result), f"{layouts}: {result.strides}"
        else:
            assert is_packed(result), f"{layouts}: {result.strides}"


def check_out(op: Operator, case: Case, dtype: Any = np.float32) -> None:
    """`out` is returned itself, whatever its layout, and nothing beside it is written."""
    a, b = operands(op, case, dtype)
    value, bound = op.expected(case, a, b)
    shape = op.result_shape(case)
    for layout in ("packed", "channels_last", "sliced", "negative_stride", "byte_offset"):
        out = LAYOUTS[layout](np.full(shape, np.nan, dtype))
        base = out if out.base is None else out.base
        while isinstance(base.base, np.ndarray):
            base = base.base
        result = op(case, a, b, out=out)
        assert result is out, layout
        assert_close(out, value, bound)
        if layout == "sliced":
            outside = np.ones(base.shape, bool)
            outside[tuple(slice(2, 2 + 2 * s, 2) for s in shape)] = False
            assert (base[outside] == 7).all(), "written beside out"


def check_bad_out(op: Operator, case: Case) -> None:
    """Every wrong `out` is refused before anything is called or written."""
    a, b = operands(op, case)
    shape = op.result_shape(case)

    def call(out: Any) -> None:
        op(case, a, b, out=out)

    wrong = (*shape[:-1], shape[-1] + 1)
    with refuses(ValueError, "out", shape_words(shape)):
        call(np.zeros(wrong, np.float32))
    with refuses(TypeError, "out", "float16", "float32"):
        call(np.zeros(shape, np.float16))
    with refuses(TypeError, "out", "float64"):
        call(np.zeros(shape, np.float64))
    fixed = np.zeros(shape, np.float32)
    fixed.flags.writeable = False
    with refuses((ValueError, BufferError), "out", "read-only|readonly|writ"):
        call(fixed)
    with refuses(TypeError, "out"):
        call([[0.0]])
    broadcast = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape, (0,) * len(shape))
    with refuses(ValueError, "out", "overlap|stride|itself|share"):
        call(broadcast)


def check_overlapping_out(op: Operator, case: Case) -> None:
    """`out` must not share memory with an input."""
    first, second = op.shapes(case)
    shape = op.result_shape(case)
    for position in (0, 1):
        sizes = [int(np.prod(s)) for s in ((first, second)[position], shape)]
        memory = random_array((sum(sizes) - 1,))  # the two share one element
        shared = memory[: sizes[0]].reshape((first, second)[position])
        out = memory[sizes[0] - 1 :].reshape(shape)
        pair = list(operands(op, case))
        pair[position] = shared
        before = memory.tobytes()
        with refuses(ValueError, "out", "overlap|memory|shares"):
            op(case, *pair, out=out)
        assert memory.tobytes() == before


def check_empty_batch(op: Operator, case: Case, expected_shape: tuple[int, ...]) -> None:
    """Batch 0 gives the empty tensor, or zeros where the batch is summed over."""
    first, second = (
        np.zeros((0, *shape[1:]) if shape != case.weight_shape else shape, np.float32)
        for shape in op.shapes(case)
    )
    function = op.function(case.rank)
    leading = op.leading(case)
    if op.name == "backward_input":
        leading = tuple((0, *shape[1:]) for shape in leading)
    result = function(*leading, first, second, **op.settings(case))
    assert result.shape == expected_shape
    assert not result.any()
    out = np.full(expected_shape, 3, np.float32)
    assert function(*leading, first, second, **op.settings(case), out=out) is out
    assert not out.any()


def check_solutions(op: Operator, case: Case, dtype: Any, layout: str) -> int:
    """Every solution that is listed runs when pinned, and is right. Returns how many there are."""
    import mioconv

    a, b = (LAYOUTS[layout](t) for t in operands(op, case, dtype))
    value, bound = op.expected(case, a, b)
    if not any(unambiguously_channels_last(t) for t in (a, b)):
        layout = "packed"  # with one channel, or nothing around it, both are the same memory
    problem = mioconv.Problem(
        op.name,
        case.input_shape,
        case.weight_shape,
        np.dtype(dtype).name,
        **case.settings,
        layout=layout,
        transposed=case.transposed,
    )
    solutions = mioconv.find_solutions(problem)
    assert solutions, "no solution listed"
    ids = [solution.id for solution in solutions]
    assert len(set(ids)) == len(ids)
    for solution in solutions:
        assert isinstance(solution.name, str)
        assert solution.workspace_bytes >= 0
        result = op(case, a, b, solution=solution.id)
        try:
            assert_close(result, value, bound)
        except AssertionError as error:
            raise AssertionError(f"solution {solution.name}: {error}") from None
        assert mioconv.last_call().solution_id == solution.id
    return len(solutions)


def draw_dtype(data: st.DataObject) -> np.dtype[Any]:
    """Any of the dtypes that this machine's NumPy has."""
    dtypes = [np.dtype(np.float32), np.dtype(np.float16)]
    return data.draw(st.sampled_from(dtypes if BFLOAT16 is None else [*dtypes, BFLOAT16]))


def draw_check(op: Operator, case: Case, data: st.DataObject, **more: Any) -> None:
    """A drawn problem in a drawn dtype, each operand in a drawn layout."""
    layouts = st.sampled_from(sorted(LAYOUTS))
    check(op, case, draw_dtype(data), (data.draw(layouts), data.draw(layouts)), **more)


def draw_check_solutions(op: Operator, case: Case, data: st.DataObject) -> None:
    """Every solution of a drawn problem."""
    layout = data.draw(st.sampled_from(["packed", "channels_last"]))
    assert check_solutions(op, case, draw_dtype(data), layout) >= 1


def check_refcounts(op: Operator, case: Case, wrap: Callable[[Any], Any]) -> None:
    """References to operands are back where they were after calls, and nothing was copied."""
    a, b = (wrap(t) for t in operands(op, case))
    out = wrap(np.zeros(op.result_shape(case), np.float32))
    op(case, a, b)
    before = [sys.getrefcount(t) for t in (a, b, out)]
    for _ in range(20):
        op(case, a, b)
        op(case, a, b, out=out)
    assert [sys.getrefcount(t) for t in (a, b, out)] == before


def check_strided_equal_packed(op: Operator, case: Case, dtype: Any = np.float32) -> None:
    """A gap between elements changes nothing, to the bit."""
    a, b = operands(op, case, dtype)
    assert_same_bits(op(case, sliced(a), sliced(b)), op(case, a, b))
    first = channels_last(a)
    assert_same_bits(op(case, first, b, out=np.empty_like(op(case, first, b))), op(case, first, b))


def shape_words(shape: tuple[int, ...]) -> str:
    """A regex for a shape, however it is bracketed."""
    return r"[,x]? ?".join(map(str, shape))


@contextmanager
def refuses(
    exception: type[BaseException] | tuple[type[BaseException], ...],
    *words: str,
    native: bool = False,
) -> Iterator[None]:
    """What is called inside raises; the message has every one of the words.

    Words are regexes, in any order and case. Unless `native` says that the check itself must ask
    the library, nothing native is called.
    """
    with nullcontext() if native else no_native_calls(), pytest.raises(exception) as info:
        yield
    message = str(info.value)
    missing = [word for word in words if not re.search(word, message, re.IGNORECASE)]
    assert not missing, f"{missing} not in {message!r}"
