"""One thread each: PyTorch and mioconv bring an OpenMP runtime of their own, and both spin."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import mioconv


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    mioconv.set_flags(num_threads=1)
    yield
    torch.set_num_threads(before)
