"""Is a file a whole shared library for this process? Asked before the dynamic loader maps it.

The loader trusts the headers: it maps a file that was cut short, as by a full disk or a broken
download, and the process dies of SIGBUS at the first page that is not there. A library for another
processor it reports as a file that does not exist.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import BinaryIO, Final

__all__ = ["check", "texts_ending"]

_MAGIC: Final = b"\x7fELF"
_ELF64_LITTLE_ENDIAN: Final = b"\x02\x01"
# e_ident, then e_type, e_machine, …; a program header; both as <elf.h> has them.
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
_SECTION_HEADER: Final = struct.Struct("<IIQQQQIIQQ")
_PT_LOAD: Final = 1
_THIS_PROCESS: Final = "/proc/self/exe"


def check(path: str) -> None:
    """Raise what is wrong with a file that the dynamic loader would take and should not.

    Parameters
    ----------
    path : str
        What will be handed to the loader. A bare name, which the loader resolves, is not looked at;
        nor is what cannot be read or is no ELF file: the loader's own words are right for those.

    Raises
    ------
    OSError
        The file is for another kind of processor, or shorter than its headers say.
    """
    if os.sep not in path or not os.path.isfile(path):
        return
    try:
        with open(path, "rb") as file:
            fault = _fault(file)
    except OSError:
        return
    if fault is not None:
        raise OSError(f"{path}: {fault}")


def _fault(file: BinaryIO) -> str | None:
    size = os.fstat(file.fileno()).st_size
    start = file.read(_HEADER.size)
    if not start.startswith(_MAGIC):
        return None
    if len(start) < _HEADER.size:
        return f"truncated: {size} bytes, less than an ELF header"
    with open(_THIS_PROCESS, "rb") as own:
        ours = own.read(_HEADER.size)
    if ours[4:6] != _ELF64_LITTLE_ENDIAN:
        return None
    if start[4:6] != ours[4:6]:
        return "not a 64-bit little-endian library, as this process needs"
    (_, _, machine, _, _, programs, sections, _, _, program_size, program_count, section_size,
     section_count, _) = _HEADER.unpack(start)  # fmt: skip
    if machine != _HEADER.unpack(ours)[2]:
        return (
            f"for another processor (ELF machine {machine}; this process is of machine "
            f"{_HEADER.unpack(ours)[2]})"
        )
    end = max(programs + program_count * program_size, sections + section_count * section_size)
    file.seek(programs)
    table = file.read(program_count * program_size)
    for offset in range(0, len(table) - _PROGRAM_HEADER.size + 1, max(program_size, 1)):
        kind, _, begin, _, _, length, _, _ = _PROGRAM_HEADER.unpack_from(table, offset)
        if kind == _PT_LOAD:
            end = max(end, begin + length)
    if end > size:
        return f"truncated: {size} bytes, but its headers describe {end}"
    return None


def texts_ending(path: str, ending: str) -> list[str]:
    """Texts among a library's constants that end so, in the order in which they lie there.

    Parameters
    ----------
    path : str
        A shared library. What is none, or cannot be read, has no texts.
    ending : str
        Of printable ASCII characters, as the texts.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _texts_ending(data, ending.encode())
    except (OSError, ValueError, struct.error):
        return []


def _texts_ending(data: mmap.mmap, ending: bytes) -> list[str]:
    header = data[: _HEADER.size]
    if not header.startswith(_MAGIC) or header[4:6] != _ELF64_LITTLE_ENDIAN:
        return []
    unpacked = _HEADER.unpack(header)
    offset, size, count, names = unpacked[6], unpacked[11], unpacked[12], unpacked[13]
    if names >= count:
        return []
    sections = [_SECTION_HEADER.unpack_from(data, offset + i * size) for i in range(count)]
    names_at = sections[names][4]
    texts: dict[str, None] = {}
    for name, _, _, _, begin, length, *_ in sections:
        if data[names_at + name : names_at + name + 7] != b".rodata":
            continue
        at = data.find(ending + b"\0", begin, begin + length)
        while at >= 0:
            start = data.rfind(b"\0", begin, at) + 1
            text = data[max(start, begin) : at + len(ending)]
            if text.isascii() and text.decode().isprintable():
                texts[text.decode()] = None
            at = data.find(ending + b"\0", at + 1, begin + length)
    return list(texts)
