"""What was measured, in files: a process starts with what earlier ones found.

One folder for all; each process appends to a file of its own there, so that writers never meet, and
reads everybody's. A line is one plan, with a checksum before it:

    1c291ca3 {"identity": ["cpu", "onednn 3.2.0", "…"], "key": […], "source": "measured", …}

The first line of a file names the format. A damaged line costs that line and nothing else; a file
of another format is left alone. Nothing in a file can make a result wrong: an id that the library
does not list is dropped, or refused by the library and then replaced by the next.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

try:
    import fcntl
except ImportError:  # no advisory locks: files are then never compacted
    fcntl = None  # type: ignore[assignment]

__all__ = ["CacheFileWarning", "append", "clear", "folder", "load", "recall", "save"]

FORMAT: Final = {"mioconv": "plans", "format": 1}
SUFFIX: Final = ".plans"
# Compaction merges the files of ended processes when there are more than these, and then keeps the
# newest entries only.
MOST_FILES: Final = 8
MOST_ENTRIES: Final = 20_000

Record: TypeAlias = dict[str, Any]
_Key: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]


class CacheFileWarning(UserWarning):
    """A cache file is damaged, cannot be read, or cannot be written."""


# --- lines ----------------------------------------------------------------------------------------


def _line(value: Record) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> Record | None:
    """What a line says; None where it is damaged."""
    try:
        text = line[9:]
        if line[:9] != b"%08x " % zlib.crc32(text):
            return None
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _checked(record: Record) -> Record | None:
    """The record if it is of the right form, with its solutions as tuples; else None."""
    try:
        solutions = [
            (
                int(id),
                None if time_ms is None else float(time_ms),
                int(workspace),
                int(algorithm),
                bool(searched),
                bool(pinned),
            )
            for id, time_ms, workspace, algorithm, searched, pinned in record["solutions"]
        ]
        key = tuple(int(word) for word in record["key"])
        identity = tuple(str(part) for part in record["identity"])
        date = float(record["date"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if record.get("source") not in ("heuristic", "measured", "pinned"):
        return None
    if not all(0 < id < 1 << 64 and 0 <= workspace < 1 << 62 for id, _, workspace, *_ in solutions):
        return None
    return {**record, "solutions": solutions, "key": key, "identity": identity, "date": date}


def _contents(path: Path) -> bytes:
    """What a file holds. Anything else of that name, such as a pipe, would be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        with open(descriptor, "rb", closefd=False) as file:
            data: bytes | None = file.read()
    finally:
        os.close(descriptor)
    if data is None:  # files of the kernel's that have nothing to say yet
        raise OSError(errno.EAGAIN, "nothing to be read", os.fspath(path))
    return data


def _pass_on(error: OSError) -> None:
    """Raise what is not the system's: a signal's handler may raise an OSError, as TimeoutError is,
    and that has no number."""
    if error.errno is None:
        raise error


def _scan(path: Path) -> tuple[list[Record], str | None]:
    """The intact records of a file, and what is wrong with the rest of it; FileNotFoundError where
    somebody else has just merged it into another one."""
    try:
        data = _contents(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        _pass_on(error)
        return [], f"cannot read {path}: {error}"
    lines = data.split(b"\n")
    # Every line has its end: what follows the last one was cut off, or is empty.
    cut_off = lines.pop()
    if not data:
        return [], None
    if not lines or _parse(lines[0]) != FORMAT:
        return [], (
            f"ignored {path}: not a cache file of this version of mioconv, or its first line is "
            "damaged"
        )
    parsed = [_parse(line) for line in lines[1:]]
    records = [record for value in parsed if value and (record := _checked(value))]
    damaged = len(parsed) - len(records) + bool(cut_off)
    if damaged:
        return records, f"ignored {damaged} damaged of {len(records) + damaged} entries in {path}"
    return records, None


def _read(path: Path) -> list[Record]:
    """The intact records of a file; one warning for all that is not."""
    records, complaint = _scan(path)
    if complaint:
        warnings.warn(complaint, CacheFileWarning, stacklevel=2)
    return records


# --- memory ---------------------------------------------------------------------------------------

# A signal's handler that convolves may come while its own thread holds it.
_lock = threading.RLock()
_known: dict[_Key, Record] = {}
_folder_read: Path | None = None


def _learn(records: Iterable[Record]) -> int:
    """Keep the newest record of each problem; what was pinned gives way to a newer pin only."""
    count = 0
    for record in records:
        key = (record["identity"], record["key"])
        known = _known.get(key)
        if known is None or _rank(record) >= _rank(known):
            _known[key] = record
        count += 1
    # A process that meets ever new problems must not grow for ever.
    while len(_known) > MOST_ENTRIES:
        _known.pop(next(iter(_known)), None)
    return count


def _rank(record: Record) -> tuple[bool, bool, float]:
    return record["source"] == "pinned", record["source"] == "measured", record["date"]


def recall(identity: tuple[str, ...], key: tuple[int, ...]) -> list[tuple[Any, ...]] | None:
    """The solutions that are known of a problem, best first; None where nothing is.

    The folder is read at the first call.
    """
    with _lock:
        _read_folder()
        record = _known.get((identity, key))
    return None if record is None else record["solutions"]


def _read_folder(again: bool = False) -> int:
    global _folder_read
    where = folder()
    if where is None or (where == _folder_read and not again):
        return 0
    _folder_read = where
    count = 0
    try:
        done: set[Path] = set()
        for _ in range(3):
            missing = False
            for path in _files(where):
                if path not in done:
                    try:
                        count += _learn(_read(path))
                        done.add(path)
                    except FileNotFoundError as error:
                        _pass_on(error)
                        missing = True  # merged into another just now, or a link to nowhere
            if not missing:
                break
        _compact(where)
    except CacheFileWarning:
        raise  # whoever wants warnings as errors wants each once, as warnings come
    except BaseException:
        _folder_read = None  # a signal's handler ended this: the rest is read by the next call
        raise
    return count


# --- the folder -----------------------------------------------------------------------------------


def folder() -> Path | None:
    """Where this process reads and writes; None where MIOCONV_CACHE=0 turned that off.

    MIOCONV_CACHE_DIR, else mioconv/ in XDG_CACHE_HOME, else in ~/.cache.
    """
    if os.environ.get("MIOCONV_CACHE", "").strip().lower() in ("0", "off", "false", "no"):
        return None
    # platformdirs would say the same, and take 3 of the 24 ms of an import.
    given = os.environ.get("MIOCONV_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home the tilde stays.
    return None if base == "~/.cache" else Path(base) / "mioconv"


def _files(where: Path) -> list[Path]:
    try:
        return sorted(path for path in where.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        _pass_on(error)
        return []  # not there yet


class _OwnFile:
    """The file that this process appends to. A shared lock on it tells others to leave it alone."""

    def __init__(self, where: Path) -> None:
        where.mkdir(parents=True, exist_ok=True)
        self.where = where
        self.pid = os.getpid()
        name = f"{self.pid}-{os.urandom(6).hex()}"
        unfinished = where / f".{name}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.file = os.open(unfinished, flags, 0o644)
        if fcntl is not None:
            # A file system without locks: nobody else gets one either, so nobody merges.
            try:
                fcntl.flock(self.file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                _pass_on(error)
        self.write(FORMAT)
        # Seen by others only now that it is locked.
        unfinished.rename(where / f"{name}{SUFFIX}")

    @property
    def deleted(self) -> bool:
        """Whether somebody has cleared the folder meanwhile."""
        return os.fstat(self.file).st_nlink == 0

    def write(self, record: Record) -> None:
        data = _line(record)
        written = os.write(self.file, data)
        if written != len(data):
            raise OSError(f"wrote {written} of {len(data)} bytes")


_own: _OwnFile | None = None
_unwritable: Path | None = None  # what has been complained of


def append(record: Record) -> None:
    """Keep a plan for later processes. A folder that cannot be written costs one warning."""
    global _own, _unwritable
    record = {**record, "date": round(time.time(), 3)}
    with _lock:
        where = folder()
        if where is None:
            return
        _learn(filter(None, [_checked(record)]))
        if where == _unwritable:
            return
        try:
            # A child must not write to its parent's file.
            if _own is None or _own.where != where or _own.pid != os.getpid() or _own.deleted:
                _own = _OwnFile(where)
            _own.write(record)
        except OSError as error:
            _pass_on(error)
            _unwritable = where
            warnings.warn(
                f"results are not kept for later processes: cannot write to {where}: {error}",
                CacheFileWarning,
                stacklevel=2,
            )


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[int | None]:
    """The descriptor of a file that is locked for the length of the block; None where it is not to
    be had."""
    assert fcntl is not None
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    except OSError as error:
        _pass_on(error)
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _pass_on(error)
            yield None
            return
        yield descriptor
    finally:
        os.close(descriptor)


def _compact(where: Path) -> None:
    """Merge the files of processes that have ended into one, if there are many.

    Whoever holds the folder's lock does it, the others go on. A file that its process still holds
    is left alone, so no entry is ever lost; a damaged one is left to be looked at.
    """
    if fcntl is None or len(_files(where)) <= MOST_FILES:
        return
    with _locked(where / "lock", os.O_RDWR | os.O_CREAT) as lock:
        if lock is None:
            return
        newest: dict[_Key, Record] = {}
        merged: list[Path] = []
        for path in _files(where):
            with _locked(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
                # Of another user's files only that one disposes.
                if descriptor is None or os.fstat(descriptor).st_uid != os.getuid():
                    continue
                try:
                    records, complaint = _scan(path)
                except FileNotFoundError as error:
                    _pass_on(error)
                    continue
            if complaint:
                continue
            merged.append(path)
            for record in records:
                key = (record["identity"], record["key"])
                if key not in newest or _rank(record) >= _rank(newest[key]):
                    newest[key] = record
        if len(merged) < 2:
            return
        kept = sorted(newest.values(), key=lambda record: record["date"])[-MOST_ENTRIES:]
        try:
            _write_whole(where / f"merged-{os.urandom(6).hex()}{SUFFIX}", kept)
        except OSError as error:
            _pass_on(error)
            return  # nothing was removed
        for path in merged:
            try:
                path.unlink()
            except OSError as error:
                _pass_on(error)


def _write_whole(path: Path, records: Iterable[Record]) -> None:
    """A file that is there completely or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(_line(FORMAT))
            file.writelines(map(_line, records))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# --- by hand --------------------------------------------------------------------------------------


def save(path: Path, records: list[Record]) -> int:
    """Write plans, and what was read before of other problems, to one file; their number."""
    now = round(time.time(), 3)
    with _lock:
        newest = dict(_known)
        for record in records:
            checked = _checked({"date": now, **record})
            if checked is not None:
                newest[checked["identity"], checked["key"]] = checked
    _write_whole(path, newest.values())
    return len(newest)


def load(path: Path | None) -> int:
    """Read a file, or the folder again; the number of entries."""
    with _lock:
        if path is None:
            return _read_folder(again=True)
        _contents(path)  # so that one that cannot be read is an error
        return _learn(_read(path))


def clear(files: bool) -> None:
    """Forget what was read; with `files`, delete the folder's files as well."""
    global _folder_read, _own
    with _lock:
        _known.clear()
        _folder_read = None
        where = folder()
        if files and where is not None:
            for path in _files(where):
                path.unlink(missing_ok=True)
            if _own is not None:
                os.close(_own.file)
                _own = None


def _after_fork() -> None:
    global _lock, _folder_read
    if _lock.acquire(blocking=False):
        _lock.release()
    else:  # by a thread that the child does not have, and that may have read half of the folder
        _lock = threading.RLock()
        _folder_read = None


os.register_at_fork(after_in_child=_after_fork)
