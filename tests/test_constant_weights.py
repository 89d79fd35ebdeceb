"""plan(..., constant_weights=True): weights packed once, and what the caller owes for it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mioconv
from helpers.checks import operands
from helpers.native import fault, live_objects, native_calls, no_native_calls
from helpers.operators import (
    BACKWARD_INPUT,
    FORWARD,
    TRANSPOSE_BACKWARD_INPUT,
    TRANSPOSE_FORWARD,
    Operator,
)
from helpers.problems import Case, valid_cases
from helpers.processes import in_a_child
from helpers.tensors import (
    DTYPES,
    LAYOUTS,
    import_torch,
    random_array,
    to_numpy,
    to_torch,
)
from helpers.tolerances import assert_same_bits

# Channels that fill vectors, so that there are blocked layouts and Winograd to pack for.
WIDE = Case("wide", 2, 32, (10, 9), 48, (3, 3), 1, 1)
MORE = [
    WIDE,
    Case("wide-strided", 1, 32, (9, 9), 32, (3, 3), 2, 1),
    Case("wide-pointwise", 2, 64, (6, 6), 32, (1, 1)),
    Case("wide-groups", 1, 32, (7, 7), 64, (3, 3), 1, 1, 1, 2),
    Case("wide-depthwise", 1, 32, (8, 8), 32, (3, 3), 1, 1, 1, 32),
    Case("wide-line", 2, 32, (20,), 32, (3,), 1, 1),
    Case("wide-volume", 1, 16, (4, 5, 5), 32, (3, 3, 3), 1, 1),
    Case("wide-frames", 1, 32, (3, 8, 8), 32, (1, 3, 3), 1, (0, 1, 1)),
]
HIP_NO_MEMORY = 2


def step(torch: Any, layer: Any, optimizer: Any = None, **how: Any) -> None:
    layer.weight.grad = torch.ones_like(layer.weight)
    (optimizer or torch.optim.SGD)(layer.parameters(), lr=0.5, **how).step()


def uncounted(torch: Any, layer: Any) -> None:
    with torch.autograd._unsafe_preserve_version_counter(layer.weight):
        layer.weight.mul_(2)


def in_inference_mode(torch: Any, layer: Any) -> None:
    with torch.inference_mode():
        layer.weight.data.mul_(2)


def twice(layer: Any) -> dict[str, Any]:
    return {"weight": layer.weight.detach() * 2}


ROUTES: dict[str, Callable[[Any, Any], None]] = {
    "in place": lambda torch, layer: layer.weight.mul_(2),
    "copy_": lambda torch, layer: layer.weight.copy_(layer.weight * 2),
    "optimizer": step,
    "fused SGD": lambda torch, layer: step(torch, layer, torch.optim.SGD, fused=True),
    "fused Adam": lambda torch, layer: step(torch, layer, torch.optim.Adam, fused=True),
    "storage": lambda torch, layer: layer.weight.untyped_storage().copy_(
        (layer.weight * 2).untyped_storage()
    ),
    "uncounted": uncounted,
    "inference mode": in_inference_mode,
    "foreach": lambda torch, layer: torch._foreach_mul_([layer.weight], 2),
    "load_state_dict": lambda torch, layer: layer.load_state_dict(twice(layer)),
    "load_state_dict, assign": lambda torch, layer: layer.load_state_dict(
        twice(layer), assign=True
    ),
    "data": lambda torch, layer: setattr(layer.weight, "data", layer.weight.data * 2),
    "data in place": lambda torch, layer: layer.weight.data.mul_(2),
    "data copy_": lambda torch, layer: layer.weight.data.copy_(layer.weight.data * 2),
    "set_": lambda torch, layer: layer.weight.set_(layer.weight.detach() * 2),
    "a view": lambda torch, layer: layer.weight.view(-1).mul_(2),
    "numpy": lambda torch, layer: np.multiply(
        layer.weight.detach().numpy(), 2, out=layer.weight.detach().numpy()
    ),
    "vector_to_parameters": lambda torch, layer: torch.nn.utils.vector_to_parameters(
        layer.weight.detach().reshape(-1) * 2, layer.parameters()
    ),
}
DIRECTIONS: dict[tuple[str, bool], Operator] = {
    ("forward", False): FORWARD,
    ("backward_input", False): BACKWARD_INPUT,
    ("forward", True): TRANSPOSE_FORWARD,
    ("backward_input", True): TRANSPOSE_BACKWARD_INPUT,
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    mioconv.cache_clear()
    yield
    mioconv.cache_clear()


def problem_of(
    case: Case, direction: str, dtype: Any = np.float32, layout: str = "packed"
) -> mioconv.Problem:
    return mioconv.Problem(
        direction, case.input_shape, case.weight_shape, np.dtype(dtype).name, layout=layout,
        transposed=case.transposed, **case.settings,
    )  # fmt: skip


def check_all_solutions(case: Case, direction: str, dtype: Any, layout: str) -> int:
    """Bit for bit the result of the same solution that packs in every call; how many pack."""
    problem = problem_of(case, direction, dtype, layout)
    operator = DIRECTIONS[direction, case.transposed]
    given_ = [LAYOUTS[layout](a) for a in operands(operator, case, dtype)]
    packing = 0
    for solution in mioconv.find_solutions(problem):
        plain = mioconv.plan(problem, solution=solution)
        plan = mioconv.plan(problem, solution=solution, constant_weights=True)
        assert plan.solution.id == plain.solution.id
        assert plan.workspace_bytes <= plain.workspace_bytes
        if plan.packed_weights_bytes:
            packing += 1
            assert plan.workspace_bytes < plain.workspace_bytes
        expected = plain(*given_)
        assert_same_bits(plan(*given_), expected)
        # Other activations meet the same packed weights.
        given_[0] = given_[0] * np.asarray(2, dtype)
        assert_same_bits(plan(*given_), plain(*given_))
    return packing


@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("direction", ["forward", "backward_input"])
@pytest.mark.parametrize("case", MORE, ids=str)
def test_every_solution(case: Case, direction: str, dtype: Any, layout: str) -> None:
    assert check_all_solutions(case, direction, dtype, layout) > 0


@given(data=st.data(), transposed=st.booleans())
def test_drawn(data: st.DataObject, transposed: bool) -> None:
    case = data.draw(valid_cases(transposed=transposed))
    strides = (case.stride,) * case.rank if isinstance(case.stride, int) else case.stride
    extra = case.output_padding
    extra = (extra,) * case.rank if isinstance(extra, int) else extra
    if any(e >= s for e, s in zip(extra, strides, strict=True)):
        return  # a plan takes none
    direction = data.draw(st.sampled_from(["forward", "backward_input"]))
    layout = data.draw(st.sampled_from(["packed", "channels_last"]))
    check_all_solutions(case, direction, data.draw(st.sampled_from(DTYPES)).values[0], layout)


def plan_and_operands(**options: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """A plan that has a packed copy."""
    problem = problem_of(WIDE, "forward")
    x, w = operands(FORWARD, WIDE)
    for solution in mioconv.find_solutions(problem):
        plan = mioconv.plan(problem, solution=solution, constant_weights=True, **options)
        if plan.packed_weights_bytes:
            return plan, x, w
    raise AssertionError("no solution packs its weights")


class TestContract:
    def test_packed_once(self) -> None:
        plan, x, w = plan_and_operands()
        out = plan(x, w)
        with fault("mioconvPackWeights", nth=0, status=1):
            assert_same_bits(plan(x, w, out=np.empty_like(out)), out)
        before, calls = live_objects(), native_calls()
        plan(x, w, out=out)
        assert native_calls() == calls + 4  # as without: see test_preparation.py
        assert live_objects() == before

    def test_other_memory_is_refused(self) -> None:
        plan, x, w = plan_and_operands()
        plan(x, w)
        out = np.full(WIDE.output_shape, 7, np.float32)
        with pytest.raises(ValueError, match=r"weight.*constant_weights.*update_weights"):
            plan(x, w.copy(), out=out)
        assert (out == 7).all()
        plan(x, w[:], out=out)  # another view of the same memory

    def test_refused_where_nothing_is_packed_too(self) -> None:
        """What the caller promised does not depend on the solution that was chosen."""
        problem = problem_of(WIDE, "forward")
        x, w = operands(FORWARD, WIDE)
        for solution in mioconv.find_solutions(problem):
            plan = mioconv.plan(problem, solution=solution, constant_weights=True)
            if not plan.packed_weights_bytes:
                break
        else:
            raise AssertionError("every solution packs its weights")
        plan(x, w)
        with pytest.raises(ValueError, match="update_weights"):
            plan(x, w.copy())

    def test_update_weights(self) -> None:
        plan, x, w = plan_and_operands()
        plain = mioconv.plan(plan.problem, solution=plan.solution)
        plan.update_weights(w)  # also before the first call
        assert_same_bits(plan(x, w), plain(x, w))
        w *= 2
        plan.update_weights(w)
        assert_same_bits(plan(x, w), plain(x, w))
        other = w[:, ::-1].copy()
        plan.update_weights(other)
        assert_same_bits(plan(x, other), plain(x, other))
        with pytest.raises(ValueError, match="update_weights"):
            plan(x, w)

    def test_update_weights_checks(self) -> None:
        plan, _, w = plan_and_operands()
        bad: list[Any] = [w[:1], w.astype(np.float16), w.transpose(0, 1, 3, 2), None, 3]
        for weight in bad:
            with no_native_calls(), pytest.raises((ValueError, TypeError)):
                plan.update_weights(weight)
        with pytest.raises(ValueError, match="stream"):
            plan.update_weights(w, stream=3)
        with pytest.raises(ValueError, match="without constant_weights"):
            mioconv.plan(plan.problem).update_weights(w)

    def test_gradient_of_weights(self) -> None:
        problem = problem_of(WIDE, "backward_weight")
        with no_native_calls(), pytest.raises(ValueError, match=r"constant_weights.*gradient"):
            mioconv.plan(problem, constant_weights=True)

    def test_keeps_the_weights_alive(self) -> None:
        class Array(np.ndarray):
            pass

        plan, x, w = plan_and_operands()
        weight = w.view(Array)
        expected = plan(x, weight)
        alive = weakref.ref(weight)
        del weight, w
        gc.collect()
        assert alive() is not None
        assert_same_bits(plan(x, alive()), expected)
        del plan
        gc.collect()
        assert alive() is None

    def test_torch(self) -> None:
        torch = import_torch()
        plan, x, w = plan_and_operands()
        tensors = to_torch(x), to_torch(w)
        expected = plan(x, w)
        other = mioconv.plan(plan.problem, solution=plan.solution, constant_weights=True)
        got = other(*tensors)
        assert isinstance(got, torch.Tensor)
        assert_same_bits(to_numpy(got), expected)

    def test_one_value_of_a_large_torch_tensor(self) -> None:
        """Which no checksum of a part sees; PyTorch counts its own writes."""
        torch = import_torch()
        problem = mioconv.Problem("forward", (1, 96, 5, 5), (320, 96, 3, 3))
        x, w = (torch.ones(s) for s in (problem.input_shape, problem.weight_shape))
        for solution in mioconv.find_solutions(problem):
            plan = mioconv.plan(problem, solution=solution, constant_weights=True)
            if plan.packed_weights_bytes:
                break
        else:
            raise AssertionError("no solution packs its weights")
        plan(x, w)
        w.view(-1)[100] = 2  # behind the first line of a KiB
        with pytest.raises(ValueError, match=r"weight.*changed.*update_weights"):
            plan(x, w)

    def test_changed_in_place(self) -> None:
        """A checksum tells, also of NumPy's arrays."""
        plan, x, w = plan_and_operands()
        plain = mioconv.plan(plan.problem, solution=plan.solution)
        plan(x, w)
        w += 1
        with pytest.raises(ValueError, match=r"weight.*changed.*update_weights"):
            plan(x, w)
        w -= 1  # not the same bits any more
        plan.update_weights(w)
        assert_same_bits(plan(x, w), plain(x, w))
        for place in (0, -1):
            w.reshape(-1)[place] += 1
            with pytest.raises(ValueError, match="update_weights"):
                plan(x, w)
            plan.update_weights(w)

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    def test_every_filter_of_a_large_weight(self, dtype: Any) -> None:
        """As pruning and `weight.data[k] = 0` change it; PyTorch does not count that either."""
        problem = mioconv.Problem("forward", (1, 96, 5, 5), (320, 96, 3, 3), np.dtype(dtype).name)
        x, w = (
            random_array(shape, dtype, seed=2) for shape in (problem.input_shape, (320, 96, 3, 3))
        )
        assert w.nbytes > 2 * (256 << 10)
        for solution in mioconv.find_solutions(problem):
            plan = mioconv.plan(problem, solution=solution, constant_weights=True)
            if not plan.packed_weights_bytes:
                continue
            plan(x, w)
            for filter in w:
                kept = filter.copy()
                filter[...] = 0
                with pytest.raises(ValueError, match="update_weights"):
                    plan(x, w)
                filter[...] = kept
            plan(x, w)  # the same values again
            return
        raise AssertionError("no solution packs its weights")

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("every", [2, 4])
    def test_signs(self, dtype: Any, every: int) -> None:
        """Changes of the same bit of many words must not cancel in the checksum."""
        problem = mioconv.Problem("forward", (1, 64, 5, 5), (64, 64, 1, 1), np.dtype(dtype).name)
        x, w = (random_array(s, dtype, seed=2) for s in (problem.input_shape, (64, 64, 1, 1)))
        packed = 0
        for solution in mioconv.find_solutions(problem):
            plan = mioconv.plan(problem, solution=solution, constant_weights=True)
            packed += plan.packed_weights_bytes > 0
            if not plan.packed_weights_bytes:
                continue
            for part in (w[:, every - 1 :: every], w[::2], w[:1, ::4], w.reshape(-1)[1:64:32]):
                plan.update_weights(w)
                np.negative(part, out=part)
                with pytest.raises(ValueError, match="update_weights"):
                    plan(x, w)
        assert packed

    def test_every_value_of_a_small_weight(self) -> None:
        problem = mioconv.Problem("forward", (1, 16, 6, 6), (16, 1, 3, 3), groups=16)
        x, w = (random_array(shape, seed=2) for shape in (problem.input_shape, (16, 1, 3, 3)))
        for solution in mioconv.find_solutions(problem):
            plan = mioconv.plan(problem, solution=solution, constant_weights=True)
            if not plan.packed_weights_bytes:
                continue
            for i in range(w.size):
                plan.update_weights(w)
                w.reshape(-1)[i] += 1
                with pytest.raises(ValueError, match="update_weights"):
                    plan(x, w)
            return
        raise AssertionError("no solution packs its weights")

    @pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
    def test_torch_changes(self, route: Callable[[Any, Any], None]) -> None:
        """Whatever way a framework takes: the result is of the weights as they are, or none."""
        torch = import_torch()
        made, x, w = plan_and_operands()
        plain = mioconv.plan(made.problem, solution=made.solution)
        plan = mioconv.plan(made.problem, solution=made.solution, constant_weights=True)
        layer = torch.nn.Conv2d(WIDE.c, WIDE.k, 3, bias=False)
        layer.weight.data.copy_(to_torch(w))
        x = to_torch(x)
        with torch.no_grad():
            for _ in range(3):
                plan.update_weights(layer.weight)
                plan(x, layer.weight)
                route(torch, layer)
                with pytest.raises(ValueError, match=r"weight.*update_weights"):
                    plan(x, layer.weight)
                plan.update_weights(layer.weight)
                assert_same_bits(plan(x, layer.weight), plain(x, layer.weight))

    def test_one_value_counts_where_torch_counts(self) -> None:
        torch = import_torch()
        plan, x, w = plan_and_operands()
        x, w = to_torch(x), to_torch(w)
        plan(x, w)
        with torch.no_grad():
            w.view(-1)[5] += 1
        with pytest.raises(ValueError, match="update_weights"):
            plan(x, w)

    def test_torch_memory_that_comes_back(self) -> None:
        """A replaced storage is not freed, so that its address comes to be no other's."""
        torch = import_torch()
        made, x, w = plan_and_operands()
        x = to_torch(x)
        for _ in range(5):
            plan = mioconv.plan(made.problem, solution=made.solution, constant_weights=True)
            weight = to_torch(w).clone()
            plan(x, weight)
            before = weight.data_ptr()
            weight.data = torch.zeros(1)
            # One of these lands where it was, if nobody holds it.
            others = [torch.empty(w.size - 16 * i) for i in range(40)]
            assert before not in [other.data_ptr() for other in others]
            weight.data = to_torch(w).clone()
            with pytest.raises(ValueError, match="update_weights"):
                plan(x, weight)

    def test_torch_inference_mode(self) -> None:
        torch = import_torch()
        plan, x, w = plan_and_operands()
        with torch.inference_mode():
            x, w = to_torch(x).clone(), to_torch(w).clone()
            assert_same_bits(plan(x, w), plan(x, w))
            w += 1
            with pytest.raises(ValueError, match="update_weights"):
                plan(x, w)

    def test_not_in_a_forked_child(self) -> None:
        plan, x, w = plan_and_operands()
        plan(x, w)

        def check() -> None:
            with pytest.raises(mioconv.UnsupportedError, match="fork"):
                plan(x, w)
            with pytest.raises(mioconv.UnsupportedError, match="fork"):
                plan.update_weights(w)

        in_a_child(check)

    def test_attributes(self) -> None:
        plan, _, _ = plan_and_operands()
        assert plan.constant_weights
        plain = mioconv.plan(plan.problem)
        assert not plain.constant_weights
        assert plain.packed_weights_bytes == 0


class TestMemory:
    def test_accounted_and_freed(self) -> None:
        plan, x, w = plan_and_operands()
        del plan
        before = mioconv.memory_stats()["cpu:0"]["current"]
        plans = [plan_and_operands()[0] for _ in range(3)]
        for plan in plans:
            plan(x, w)
        held = mioconv.memory_stats()["cpu:0"]["current"] - before
        assert held >= 3 * (plans[0].workspace_bytes + plans[0].packed_weights_bytes)
        del plans, plan
        assert mioconv.memory_stats()["cpu:0"]["current"] == before

    def test_no_leak(self) -> None:
        for _ in range(3):
            plan, x, w = plan_and_operands()
            plan(x, w)
            plan.update_weights(w)
        del plan
        before = live_objects()
        for _ in range(20):
            plan, x, w = plan_and_operands()
            plan(x, w)
            plan.update_weights(w)
            del plan
        assert live_objects() == before

    def test_without_memory_for_the_copy(self) -> None:
        """Every call packs then."""
        plan, x, w = plan_and_operands()
        problem, solution = plan.problem, plan.solution
        expected = plan(x, w)
        del plan
        mioconv.empty_cache()
        # Memory for one workspace is there, and no more than that.
        mioconv.plan(problem, solution=solution)
        for function, status in [("hipMalloc", HIP_NO_MEMORY), ("mioconvGetPackedWeightsSize", 4)]:
            with fault(function, nth=0, status=status):
                plan = mioconv.plan(problem, solution=solution, constant_weights=True)
                assert plan.packed_weights_bytes == 0
                assert_same_bits(plan(x, w), expected)
            with pytest.raises(ValueError, match="update_weights"):
                plan(x, w.copy())
            plan.update_weights(w * 2)
            del plan
        mioconv.empty_cache()
        with (
            fault("hipMalloc", nth=0, status=HIP_NO_MEMORY),
            pytest.raises(mioconv.OutOfMemoryError),
        ):
            mioconv.plan(problem, solution=solution, constant_weights=True)

    def test_packing_fails(self) -> None:
        """The plan has no weights then, and packs at the next call."""
        plan, x, w = plan_and_operands()
        expected = mioconv.plan(plan.problem, solution=plan.solution)(x, w)
        with (
            fault("mioconvPackWeights", nth=1, status=7),
            pytest.raises(mioconv.StatusError, match="mioconvPackWeights"),
        ):
            plan(x, w)
        assert_same_bits(plan(x, w), expected)
        other = w * 3
        with fault("mioconvPackWeights", nth=1, status=7), pytest.raises(mioconv.StatusError):
            plan.update_weights(other)
        assert_same_bits(plan(x, w), expected)


class TestChoice:
    def test_measured_without_packing(self) -> None:
        problem = problem_of(WIDE, "forward")
        plan = mioconv.plan(problem, benchmark=True, constant_weights=True, workspace_limit=1 << 40)
        assert plan.solution.source == "measured"
        x, w = operands(FORWARD, WIDE)
        plain = mioconv.plan(problem, solution=plan.solution)
        assert_same_bits(plan(x, w), plain(x, w))
        finds = mioconv.cache_info().finds
        mioconv.plan(problem, benchmark=True, constant_weights=True, workspace_limit=1 << 40)
        assert mioconv.cache_info().finds == finds

    def test_estimates_leave_the_packing_out(self) -> None:
        """Of a large weight on a small image it is most of the time."""
        case = Case("heavy", 1, 256, (7, 7), 256, (3, 3), 1, 1)
        problem = problem_of(case, "forward")
        packs = 0
        for solution in mioconv.find_solutions(problem):
            plain = mioconv.plan(problem, solution=solution).solution
            plan = mioconv.plan(problem, solution=solution, constant_weights=True)
            packs += plan.packed_weights_bytes > 0
            if plan.packed_weights_bytes:
                assert plan.solution.time_ms < plain.time_ms
            else:
                assert plan.solution.time_ms == plain.time_ms
        assert packs

    def test_strict_accuracy(self) -> None:
        with mioconv.flags(strict_accuracy=True):
            plan = mioconv.plan(problem_of(WIDE, "forward"), constant_weights=True)
        assert plan.solution.algorithm != "Winograd"


def test_many_threads() -> None:
    plan, x, w = plan_and_operands()
    plain = mioconv.plan(plan.problem, solution=plan.solution)
    inputs = [x * np.float32(scale) for scale in range(1, 9)]
    expected = [plain(one, w) for one in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            fresh = mioconv.plan(plan.problem, solution=plan.solution, constant_weights=True)
            for got, right in zip(
                pool.map(lambda one, plan=fresh: plan(one, w), inputs), expected, strict=True
            ):
                assert_same_bits(got, right)
