"""Many threads, forks at any moment, and the end of the interpreter with work in flight."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import operands
from helpers.operators import BACKWARD_INPUT, BACKWARD_WEIGHT, FORWARD
from helpers.problems import CASES, Case
from helpers.processes import in_a_child, program
from helpers.tolerances import assert_close, assert_same_bits

CASE = next(case for case in CASES if case.name == "2d-groups")
FEW = [case for case in CASES if case.name.startswith("2d")][:8]


def call(case: Case = CASE, **how: Any) -> None:
    x, w = operands(FORWARD, case)
    assert_close(FORWARD(case, x, w, **how), *FORWARD.expected(case, x, w))


def test_thirty_two_threads() -> None:
    """Searches, clears, forks of the cache's own, all at once."""
    given = {case: operands(FORWARD, case) for case in FEW}
    right = {case: FORWARD.expected(case, *given[case]) for case in FEW}
    barrier = threading.Barrier(32)
    mioconv.cache_clear()

    def work(index: int) -> None:
        barrier.wait(60)
        for turn in range(25):
            case = FEW[(index + turn) % len(FEW)]
            if index == 0 and turn % 5 == 0:
                mioconv.cache_clear()
            if index == 1 and turn % 5 == 0:
                mioconv.empty_cache()
            if index == 2:
                mioconv.set_cache_capacity(turn % 3)
            result = FORWARD(
                case, *given[case], benchmark=index % 4 == 0,
                exclude=[1, "no such name"] if index % 5 == 0 else None,
            )  # fmt: skip
            assert_close(result, *right[case])

    try:
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(work, range(32)))
    finally:
        mioconv.set_cache_capacity(10_000)


@pytest.mark.parametrize("operator", [FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT], ids=str)
def test_deterministic_backward_and_forward(operator: Any) -> None:
    """The same bits in a hundred runs, in this thread and in others."""
    case = next(case for case in CASES if case.name == "2d-odd-channels")
    given = operands(operator, case)
    with mioconv.flags(deterministic=True):
        expected = operator(case, *given)
        for _ in range(100):
            assert_same_bits(operator(case, *given), expected)

    def work(_: int) -> None:
        for _ in range(25):
            assert_same_bits(operator(case, *given, deterministic=True), expected)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


STARTING = """
import os, signal, sys, threading, time, traceback, warnings
import numpy as np, mioconv

warnings.simplefilter("ignore", DeprecationWarning)
PROBLEMS = [mioconv.Problem("forward", (1, 16, 9, 9), (16, 16, 3, 3), dtype)
            for dtype in ("float32", "float16")]

def given(problem):
    return np.ones(problem.input_shape, problem.dtype), np.ones((16, 16, 3, 3), problem.dtype)

def work():
    for problem in PROBLEMS:
        x, w = given(problem)
        mioconv.conv2d_forward(x, w, benchmark=True)
        mioconv.conv2d_backward(x, np.ones((1, 16, 7, 7), x.dtype), w)
        mioconv.conv2d_relu_forward(x, w)

def child(problem):
    signal.alarm(60)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    for solution in mioconv.find_solutions(problem):
        result = mioconv.conv2d_forward(*given(problem), solution=solution)
        assert (result == 144).all(), solution
    os._exit(0)

worker = threading.Thread(target=work)
worker.start()
time.sleep(float(sys.argv[1]))
children = []
for turn in range(6):
    children.append(os.fork())
    if not children[-1]:
        try:
            child(PROBLEMS[turn % 2])
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    time.sleep(0.005)
worker.join()
ended = [os.waitpid(one, 0)[1] for one in children]
assert not any(ended), ended
"""

READING = """
import os, threading, warnings
from pathlib import Path
import numpy as np, mioconv
from mioconv import cache_files

warnings.simplefilter("ignore", DeprecationWarning)
mioconv.set_flags(num_threads=1)  # as many as a child may use
x, w = np.ones((1, 4, 9, 9), 'f'), np.ones((4, 4, 3, 3), 'f')
mioconv.conv2d_forward(x, w, benchmark=True)
mioconv.cache_clear()
inside, go_on, read = threading.Event(), threading.Event(), cache_files._read

def slow(path):
    inside.set()
    go_on.wait(60)
    return read(path)

cache_files._read = slow
worker = threading.Thread(target=lambda: mioconv.conv2d_forward(x, w))
worker.start()
inside.wait(60)
cache_files._read = read
child = os.fork()
if not child:
    mioconv.conv2d_forward(x, w, benchmark=True)
    os._exit(mioconv.cache_info().finds)
status = os.waitpid(child, 0)[1]
go_on.set()
worker.join()
assert status == 0
"""


class TestFork:
    def test_child_computes(self) -> None:
        call()
        in_a_child(call)
        in_a_child(lambda: [call(case, benchmark=True) for case in FEW])
        call()

    def test_child_of_a_child(self) -> None:
        call()
        in_a_child(lambda: in_a_child(call))

    def test_while_others_compute(self) -> None:
        """Whatever the other threads hold at that moment, the child is not held up by it."""
        stop = threading.Event()

        def work(index: int) -> None:
            while not stop.is_set():
                for case in FEW[index::4]:
                    mioconv.cache_clear()
                    call(case, benchmark=index % 2 == 0)

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(work, index) for index in range(4)]
            try:
                for turn in range(15):
                    in_a_child(lambda turn=turn: call(FEW[turn % len(FEW)], benchmark=True))
            finally:
                stop.set()
            for one in running:
                one.result(60)

    @pytest.mark.parametrize("delay", [0, 1, 2, 4, 6, 8, 10, 12, 15, 20, 30, 40])
    def test_while_another_thread_starts(self, delay: int) -> None:
        """Nothing is loaded, imported or compiled before; the children run every solution."""
        program(STARTING, delay / 1000, MIOCONV_CACHE="0")

    def test_while_another_thread_reads_the_cache_files(self, tmp_path: Path) -> None:
        """The child reads what the parent has read half of."""
        program(READING, MIOCONV_CACHE="1", MIOCONV_CACHE_DIR=str(tmp_path))

    def test_child_has_its_own_cache(self) -> None:
        mioconv.cache_clear()
        call()

        def check() -> None:
            assert mioconv.cache_info().entries == 0
            call()
            assert mioconv.cache_info().entries == 1

        in_a_child(check)
        assert mioconv.cache_info().entries == 1

    def test_allocator_goes_along(self) -> None:
        asked: list[int] = []

        def allocate(nbytes: int, *_: Any) -> None:
            asked.append(nbytes)

        solution = max(
            mioconv.find_solutions(mioconv.Problem("forward", (2, 16, 9, 9), (16, 16, 3, 3))),
            key=lambda s: s.workspace_bytes,
        )
        x, w = np.ones((2, 16, 9, 9), np.float32), np.ones((16, 16, 3, 3), np.float32)
        mioconv.set_allocator(allocate)

        def check() -> None:
            asked.clear()
            mioconv.conv2d_forward(x, w, solution=solution)
            assert asked

        try:
            in_a_child(check)
        finally:
            mioconv.set_allocator(None)


PROGRAM = """
import threading, time
import numpy as np
import mioconv

x, w = np.ones((4, 16, 40, 40), 'f'), np.ones((16, 16, 3, 3), 'f')
{setting}

def work():
    while True:
        {work}

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""


@pytest.mark.parametrize(
    "work",
    [
        "mioconv.conv2d_forward(x, w)",
        "mioconv.cache_clear(); mioconv.conv2d_forward(x, w, benchmark=True)",
        "mioconv.conv2d_relu_forward(x, w)",
    ],
)
@pytest.mark.parametrize("setting", ["", "mioconv.set_allocator(lambda n, d, s: None)"])
def test_exit_with_work_in_flight(work: str, setting: str) -> None:
    """Daemon threads in the middle of a call, a search, an allocator of the user's."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=work, setting=setting)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


WORKER = """
import atexit, queue, threading
import numpy as np

jobs, done = queue.Queue(), []

def work():
    import mioconv
    x, w = np.ones((4, 16, 40, 40), 'f'), np.ones((16, 16, 3, 3), 'f')
    while jobs.get():
        done.append(mioconv.conv2d_forward(x, w, benchmark=len(done) == 1).sum())

worker = threading.Thread(target=work, daemon=True)

def finish():
    for more in (True, True, True, False):
        jobs.put(more)
    worker.join()
    print(len(done), len(set(done)))

{order}
jobs.put(True)
worker.start()
while not done:
    pass
"""
ORDERS = {
    "before the import": "atexit.register(finish); import mioconv",
    "after the import": "import mioconv; atexit.register(finish)",
    "both": "atexit.register(finish); import mioconv; atexit.register(finish)",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_exit_that_waits_for_a_worker(order: str) -> None:
    """Functions of `atexit` may wait for threads that convolve, whoever registered first."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER.format(order=order)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "4 1"


def test_a_callback_that_calls_at_the_end() -> None:
    """A daemon thread whose search's callback convolves does not hold the end up."""
    work = "mioconv.cache_clear(); mioconv.conv2d_forward(x, w, benchmark=True)"
    setting = "mioconv.on_search(lambda progress: mioconv.conv2d_forward(x, w))"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=work, setting=setting)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - start < 9  # it would wait for ten seconds


SUB_INTERPRETER = """
{before}
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
inner = interpreters.create()
code = "try: import mioconv\\nexcept ImportError as error: print(error)"
if hasattr(interpreters, "exec"):
    interpreters.exec(inner, code)
else:
    interpreters.run_string(inner, code)
interpreters.destroy(inner)  # CPython 3.11.2 with NumPy in the main one does not end else
import mioconv, numpy
print(mioconv.conv1d_forward(numpy.ones((1, 1, 3), "f"), numpy.ones((1, 1, 3), "f")))
"""


@pytest.mark.parametrize("before", ["", "import mioconv"], ids=["first", "second"])
def test_sub_interpreters_are_refused(before: str) -> None:
    """In words, at the import; the main interpreter works and ends."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SUB_INTERPRETER.format(before=before)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    refusal, result = done.stdout.splitlines()
    assert "interpreter" in refusal
    assert result == "[[[3.]]]"


SIGNALS = """
import os, signal, sys, threading, time
import numpy as np
import mioconv

x, w = np.ones((8, 64, 56, 56), 'f'), np.ones((64, 64, 5, 5), 'f')
small = np.ones((1, 4, 9, 9), 'f'), np.ones((4, 4, 3, 3), 'f')
mioconv.conv2d_forward(*small)
mioconv.set_flags(benchmark_budget_ms=60000)
searching = threading.Event()

def told(progress):
    searching.set()
    mioconv.on_search(None)  # from here on no Python runs in the search, which would see to signals

mioconv.on_search(told)

def interrupt():
    searching.wait(60)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)

def search():
    mioconv.conv2d_forward(x, w, padding=2, benchmark=True)
"""
INTERRUPTED = """
threading.Thread(target=interrupt, daemon=True).start()
try:
    search()
except KeyboardInterrupt:
    print("interrupted", mioconv.cache_info().finds)
"""
# Another thread's search, which this one waits for.
WAITING = """
other = threading.Thread(target=search, daemon=True)
other.start()
searching.wait(60)
threading.Thread(target=interrupt, daemon=True).start()
try:
    search()
except KeyboardInterrupt:
    print("interrupted", mioconv.cache_info().finds, flush=True)
os._exit(0)
"""
HANDLER = """
seen = []

def handle(*_):
    mioconv.conv2d_forward(*small)
    seen.append(mioconv.cache_info().finds)

signal.signal(signal.SIGINT, handle)
mioconv.set_flags(benchmark_budget_ms=500)
threading.Thread(target=interrupt, daemon=True).start()
search()
print("handled", seen, mioconv.cache_info().finds)
"""


@pytest.mark.parametrize(
    ("program", "expected"),
    [(INTERRUPTED, "interrupted 0"), (WAITING, "interrupted 0"), (HANDLER, "handled [0] 1")],
    ids=["interrupted", "waiting", "handler"],
)
def test_signals_during_a_search(program: str, expected: str) -> None:
    """They are handled between two samples, not when all is over."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS + program], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[0] == expected


@pytest.mark.parametrize("name", ["recall", "_read_folder", "append", "_learn"])
def test_handlers_that_convolve(name: str, tmp_path: Path) -> None:
    """A handler runs in whatever the main thread is doing, and must not wait for that."""
    program = f"""
import threading
import numpy as np
import mioconv
from mioconv import cache_files

x, w = np.ones((1, 4, 9, 9), 'f'), np.ones((4, 4, 3, 3), 'f')
original, inner = cache_files.{name}, []

def interrupted(*arguments, **how):
    if not inner:
        inner.append(None)
        inner[0] = mioconv.conv2d_forward(x, w, benchmark=True)
    return original(*arguments, **how)

cache_files.{name} = interrupted
outer = mioconv.conv2d_forward(x, w, benchmark=True)
print((outer == inner[0]).all(), outer.shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MIOCONV_CACHE": "1", "MIOCONV_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True (1, 4, 7, 7)\n"
