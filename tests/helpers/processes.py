"""Work in forked children, and programs in new processes, with a time limit: whoever waits for a
lock that nobody holds any more would wait for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable


def in_a_child(work: Callable[[], object], seconds: float = 60) -> None:
    """Fork, do `work` in the child, and fail if it raises or does not end in time."""
    with warnings.catch_warnings():
        # Newer Pythons warn of forks of processes with threads: that is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"the child ended with status {status}"
            return
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"the child was not done after {seconds} s")


def program(text: str, *arguments: object, seconds: float = 120, **environment: str) -> str:
    """What a new process prints that runs a program; it must end well, and complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.returncode}\n{done.stderr}"
    return done.stdout.strip()
