"""Files that the dynamic loader must not see: cut short, or for another processor."""

from __future__ import annotations

from pathlib import Path

import pytest

import mioconv
from mioconv._loader import elf


@pytest.fixture(scope="module")
def whole() -> bytes:
    (path,) = mioconv.providers()["cpu"].paths.values()
    return Path(path).read_bytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "libmioconv_cpu.so"


def test_whole(file: Path, whole: bytes) -> None:
    file.write_bytes(whole)
    elf.check(str(file))


@pytest.mark.parametrize("share", [0.0002, 0.001, 0.02, 0.5, 0.99])
def test_truncated(file: Path, whole: bytes, share: float) -> None:
    file.write_bytes(whole[: max(int(share * len(whole)), 4)])
    with pytest.raises(OSError, match=r"libmioconv_cpu\.so: truncated: \d+ bytes"):
        elf.check(str(file))


def test_last_byte(file: Path, whole: bytes) -> None:
    file.write_bytes(whole[:-1])
    with pytest.raises(OSError, match=f"truncated: {len(whole) - 1} bytes.* {len(whole)}"):
        elf.check(str(file))


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [(4, 1, "64-bit little-endian"), (5, 2, "64-bit little-endian"), (18, 243, "machine 243")],
)
def test_foreign(file: Path, whole: bytes, position: int, value: int, words: str) -> None:
    foreign = bytearray(whole)
    foreign[position] = value
    file.write_bytes(foreign)
    with pytest.raises(OSError, match=words):
        elf.check(str(file))


@pytest.mark.parametrize("content", [b"", b"This is a text.", b"\x7fELG" + bytes(100)])
def test_not_elf(file: Path, content: bytes) -> None:
    """The loader's own words serve."""
    file.write_bytes(content)
    elf.check(str(file))


def test_left_to_the_loader(tmp_path: Path) -> None:
    elf.check("libc.so.6")
    elf.check(str(tmp_path))
    elf.check(str(tmp_path / "missing.so"))
