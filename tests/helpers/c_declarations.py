"""Reads the declarations of include/mioconv/abi: prototypes, enums, structs, functions.def.

Regular expressions for C as these headers write it (one declaration a statement, no macros in
types), not a C parser. What it does not understand it refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ABI = ROOT / "include" / "mioconv" / "abi"


@dataclass(frozen=True)
class Function:
    """One row of functions.def."""

    name: str
    library: str
    need: str
    since: tuple[int, ...]


@dataclass(frozen=True)
class Prototype:
    """Types in one spelling: single spaces, a space before every star."""

    name: str
    result: str
    types: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass
class Header:
    """All that one header declares."""

    path: Path
    prototypes: dict[str, Prototype] = field(default_factory=dict)
    enums: dict[str, dict[str, int]] = field(default_factory=dict)
    structs: dict[str, list[str]] = field(default_factory=dict)


def functions() -> list[Function]:
    """The rows of functions.def, in their order."""
    text = _without_comments((ABI / "functions.def").read_text())
    pattern = r'MIOCONV_FUNCTION\(\s*(\w+)\s*,\s*(\w+)\s*,\s*"([\d.]+)"\s*,\s*(\w+)\s*\)'
    rows = [
        Function(name, library, need, tuple(map(int, since.split("."))))
        for library, need, since, name in re.findall(pattern, text)
    ]
    assert len(rows) == text.count("MIOCONV_FUNCTION("), "a row of functions.def was not understood"
    return rows


def client_functions() -> dict[str, str]:
    """The rows of client.def: library by function."""
    text = _without_comments((ABI / "client.def").read_text())
    rows = re.findall(r"MIOCONV_FUNCTION\(\s*(\w+)\s*,\s*(\w+)\s*\)", text)
    assert len(rows) == text.count("MIOCONV_FUNCTION("), "a row of client.def was not understood"
    return {name: library for library, name in rows}


def normal_type(text: str) -> str:
    """`const int*` and `int const *` in the spelling that the facts use: `const int *`."""
    words = text.replace("*", " * ").split()
    if "*" in words and words[words.index("*") - 1] == "const":  # east const
        words.remove("const")
        words.insert(0, "const")
    spelled = " ".join(words)
    return re.sub(r"\* (?=\*)", "*", spelled)


def parse_signature(name: str, text: str) -> Prototype:
    """`result (type name, …)`, as the facts write it, or `result name(type name, …)`."""
    match = re.fullmatch(r"\s*(.+?)\s*(?:\b" + name + r")?\s*\(([^()]*)\)\s*", text, re.DOTALL)
    assert match, f"not a prototype: {text!r}"
    arguments = match[2].strip()
    pairs = [] if arguments in ("", "void") else [_split(a) for a in arguments.split(",")]
    return Prototype(
        name,
        normal_type(match[1]),
        tuple(t for t, _ in pairs),
        tuple(n for _, n in pairs),
    )


def parse(name: str) -> Header:
    """Declarations of include/mioconv/abi/`name`."""
    header = Header(ABI / name)
    text = _without_comments(header.path.read_text())
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    for match in re.finditer(r"(?:typedef\s+)?enum\s*(\w*)\s*\{([^}]*)\}\s*(\w*)\s*;", text):
        header.enums[match[1] or match[3] or f"anonymous{len(header.enums)}"] = _enumerators(
            match[2]
        )
    for match in re.finditer(r"typedef struct (\w+)\s*\{(.*?)\n\}\s*\1\s*;", text, re.DOTALL):
        header.structs[match[1]] = _fields(match[2])
    # Without bodies, what is left are typedefs and prototypes.
    text = text.replace('extern "C" {', "")
    while (stripped := re.sub(r"\{[^{}]*\}", "", text)) != text:
        text = stripped
    text = text.replace("}", "")
    for statement in text.split(";"):
        statement = " ".join(statement.split())
        match = re.fullmatch(r"([\w\s*]+?)\b(\w+)\s*\([^()]*\)", statement)
        if match and not statement.startswith("typedef"):
            header.prototypes[match[2]] = parse_signature(match[2], statement)
        else:
            assert "(" not in statement or statement.startswith("typedef"), (
                f"{name}: not understood: {statement!r}"
            )
    return header


def _without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)


def _split(argument: str) -> tuple[str, str]:
    match = re.fullmatch(r"\s*(.+?[\s*])(\w+)\s*", argument, re.DOTALL)
    assert match, f"parameter without a name: {argument!r}"
    return normal_type(match[1]), match[2]


def _enumerators(body: str) -> dict[str, int]:
    values: dict[str, int] = {}
    following = 0
    for item in filter(None, map(str.strip, body.split(","))):
        name, _, value = item.partition("=")
        following = int(value, 0) if value else following
        values[name.strip()] = following
        following += 1
    return values


def _fields(body: str) -> list[str]:
    """Field names in order; those of an anonymous union count as the struct's own."""
    body = re.sub(r"union\s*\{|\}", "", body)
    names = []
    for statement in filter(None, map(str.strip, body.split(";"))):
        match = re.search(r"\(\*\s*(\w+)\)|(\w+)\s*(?:\[[^\]]*\])?$", statement)
        assert match, f"not a field: {statement!r}"
        names.append(match[1] or match[2])
    return names
