"""Train the digits on several processes or GPUs: DistributedDataParallel over mioconv's modules.

    torchrun --nproc-per-node 2 examples/data_parallel.py [EPOCHS]

Each process takes its share of every batch; DistributedDataParallel averages the gradients, over
gloo on CPUs and over NCCL (RCCL on AMD GPUs) where there are GPUs. The network is digits.py's, with
the starting weights and batches of digits_torch.py, so that it learns the same.
"""

from __future__ import annotations

import os
import sys

import digits
import digits_torch
import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import mioconv.torch


def train(model: torch.nn.Module, device: torch.device, epochs: int) -> float:
    """The loss of the last epoch, averaged over all processes."""
    x, _, labels, _ = digits.load()
    rng = np.random.default_rng(digits.SEED)
    digits.network(rng)  # as in digits_torch.py, the weights come first
    rank, size = dist.get_rank(), dist.get_world_size()
    optimizer = torch.optim.SGD(
        model.parameters(), momentum=digits.MOMENTUM, weight_decay=digits.DECAY
    )
    losses = torch.zeros((), device=device)
    for epoch in range(epochs):
        rate = digits.LEARNING_RATE * (1 + np.cos(np.pi * epoch / epochs)) / 2
        optimizer.param_groups[0]["lr"] = rate
        losses.zero_()
        batches = digits.batches(rng, len(x))
        for chosen in batches:
            # The same random shift everywhere, then every size-th picture.
            pictures = digits.shifted(x[chosen], rng)[rank::size]
            batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
            wanted = torch.from_numpy(labels[chosen][rank::size]).to(device)
            loss = torch.nn.functional.cross_entropy(model(batch), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.detach() / len(batches)
    dist.all_reduce(losses)
    return losses.item() / size


def tune(model: torch.nn.Module, device: torch.device) -> None:
    """Rank 0 measures the solutions of every layer, once; the others read what it kept in files.

    Without a folder that all can read (see MIOCONV_CACHE_DIR), they go by the library's estimates.
    """
    if dist.get_rank() == 0:
        mioconv.set_flags(benchmark=True)
        pictures = torch.rand(digits.BATCH // dist.get_world_size(), 1, 8, 8, device=device)
        model(pictures).sum().backward()
        model.zero_grad()
        mioconv.set_flags(benchmark=False)
    dist.barrier()
    mioconv.cache_load()


def main(epochs: int = digits.EPOCHS) -> None:
    gpus = torch.cuda.is_available()
    dist.init_process_group("nccl" if gpus else "gloo")
    try:
        device = torch.device("cpu")
        if gpus:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        torch.set_num_threads(1)
        mioconv.set_flags(num_threads=1)
        layers = digits.network(np.random.default_rng(digits.SEED))
        model = digits_torch.network(layers, by_mioconv=True).to(device)
        tune(model, device)
        loss = train(DistributedDataParallel(model), device, epochs)
        if dist.get_rank() == 0:
            _, test_x, _, test_labels = digits.load()
            right = digits_torch.accuracy(model.cpu(), test_x, test_labels)
            print(
                f"{dist.get_world_size()} processes, {epochs} epochs: loss {loss:.4f}, "
                f"{right:.2%} of the test digits"
            )
        dist.barrier()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
