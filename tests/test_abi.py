"""Our restatement of the two C ABIs against the facts recorded from their releases.

`tests/data/rocm_abi_facts.json` says how each declaration reads in each release. Ours must read the
same in all of them; where releases differ from each other, the difference is named below with its
reason. An exception that no longer excepts anything fails.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import c_declarations as c
from helpers import dlpack

FACTS = json.loads((Path(__file__).parent / "data" / "rocm_abi_facts.json").read_text())
HEADERS = {name: c.parse(name) for name in ("hip.h", "miopen.h", "provider.h")}
LIBRARY_HEADER = {"HIP": "hip.h", "MIOPEN": "miopen.h", "MIOCONV": "provider.h"}
FUNCTIONS = c.functions()
VENDOR = [f for f in FUNCTIONS if f.library != "MIOCONV"]
RELEASES = [(lib, release) for lib in ("miopen", "hip") for release in FACTS[lib]["releases"]]

_CONST = "5.4.3 takes the sizes without const; the same pointers either way"

# (release, function, parameter) -> (how that release declares it, why ours differs)
TYPE_EXCEPTIONS = {
    ("rocm-5.4.3", "miopenSetTensorDescriptor", "dimsA"): ("int *", _CONST),
    ("rocm-5.4.3", "miopenSetTensorDescriptor", "stridesA"): ("int *", _CONST),
    ("rocm-5.4.3", "miopenInitConvolutionNdDescriptor", "padA"): ("int *", _CONST),
    ("rocm-5.4.3", "miopenInitConvolutionNdDescriptor", "strideA"): ("int *", _CONST),
    ("rocm-5.4.3", "miopenInitConvolutionNdDescriptor", "dilationA"): ("int *", _CONST),
    ("rocm-5.4.3", "miopenSetTransposeConvNdOutputPadding", "adjA"): ("int *", _CONST),
    ("10.0", "hipStreamGetDevice", "device"): ("int *", "the binding spells hipDevice_t out"),
}

# (release, function) -> why a release lacks what another has
ABSENT = {
    ("rocm-5.4.3", "miopenSetTensorDescriptorV2"): "64-bit sizes came with 6.2",
    ("rocm-5.4.3", "miopenGetConvolutionGroupCount"): "came with 6.2",
    ("6.0.0", "hipGetDeviceProperties"): "a macro for the R0600 symbol since 6.0",
    ("5.2.3", "hipGetDevicePropertiesR0600"): "the layout of 6.0 has a symbol of its own",
    ("10.0", "hipGetDevicePropertiesR0600"): "the binding names only the macro",
    ("5.2.3", "hipStreamGetDevice"): "came with 6.0",
}

# (release, enumerator) -> why a release lacks it
ENUMERATOR_ABSENT = {
    ("rocm-5.4.3", "MIOPEN_CONVOLUTION_ATTRIB_FP8_ROUNDING_MODE"): "float8 came with 6.x",
    **{
        (release, "MIOPEN_CONVOLUTION_ATTRIB_MATH_TYPE"): "newer than the recorded releases"
        for release in FACTS["miopen"]["releases"]
    },
}

_COMPARED_ELSEWHERE = "recorded only by name; the genuine library exports it (tests/test_seam.py)"
# functions of client.def -> why the facts do not have them
UNRECORDED_CLIENTS = {"miopenGetTensorNumBytes": _COMPARED_ELSEWHERE}

# (release, function of client.def) -> why a release lacks it, or declares it otherwise
CLIENT_EXCEPTIONS = {
    ("rocm-5.4.3", "miopenGetConvolutionSpatialDim"): "came with 6.2",
    ("rocm-5.4.3", "miopenSetNdTensorDescriptorWithLayout"): _CONST,
}

# enumerators of anonymous enums -> why the facts have no such enum
UNRECORDED_ENUMS = {
    ("hipStreamDefault", "hipStreamNonBlocking"): "macros in AMD's header",
    ("hipEventDefault", "hipEventBlockingSync", "hipEventDisableTiming"): "macros in AMD's header",
}

# (release, struct, field) -> (our name, why)
FIELD_EXCEPTIONS = {
    ("5.2.3", "hipPointerAttribute_t", "memoryType"): ("type", "renamed with HIP 6"),
}


def version(release: str) -> tuple[int, ...]:
    """A release as numbers; the development branch follows all."""
    if release == "develop":
        return (1000,)
    return tuple(map(int, release.removeprefix("rocm-").split(".")))


def declaration(
    library: str, release: str, name: str, kind: str = "functions"
) -> c.Prototype | str | None:
    """How a release declares a function; "present" if only that is known, None if it is not."""
    rows = FACTS[library][kind][name]
    prefix = f"present in {release}: "
    for text, releases in rows.items():
        if text.startswith(prefix):
            assert releases == [release]
            text = text.removeprefix(prefix)
            return c.parse_signature(name, text) if text else "present"
    for text, releases in rows.items():
        if not text.startswith("present in") and release in (
            FACTS[library]["releases"] if releases == "all" else releases
        ):
            return c.parse_signature(name, text)
    return None


def prototype(function: c.Function) -> c.Prototype:
    return HEADERS[LIBRARY_HEADER[function.library]].prototypes[function.name]


def test_facts_cover_every_vendor_function() -> None:
    for library in ("miopen", "hip"):
        listed = {f.name for f in VENDOR if f.library.lower() == library}
        assert listed == set(FACTS[library]["functions"])
        assert len(FACTS[library]["releases"]) == 3


def test_functions_are_listed_once() -> None:
    names = [f.name for f in FUNCTIONS]
    assert len(names) == len(set(names))
    assert {f.need for f in FUNCTIONS} == {"REQUIRED", "OPTIONAL"}
    assert {f.library for f in FUNCTIONS} == set(LIBRARY_HEADER)


@pytest.mark.parametrize("library", LIBRARY_HEADER)
def test_prototypes_and_list_agree(library: str) -> None:
    """A prototype that is not in functions.def would never be loaded, and the other way round."""
    listed = {f.name for f in FUNCTIONS if f.library == library}
    assert set(HEADERS[LIBRARY_HEADER[library]].prototypes) == listed


@pytest.mark.parametrize(("library", "release"), RELEASES)
def test_prototypes(library: str, release: str) -> None:
    """Result, parameter count, parameter names and types of every function of one release."""
    differences = []
    for function in (f for f in VENDOR if f.library.lower() == library):
        theirs, ours = declaration(library, release, function.name), prototype(function)
        if theirs is None or theirs == "present":
            continue
        assert isinstance(theirs, c.Prototype)
        assert theirs.result == ours.result, function.name
        assert theirs.parameters == ours.parameters, function.name
        for parameter, type_theirs, type_ours in zip(
            ours.parameters, theirs.types, ours.types, strict=True
        ):
            exception = TYPE_EXCEPTIONS.get((release, function.name, parameter))
            expected = type_ours if exception is None else exception[0]
            if type_theirs != expected:
                differences.append((function.name, parameter, type_theirs, type_ours))
    assert not differences


def test_every_client_function_is_declared_and_recorded() -> None:
    listed = c.client_functions()
    assert set(c.parse("client.h").prototypes) == set(listed)
    assert not set(listed) & {f.name for f in FUNCTIONS}, "the core's are in functions.def"
    recorded = {n for library in ("miopen", "hip") for n in FACTS[library]["client_functions"]}
    assert set(listed) - recorded == set(UNRECORDED_CLIENTS)


@pytest.mark.parametrize(("library", "release"), RELEASES)
def test_client_functions(library: str, release: str) -> None:
    """client.h reads as each release does, but for what is named."""
    header = c.parse("client.h")
    differing = set()
    for name in FACTS[library]["client_functions"]:
        theirs = declaration(library, release, name, "client_functions")
        if theirs != "present" and theirs != header.prototypes[name]:
            differing.add((release, name))
    assert differing == {key for key in CLIENT_EXCEPTIONS if key[0] == release}
    for enum, values in header.enums.items():
        assert values.items() <= FACTS["miopen"]["enums"][enum].items()


@pytest.mark.parametrize(("library", "release"), RELEASES)
def test_presence(library: str, release: str) -> None:
    """Each absence is a named one, and its function optional."""
    for function in (f for f in VENDOR if f.library.lower() == library):
        if declaration(library, release, function.name) is None:
            assert (release, function.name) in ABSENT, f"{function.name} is not in {release}"
            assert function.need == "OPTIONAL", f"{function.name} is not in {release}"


@pytest.mark.parametrize("function", VENDOR, ids=lambda f: f.name)
def test_since(function: c.Function) -> None:
    """`since` is the first recorded release that has the symbol."""
    library = function.library.lower()
    having = [
        version(release)
        for release in FACTS[library]["releases"]
        if declaration(library, release, function.name) is not None
    ]
    assert function.since == min(having)[: len(function.since)]


def test_own_functions_are_optional() -> None:
    assert all(f.need == "OPTIONAL" for f in FUNCTIONS if f.library == "MIOCONV")


def own_enums() -> Iterator[tuple[str, str, dict[str, int]]]:
    """library, name, enumerators of every enum that should be in the facts."""
    for library, header in (("hip", "hip.h"), ("miopen", "miopen.h")):
        for name, values in HEADERS[header].enums.items():
            if tuple(values) not in UNRECORDED_ENUMS and not is_memory_type(values):
                yield library, name, values


def is_memory_type(values: dict[str, int]) -> bool:
    return any(name.startswith("hipMemoryType") for name in values)


def recorded_value(library: str, enum: str, enumerator: str, release: str) -> int | None:
    row = FACTS[library]["enums"][enum].get(enumerator)
    if row is None or isinstance(row, int):
        return row
    return next((int(value) for value, releases in row.items() if release in releases), None)


@pytest.mark.parametrize(("library", "release"), RELEASES)
def test_enums(library: str, release: str) -> None:
    for _, enum, values in (row for row in own_enums() if row[0] == library):
        for name, ours in values.items():
            theirs = recorded_value(library, enum, name, release)
            if theirs is None:
                assert (release, name) in ENUMERATOR_ABSENT, f"{name} is not in {release}"
            else:
                assert ours == theirs, f"{name} is {theirs} in {release}"


@pytest.mark.parametrize("major", [5, 6])
def test_memory_types(major: int) -> None:
    """HIP 6 renumbered hipMemoryType: ours carry the major in their names."""
    (ours,) = filter(is_memory_type, HEADERS["hip.h"].enums.values())
    (release,) = (r for r in FACTS["hip"]["releases"] if version(r)[0] == major)
    facts = FACTS["hip"]["enums"]["hipMemoryType"]
    theirs = {
        f"{name}_{major}": value
        for name in facts
        if (value := recorded_value("hip", "hipMemoryType", name, release)) is not None
    }
    assert theirs == {name: value for name, value in ours.items() if name.endswith(f"_{major}")}
    assert all(name.endswith(("_5", "_6")) for name in ours)


SIZES = {"float": 4, "int": 4, "unsigned int": 4, "size_t": 8, "uint64_t": 8, "void *": 8}


def size_of(type_name: str) -> int:
    if type_name.startswith("char["):
        return int(type_name[5:-1])
    if type_name.startswith("enum ") or type_name == "miopenConvAlgorithm_t":
        return 4
    return SIZES[type_name]


def recorded_structs() -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """(release or "", struct, rows)."""
    for library in ("miopen", "hip"):
        for name, rows in FACTS[library]["structs"].items():
            if isinstance(rows, dict):
                yield from ((release, name, layout) for release, layout in rows.items())
            else:
                yield "", name, rows


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Offset and size of every field of our structs, from the compiler."""
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler to ask for struct offsets")
    structs = {n: f for h in HEADERS.values() for n, f in h.structs.items()}
    structs |= c.parse("dlpack.h").structs
    lines = [
        f'std::printf("{name} {field} %zu %zu\\n", offsetof({name}, {field}), '
        f"sizeof((({name}*)nullptr)->{field}));"
        for name, fields in structs.items()
        for field in fields
    ]
    lines += [f'std::printf("{name} - %zu 0\\n", sizeof({name}));' for name in structs]
    includes = "".join(f'#include "{c.ABI / h}"\n' for h in (*HEADERS, "dlpack.h"))
    source = f"#include <cstddef>\n#include <cstdio>\n{includes}int main() {{ {''.join(lines)} }}\n"
    folder = tmp_path_factory.mktemp("layout")
    (folder / "layout.cpp").write_text(source)
    command = [compiler, "-std=c++17", "-Wall", "-Werror", "-Wno-invalid-offsetof", "layout.cpp"]
    subprocess.run([*command, "-o", "layout"], cwd=folder, check=True)
    text = subprocess.run([folder / "layout"], check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = {}
    for line in text.splitlines():
        name, field, offset, size = line.split()
        found.setdefault(name, {})[field] = (int(offset), int(size))
    return found


def test_structs(layout: dict[str, Any]) -> None:
    """Offsets, field sizes and whole size of every recorded struct, in every release."""
    for release, name, rows in recorded_structs():
        for row in rows:
            if "size" in row:
                assert layout[name]["-"][0] == row["size"], (release, name)
                continue
            field = row["name"]
            ours = FIELD_EXCEPTIONS.get((release, name, field), (field,))[0]
            expected = (row["offset"], size_of(row["type"]))
            assert layout[name][ours] == expected, (release, name, field)
    for member in ("fwd_algo", "bwd_weights_algo", "bwd_data_algo", "algo"):
        assert layout["miopenConvAlgoPerf_t"][member] == (0, 4)


def test_every_named_struct_is_recorded() -> None:
    """A vendor struct that the facts do not have would go unchecked."""
    recorded = {name for _, name, _ in recorded_structs()}
    assert set(HEADERS["hip.h"].structs) | set(HEADERS["miopen.h"].structs) == recorded


@pytest.mark.parametrize(
    "structure",
    [dlpack.DLTensor, dlpack.DLManagedTensor, dlpack.DLDataType],
    ids=lambda s: s.__name__,
)
def test_dlpack_structs(layout: dict[str, Any], structure: type[ctypes.Structure]) -> None:
    """dlpack.h and the tests' own ctypes structures agree (NumPy checks the latter)."""
    ours = layout[structure.__name__]
    assert ours["-"][0] == ctypes.sizeof(structure)
    for name, *_ in structure._fields_:
        field = getattr(structure, name)
        assert ours[name] == (field.offset, field.size)


def test_dlpack_versioned_struct(layout: dict[str, Any]) -> None:
    ours, theirs = layout["DLManagedTensorVersioned"], dlpack.DLManagedTensorVersioned
    assert ours["-"][0] == ctypes.sizeof(theirs)
    assert ours["version"] == (0, 8)
    for name in ("manager_ctx", "deleter", "flags", "dl_tensor"):
        assert ours[name][0] == getattr(theirs, name).offset


def test_no_exception_is_unused() -> None:
    """What the tables above excuse must exist, and must differ."""
    for (release, name, parameter), (spelling, reason) in TYPE_EXCEPTIONS.items():
        (function,) = (f for f in VENDOR if f.name == name)
        theirs = declaration(function.library.lower(), release, name)
        assert isinstance(theirs, c.Prototype)
        position = theirs.parameters.index(parameter)
        assert theirs.types[position] == spelling != prototype(function).types[position], reason
    for (release, name), reason in ABSENT.items():
        (function,) = (f for f in VENDOR if f.name == name)
        assert declaration(function.library.lower(), release, name) is None, reason
    for (release, name), reason in ENUMERATOR_ABSENT.items():
        (row,) = (row for row in own_enums() if name in row[2])
        assert recorded_value(row[0], row[1], name, release) is None, reason
    anonymous = [tuple(e) for h in HEADERS.values() for e in h.enums.values()]
    assert set(UNRECORDED_ENUMS) <= set(anonymous)
    for (release, struct, field), (ours, reason) in FIELD_EXCEPTIONS.items():
        rows = next(rows for r, s, rows in recorded_structs() if (r, s) == (release, struct))
        assert field in [row.get("name") for row in rows], reason
        assert field != ours, reason
