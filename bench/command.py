"""Measure convolution layers of real networks against other libraries, or the cost of a call."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import mioconv

from . import libraries, overhead, report, roofline, shapes
from .libraries import Case, Chosen
from .results import Cell, Results
from .timing import SETTLE_SECONDS, Function, interleave

# The ratio to PyTorch's time above which a layer is measured again.
ABOVE = 1.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments. Without any, it is the headline run."""

    def several(name: str, choices: Sequence[str], default: str, text: str) -> None:
        def parse(given: str) -> list[str]:
            values = given.split(",") if given else []
            for value in values:
                if value not in choices:
                    raise argparse.ArgumentTypeError(
                        f"{value!r} is not one of {', '.join(choices)}"
                    )
            return values

        parser.add_argument(
            name, type=parse, default=default, metavar="A,B", help=f"{text} (default: {default})"
        )

    sets = [*shapes.names(), shapes.DRAWN]
    several("--sets", sets, ",".join(shapes.names()), f"networks, or {shapes.DRAWN}: at random")
    several("--directions", libraries.DIRECTIONS, ",".join(libraries.DIRECTIONS), "directions")
    several("--layouts", libraries.LAYOUTS, ",".join(libraries.LAYOUTS), "memory layouts")
    several("--modes", report.MODES, ",".join(report.MODES), "modes of selection")
    several("--others", report.OTHERS, ",".join(report.OTHERS), "libraries, where installed")
    several("--batches", [str(n) for n in range(1, 257)], "1,8", "batch sizes")
    parser.add_argument("--layer", default="", help="only layers whose name has this in it")
    parser.add_argument("--dtype", choices=libraries.DTYPES, default="float32")
    parser.add_argument("--threads", type=int, default=2, help="on every side (default: 2)")
    parser.add_argument(
        "--seconds", type=float, default=0.05, help="to measure each layer (default: 0.05)"
    )
    parser.add_argument(
        "--budget", type=int, default=400, metavar="MS",
        help="milliseconds that benchmark mode may search for each layer (default: 400)",
    )  # fmt: skip
    parser.add_argument(
        "--again", type=int, default=100, metavar="N",
        help="so many of the worst layers above 1.05 are measured a second time, four times as "
        "long; what was found then counts (default: 100)",
    )  # fmt: skip
    parser.add_argument("--out", action="store_true", help="give mioconv its `out` arrays")
    parser.add_argument(
        "--json", type=Path, default=Path("out/bench.json"), help="results (default: %(default)s)"
    )
    parser.add_argument(
        "--plot", type=Path, default=Path("out/bench.png"), help="picture (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="add to the results that are there")
    parser.add_argument("--limit", type=float, help="stop after this many seconds; see --resume")
    parser.add_argument("--report", action="store_true", help="show the results that are there")
    parser.add_argument("--quick", action="store_true", help="a few small layers, hardly timed")
    parser.add_argument("--overhead", action="store_true", help="tiny problems: a call's own cost")
    parser.add_argument(
        "--native", type=Path, help="with --overhead: the built bench/native_overhead.cpp"
    )


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say."""
    if args.overhead:
        print(overhead.table(args.native, quick=args.quick))
        return 0
    results = Results()
    if (args.resume or args.report) and args.json.exists():
        results = Results.read(args.json)
    if not args.report:
        measure(args, results)
        results.write(args.json)
    print(report.summary(results))
    print(f"\nresults: {args.json}")
    if report.plot(results, args.plot):
        print(f"plot: {args.plot}")
    else:
        print("no plot: it needs matplotlib, and times of PyTorch")
    return 0


def measure(args: argparse.Namespace, results: Results) -> None:
    """Fill in every cell that is asked for and not there yet."""
    # What earlier processes found was measured under other circumstances.
    os.environ["MIOCONV_CACHE"] = "0"
    libraries.use_threads(args.threads)
    mioconv.set_flags(benchmark_budget_ms=args.budget)
    others = [name for name in args.others if libraries.installed(name)]
    if "onnxruntime" in others and not libraries.installed("onnx"):
        others.remove("onnxruntime")
        print("ONNX Runtime is left out: its models are made with the package onnx")
    results.versions = {"machine": platform.machine(), **libraries.versions()}
    machine = roofline.measure(args.dtype, args.threads, args.quick)
    results.machine = machine.as_json()
    todo = [item for item in _cases(args) if _key(args, *item) not in results.cells]
    bench = Bench(args, others, machine)
    bar = Progress(len(todo))
    for name, case in todo:
        bar.show(f"{name} {case.layer.name}, batch {case.batch}, {case.direction}, {case.layout}")
        results.add(bench.measure(name, case))
        if len(results.cells) % 50 == 0:
            results.write(args.json)
        if args.limit is not None and bar.elapsed() > args.limit:
            break
    bar.close()
    if not args.quick and bar.done == len(todo):
        _measure_again(args, results, bench)


def _measure_again(args: argparse.Namespace, results: Results, bench: Bench) -> None:
    """Measure the worst layers again, later and for longer: on a machine that is shared, most of
    them are whatever was measured when a neighbour woke up. What was chosen stays."""
    worst = sorted(
        (-cell.worst_ratio("torch"), cell.key)
        for cell in results
        if cell.key in bench.done and cell.worst_ratio("torch") > ABOVE
    )[: args.again]
    bar = Progress(len(worst))
    for _, key in worst:
        name, case, chosen = bench.done[key]
        bar.show(f"again: {name} {case.layer.name}, batch {case.batch}, {case.direction}")
        results.add(bench.measure(name, case, chosen))
    bar.close()


def _cases(args: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    sets = ["resnet50"] if args.quick else args.sets
    for name in sets:
        for batch in map(int, ["1"] if args.quick else args.batches):
            for layer in shapes.read(name)[-3:] if args.quick else shapes.read(name):
                for layout in args.layouts:
                    for direction in args.directions:
                        case = Case(layer, batch, direction, layout, args.dtype)
                        if args.layer in layer.name and case.sensible():
                            yield name, case


def _key(args: argparse.Namespace, name: str, case: Case) -> tuple[object, ...]:
    return (
        name, case.layer.name, case.batch, case.direction, case.layout, case.dtype, args.threads
    )  # fmt: skip


class Bench:
    """Measures cases, and remembers those that it has measured with what the modes chose."""

    def __init__(
        self, args: argparse.Namespace, others: list[str], machine: roofline.Machine
    ) -> None:
        self.args = args
        self.others = others
        self.machine = machine
        self.done: dict[tuple[object, ...], tuple[str, Case, dict[str, Chosen]]] = {}

    def measure(self, name: str, case: Case, again: dict[str, Chosen] | None = None) -> Cell:
        """The times of a case; `again` is what the modes chose the first time."""
        args = self.args
        case = replace(case)  # its arrays go when this is done
        call = libraries.mioconv_call(case, args.out)
        chosen = again or libraries.mioconv_choices(call, args.modes)
        self.done[_key(args, name, case)] = (name, replace(case), chosen)
        functions: dict[str, Function] = {}
        # Modes that agree are one thing to measure: two measurements would differ by noise alone.
        timed_as = {}
        for mode, choice in chosen.items():
            same = next((m for m in timed_as if chosen[m].solution_id == choice.solution_id), None)
            timed_as[mode] = same or mode
            if same is None:
                functions[mode] = lambda solution=choice.solution_id: call(solution=solution)
        functions.update(self._other_calls(case))
        seconds, least, settle = args.seconds * (4 if again else 1), 3, SETTLE_SECONDS
        if args.quick:
            seconds, least, settle = 0, 1, 0
        timed = interleave(functions, seconds, least, settle)
        medians = {other: timed[other].median for other in functions if other not in chosen}
        medians.update({mode: timed[source].median for mode, source in timed_as.items()})
        tensor_bytes = case.layer.tensor_bytes(case.batch, libraries.ITEMSIZE[case.dtype])
        flops = case.layer.flops(case.batch)
        return Cell(
            name, case.layer.name, case.batch, case.direction, case.layout, case.dtype,
            args.threads, medians,
            {mode: choice.name for mode, choice in chosen.items()},
            {mode: choice.workspace for mode, choice in chosen.items()},
            tensor_bytes, flops, self.machine.floor_seconds(flops, tensor_bytes),
            libraries.measured_times(case) if "benchmark" in chosen else {},
            sum(one.repeated for one in timed.values()),
            again is not None,
        )  # fmt: skip

    def _other_calls(self, case: Case) -> dict[str, Function]:
        calls: dict[str, Function] = {}
        if "torch" in self.others:
            calls["torch"] = libraries.torch_call(case)
        if "onnxruntime" in self.others:
            session = libraries.onnxruntime_call(case, self.args.threads)
            if session is not None:
                calls["onnxruntime"] = session
        return calls


class Progress:
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.start = time.perf_counter()
        self.live = sys.stderr.isatty()

    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    def show(self, what: str) -> None:
        """Say what comes next."""
        part = self.done / max(self.total, 1)
        left = self.elapsed() / self.done * (self.total - self.done) if self.done else 0
        if self.live:
            bar = ("#" * int(30 * part)).ljust(30, "-")
            text = f"[{bar}] {self.done}/{self.total}, {left:4.0f} s left  {what}"
            print(f"\r{text[:118]:118}", end="", file=sys.stderr, flush=True)
        elif self.done % 100 == 0:
            print(f"{self.done}/{self.total}, {left:.0f} s left: {what}", file=sys.stderr)
        self.done += 1

    def close(self) -> None:
        if self.live:
            print(f"\r{'':118}\r", end="", file=sys.stderr)
        print(f"{self.done} layers in {self.elapsed():.0f} s", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite with these arguments, or those of the process."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))
