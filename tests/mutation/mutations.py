"""The faults, and the tests that are to see each.

All are compiled into one copy of the sources, each behind a switch (`__main__.py`). `old` must
occur exactly once in its file, so that a fault whose place is gone is noticed. It is a statement,
or part of an expression where `expression` says so. Of the tests, "rocm:" stands for those that run
on the stand-in of ROCm's libraries, with a selection of `pytest -k`.
"""

from __future__ import annotations

from dataclasses import dataclass

CORE = "src/mioconv"
HEADERS = "include/mioconv"


@dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    expression: bool = False


def statement(name: str, file: str, old: str, new: str, *tests: str) -> Mutation:
    return Mutation(name, file, old, new, tests)


def expression(name: str, file: str, old: str, new: str, *tests: str) -> Mutation:
    return Mutation(name, file, old, new, tests, True)


SELECTION = [
    expression(
        "out-of-memory mark ignored", f"{HEADERS}/entry.hpp",
        "!solution.failed && !solution.out_of_memory", "!solution.failed",
        "tests/test_selection.py", "tests/test_memory.py",
    ),
    statement(
        "limit not lowered for lack of memory", f"{CORE}/_core/run.pyx",
        "choice.workspace_limit = <int64_t>solution.workspace - 1", "pass",
        "tests/test_selection.py", "tests/test_memory.py",
    ),
    statement(
        "failed solution not marked", f"{CORE}/_core/run.pyx",
        "entry.mark_failed(solution.id)", "pass", "tests/test_selection.py",
    ),
    expression(
        "lack of memory never forgotten", f"{CORE}/_core/run.pyx",
        "entry.forget_out_of_memory()", "False", "tests/test_selection.py", "tests/test_memory.py",
    ),
    expression(
        "slower way chosen", f"{CORE}/_core/epilogue.pyx", "fused <= separate", "fused > separate",
        "tests/test_fused.py",
    ),
    expression(
        "ways timed though deterministic", f"{CORE}/_core/epilogue.pyx",
        "options.benchmark and not options.deterministic", "options.benchmark",
        "tests/test_fused.py",
    ),
    expression(
        "fused with Winograd though strict", f"{CORE}/_core/epilogue.pyx",
        "options.strict_accuracy and not entry.sums_plainly()", "False", "tests/test_fused.py",
    ),
    expression(
        "unmeasured for lack of memory counts as searched", f"{CORE}/_core/search.pyx",
        "not ranked[i].out_of_memory", "True", "tests/test_selection.py", "tests/test_memory.py",
    ),
    expression(
        "exclusions ignored", f"{HEADERS}/entry.hpp",
        "exclusions && exclusions->excludes(api, solution)", "false", "tests/test_exclusions.py",
    ),
    expression(
        "no version in the identity", f"{CORE}/_core/records.pyx", "release(provider)", '""',
        "tests/test_cache_files.py",
    ),
    expression(
        "handler waits for its own builder", f"{HEADERS}/benchmark_cache.hpp",
        "found->second.builder == std::this_thread::get_id()", "false",
        "tests/test_processes.py -k handlers",
    ),
    expression(
        "stale builder publishes", f"{HEADERS}/benchmark_cache.hpp",
        "generation == generation_", "entries_.count(key) > 0", "tests/test_cache_model.py",
    ),
    expression(
        "signals not looked at", f"{CORE}/_core/search.pyx",
        "now_us() - search.looked > SIGNALS_US", "False", "tests/test_processes.py -k signals",
    ),
    statement(
        "signals not looked at while waiting", f"{CORE}/_core/search.pyx",
        "if turn == Turn.later:\n            look_at_signals()", "pass",
        "tests/test_processes.py -k signals",
    ),
    statement(
        "threads of a callback stay", f"{CORE}/_core/search.pyx",
        "use_its_threads(entry)  # the callback may have called with others", "pass",
        "tests/test_preparation.py",
    ),
    statement(
        "OpenMP's threads not restored", "providers/cpu/threads.cpp",
        "if (changed_) omp_set_num_threads(previous_);", ";",
        "tests/test_threads.py", "tests/providers/test_cpu.py",
    ),
]  # fmt: skip

LIFETIMES = [
    expression(
        "out may overlap the bias", f"{CORE}/_call/operators.pyx",
        "call.operands[i] == NULL", "call.operands[i] == NULL or i == BIAS",
        "tests/test_bad_input.py",
    ),
    statement(
        "z not kept for a second way", f"{CORE}/_call/operators.pyx",
        "z = second_ways.copy(z, call.kind)", "pass", "tests/test_fused.py -k 'OutIsZ'",
    ),
    expression(
        "z not kept for separate steps", f"{CORE}/_core/execute.pyx",
        "in_place or not same_memory(original, target)", "True", "tests/test_fused.py -k 'OutIsZ'",
    ),
    statement(
        "no version for gradients", f"{CORE}/_call/operators.pyx",
        "note_write(<object>call.given[i])", "pass",
        "tests/test_torch_tensors.py",
    ),
    expression(
        "plan takes any alignment", f"{CORE}/_call/plan.pyx",
        "tensor.alignment() < self.entry.params.alignment[operand]", "False",
        "tests/test_preparation.py",
    ),
    expression(
        "changed weights: no version", f"{CORE}/_call/plan.pyx",
        "version_of(self.weights_owner) != self.weights_version", "False",
        "tests/test_constant_weights.py -k Contract",
    ),
    expression(
        "changed weights: no checksum", f"{CORE}/_call/plan.pyx",
        "checksum(tensor[0]) != self.weights_checksum", "False",
        "tests/test_constant_weights.py -k Contract",
    ),
    expression(
        "replaced weights: nothing held", f"{CORE}/_call/plan.pyx",
        "hold(weight) if loan.kind == TORCH else weight", "weight",
        "tests/test_constant_weights.py -k Contract",
    ),
    expression(
        "large weights: a line of each 4 KiB", f"{HEADERS}/tensor_view.hpp",
        "bytes <= kAll ? kLine : kStep", "bytes <= kAll ? kLine : 4 * kStep",
        "tests/test_constant_weights.py -k Contract",
    ),
    expression(
        "forks during a first run", "providers/cpu/executable.cpp",
        "__builtin_expect(!ran_, 0)", "false", "tests/test_processes.py -k Fork",
        "tests/test_limits.py",
    ),
    statement(
        "code without address space", "providers/cpu/host_memory.cpp",
        "if (room == MAP_FAILED) throw std::bad_alloc();", "if (room == MAP_FAILED) return;",
        "tests/test_limits.py",
    ),
    expression(
        "code that is never freed", "providers/cpu/defects.cpp",
        "kept.load(std::memory_order_relaxed) >= kMostKept", "false",
        "tests/test_leaks.py -k fused",
    ),
    statement(
        "folder half read", f"{CORE}/cache_files.py",
        "_folder_read = None  # a signal's handler ended this: the rest is read by the next call",
        "pass", "tests/test_cache_files.py -k Interrupted",
    ),
    statement(
        "no pause after the end", f"{HEADERS}/activity.hpp", "for (;;) ::pause();", ";",
        "tests/test_processes.py -k 'end or exit'", "tests/test_fakes.py",
    ),
    expression(
        "a call within a call pauses", f"{HEADERS}/activity.hpp", "deepen(1) > 1",
        "deepen(1) > 1000", "tests/test_processes.py -k 'end or exit'", "tests/test_fakes.py",
    ),
    statement(
        "the end never comes", f"{CORE}/_native/api.pyx",
        "if self.reached:\n            with nogil:\n                activity.close(10)", "pass",
        "tests/test_processes.py -k 'end or exit'",
    ),
    statement(
        "OpenMP of a parent ignored", "providers/cpu/threads.cpp",
        "forked_child.store(inherits_openmp(), std::memory_order_relaxed);", ";",
        "tests/providers/test_cpu.py -k fork",
    ),
    statement(
        "cache files' lock is for once", f"{CORE}/cache_files.py",
        "_lock = threading.RLock()\n_known: dict[_Key, Record] = {}",
        "_lock = threading.Lock()\n_known: dict[_Key, Record] = {}",
        "tests/test_processes.py -k handlers",
    ),
    expression(
        "misaligned elements taken", f"{CORE}/_borrow/tensor.pyx",
        "<uintptr_t>view.data & (view.itemsize() - 1)", "False",
        "tests/test_interop.py tests/test_cimport.py",
    ),
    expression(
        "negative sizes taken", f"{CORE}/_borrow/tensor.pyx", "view.shape[i] < 0", "False",
        "tests/test_interop.py tests/test_cimport.py",
    ),
]  # fmt: skip

STREAMS = [
    expression(
        "block shared across streams", f"{HEADERS}/workspace.hpp",
        "kept.leased || kept.order != order", "kept.leased", "tests/test_fakes.py",
    ),
    expression(
        "unused blocks freed without waiting", f"{HEADERS}/workspace.hpp",
        "!work_has_ended()", "false", "tests/test_fakes.py",
    ),
    statement(
        "order of a block not updated", f"{HEADERS}/workspace.hpp",
        "kept.order = order_of(block.stream);", ";", "tests/test_fakes.py",
    ),
    statement(
        "unused blocks not released", f"{HEADERS}/workspace.hpp",
        "release_unused();\n        status = try_lease(bytes, stream, out);", ";",
        "tests/test_fakes.py",
    ),
    statement(
        "plan does not wait", f"{CORE}/_call/plan.pyx",
        "status = self.last.wait(self.entry.device.api, stream)", "pass", "rocm:streams",
    ),
    expression(
        "streams told apart by handle", f"{HEADERS}/stream_id.hpp",
        "stream_ != unknown_stream && stream_ == stream_id(api, stream)", "true",
        "tests/test_fakes.py",
    ),
    expression(
        "no event of a stream without number", f"{HEADERS}/stream_id.hpp",
        "by_event || stream_ == unknown_stream", "by_event", "tests/test_fakes.py",
    ),
    statement(
        "shared memory freed without waiting", f"{HEADERS}/stream.hpp",
        "if (shared_) api_->hipDeviceSynchronize();", ";", "rocm:streams",
    ),
    expression(
        "CuPy asked in a capture", f"{CORE}/_core/memory.pyx",
        "not in_captures and capturing(api, stream)", "False", "rocm:capture",
    ),
]  # fmt: skip

RESULTS = [
    expression(
        "fused operation not looked at", f"{CORE}/_core/epilogue.pyx",
        "entry.device.api.provider == Provider.cpu and is_due(entry, &stand_in, options)",
        "entry.device.api.provider == Provider.rocm and is_due(entry, &stand_in, options)",
        "tests/test_verify.py -k fused",
    ),
    expression(
        "solution not looked at", f"{CORE}/_core/verify.pyx",
        "solution.inspected >= first_runs", "solution.inspected >= 0",
        "tests/test_verify.py -k wrong",
    ),
    expression(
        "signals reach gemm", "providers/cpu/executable.cpp", "!bears_signals_", "false",
        "tests/test_signals.py",
    ),
    expression(
        "signals reach those who help gemm", "providers/cpu/signals.cpp", "threads > 1", "false",
        "tests/test_signals.py",
    ),
]  # fmt: skip

MUTATIONS = [*SELECTION, *LIFETIMES, *STREAMS, *RESULTS]
