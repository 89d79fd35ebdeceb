"""The cache of plans against a plain dictionary, by random sequences of calls."""

from __future__ import annotations

import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import mioconv
from helpers.standin import ROOT, compiler

INPUTS = [np.ones((1, 2, 4, width), np.float32) for width in range(3, 9)]
WEIGHT = np.ones((2, 2, 3, 3), np.float32)
NAMES = {"forward": 0, "backward_input": 1}


class Cache(RuleBasedStateMachine):
    """Keys are (direction, input, deterministic); the value says whether it was measured."""

    def __init__(self) -> None:
        super().__init__()
        mioconv.set_cache_capacity(10_000)
        mioconv.cache_clear()
        self.entries: OrderedDict[tuple, bool] = OrderedDict()
        self.capacity = 10_000
        self.counts = {name: dict.fromkeys(("hits", "misses", "evictions", "finds"), 0)
                       for name in NAMES}  # fmt: skip

    def teardown(self) -> None:
        mioconv.set_cache_capacity(10_000)
        mioconv.cache_clear()

    def trim(self) -> None:
        while self.capacity and len(self.entries) > self.capacity:
            (direction, *_), _ = self.entries.popitem(last=False)
            self.counts[direction]["evictions"] += 1

    @rule(
        direction=st.sampled_from(sorted(NAMES)),
        index=st.integers(0, len(INPUTS) - 1),
        deterministic=st.booleans(),
        benchmark=st.booleans(),
    )
    def call(self, direction: str, index: int, deterministic: bool, benchmark: bool) -> None:
        x = INPUTS[index]
        flags = {"deterministic": deterministic, "benchmark": benchmark}
        if direction == "forward":
            result = mioconv.conv2d_forward(x, WEIGHT, **flags)
            assert (result == 18).all()
        else:
            dy = np.ones((1, 2, 2, x.shape[3] - 2), np.float32)
            result = mioconv.conv2d_backward_input(x.shape, dy, WEIGHT, **flags)
            assert result.sum() == 18 * dy.size
        key = (direction, index, deterministic)
        counts = self.counts[direction]
        if key in self.entries:
            counts["hits"] += 1
            self.entries.move_to_end(key)
        else:
            counts["misses"] += 1
            self.entries[key] = False
            self.trim()
        if benchmark and not self.entries[key]:
            counts["finds"] += 1
            self.entries[key] = True

    @rule(index=st.integers(0, len(INPUTS) - 1))
    def look(self, index: int) -> None:
        """A listing is a look-up like any other."""
        problem = mioconv.Problem("forward", INPUTS[index].shape, WEIGHT.shape)
        listed = mioconv.find_solutions(problem, deterministic=False)
        key = ("forward", index, False)
        measured = self.entries.get(key, False)
        assert (listed[0].source == "measured") == measured
        if key in self.entries:
            self.counts["forward"]["hits"] += 1
            self.entries.move_to_end(key)
        else:
            self.counts["forward"]["misses"] += 1
            self.entries[key] = False
            self.trim()

    @rule(capacity=st.sampled_from([0, 1, 2, 5, 10_000]))
    def bound(self, capacity: int) -> None:
        mioconv.set_cache_capacity(capacity)
        self.capacity = capacity
        self.trim()

    @rule()
    def clear(self) -> None:
        mioconv.cache_clear()
        self.entries.clear()
        for counts in self.counts.values():
            counts.update(dict.fromkeys(counts, 0))

    @rule()
    def empty(self) -> None:
        mioconv.empty_cache()

    @invariant()
    def agree(self) -> None:
        info = mioconv.cache_info()
        assert info.entries == len(self.entries)
        for direction, counts in self.counts.items():
            row = info.by_direction[direction]
            assert {name: row[name] for name in counts} == counts
            assert row["entries"] == sum(key[0] == direction for key in self.entries)
        for name in ("hits", "misses", "evictions", "finds"):
            assert getattr(info, name) == sum(counts[name] for counts in self.counts.values())


Cache.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestCache = Cache.TestCase


def test_a_builder_that_is_overtaken_leaves_no_trace(tmp_path: Path) -> None:
    """The C++ class alone: `cache/stale_builder.cpp` clears it while two threads build."""
    found = compiler()
    if not found:
        pytest.skip("no C++ compiler")
    program = tmp_path / "stale_builder"
    subprocess.run(
        [*found, "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}",
         str(ROOT / "tests" / "cache" / "stale_builder.cpp"), "-o", str(program), "-pthread"],
        check=True,
    )  # fmt: skip
    done = subprocess.run([program], capture_output=True, text=True, check=True, timeout=60)
    # Each caller has its own; after the first end nothing is kept, after the second the second's.
    assert done.stdout == "0 1 0 1 1\n"
