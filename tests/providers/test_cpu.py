"""What only the CPU's library does: host memory, threads, instruction sets, fork."""

from __future__ import annotations

import ctypes as c
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from . import abi
from .test_library import PLAIN, _run_forward

HIP_INVALID_VALUE, HIP_OUT_OF_MEMORY = 1, 2


def test_memory(cpu: abi.Library) -> None:
    before = cpu.counts().bytes_allocated
    memory = cpu.create("hipMalloc", c.c_size_t(1000))
    assert memory.value % 64 == 0
    assert cpu.counts().bytes_allocated == before + 1000
    host = np.arange(1000, dtype=np.uint8)
    back = np.zeros_like(host)
    cpu.call("hipMemcpyAsync", memory, abi.pointer(host), c.c_size_t(1000), 1, None)
    cpu.call("hipMemcpyAsync", abi.pointer(back), memory, c.c_size_t(1000), 2, None)
    np.testing.assert_array_equal(back, host)
    cpu.call("hipMemsetAsync", memory, 7, c.c_size_t(10), None)
    cpu.call("hipMemcpyAsync", abi.pointer(back), memory, c.c_size_t(11), 2, None)
    assert back[:11].tolist() == [7] * 10 + [10]
    attributes = (c.c_int * 8)()
    cpu.call("hipPointerGetAttributes", attributes, memory)
    assert attributes[0] == 1, "HIP 6 calls host memory 1"
    cpu.call("hipFree", memory)
    assert cpu.status("hipFree", memory) == HIP_INVALID_VALUE, "freed twice"
    assert cpu.so.hipGetLastError() == HIP_INVALID_VALUE
    assert cpu.so.hipGetLastError() == 0
    none = cpu.create("hipMalloc", c.c_size_t(0))
    assert none.value is None
    huge = c.c_void_p()
    assert cpu.status("hipMalloc", c.byref(huge), c.c_size_t(2**63)) == HIP_OUT_OF_MEMORY
    free, total = c.c_size_t(), c.c_size_t()
    cpu.call("hipMemGetInfo", c.byref(free), c.byref(total))
    assert 0 < free.value <= total.value


def mapping_flags(address: int) -> list[str]:
    """What the kernel knows of the mapping with this address; nothing if there is none."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return line.split()[1:]
    return []


def is_sanitized() -> bool:
    return "libasan" in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("size", [4 << 20, (5 << 20) + 1, (96 << 20) + 12345])
def test_large_memory(cpu: abi.Library, size: int) -> None:
    """It begins with a huge page where the system has them."""
    before = cpu.counts()
    memory = cpu.create("hipMalloc", c.c_size_t(size))
    address = memory.value
    assert address is not None
    assert address % (2 << 20) == 0
    assert cpu.counts().bytes_allocated == before.bytes_allocated + size
    if Path("/sys/kernel/mm/transparent_hugepage").exists():
        assert "hg" in mapping_flags(address)
    c.memset(address, 1, size)
    cpu.call("hipFree", memory)
    after = cpu.counts()
    assert after.bytes_allocated == before.bytes_allocated
    assert after.alive() == before.alive()
    assert cpu.status("hipFree", memory) == HIP_INVALID_VALUE
    cpu.so.hipGetLastError()
    # Beyond 32 MiB the C library keeps nothing back; a sanitizer does, to find late accesses.
    if size > 64 << 20 and not is_sanitized():
        assert mapping_flags(address) == []


@pytest.mark.parametrize("size", [2**62, 2**63 - 1, 2**64 - 1])
def test_more_memory_than_there_is(cpu: abi.Library, size: int) -> None:
    if size < 2**63 - 1 and is_sanitized():
        pytest.skip("a sanitizer ends the process")
    before = cpu.counts()
    memory = c.c_void_p(1)
    assert cpu.status("hipMalloc", c.byref(memory), c.c_size_t(size)) == HIP_OUT_OF_MEMORY
    assert memory.value is None
    assert cpu.counts().alive() == before.alive()
    cpu.so.hipGetLastError()


def test_device(cpu: abi.Library) -> None:
    count, version, pools = c.c_int(), c.c_int(), c.c_int(7)
    cpu.call("hipGetDeviceCount", c.byref(count))
    cpu.call("hipRuntimeGetVersion", c.byref(version))
    cpu.call("hipDeviceGetAttribute", c.byref(pools), 88, 0)
    assert count.value == 1
    assert version.value // 10_000_000 == 6
    assert pools.value == 0
    assert cpu.status("hipSetDevice", 1) == 101
    old, new = c.create_string_buffer(792), c.create_string_buffer(1472)
    cpu.call("hipGetDeviceProperties", old, 0)
    cpu.call("hipGetDevicePropertiesR0600", new, 0)
    text = [b.raw[at : at + 256].split(b"\0")[0].decode() for b, at in ((old, 396), (new, 1160))]
    assert text[0] == text[1]
    assert re.fullmatch(r"[a-z0-9_]+", text[0])
    assert old.raw[:256] == new.raw[:256]
    assert old.value


def test_thread_bound(cpu: abi.Library) -> None:
    threads = c.c_int()
    shape = PLAIN.__class__("threads", (4, 32, 28, 28), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1))
    try:
        for wanted in (1, 2, 3):
            cpu.call("mioconvSetNumThreads", wanted)
            cpu.call("mioconvGetNumThreads", c.byref(threads))
            assert threads.value == wanted
            _run_forward(cpu, shape=shape)
        assert cpu.status("mioconvSetNumThreads", -1) == abi.BAD_PARM
    finally:
        cpu.call("mioconvSetNumThreads", 0)
    cpu.call("mioconvGetNumThreads", c.byref(threads))
    assert 1 <= threads.value <= len(os.sched_getaffinity(0))


_IN_A_FRESH_PROCESS = """
import os, sys
sys.path[:0] = {paths!r}
from providers import abi
from providers.cases import SHAPES, make_case, Shape
from providers.test_library import _run_forward
library = abi.Library(abi.library_path())
"""


def _fresh_process(code: str, **variables: str) -> str:
    """Runs code with `library` loaded; its output."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_FRESH_PROCESS.format(paths=[tests]) + code],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.usefixtures("cpu")
def test_a_forked_child_runs_on_one_thread() -> None:
    """The parent's OpenMP pool exists before the fork; the child must not wait for it."""
    _fresh_process(
        """
import ctypes, signal
shape = Shape("big", (4, 32, 28, 28), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1))
library.call("mioconvSetNumThreads", 2)
_run_forward(library, shape=shape)
child = os.fork()
if child == 0:
    signal.alarm(20)
    threads = ctypes.c_int()
    library.call("mioconvGetNumThreads", ctypes.byref(threads))
    assert threads.value == 1
    _run_forward(library, shape=shape)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
_run_forward(library, shape=shape)
"""
    )


_LOADED_AFTER_A_FORK = """
import ctypes, os, signal, sys
sys.path[:0] = {paths!r}

def in_a_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def threads_of_a_run():
    from providers import abi
    from providers.cases import Shape
    from providers.test_library import _run_forward
    library = abi.Library(abi.library_path())
    threads = ctypes.c_int()
    library.call("mioconvGetNumThreads", ctypes.byref(threads))
    shape = Shape("big", (4, 32, 28, 28), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1))
    _run_forward(library, shape=shape)
    return threads.value

def expect(threads):
    assert threads_of_a_run() == threads, threads_of_a_run()

cores = len(os.sched_getaffinity(0))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(
    "program",
    [
        # Another library's pool, such as PyTorch's, and the provider is loaded in the child only.
        """
openmp = ctypes.CDLL("libgomp.so.1")
openmp.GOMP_parallel(ctypes.CDLL(None).getpid, None, 2, 0)
in_a_child(lambda: expect(1))
in_a_child(lambda: in_a_child(lambda: expect(1)))
expect(cores)
""",
        # Nothing was left behind: the child has all cores, the runtime being its own.
        "in_a_child(lambda: expect(cores))",
        "in_a_child(lambda: (ctypes.CDLL('libgomp.so.1'), expect(cores)))",
        # A parent that is gone says nothing of what it left.
        """
answered, answers = os.pipe()
if os.fork() == 0:
    parent = os.getpid()
    if os.fork() == 0:
        signal.alarm(30)
        while os.getppid() == parent:
            pass
        expect(1)
        os.write(answers, b"done")
    os._exit(0)
os.close(answers)
assert os.read(answered, 4) == b"done"
""",
    ],
    ids=["other library", "none", "own runtime", "orphan"],
)
@pytest.mark.usefixtures("cpu")
def test_loaded_after_a_fork(program: str) -> None:
    """OpenMP's threads do not survive a fork, whoever started them."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _LOADED_AFTER_A_FORK.format(paths=[tests]) + program],
        env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("isa", ["AVX2", "SSE41"])
@pytest.mark.usefixtures("cpu")
def test_older_instruction_sets(isa: str) -> None:
    """bfloat16 and float16 convert inside where the CPU lacks them."""
    out = _fresh_process(
        """
for dtype in ["float32", "float16"] + (["bfloat16"] if abi.BFLOAT16 is not None else []):
    dtype = abi.BFLOAT16 if dtype == "bfloat16" else dtype
    for shape in SHAPES:
        case = make_case(shape, dtype)
        for direction in abi.DIRECTIONS:
            with library.handle() as handle, abi.problem(library, handle, direction,
                    *case.arrays(direction, False), **shape.settings()) as problem:
                for solution in problem.solutions():
                    problem.immediate(solution)
                    name = library.solution_name(solution.solution_id)
                    case.check(direction, problem.out, name)
                    print(name)
""",
        ONEDNN_MAX_CPU_ISA=isa,
    )
    assert "avx512" not in out
    assert "+f32" in out


@pytest.mark.usefixtures("cpu")
def test_omp_num_threads_is_respected() -> None:
    code = """
import ctypes
threads = ctypes.c_int()
library.call("mioconvGetNumThreads", ctypes.byref(threads))
print(threads.value)
"""
    assert _fresh_process(code, OMP_NUM_THREADS="1").strip() == "1"


def test_describe(cpu: abi.Library) -> None:
    text = c.create_string_buffer(200)
    cpu.call("mioconvGetVersions", text, c.c_size_t(200))
    assert re.fullmatch(r"oneDNN \d+\.\d+\.\d+", text.value.decode())
    assert cpu.status("mioconvGetVersions", text, c.c_size_t(5)) == abi.BAD_PARM
    cpu.call("mioconvDescribe", text, c.c_size_t(200))
    words = r"oneDNN \d+\.\d+\.\d+, \w+, \d+ threads( \(not fuzzed: [^()]+\))?"
    assert re.fullmatch(words, text.value.decode())
    assert cpu.status("mioconvDescribe", text, c.c_size_t(5)) == abi.BAD_PARM
    name = c.create_string_buffer(100)
    status = cpu.status("mioconvGetSolutionName", c.c_uint64(12345), name, c.c_size_t(100))
    assert status == abi.BAD_PARM
