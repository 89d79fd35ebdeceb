"""One process of a group that tunes into one folder (MIOCONV_CACHE_DIR) and reads each other's.

    torchrun … cache_worker.py FOLDER

Writes what it knew, and how it learned that, to FOLDER as JSON.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

import mioconv
import mioconv.torch

PROBLEMS = 6  # of each process


def problem(channels: int) -> mioconv.Problem:
    return mioconv.Problem("forward", (2, channels, 9, 9), (channels, channels, 3, 3), "float32")


def run(channels: int) -> None:
    wanted = problem(channels)
    mioconv.torch.conv2d(torch.ones(wanted.input_shape), torch.ones(wanted.weight_shape))


def work(folder: Path) -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    # Rank 0 tunes what all will run; the others wait, and load.
    shared = list(range(2, 2 + PROBLEMS))
    if rank == 0:
        assert not any(done.error for done in mioconv.prepare(map(problem, shared)))
    dist.barrier()
    mioconv.cache_load()
    tuned_by_rank_0 = mioconv.cache_info().finds
    mioconv.set_flags(benchmark=True)
    for channels in shared:
        run(channels)
    found_after_loading = mioconv.cache_info().finds - tuned_by_rank_0

    # All tune at once, each its own problems; then each reads the others'.
    own = [[16 + r + size * i for i in range(PROBLEMS)] for r in range(size)]
    dist.barrier()
    for channels in own[rank]:
        run(channels)
    dist.barrier()
    mioconv.cache_load()
    before = mioconv.cache_info().finds
    everything = [*shared, *(channels for group in own for channels in group)]
    for channels in everything:
        run(channels)
    report = {
        "finds of rank 0's": found_after_loading,
        "finds of the others'": mioconv.cache_info().finds - before,
        "finds": mioconv.cache_info().finds,
        "first": [mioconv.find_solutions(problem(c))[0].name for c in everything],
    }
    (folder / f"report{rank}.json").write_text(json.dumps(report))


def main(folder: Path) -> None:
    faulthandler.dump_traceback_later(90, exit=True)  # whoever waits here says where
    torch.set_num_threads(1)
    mioconv.set_flags(num_threads=1, benchmark_budget_ms=20)
    dist.init_process_group("gloo")
    try:
        work(folder)
        dist.barrier()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
