"""The benchmark suite: its data, its arithmetic, and one quick run from end to end."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from mioconv.cli import main

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import fit_cost_model as cost_model  # noqa: E402
from bench import libraries, report, results, roofline, shapes, timing  # noqa: E402

SETS = shapes.names()
FAMILIES = shapes.more()


@pytest.fixture(autouse=True)
def _settings_of_the_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The suite sets threads and flags for the process, which other tests are to find as before."""
    monkeypatch.setenv("MIOCONV_CACHE", os.environ.get("MIOCONV_CACHE", "1"))
    flags = mioconv.get_flags()
    with contextlib.ExitStack() as stack:
        stack.callback(mioconv.set_flags, **flags)
        if libraries.installed("torch"):
            import torch

            stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())
            stack.callback(torch.set_num_threads, torch.get_num_threads())
        yield


def test_sets_are_there() -> None:
    networks = "resnet50 mobilenetv2 efficientnet_b0 vgg16 unet r2plus1d_18 wav2vec2"
    assert set(networks.split()) == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_layers_are_distinct_and_computable(name: str) -> None:
    layers = shapes.read(name)
    assert len({layer.name for layer in layers}) == len(layers)
    for layer in layers:
        x, w, y = layer.shapes(2)
        assert min(*x, *w, *y) > 0, layer
        assert layer.channels % layer.groups == layer.filters % layer.groups == 0
        assert layer.flops(2) == 2 * layer.flops(1)


def geometries(names: list[str]) -> list[shapes.Layer]:
    return [replace(layer, name="") for name in names for layer in shapes.read(name)]


def test_families_are_no_networks() -> None:
    """Nothing that goes over the networks goes over them too, and a layer is in one family only."""
    assert FAMILIES
    assert not set(FAMILIES) & set(SETS)
    layers = geometries(FAMILIES)
    assert len(set(layers)) == len(layers)
    assert not set(layers) & set(geometries(SETS))


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_of_families_are_distinct_and_computable(name: str) -> None:
    layers = shapes.read(name)
    assert 5 <= len(layers) <= 12
    assert len({layer.name for layer in layers}) == len(layers)
    for layer in layers:
        tensors = layer.shapes(16)
        assert min(map(min, tensors)) > 0, layer
        assert max(map(math.prod, tensors)) * 4 < 1 << 31, layer
        assert layer.channels % layer.groups == layer.filters % layer.groups == 0
        if not layer.transposed:
            assert not any(layer.output_padding)


def test_flops_of_known_networks() -> None:
    """VGG's nine distinct layers by hand, and a transposed layer: each input pixel meets all of
    the kernel."""
    vgg = sum(layer.flops(1) for layer in shapes.read("vgg16"))
    by_hand = sum(
        2 * 9 * c * k * s * s
        for c, k, s in [
            (3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56),
            (256, 256, 56), (256, 512, 28), (512, 512, 28), (512, 512, 14),
        ]
    )  # fmt: skip
    assert vgg == by_hand
    up = next(layer for layer in shapes.read("unet") if layer.transposed)
    assert up.flops(1) == 2 * math.prod(up.size) * up.channels * up.filters * 4


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("layout", libraries.LAYOUTS)
def test_smallest_layer_of_each_set_runs(name: str, layout: str) -> None:
    """All directions, with the shapes that the suite computed; PyTorch's result, where it is."""
    layer = min(shapes.read(name), key=lambda layer: layer.flops(1))
    for direction in libraries.DIRECTIONS:
        case = libraries.Case(layer, 1, direction, layout, "float32")
        got = libraries.mioconv_call(case)()
        x, w, y = layer.shapes(1)
        wanted = {"forward": y, "backward_input": x, "backward_weight": w}[direction]
        assert got.shape == wanted
        if libraries.installed("torch"):
            theirs: Any = libraries.torch_call(case)()
            if direction != "forward":
                theirs = theirs[direction == "backward_weight"]
            scale = float(np.abs(got).max())
            assert np.abs(got - theirs.numpy()).max() <= 1e-3 * scale


def cell(name: str, layer: str, default: float, torch: float) -> results.Cell:
    return results.Cell(
        name, layer, 1, "forward", "packed", "float32", 2, {"default": default, "torch": torch},
        {"default": "gemm"}, {"default": 0}, 100, 10, 1e-9,
    )  # fmt: skip


def test_means_count_sets_alike_and_results_survive_a_file(tmp_path: Path) -> None:
    all_results = results.Results({"numpy": "2"}, {"peak": 1e9, "bandwidth": {"1": 1e9}})
    for i in range(3):
        all_results.add(cell("a", str(i), 1, 4))
    all_results.add(cell("b", "0", 1, 1))
    all_results.add(cell("b", "0", 1, 1))  # measured again: replaces
    cells = list(all_results)
    assert len(cells) == 4
    assert results.mean_over_sets(cells, "default", "torch") == pytest.approx(0.5)
    path = tmp_path / "new" / "results.json"
    all_results.write(path)
    assert results.Results.read(path) == all_results
    text = report.summary(all_results)
    assert "1.00" in next(line for line in text.splitlines() if "b 0" in line)


def test_floor_is_the_slower_of_arithmetic_and_memory() -> None:
    machine = roofline.Machine(1e9, {1: 4e9, 8: 1e9})
    assert machine.floor_seconds(1e9, 10) == 1
    assert machine.floor_seconds(1, 1 << 20) == pytest.approx((1 << 20) / 4e9)
    assert machine.floor_seconds(1, 100 << 20) == pytest.approx((100 << 20) / 1e9)
    assert roofline.Machine.from_json(json.loads(json.dumps(machine.as_json()))) == machine


def test_every_function_is_timed_in_every_round() -> None:
    calls: list[str] = []
    timed = timing.interleave(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 0, 3, settle=0
    )
    assert [len(t.samples) for t in timed.values()] == [3, 3]
    assert calls.index("b") < len(calls) - calls[::-1].index("a")


def test_drawn_layers_stay_the_same() -> None:
    layers = shapes.read(shapes.DRAWN)
    assert layers == shapes.read(shapes.DRAWN)
    assert len(set(layers)) == len(layers) > shapes.DRAWN_LAYERS
    for layer in layers:
        x, w, y = layer.shapes(1)
        assert min(*x, *w, *y) > 0, layer
        assert layer.channels % layer.groups == layer.filters % layer.groups == 0


@pytest.mark.parametrize(
    ("direction", "x", "w", "more"),
    [
        ("forward", (2, 40, 28, 28), (72, 40, 3, 3), {"padding": 1}),
        ("backward_input", (1, 256, 14, 14), (512, 256, 1, 1), {"stride": 2}),
        ("backward_weight", (1, 96, 56, 56), (96, 1, 5, 5), {"padding": 2, "groups": 96}),
        ("forward", (2, 32, 8, 14, 14), (32, 32, 3, 3, 3), {"padding": 1}),
        ("forward", (8, 64, 8, 28, 28), (64, 64, 3, 1, 1), {"padding": (1, 0, 0)}),
    ],
)
@pytest.mark.parametrize("layout", libraries.LAYOUTS)
def test_provider_estimates_as_the_fit_does(
    direction: Any, x: Any, w: Any, more: dict[str, Any], layout: Any
) -> None:
    """The twins, in C++ and in Python, from the tables that are built in."""
    collapsed = more.get("padding") == (1, 0, 0)
    libraries.use_threads(cost_model.THREADS)
    mioconv.cache_clear()
    problem = mioconv.Problem(direction, x, w, layout=layout, **more)
    listed = mioconv.find_solutions(problem)
    if not any("avx512" in found.name for found in listed):
        pytest.skip("the tables are for AVX-512")
    y = problem.output_shape
    if collapsed:  # rows lie one after the other: they are computed as one
        x, w, y = ((*shape[:3], shape[3] * shape[4]) for shape in (x, w, y))
    logs = cost_model.sizes(x, y, w, problem.groups)
    model = cost_model.read_model(cost_model.TARGET)
    compared = 0
    for found in listed:
        key = cost_model.solution_class(found.name, direction, layout, logs)
        if key in model and found.source == "heuristic":
            estimate = math.exp(model[key] @ cost_model.features(logs))
            assert found.time_ms == pytest.approx(estimate, rel=1e-3), key
            compared += 1
    assert compared > 1


def test_regret_is_of_what_may_be_chosen() -> None:
    problem = cost_model.Problem(
        {"a"}, "forward", "packed", [], np.zeros(1), {"x|y": 2.0, "v|y": 3.0, "greedy|y": 1.0},
        {"x|y": 9.0, "v|y": 8.0},
    )  # fmt: skip
    assert cost_model.regrets(None, [problem]) == [1.5]


def test_average_of_two_machines() -> None:
    """The mean where both know a class; what one lacks is moved to where it is among those."""
    logs = [math.log(100.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    x = np.array(cost_model.features(logs))
    names = ["both|plain", "old|plain", "new|plain"]
    both, old, new = (cost_model.solution_class(n, "forward", "packed", logs) for n in names)
    problem = cost_model.Problem(
        {"a"}, "forward", "packed", logs, x, dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0)
    )

    def constant(ms: float) -> np.ndarray:
        return np.array([math.log(ms), *[0.0] * (len(x) - 1)])

    # The machine of the new times is four times as fast.
    found = cost_model.average(
        {both: constant(1.0), new: constant(2.0)},
        {both: constant(4.0), old: constant(12.0)},
        [problem],
    )
    times = {key: math.exp(found[key] @ x) for key in found}
    assert times == pytest.approx({both: 2.0, new: 4.0, old: 6.0})


def test_quick_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command from end to end, and again without measuring what is there."""
    where = ["--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]
    assert main(["bench", "--quick", "--layouts", "packed", *where]) == 0
    printed = capsys.readouterr()
    data = json.loads((tmp_path / "b.json").read_text())
    assert len(data["cells"]) == 9
    assert all(c["seconds"]["default"] > 0 for c in data["cells"])
    assert "workspace in default mode" in printed.out
    drawn = libraries.installed("matplotlib") and libraries.installed("torch")
    assert (tmp_path / "b.png").exists() == drawn
    assert main(["bench", "--quick", "--layouts", "packed", "--resume", *where]) == 0
    assert "0 layers in" in capsys.readouterr().err


def test_quick_overhead(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--overhead", "--quick"]) == 0
    assert "transposed" in capsys.readouterr().out


@pytest.mark.parametrize("stops", [False, True])
def test_rows_behind_torch_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    """The comparison with PyTorch on a GPU, without one: what it measures, in which order, and what
    it keeps; also where it is ended."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from bench import gpu

    layers = [layer.name for layer in shapes.read("vgg16")][:3]
    ratios = dict(zip(layers, (1.2, 1.0, 1.5), strict=True))
    calls: list[tuple[str, int]] = []

    def measure(
        network: str, layer: Any, direction: str, dtype: str, layout: str,
        samples: int = gpu.SAMPLES,
    ) -> gpu.Row:  # fmt: skip
        calls.append((layer.name, samples))
        if stops and len(calls) == 5:
            raise KeyboardInterrupt
        ratio = ratios[layer.name] if samples == gpu.SAMPLES else 0.9
        return gpu.Row(network, layer.name, direction, dtype, layout, 1, ratio, 1, 1, 0, "", 1, 1)

    monkeypatch.setattr(gpu, "measure", measure)
    monkeypatch.setattr(gpu, "Problem", lambda layer, batch, dtype, layout: layer)
    options = argparse.Namespace(
        sets=["vgg16"], layers=layers, batch=1, dtypes="float32", layouts="packed",
        directions="forward", draw=None, again=True, seconds=1e9, out=tmp_path,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt) if stops else contextlib.nullcontext():
        gpu.run(options)
    again = [(layers[2], 4 * gpu.SAMPLES), (layers[0], 4 * gpu.SAMPLES)]
    assert calls == [(name, gpu.SAMPLES) for name in layers] + again
    with (tmp_path / "gpu.csv").open() as file:
        kept = {row["layer"]: float(row["kernel"]) for row in csv.DictReader(file)}
    assert kept == {layers[0]: 1.2 if stops else 0.9, layers[1]: 1.0, layers[2]: 0.9}


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--sets", "alexnet"])
    assert "resnet50" in capsys.readouterr().err
