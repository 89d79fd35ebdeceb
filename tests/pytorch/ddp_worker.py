"""One process of a data-parallel group: its share of a batch, and what came out.

    torchrun … ddp_worker.py FOLDER

Writes the gradients that this process ends with to FOLDER.
"""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parents[1]))

import mioconv.torch
from pytorch.networks import network


def work(folder: Path) -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    model, _ = network("unet")
    x = torch.load(folder / "input.pt")
    parallel = DistributedDataParallel(model)
    with mioconv.torch.use(strict=True) as routing:
        parallel(x[rank::size]).square().mean().backward()
    assert routing.calls.total() == 5
    gradients = {name: p.grad for name, p in model.named_parameters()}
    torch.save(gradients, folder / f"gradients{rank}.pt")


def main(folder: Path) -> None:
    faulthandler.dump_traceback_later(90, exit=True)  # whoever waits here says where
    torch.set_num_threads(1)
    mioconv.set_flags(num_threads=1)
    dist.init_process_group("gloo")
    try:
        work(folder)
        dist.barrier()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
