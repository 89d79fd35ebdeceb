"""What is kept for later processes: found again, never lost, never wrong when damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.processes import in_a_child
from helpers.reference import conv_forward
from mioconv import cache_files

SHAPES = [(1, 4, 6, 6), (1, 4, 7, 7), (2, 4, 6, 5)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of this test's own."""
    monkeypatch.setenv("MIOCONV_CACHE", "1")
    monkeypatch.setenv("MIOCONV_CACHE_DIR", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache"
    forget()


def forget() -> None:
    """As a new process would start."""
    mioconv.cache_clear()
    cache_files._own = None
    cache_files._unwritable = None


def arrays(shape: tuple[int, ...] = SHAPES[0]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal(shape).astype(np.float32)
    return x, rng.standard_normal((8, shape[1], 3, 3)).astype(np.float32)


def run(shape: tuple[int, ...] = SHAPES[0], **flags: Any) -> np.ndarray:
    """One call, compared with the reference."""
    x, w = arrays(shape)
    y = mioconv.conv2d_forward(x, w, benchmark=True, **flags)
    np.testing.assert_allclose(y, conv_forward(x, w), rtol=0, atol=1e-4)
    return y


def finds() -> int:
    return mioconv.cache_info().finds


def chosen(shape: tuple[int, ...] = SHAPES[0]) -> mioconv.Solution:
    return mioconv.find_solutions(mioconv.Problem.from_tensors("forward", *arrays(shape)))[0]


def child(program: str, **environment: str) -> str:
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


PROGRAM = """
import numpy as np, mioconv
for shape in {shapes}:
    x, w = np.ones(shape, 'f'), np.ones((8, shape[1], 3, 3), 'f')
    mioconv.conv2d_forward(x, w, benchmark=True)
print(mioconv.cache_info().finds)
"""


class TestOtherThanFiles:
    def test_a_pipe(self, folder: Path) -> None:
        """Nobody writes to it: whoever opens it waits."""
        run()
        forget()
        os.mkfifo(folder / "pipe.plans")
        with pytest.warns(cache_files.CacheFileWarning, match="not a regular file"):
            run()
        assert mioconv.cache_info().finds == 0
        with pytest.warns(cache_files.CacheFileWarning, match="not a regular file"):
            mioconv.cache_load()
        with pytest.raises(OSError, match="not a regular file"):
            mioconv.cache_load(folder / "pipe.plans")

    def test_pipes_among_files_to_merge(self, folder: Path) -> None:
        for size in range(12):
            run((1, 4, 6, 6 + size))
            cache_files._own = None  # as another process would
            os.mkfifo(folder / f"{size}.plans")
        forget()
        with pytest.warns(cache_files.CacheFileWarning):
            run((1, 4, 6, 6))
        assert mioconv.cache_info().finds == 0

    def test_a_folder(self, folder: Path) -> None:
        run()
        forget()
        (folder / "0.plans").mkdir()
        opened = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.warns(
                cache_files.CacheFileWarning, match=r"0\.plans: .*not a regular file"
            ):
                mioconv.cache_load()
        assert len(os.listdir("/proc/self/fd")) == opened
        run()
        assert mioconv.cache_info().finds == 0

    def test_a_link_to_nowhere(self, folder: Path) -> None:
        """It costs nothing of the files beside it, whichever comes first."""
        run()
        forget()
        for name in ("0.plans", "zzz.plans"):
            (folder / name).symlink_to(folder / "gone")
        run()
        assert mioconv.cache_info().finds == 0
        assert mioconv.cache_load() == 1

    def test_a_file_that_has_nothing_to_say_yet(self, folder: Path) -> None:
        try:
            os.close(os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK))
        except OSError:
            pytest.skip("no such file that may be read")
        run()
        forget()
        (folder / "kernel.plans").symlink_to("/proc/kmsg")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cache_files.CacheFileWarning)
            run()
        assert mioconv.cache_info().finds == 0


class TestInterrupted:
    """A signal's handler may raise while the files are read: that ends the call, and loses none."""

    @pytest.mark.parametrize("what", [TimeoutError, KeyboardInterrupt, SystemExit])
    def test_while_the_folder_is_read(
        self, what: type[BaseException], folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run()
        forget()

        def interrupted(path: Path) -> None:
            raise what

        with monkeypatch.context() as patch:
            patch.setattr(mioconv.cache_files, "_read", interrupted)
            with pytest.raises(what):
                run()
        run()
        assert mioconv.cache_info().finds == 0

    @pytest.mark.parametrize("what", [TimeoutError, FileNotFoundError, PermissionError, OSError])
    @pytest.mark.parametrize("where", ["iterdir", "contents"])
    def test_what_looks_like_the_systems(
        self, what: type[OSError], where: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Handlers raise TimeoutError, which is an OSError; the system's have a number."""
        run()
        forget()

        def interrupted(path: Path) -> Any:
            raise what("of a handler")

        place = (Path, "iterdir") if where == "iterdir" else (cache_files, "_contents")
        with monkeypatch.context() as patch:
            patch.setattr(*place, interrupted)
            with pytest.raises(what, match="of a handler"):
                run()
        run()
        assert mioconv.cache_info().finds == 0

    def test_warnings_as_errors(self, folder: Path) -> None:
        run()
        forget()
        (folder / "damaged.plans").write_bytes(b"nonsense\n")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(cache_files.CacheFileWarning):
                run()
            run()


class TestProcesses:
    def test_second_process_finds_nothing_again(self, folder: Path) -> None:
        assert child(PROGRAM.format(shapes=SHAPES)) == "3"
        assert child(PROGRAM.format(shapes=SHAPES)) == "0"
        assert len(list(folder.glob("*.plans"))) == 1, "nothing found, nothing written"

    def test_measured_ranking_is_the_next_processes(self, folder: Path) -> None:
        run()
        first = chosen()
        forget()
        x, w = arrays()
        mioconv.conv2d_forward(x, w)  # not in benchmark mode: what is known is used all the same
        assert chosen() == first
        assert chosen().source == "measured"

    def test_two_writers_lose_nothing(self, folder: Path) -> None:
        """Many processes at once, each with problems of its own and some in common."""
        groups = [[(1, 4, 6, size + 5), (1, 4, 6, 6)] for size in range(4)]
        running = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", PROGRAM.format(shapes=group)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for group in groups
        ]
        for process in running:
            _, errors = process.communicate(timeout=300)
            assert (process.returncode, errors) == (0, "")
        everything = [shape for group in groups for shape in group]
        assert child(PROGRAM.format(shapes=everything)) == "0"

    def test_folder_cleared_by_another_process(self, folder: Path) -> None:
        run()
        child("import mioconv; mioconv.cache_clear(files=True)")
        assert list(folder.glob("*.plans")) == []
        run(SHAPES[1])
        assert len(list(folder.glob("*.plans"))) == 1
        assert child(PROGRAM.format(shapes=SHAPES[1:2])) == "0"

    def test_turned_off(self, folder: Path) -> None:
        assert child(PROGRAM.format(shapes=SHAPES[:1]), MIOCONV_CACHE="0") == "1"
        assert not folder.exists()

    def test_child_after_fork_writes_to_its_own_file(self, folder: Path) -> None:
        # A child runs on one thread, which is part of the key.
        mioconv.set_flags(num_threads=1)
        run()
        in_a_child(lambda: run(SHAPES[1]))
        run(SHAPES[2])
        assert len(list(folder.glob("*.plans"))) == 2
        forget()
        for shape in SHAPES:
            run(shape)
        assert finds() == 0


class TestWhatIsKept:
    def test_record(self, folder: Path) -> None:
        run()
        lines = next(folder.glob("*.plans")).read_bytes().splitlines()
        assert len(lines) == 2
        record = json.loads(lines[1][9:])
        assert record["source"] == "measured"
        assert record["find_ms"] > 0
        assert record["problem"].startswith("MIOpenDriver conv -n 1")
        assert record["identity"][0] == "cpu"
        # What is behind the provider, not the ABI that it speaks.
        onednn = mioconv.get_version_info()["providers"]["cpu"]["onednn"]
        assert f"onednn {'.'.join(map(str, onednn))}" in record["identity"][1]
        assert abs(record["date"] - next(folder.glob("*.plans")).stat().st_mtime) < 60

    def test_other_problems_and_flags_are_searched(self, folder: Path) -> None:
        run()
        forget()
        run(deterministic=True)
        assert finds() == 1

    def test_what_a_limit_left_out_is_searched_later(self, folder: Path) -> None:
        least = min(
            s.workspace_bytes
            for s in mioconv.find_solutions(mioconv.Problem.from_tensors("forward", *arrays()))
        )
        run(workspace_limit=least)
        forget()
        run(workspace_limit=least)
        assert finds() == 0
        run()
        assert finds() == 1

    def test_pin(self, folder: Path) -> None:
        problem = mioconv.Problem.from_tensors("forward", *arrays())
        last = mioconv.find_solutions(problem)[-1]
        mioconv.prepare(problem, solution=last)
        for _ in range(2):
            run()
            assert mioconv.last_call().solution_id == last.id
            assert chosen().source == "pinned"
            assert finds() == 0
            forget()
        run()
        mioconv.prepare(problem, solution=mioconv.find_solutions(problem)[1])
        assert [s.source for s in mioconv.find_solutions(problem)].count("pinned") == 1

    def test_another_library_or_device(self, folder: Path, tmp_path: Path) -> None:
        run()
        saved = tmp_path / "saved"
        mioconv.cache_save(saved)
        for place, other in [(1, "9.9.9"), (2, "another processor")]:
            rewrite(saved, place, other)
            mioconv.cache_clear(files=True)
            assert mioconv.cache_load(saved) == 1
            run()
            assert finds() == 1, other

    def test_ids_that_the_library_lacks(self, folder: Path, tmp_path: Path) -> None:
        run()
        saved = tmp_path / "saved"
        mioconv.cache_save(saved)
        records = cache_files._read(saved)
        for record in records:
            record["solutions"] = [(12345, 1e-9, 0, 1, True, True), *record["solutions"]]
        cache_files._write_whole(saved, records)
        mioconv.cache_clear(files=True)
        mioconv.cache_load(saved)
        run()
        assert mioconv.last_call().solution_id != 12345

    def test_save_and_load(self, folder: Path, tmp_path: Path) -> None:
        run()
        x, w = arrays(SHAPES[1])
        mioconv.conv2d_forward(x, w)  # listed, not measured
        assert mioconv.cache_save(tmp_path / "saved") == 2
        mioconv.cache_clear(files=True)
        assert list(folder.glob("*.plans")) == []
        assert mioconv.cache_load(tmp_path / "saved") == 2
        run()
        assert finds() == 0
        run(SHAPES[1])
        assert finds() == 1

    def test_load_upgrades_what_is_in_memory(self, folder: Path, tmp_path: Path) -> None:
        run()
        mioconv.cache_save(tmp_path / "saved")
        mioconv.cache_clear(files=True)
        mioconv.conv2d_forward(*arrays())
        assert chosen().source == "heuristic"
        mioconv.cache_load(tmp_path / "saved")
        assert chosen().source == "measured"

    def test_load_reads_the_folder_again(self, folder: Path) -> None:
        run()
        child(PROGRAM.format(shapes=SHAPES[1:2]))
        assert mioconv.cache_load() == 2
        run(SHAPES[1])
        assert finds() == 1

    def test_no_such_file(self, folder: Path) -> None:
        with pytest.raises(FileNotFoundError):
            mioconv.cache_load(folder / "nothing")

    def test_path(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert mioconv.cache_path() == folder
        monkeypatch.delenv("MIOCONV_CACHE_DIR")
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert mioconv.cache_path() == Path("/somewhere/mioconv")
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "/home/somebody")
        assert mioconv.cache_path() == Path("/home/somebody/.cache/mioconv")
        monkeypatch.setenv("MIOCONV_CACHE", "off")
        assert mioconv.cache_path() is None


class TestDamage:
    """A damaged file costs a warning and what was damaged; results are right whatever it says."""

    @pytest.fixture
    def file(self, folder: Path) -> tuple[Path, bytes]:
        for shape in SHAPES:
            run(shape)
        path = next(folder.glob("*.plans"))
        return path, path.read_bytes()

    @staticmethod
    def read(path: Path, data: bytes) -> tuple[list[Any], list[str]]:
        path.write_bytes(data)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            records = cache_files._read(path)
        assert all(w.category is cache_files.CacheFileWarning for w in caught)
        return records, [str(w.message) for w in caught]

    def test_truncated_at_every_byte(self, file: tuple[Path, bytes]) -> None:
        path, data = file
        intact, complaints = self.read(path, data)
        assert (len(intact), complaints) == (3, [])
        ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
        for size in range(len(data)):
            records, complaints = self.read(path, data[:size])
            whole = sum(end <= size for end in ends) - 1
            assert records == intact[: max(whole, 0)]
            assert len(complaints) == (size > 0 and size not in ends), size

    def test_bit_flips(self, file: tuple[Path, bytes]) -> None:
        path, data = file
        intact, _ = self.read(path, data)
        for position in range(len(data)):
            flipped = bytearray(data)
            flipped[position] ^= 1 << (position % 8)
            records, complaints = self.read(path, bytes(flipped))
            assert all(record in intact for record in records)
            assert len(records) < 3
            assert len(complaints) == 1

    def test_right_results_from_damaged_files(self, file: tuple[Path, bytes]) -> None:
        path, data = file
        rng = np.random.default_rng(2)
        for _ in range(20):
            damaged = bytearray(data)
            for position in rng.integers(0, len(data), 3):
                damaged[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged[: int(rng.integers(1, len(data)))])
            mioconv.cache_clear()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", cache_files.CacheFileWarning)
                for shape in SHAPES:
                    run(shape)

    def test_wrong_values_with_a_right_checksum(self, file: tuple[Path, bytes]) -> None:
        path, _ = file
        record = cache_files._read(path)[0]
        good = record["solutions"]
        for wrong in [
            {"solutions": None},
            {"solutions": [(1, 2)]},
            {"solutions": [(-1, 0.1, 0, 1, True, False)]},
            {"solutions": [(good[0][0], "x", 0, 1, True, False)]},
            {"solutions": [(good[0][0], 0.1, 1 << 70, 1, True, False)]},
            {"key": ["x"]},
            {"key": None},
            {"date": "yesterday"},
            {"source": "guessed"},
        ]:
            data = cache_files._line(cache_files.FORMAT) + cache_files._line({**record, **wrong})
            records, complaints = self.read(path, data)
            assert (records, len(complaints)) == ([], 1), wrong

    def test_foreign_files_stay(self, folder: Path) -> None:
        folder.mkdir()
        foreign = folder / "other.plans"
        foreign.write_bytes(cache_files._line({"mioconv": "plans", "format": 2}) + b"whatever\n")
        (folder / "readme.txt").write_text("not ours")
        with pytest.warns(cache_files.CacheFileWarning, match="format|version"):
            cache_files.load(None)
        assert foreign.exists()

    def test_folder_that_cannot_be_written(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.parent.joinpath("file").write_text("")
        monkeypatch.setenv("MIOCONV_CACHE_DIR", str(folder.parent / "file" / "below"))
        with pytest.warns(cache_files.CacheFileWarning, match="cannot write") as caught:
            run()
        assert len(caught) == 1
        run(SHAPES[1])  # said once

    def test_an_interrupt_while_they_are_read_is_not_lost(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run()
        forget()

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(cache_files, "recall", interrupted)

        def call() -> None:
            mioconv.conv2d_forward(*arrays())
            for _ in range(100):
                pass  # it comes between two of the interpreter's steps

        with pytest.raises(KeyboardInterrupt):
            call()


class TestCompaction:
    def test_files_in_use_are_left_alone(self, folder: Path) -> None:
        held = []
        for index in range(cache_files.MOST_FILES + 2):
            held.append(cache_files._own)  # as if another process went on writing to it
            forget()
            run((1, 4, 6, 4 + index))
        files = set(folder.glob("*.plans"))
        assert len(files) == len(held)
        cache_files.load(None)
        assert set(folder.glob("*.plans")) == files

    def test_merging_loses_nothing(self, folder: Path) -> None:
        shapes = [(1, 4, 6, 4 + index) for index in range(cache_files.MOST_FILES + 2)]
        for shape in shapes[:3]:
            assert child(PROGRAM.format(shapes=[shape])) == "1"
        # More files of ended processes, without the cost of more processes.
        files = sorted(folder.glob("*.plans"))
        for index in range(cache_files.MOST_FILES):
            folder.joinpath(f"{index}-copy.plans").write_bytes(files[0].read_bytes())
        assert child(PROGRAM.format(shapes=shapes[:3])) == "0"
        left = list(folder.glob("*.plans"))
        assert [path.name.startswith("merged-") for path in left] == [True]
        assert child(PROGRAM.format(shapes=shapes[:3])) == "0"

    def test_a_damaged_file_is_left(self, folder: Path) -> None:
        run()
        data = next(folder.glob("*.plans")).read_bytes()
        for index in range(cache_files.MOST_FILES + 1):
            folder.joinpath(f"{index}-copy.plans").write_bytes(data)
        damaged = folder / "0-copy.plans"
        damaged.write_bytes(data[:-9])
        with pytest.warns(cache_files.CacheFileWarning, match="damaged"):
            cache_files.load(None)
        assert damaged.exists()
        assert len(list(folder.glob("merged-*"))) == 1

    def test_bounded(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for shape in SHAPES:
            run(shape)
        monkeypatch.setattr(cache_files, "MOST_ENTRIES", 2)
        data = next(folder.glob("*.plans")).read_bytes()
        for index in range(cache_files.MOST_FILES + 1):
            folder.joinpath(f"{index}-copy.plans").write_bytes(data)
        cache_files.load(None)
        assert len(cache_files._read(next(folder.glob("merged-*")))) == 2
        assert len(cache_files._known) == 2, "in memory as well"


def rewrite(path: Path, place: int, value: str) -> None:
    """Change one part of the identity of all entries."""
    records = cache_files._read(path)
    for record in records:
        identity = list(record["identity"])
        identity[place] = value
        record["identity"] = tuple(identity)
    cache_files._write_whole(path, records)
