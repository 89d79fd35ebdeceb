"""Little memory, address space, or file descriptors: an error now, and right results later."""

from __future__ import annotations

import pytest

from helpers.processes import program

START = """
import os, resource, sys
import numpy as np, mioconv

def with_room(room, call):
    # Whether a call goes well with so many more bytes of address space.
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + room, before[1]))
    try:
        call()
    except MemoryError:  # mioconv.OutOfMemoryError is one
        return False
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    return True

x, w = np.ones((1, 16, 20, 20), dtype := sys.argv[1]), np.ones((16, 16, 3, 3), dtype)
"""

COMPILING = (
    START
    + """
mioconv.conv2d_forward(x, w)
failed = 0
for step in range(28):
    given = np.ones((1, 16, 20 + step, 30), dtype)
    problem = mioconv.Problem.from_tensors("forward", given, w)
    for solution in mioconv.find_solutions(problem):
        failed += not with_room(
            (1 << step) - 1, lambda: mioconv.conv2d_forward(given, w, solution=solution))
    failed += not with_room((1 << step) - 1, lambda: mioconv.conv2d_relu_forward(given, w))
    # Right after it, in the same thread.
    for solution in mioconv.find_solutions(problem):
        assert (mioconv.conv2d_forward(given, w, solution=solution) == 144).all(), solution
    assert (mioconv.conv2d_relu_forward(given, w) == 144).all()
    assert (mioconv.plan(problem, constant_weights=True)(given, w) == 144).all()
assert failed > 28, failed
"""
)

LISTING = (
    START
    + """
mioconv.conv2d_forward(x, w)
for step in range(28):
    shape = (1, 16, 20 + step, 30)
    problem = mioconv.Problem("forward", shape, (16, 16, 3, 3), dtype)
    with_room((1 << step) - 1, lambda: mioconv.find_solutions(problem))
    listed = {s.id for s in mioconv.find_solutions(problem)}
    mioconv.cache_clear()
    assert listed == {s.id for s in mioconv.find_solutions(problem)}
"""
)

LOADING = (
    START
    + """
outcomes = [with_room(room, lambda: mioconv.conv2d_forward(x, w))
            for room in (0, 1 << 20, 1 << 23, 1 << 25, 1 << 26)]
assert not outcomes[0]
assert (mioconv.conv2d_forward(x, w) == 144).all()
"""
)

DESCRIPTORS = (
    START
    + """
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for provider in ("cpu", "rocm"):
    for _ in range(2):
        try:
            mioconv._native.api.versions(provider)
        except OSError as error:
            assert error.errno == 24, error
        else:
            raise AssertionError
for one in taken:
    os.close(one)
assert (mioconv.conv2d_forward(x, w) == 144).all()
try:
    mioconv._native.api.versions("rocm")
except mioconv.ProviderNotFoundError:
    pass
"""
)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
class TestAddressSpace:
    """A limit (RLIMIT_AS) for one call, and from the smallest room to one that is enough."""

    def test_compiling(self, dtype: str) -> None:
        program(COMPILING, dtype)

    def test_listing(self, dtype: str) -> None:
        program(LISTING, dtype)

    def test_loading(self, dtype: str) -> None:
        program(LOADING, dtype)


def test_file_descriptors() -> None:
    program(DESCRIPTORS, "float32", MIOCONV_CACHE="0")
