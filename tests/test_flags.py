"""Flags: process-wide, for a context, from the environment."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

import mioconv
from helpers.checks import operands
from helpers.operators import FORWARD
from helpers.problems import CASES

DEFAULTS = {
    "benchmark": False,
    "deterministic": False,
    "allow_tf32": False,
    "workspace_limit": None,
    "num_threads": 0,
    "strict_accuracy": False,
}
PLAIN = next(case for case in CASES if case.name == "2d-same")


def subset() -> dict[str, Any]:
    flags = mioconv.get_flags()
    return {name: flags[name] for name in DEFAULTS}


def in_child(**variables: str) -> Any:
    """Flags of a fresh process, or the last line of what it died of."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MIOCONV_")} | variables
    code = "import json, mioconv; print(json.dumps(mioconv.get_flags()))"
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    if child.returncode:
        return child.stderr.strip().splitlines()[-1]
    return json.loads(child.stdout)


def test_defaults() -> None:
    flags = in_child()
    assert {name: flags[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("MIOCONV_BENCHMARK", "1", "benchmark", True),
        ("MIOCONV_BENCHMARK", "off", "benchmark", False),
        ("MIOCONV_DETERMINISTIC", "true", "deterministic", True),
        ("MIOCONV_ALLOW_TF32", "yes", "allow_tf32", True),
        ("MIOCONV_WORKSPACE_LIMIT", "1048576", "workspace_limit", 1048576),
        ("MIOCONV_NUM_THREADS", "1", "num_threads", 1),
        ("MIOCONV_STRICT_ACCURACY", "1", "strict_accuracy", True),
    ],
)
def test_variables(variable: str, text: str, name: str, value: Any) -> None:
    assert in_child(**{variable: text})[name] == value


@pytest.mark.parametrize("text", ["maybe", "-7", "2.5"])
@pytest.mark.parametrize("variable", ["MIOCONV_BENCHMARK", "MIOCONV_NUM_THREADS"])
def test_wrong_variables_are_named(variable: str, text: str) -> None:
    message = in_child(**{variable: text})
    assert isinstance(message, str), f"{text!r} was accepted"
    assert variable in message
    assert text in message


def test_set_flags() -> None:
    before = mioconv.get_flags()
    mioconv.set_flags(benchmark=True, workspace_limit=123)
    assert mioconv.get_flags() == {**before, "benchmark": True, "workspace_limit": 123}
    with pytest.raises((TypeError, ValueError)):
        mioconv.set_flags(benchmark=False, workspace_limit=-1)
    assert mioconv.get_flags()["benchmark"] is True, "half of a refused call was taken"


def test_contexts_nest() -> None:
    outside = subset()
    with mioconv.flags(benchmark=True):
        with mioconv.flags(deterministic=True, benchmark=False):
            assert subset() == {**outside, "deterministic": True}
            mioconv.set_flags(workspace_limit=77)  # what the blocks leave out follows the process
            assert mioconv.get_flags()["workspace_limit"] == 77
        assert subset() == {**outside, "benchmark": True, "workspace_limit": 77}
    assert subset() == {**outside, "workspace_limit": 77}


def test_context_is_left_by_an_error() -> None:
    before = mioconv.get_flags()
    with pytest.raises(KeyError), mioconv.flags(deterministic=True):
        raise KeyError("inside")
    assert mioconv.get_flags() == before


def test_threads_and_tasks_have_their_own() -> None:
    seen = {}

    def look() -> None:
        seen["thread"] = mioconv.get_flags()["deterministic"]

    async def task(value: bool) -> bool:
        with mioconv.flags(deterministic=value):
            await asyncio.sleep(0)
            return bool(mioconv.get_flags()["deterministic"])

    async def both() -> list[bool]:
        return list(await asyncio.gather(task(True), task(False), task(True)))

    with mioconv.flags(deterministic=True):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == {"thread": False}
    assert asyncio.run(both()) == [True, False, True]


def test_argument_goes_before_flags() -> None:
    x, w = operands(FORWARD, PLAIN)
    mioconv.cache_clear()
    with mioconv.flags(benchmark=True):
        FORWARD(PLAIN, x, w, benchmark=False)
        assert mioconv.cache_info().finds == 0
        FORWARD(PLAIN, x, w)
        assert mioconv.cache_info().finds == 1
