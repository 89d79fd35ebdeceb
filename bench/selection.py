"""What choosing costs: searching a network's layers, and starting with what was found before.

    python -m bench.selection

Searches the distinct ResNet-50 layers in the three directions in a process of its own, then starts
a second one that finds the results in the cache files, and a third with nothing kept and no search.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import mioconv

from .shapes import read

PROGRAM = """
import sys, time
start = time.perf_counter()
import mioconv
imported = time.perf_counter()
lines = sys.stdin.read().splitlines()
problems = [p for line in lines for p in mioconv.Problem.all_from_driver_line(line)]
begin = time.perf_counter()
done = mioconv.prepare(problems, benchmark=BENCHMARK)
end = time.perf_counter()
info = mioconv.cache_info()
by = ", ".join(f"{k} {v['find_ms']:.0f}" for k, v in info.by_direction.items())
print(f"{len(problems)} problems, {info.finds} searched, {end - begin:.3f} s"
      f" (searches in ms: {by}); errors: {sum(d.error is not None for d in done)}")
"""


def lines() -> list[str]:
    """A driver line for all three directions of each layer, batch 8."""
    found = []
    for layer in read("resnet50"):
        x, w, _ = layer.shapes(8)
        problem = mioconv.Problem(
            "forward", x, w, stride=layer.stride, padding=layer.padding, groups=layer.groups
        )
        found.append(problem.driver_line().replace("-F 1", "-F 0"))
    return list(dict.fromkeys(found))


def main() -> None:
    """Print one line for each start."""
    text = "\n".join(lines())
    with tempfile.TemporaryDirectory() as folder:
        for title, keep, benchmark in [
            ("first process, search", "1", True),
            ("second process, search", "1", True),
            ("nothing kept, no search", "0", False),
        ]:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM.replace("BENCHMARK", str(benchmark))],
                input=text,
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "MIOCONV_CACHE": keep, "MIOCONV_CACHE_DIR": folder},
            )
            print(f"{title:<24} {done.stdout.strip()}")


if __name__ == "__main__":
    main()
