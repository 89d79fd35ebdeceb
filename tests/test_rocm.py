"""The AMD path through a recording stand-in for ROCm's libraries (tests/fakes).

Every configuration is a child process that runs the tests in tests/rocm. By hand:

    python -m helpers.standin hip6 -x -k streams     (in tests/)
"""

from __future__ import annotations

import pytest
from helpers import standin

needs_compiler = pytest.mark.skipif(
    standin.compiler() is None, reason="no C++ compiler to build the stand-in with"
)


@needs_compiler
@pytest.mark.parametrize("config", standin.CONFIGS)
def test_configuration(config: str) -> None:
    done = standin.run_tests(config)
    assert done.returncode == 0, done.stdout + done.stderr
