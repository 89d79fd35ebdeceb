"""conv1d_forward, conv2d_forward, conv3d_forward against the float64 reference."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mioconv
from helpers import reference
from helpers.checks import (
    check,
    check_bad_out,
    check_empty_batch,
    check_layout_rule,
    check_out,
    check_overlapping_out,
    check_solutions,
    check_strided_equal_packed,
    draw_check,
    draw_check_solutions,
    operands,
    random_bias,
)
from helpers.native import fault, object_counts
from helpers.operators import FORWARD
from helpers.problems import CASES, FEW, Case, valid_cases
from helpers.tensors import DTYPES, LAYOUTS, is_channels_last, is_packed, random_array
from helpers.tolerances import assert_close, assert_same_bits, error_bound

BY_NAME = {case.name: case for case in CASES}
PLAIN = BY_NAME["2d"]


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_reference(case: Case, dtype: Any, bias: bool) -> None:
    result = check(FORWARD, case, dtype, bias=bias)
    assert type(result) is np.ndarray
    assert is_packed(result)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "packed"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_layouts(case: Case, layout: str, dtype: Any) -> None:
    """Any memory order of either operand, and of both."""
    check(FORWARD, case, dtype, (layout, "packed"), bias=True)
    check(FORWARD, case, dtype, ("packed", layout))
    check(FORWARD, case, dtype, (layout, layout))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layout_of_the_output(case: Case) -> None:
    check_layout_rule(FORWARD, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_bias_layouts(case: Case, layout: str, dtype: Any) -> None:
    """Bias with channels-last; a strided and a read-only bias."""
    check(FORWARD, case, dtype, (layout, "packed"), bias=True)
    x, w = (LAYOUTS[layout](a) for a in operands(FORWARD, case, dtype))
    bias = random_bias(case, dtype)
    expected = FORWARD(case, x, w, bias=bias)
    for change in ("sliced", "negative_stride", "read_only"):
        assert_same_bits(FORWARD(case, x, w, bias=LAYOUTS[change](bias)), expected)


@given(case=valid_cases(), data=st.data())
def test_drawn(case: Case, data: st.DataObject) -> None:
    """Random problems, dtypes and layouts."""
    draw_check(FORWARD, case, data, bias=data.draw(st.booleans()))


@given(case=valid_cases(), data=st.data())
def test_drawn_solutions(case: Case, data: st.DataObject) -> None:
    draw_check_solutions(FORWARD, case, data)


class TestArguments:
    """Forms of call that mean the same."""

    def test_signature(self) -> None:
        """Names and order of design.md 3; what selects is keyword-only."""
        expected = ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
        keywords = [
            "out", "benchmark", "deterministic", "allow_tf32", "solution", "workspace_limit",
            "exclude", "stream",
        ]  # fmt: skip
        for rank in (1, 2, 3):
            parameters = inspect.signature(FORWARD.function(rank)).parameters
            assert list(parameters)[:7] == expected
            assert set(list(parameters)[7:]) == set(keywords)
            for name in keywords:
                assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
                assert parameters[name].default is None
            defaults = [parameters[name].default for name in expected[2:]]
            assert defaults == [None, 1, 0, 1, 1]

    def test_positional_and_keyword(self) -> None:
        case = BY_NAME["2d-uneven"]
        x, w = operands(FORWARD, case)
        bias = random_bias(case)
        one = mioconv.conv2d_forward(
            x, w, bias, case.stride, case.padding, case.dilation, case.groups
        )
        two = mioconv.conv2d_forward(input=x, weight=w, bias=bias, **case.settings)
        assert_same_bits(one, two)

    @pytest.mark.parametrize("make", [int, np.int64, lambda v: [v, v], lambda v: (v,) * 2])
    def test_integer_forms(self, make: Any) -> None:
        x, w = random_array((1, 4, 9, 9)), random_array((4, 2, 3, 3))
        settings = {"stride": 2, "padding": 1, "dilation": 2}
        expected = mioconv.conv2d_forward(x, w, groups=2, **settings)
        given_ = {name: make(value) for name, value in settings.items()}
        assert_same_bits(mioconv.conv2d_forward(x, w, groups=np.int32(2), **given_), expected)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_missing_batch(self, case: Case, dtype: Any) -> None:
        x, w = operands(FORWARD, case, dtype)
        bias = random_bias(case, dtype)
        expected = FORWARD(case, x[:1], w, bias=bias)[0]
        assert_same_bits(FORWARD(case, x[0], w, bias=bias), expected)
        out = np.empty_like(expected)
        assert FORWARD(case, x[0], w, bias=bias, out=out) is out
        assert_same_bits(out, expected)

    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_empty_batch(self, case: Case) -> None:
        check_empty_batch(FORWARD, case, (0, *case.output_shape[1:]))

    def test_inputs_may_be_one_array(self) -> None:
        """input, weight and bias may share memory with each other."""
        x = random_array((3, 3, 3, 3))
        got = mioconv.conv2d_forward(x, x, x.reshape(-1)[:3], padding=1)
        value = reference.conv_forward(x, x, x.reshape(-1)[:3], padding=1)
        magnitude = reference.conv_forward(abs(x), abs(x), abs(x.reshape(-1)[:3]), padding=1)
        assert_close(got, value, error_bound(x.dtype, abs(value), magnitude, 28))

    def test_special_values(self) -> None:
        """NaN and infinity reach the outputs that read them, and no other."""
        x = np.zeros((1, 1, 1, 8), np.float32)
        x[..., 1], x[..., 6] = np.nan, np.inf
        got = mioconv.conv2d_forward(x, np.ones((1, 1, 1, 3), np.float32))[0, 0, 0]
        expected = [np.nan, np.nan, 0, 0, np.inf, np.inf]
        assert np.array_equal(got, np.array(expected, np.float32), equal_nan=True)


class TestNamedPadding:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
    @pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 2), (4, 3), (3, 2), (5, 6)])
    @pytest.mark.parametrize("layout", ["packed", "channels_last", "sliced"])
    def test_same(self, kernel: Any, dilation: Any, dtype: Any, layout: str) -> None:
        """The output has the input's size; an odd total puts its extra row behind."""
        x = LAYOUTS[layout](random_array((2, 4, 7, 9), dtype))
        w = random_array((6, 2, *kernel), dtype, 1)
        pairs = reference.same_padding(kernel, dilation)
        settings = {"padding": pairs, "dilation": dilation, "groups": 2}
        value = reference.conv_forward(x, w, **settings)
        magnitude = reference.conv_forward(
            np.abs(x.astype(float)), np.abs(w.astype(float)), **settings
        )
        bound = error_bound(dtype, np.abs(value), magnitude, 2 * kernel[0] * kernel[1])
        got = mioconv.conv2d_forward(x, w, padding="same", dilation=dilation, groups=2)
        assert got.shape == (2, 6, 7, 9)
        assert_close(got, value, bound)
        assert is_channels_last(got) == (layout == "channels_last")
        out = np.empty_like(got)
        assert mioconv.conv2d_forward(x, w, None, 1, "same", dilation, 2, out=out) is out
        assert_same_bits(out, got)

    @pytest.mark.parametrize("rank", [1, 3])
    def test_same_in_other_ranks(self, rank: int) -> None:
        kernel = (4, 3, 2)[:rank]
        x, w = random_array((2, 3, *(5, 6, 7)[:rank])), random_array((4, 3, *kernel), seed=1)
        pairs = reference.same_padding(kernel)
        value = reference.conv_forward(x, w, padding=pairs)
        bound = error_bound(
            x.dtype, abs(value), reference.conv_forward(abs(x), abs(w), padding=pairs), 72
        )
        got = FORWARD.function(rank)(x, w, padding="same")
        assert_close(got, value, bound)
        # Another batch is another problem: its solution may sum in another order.
        alone = FORWARD.function(rank)(x[0], w, padding="same")
        assert_close(alone, value[0], bound[0])

    def test_same_needs_no_room_in_the_input(self) -> None:
        """A kernel larger than the input is legal under "same"."""
        x, w = random_array((1, 1, 2, 2)), random_array((1, 1, 5, 5), seed=1)
        got = mioconv.conv2d_forward(x, w, padding="same")
        assert_same_bits(got, mioconv.conv2d_forward(x, w, padding=2))

    @pytest.mark.parametrize("stride", [1, 2])
    def test_valid(self, stride: int) -> None:
        x, w = operands(FORWARD, PLAIN)
        got = mioconv.conv2d_forward(x, w, stride=stride, padding="valid")
        assert_same_bits(got, mioconv.conv2d_forward(x, w, stride=stride))


class TestOut:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_is_filled_and_returned(self, case: Case, dtype: Any) -> None:
        check_out(FORWARD, case, dtype)

    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_wrong(self, case: Case) -> None:
        check_bad_out(FORWARD, case)

    def test_overlapping(self) -> None:
        check_overlapping_out(FORWARD, PLAIN)

    def test_neighbouring_memory_is_no_overlap(self) -> None:
        memory = np.zeros(2 * 100, np.float32)
        x, out = memory[:100].reshape(1, 1, 10, 10), memory[100:].reshape(1, 1, 10, 10)
        x[...] = random_array(x.shape)
        before = x.copy()
        w = random_array((1, 1, 1, 1), seed=3)
        assert mioconv.conv2d_forward(x, w, out=out) is out
        assert_same_bits(out, before * w[0, 0, 0, 0])
        assert_same_bits(x, before)

    def test_interleaved_memory_is_no_overlap(self) -> None:
        """Channel slices of one array share an extent and no element."""
        memory = np.zeros((2, 2, 10, 10), np.float32)
        x, out = memory[:, :1], memory[:, 1:]
        x[...] = random_array(x.shape)
        before = x.copy()
        w = np.full((1, 1, 1, 1), 2, np.float32)
        assert mioconv.conv2d_forward(x, w, out=out) is out
        assert_same_bits(out.copy(), before * 2)
        assert_same_bits(x.copy(), before)

    def test_channels_last_out_for_packed_input(self) -> None:
        x, w = operands(FORWARD, PLAIN)
        value, bound = FORWARD.expected(PLAIN, x, w)
        out = LAYOUTS["channels_last"](np.zeros(PLAIN.output_shape, np.float32))
        assert_close(mioconv.conv2d_forward(x, w, out=out), value, bound)
        assert is_channels_last(out)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_strides_change_nothing(case: Case) -> None:
    check_strided_equal_packed(FORWARD, case)


def test_big_endian_is_refused() -> None:
    x, w = operands(FORWARD, PLAIN)
    for pair in [(x.astype(">f4"), w), (x, w.astype(">f4")), (x.astype(">f2"), w.astype("f2"))]:
        with pytest.raises(TypeError, match=r"(?i)byte.?order|endian"):
            mioconv.conv2d_forward(*pair)


class TestSolutions:
    INTERNAL = 5  # miopenStatusInternalError

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_all_are_right(self, case: Case, layout: str, dtype: Any) -> None:
        assert check_solutions(FORWARD, case, dtype, layout) >= 1

    @pytest.mark.parametrize("case", [c for c in CASES if c.groups > 1], ids=str)
    def test_one_layout_does_not_disturb_another(self, case: Case) -> None:
        """With one channel a group, packed and channels-last weights are the same memory under
        other strides: what was made for the one must not be taken for the other."""
        for first, second in (("channels_last", "packed"), ("packed", "channels_last")):
            check(FORWARD, case, layouts=(first, second))
            for layout in (second, first, second):
                assert check_solutions(FORWARD, case, np.dtype(np.float32), layout) >= 1

    def test_there_is_a_choice(self) -> None:
        """A selection among one would be none."""
        assert check_solutions(FORWARD, BY_NAME["2d-same"], np.dtype(np.float32), "packed") > 1

    def test_problem_from_tensors(self) -> None:
        x, w = operands(FORWARD, PLAIN)
        told = mioconv.Problem("forward", PLAIN.input_shape, PLAIN.weight_shape, "float32")
        assert mioconv.Problem.from_tensors("forward", x, w) == told
        listed = [solution.id for solution in mioconv.find_solutions(told)]
        from_tensors = mioconv.find_solutions(mioconv.Problem.from_tensors("forward", x, w))
        assert [solution.id for solution in from_tensors] == listed

    @pytest.mark.parametrize("flag", [{"benchmark": True}, {"deterministic": True}, {}])
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_selection_modes(self, case: Case, flag: dict[str, bool]) -> None:
        mioconv.cache_clear()
        for _ in range(2):
            check(FORWARD, case, **flag)
        with mioconv.flags(**flag):
            check(FORWARD, case)

    def test_benchmark_measures_once(self) -> None:
        """Any number of calls searches once; the choice is then a measured one."""
        mioconv.cache_clear()
        case = BY_NAME["2d-same"]
        for _ in range(3):
            check(FORWARD, case, benchmark=True)
        assert mioconv.cache_info().finds == 1
        x, w = operands(FORWARD, case)
        problem = mioconv.Problem.from_tensors("forward", x, w, **case.settings)
        assert any(s.source == "measured" for s in mioconv.find_solutions(problem))

    def test_cache_counts(self) -> None:
        mioconv.cache_clear()
        for _ in range(5):
            check(FORWARD, PLAIN)
        info = mioconv.cache_info()
        assert (info.misses, info.hits, info.entries) == (1, 4, 1)
        check(FORWARD, BY_NAME["2d-uneven"])
        assert mioconv.cache_info().entries == 2
        mioconv.cache_clear()
        info = mioconv.cache_info()
        assert (info.misses, info.hits, info.entries) == (0, 0, 0)

    def test_a_hit_creates_nothing(self) -> None:
        """A cached call makes no descriptor and no allocation, and asks the library nothing."""
        x, w = operands(FORWARD, PLAIN)
        out = np.empty(PLAIN.output_shape, np.float32)
        FORWARD(PLAIN, x, w, out=out)
        before = object_counts()
        with ExitStack() as faults:
            for function in (
                "miopenConvolutionForwardGetSolutionCount",
                "miopenConvolutionForwardGetSolution",
                "miopenConvolutionForwardGetWorkSpaceSize",
                "miopenConvolutionForwardCompileSolution",
                "miopenCreateTensorDescriptor",
                "miopenCreateConvolutionDescriptor",
                "miopenSetStream",
                "hipMalloc",
                "hipMallocAsync",
            ):
                faults.enter_context(fault(function, nth=0, status=self.INTERNAL))
            for _ in range(10):
                FORWARD(PLAIN, x, w, out=out)
        after = object_counts()
        del before["native_calls"], after["native_calls"]
        assert after == before

    def test_workspace_limit(self) -> None:
        """A limit leaves the solutions that need no more, and the result right."""
        case = BY_NAME["2d-same"]
        x, w = operands(FORWARD, case)
        problem = mioconv.Problem.from_tensors("forward", x, w, **case.settings)
        solutions = mioconv.find_solutions(problem)
        for limit in sorted({s.workspace_bytes for s in solutions}):
            allowed = {s.id for s in solutions if s.workspace_bytes <= limit}
            for benchmark in (False, True):
                check(FORWARD, case, workspace_limit=limit, benchmark=benchmark)
                assert mioconv.last_call().solution_id in allowed
            with mioconv.flags(workspace_limit=limit):
                check(FORWARD, case)
            assert mioconv.last_call().solution_id in allowed

    def test_no_solution_within_the_limit(self) -> None:
        case = BY_NAME["2d-same"]
        x, w = operands(FORWARD, case)
        problem = mioconv.Problem.from_tensors("forward", x, w, **case.settings)
        naive = "naive|asis"  # needs none: every problem has a solution within any limit
        solutions = mioconv.find_solutions(problem)
        least = min(s.workspace_bytes for s in solutions if s.name != naive)
        assert least > 0, "another solution without workspace: the test needs another problem"
        with pytest.raises(mioconv.NoSolutionError, match=rf"(?s)workspace.*{least - 1}"):
            FORWARD(case, x, w, workspace_limit=least - 1, exclude=naive)
        check(FORWARD, case, workspace_limit=least - 1)
        assert mioconv.last_call().workspace_bytes == 0


class TestFaults:
    """What the library answers wrongly, and what becomes of it."""

    BAD_PARM = 3
    INTERNAL = 5
    NOT_IMPLEMENTED = 6

    def first_choice(self) -> Any:
        mioconv.cache_clear()
        check(FORWARD, BY_NAME["2d-same"])
        return mioconv.last_call().solution_id

    def test_failing_solution_gives_way_to_the_next(self) -> None:
        first = self.first_choice()
        how = {"nth": 0, "solution_id": first, "status": self.INTERNAL}
        with fault("miopenConvolutionForwardImmediate", **how):
            check(FORWARD, BY_NAME["2d-same"])
            assert mioconv.last_call().solution_id != first
        mioconv.cache_clear()

    def test_none_left(self) -> None:
        """The error has the call, MIOpen's text and the problem as a driver line."""
        mioconv.cache_clear()
        how = {"nth": 0, "status": self.INTERNAL}
        with (
            fault("miopenConvolutionForwardImmediate", **how),
            pytest.raises(mioconv.MioconvError, match=r"MIOpenDriver conv .*-n 2 -c 8") as info,
        ):
            FORWARD(BY_NAME["2d-same"], *operands(FORWARD, BY_NAME["2d-same"]))
        assert "miopenConvolutionForwardImmediate" in str(info.value)
        mioconv.cache_clear()
        check(FORWARD, BY_NAME["2d-same"])

    def test_find_that_fails_is_not_fatal(self) -> None:
        mioconv.cache_clear()
        with fault("miopenFindConvolutionForwardAlgorithm", nth=0, status=self.INTERNAL):
            check(FORWARD, BY_NAME["2d-same"], benchmark=True)
        mioconv.cache_clear()

    def test_nothing_implemented(self) -> None:
        mioconv.cache_clear()
        function = "miopenConvolutionForwardGetSolutionCount"
        x, w = operands(FORWARD, BY_NAME["2d-same"])
        with (
            fault(function, nth=0, status=self.NOT_IMPLEMENTED),
            pytest.raises(mioconv.MioconvError),
        ):
            FORWARD(BY_NAME["2d-same"], x, w)
        mioconv.cache_clear()
        check(FORWARD, BY_NAME["2d-same"])

    def test_status_error_names_the_call(self) -> None:
        """A failing descriptor call is a StatusError with the call, the status and its text."""
        mioconv.cache_clear()
        x, w = operands(FORWARD, BY_NAME["2d-same"])
        with (
            fault("miopenSetTensorDescriptor", nth=1, status=self.BAD_PARM),
            pytest.raises(mioconv.StatusError) as info,
        ):
            FORWARD(BY_NAME["2d-same"], x, w)
        assert info.value.call == "miopenSetTensorDescriptor"
        assert info.value.status == self.BAD_PARM
        assert info.value.text
        check(FORWARD, BY_NAME["2d-same"])
