"""Tables and the plot of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .libraries import installed
from .results import Cell, Results, geometric_mean, grouped, mean_over_sets

MODES = ("default", "benchmark")
OTHERS = ("torch", "onnxruntime")
TITLES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}


def summary(results: Results) -> str:
    """Means by set, direction and layout, the worst layers, and how near the floor they come."""
    cells = list(results)
    if not cells:
        return "nothing was measured"
    return "\n".join(_lines(results, cells))


def _lines(results: Results, cells: list[Cell]) -> Iterator[str]:
    yield ", ".join(f"{name} {version}" for name, version in results.versions.items())
    if results.machine:
        rates = ", ".join(
            f"{rate / 1e9:.0f} GB/s in {size} MB"
            for size, rate in results.machine["bandwidth"].items()
        )
        yield f"measured peak {results.machine['peak'] / 1e9:.0f} GFLOP/s; copies {rates}"
    modes = [mode for mode in MODES if any(mode in cell.seconds for cell in cells)]
    repeated = sum(cell.again for cell in cells)
    if repeated:
        yield f"{repeated} layers were above 1.05 and measured again, for longer: that counts"
    for other in OTHERS:
        if any(other in cell.seconds for cell in cells):
            yield ""
            yield from _means(cells, modes, other)
    for mode in modes:
        if any("torch" in cell.seconds for cell in cells):
            yield ""
            yield from _worst(cells, mode)
    yield ""
    yield from _workspaces(cells, modes)


def _means(cells: list[Cell], modes: list[str], other: str) -> Iterator[str]:
    yield f"time of mioconv over that of {TITLES[other]}: geometric mean (worst layer)"
    yield "  ".join(
        [f"{'':34}{'layers':>6}", *(f"{mode:>13}" for mode in modes), "  part of the floor"]
    )

    def row(title: str, group: list[Cell]) -> str:
        parts = [f"{title:34}{len(group):6}"]
        for mode in modes:
            ratios = [r for r in (cell.ratio(mode, other) for cell in group) if r is not None]
            shown = f"{geometric_mean(ratios):.3f} ({max(ratios):.2f})" if ratios else "-"
            parts.append(f"{shown:>13}")
        shares = [cell.floor_seconds / cell.seconds[modes[-1]] for cell in group]
        parts.append(f"{geometric_mean(shares):8.2f}")
        return "  ".join(parts)

    compared = [cell for cell in cells if other in cell.seconds]
    keys: list[Callable[[Cell], str]] = [
        lambda cell: f"{cell.set}, batch {cell.batch}",
        lambda cell: f"{cell.direction}, {cell.layout}",
    ]
    for key in keys:
        for title, group in grouped(compared, key).items():
            yield row(title, group)
        yield ""
    yield row("all layers", compared)
    overall = [mean_over_sets(compared, mode, other) for mode in modes]
    yield "  ".join(
        [f"{'each set counted alike':34}{'':6}"]
        + [f"{value:>6.3f}       " for value in overall if value is not None]
    )


def _worst(cells: list[Cell], mode: str, count: int = 10) -> Iterator[str]:
    rated = [(ratio, cell) for cell in cells if (ratio := cell.ratio(mode, "torch")) is not None]
    rated.sort(key=lambda pair: -pair[0])
    yield f"the worst {min(count, len(rated))} layers in {mode} mode, against PyTorch"
    for ratio, cell in rated[:count]:
        ours, theirs = cell.seconds[mode] * 1e6, cell.seconds["torch"] * 1e6
        yield (
            f"  {ratio:5.2f}  {ours:9.0f} {theirs:9.0f} µs  {cell.set} {cell.layer}, "
            f"batch {cell.batch}, {cell.direction}, {cell.layout}: {cell.solutions[mode]}"
        )


def _workspaces(cells: list[Cell], modes: Iterable[str]) -> Iterator[str]:
    for mode in modes:
        known = [cell for cell in cells if mode in cell.workspace]
        if not known:
            continue
        worst = max(known, key=lambda cell: cell.workspace[mode] / cell.tensor_bytes)
        above = sum(cell.workspace[mode] > 2 * cell.tensor_bytes for cell in known)
        yield (
            f"workspace in {mode} mode: at most {worst.workspace[mode] / worst.tensor_bytes:.2f} "
            f"times the layer's tensors ({worst.set} {worst.layer}, batch {worst.batch}, "
            f"{worst.direction}, {worst.layout}: {worst.workspace[mode] / 1e6:.1f} MB); "
            f"{above} of {len(known)} layers above 2"
        )


def plot(results: Results, path: Path) -> bool:
    """Draw the speed-up of every layer, a panel each mode. False: no matplotlib or no PyTorch."""
    cells = [cell for cell in results if "torch" in cell.seconds]
    if not cells or not installed("matplotlib"):
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    modes = [mode for mode in MODES if any(mode in cell.seconds for cell in cells)]
    figure, rows = pyplot.subplots(
        len(modes), 1, figsize=(12, 4 * len(modes)), squeeze=False, sharex=True
    )
    for (axes,), mode in zip(rows, modes, strict=True):
        start = 0
        for name, group in grouped(cells, lambda cell: cell.set).items():
            ratios = [cell.ratio(mode, "torch") for cell in group]
            speedups = sorted(1 / ratio for ratio in ratios if ratio is not None)
            axes.plot(range(start, start + len(speedups)), speedups, ".", markersize=3, label=name)
            start += len(speedups) + 5
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_yscale("log", base=2)
        axes.set_ylabel("speed-up over PyTorch")
        axes.set_title(f"{mode} mode: each point one layer, batch, direction and layout")
        axes.legend(fontsize=7, loc="upper left", ncols=4)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True
