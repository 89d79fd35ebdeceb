"""Dependencies point one way, down the table of design.md 2."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = ROOT / "include" / "mioconv"
PROVIDERS = ROOT / "providers"
PACKAGE = ROOT / "src" / "mioconv"
CPP = {".h", ".hpp", ".cpp", ".cc", ".inc", ".def"}

# Headers of the outside that a layer may name, beside the standard library's.
PROVIDER_LIBRARIES = {"oneapi/dnnl/", "dnnl", "omp.h", "cudnn", "cuda", "nvrtc", "library_types"}


def files(folder: Path, suffixes: set[str]) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix in suffixes)
    assert found, f"nothing to check in {folder}"
    return found


def includes(path: Path) -> list[tuple[str, bool]]:
    """(what, quoted) of every #include."""
    found = re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', path.read_text(), re.MULTILINE)
    return [(name, mark == '"') for mark, name in found]


def ours(path: Path, name: str, quoted: bool, roots: list[Path]) -> Path | None:
    """The project's file that an #include means, or None where it is the outside's."""
    candidates = [path.parent / name] if quoted else []
    candidates += [root / name for root in roots]
    return next((c.resolve() for c in candidates if c.exists()), None)


def test_abi_includes_nothing_of_ours_but_itself() -> None:
    abi = INCLUDE / "abi"
    for path in files(abi, CPP):
        for name, quoted in includes(path):
            target = ours(path, name, quoted, [ROOT / "include", INCLUDE])
            assert target is None or target.parent == abi, f"{path.name} includes {name}"
            assert target is not None or re.fullmatch(r"(std\w+|stddef)\.h", name), (
                f"{path.name} includes {name}"
            )


def test_headers_include_abi_and_each_other() -> None:
    for path in files(INCLUDE, {".hpp"}):
        text = path.read_text()
        for name, quoted in includes(path):
            target = ours(path, name, quoted, [ROOT / "include", INCLUDE])
            if target is not None:
                assert target.is_relative_to(INCLUDE), f"{path.name} includes {name}"
            else:
                system = r"[a-z_]+|(dlfcn|fnmatch|link|pthread|unistd|sys/\w+|std\w+)\.h"
                assert re.fullmatch(system, name), f"{path.name} includes {name}"
        assert not re.search(r"Python\.h|PyObject", text), f"{path.name} knows Python"


def test_providers_include_abi_and_their_own() -> None:
    for path in files(PROVIDERS, CPP):
        owner = PROVIDERS / path.relative_to(PROVIDERS).parts[0]
        allowed = (INCLUDE / "abi", PROVIDERS / "common", owner)
        roots = [ROOT / "include", INCLUDE, PROVIDERS, owner, owner / "src", owner / "include"]
        for name, quoted in includes(path):
            target = ours(path, name, quoted, roots)
            where = f"{path.relative_to(ROOT)} includes {name}"
            if target is not None:
                assert any(target.is_relative_to(place) for place in allowed), where
            else:
                assert not name.startswith("mioconv/"), f"{where}, which does not exist"
                standard = re.fullmatch(
                    r"[a-z_]+|(std\w+|unistd|dlfcn|malloc|pthread|sched|\w*intrin|cpuid)\.h", name
                )
                library = any(name.startswith(known) for known in PROVIDER_LIBRARIES)
                system = name.startswith("sys/")
                assert standard or library or system, where
        assert "Python.h" not in path.read_text()


def test_common_knows_no_single_provider() -> None:
    common = PROVIDERS / "common"
    for path in files(common, CPP):
        for name, _ in includes(path):
            assert not name.startswith(("oneapi/", "dnnl", "cuda", "cudnn")), f"{path.name}: {name}"
            assert not re.search(r"(^|/)(cpu|cuda)/", name), f"{path.name} includes {name}"


def test_pxd_hold_declarations_only() -> None:
    """A .pxd has no body: no `def`, no assignment, no control flow, no method defined."""
    for path in files(PACKAGE, {".pxd"}):
        text = re.sub(r"#[^\n]*", "", path.read_text())
        text = re.sub(r'"""(.*?)"""', "", text, flags=re.DOTALL)
        for number, line in enumerate(text.splitlines(), 1):
            where = f"{path.name}:{number}: {line.strip()}"
            statement = line.strip()
            body = re.match(r"(def|class|if|for|while|try|with|return|import)\b", statement)
            assert not body, where
            if re.match(r"(cdef|cpdef)\b.*\)[^:]*:$", statement):
                assert statement.startswith("cdef extern") or " enum " in statement, where
            assert not re.match(r"\w+\s*=[^=]", statement) or _in_enum(text, number), where


def _in_enum(text: str, number: int) -> bool:
    """Whether a line is an enumerator's."""
    lines = text.splitlines()
    indent = len(lines[number - 1]) - len(lines[number - 1].lstrip())
    for line in reversed(lines[: number - 1]):
        if line.strip() and len(line) - len(line.lstrip()) < indent:
            return "enum" in line
    return False


def test_pyx_declare_the_outside_in_pxd() -> None:
    """`cdef extern` of our headers stands in .pxd files, where other Cython code finds it."""
    for path in files(PACKAGE, {".pyx"}):
        pattern = re.compile(r'^\s*cdef extern from "(mioconv/[^"]*)"', re.MULTILINE)
        found = pattern.findall(path.read_text())
        assert not found, f"{path.name} declares {found} itself"


# mioconv's own optional glue to a framework may import that framework, and nothing else may.
FRAMEWORK_MODULES = {"torch": {"torch"}, "cupy": {"cupy"}}


def test_python_imports() -> None:
    """The standard library, NumPy, the package; a framework only in the module of its name."""
    allowed = set(sys.stdlib_module_names) | {"numpy", "mioconv", "__future__"}
    for path in files(PACKAGE, {".py"}):
        relative = path.relative_to(PACKAGE)
        extra = FRAMEWORK_MODULES.get(relative.with_suffix("").parts[0], set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [] if node.level else [node.module or ""]
            else:
                continue
            for name in names:
                assert name.split(".")[0] in allowed | extra, f"{relative} imports {name}"


CHILD = """
import sys
import numpy
before = set(sys.modules)
import mioconv
new = {name.split(".")[0] for name in set(sys.modules) - before}
assert not new & {"torch", "cupy", "jax", "tensorflow", "ml_dtypes"}, new
# Slow to import, and not needed for a convolution.
late = {"importlib.metadata", "argparse", "mioconv.cli"} - before
assert not late & set(sys.modules), late & set(sys.modules)
maps = open("/proc/self/maps").read()
for library in ("libMIOpen", "libamdhip64", "libmioconv_cpu", "libmioconv_cuda", "libdnnl",
                "libcudnn", "libcudart", "libcuda.so", "libtorch"):
    assert library not in maps, library
print(sorted(n for n in ("mioconv", "numpy") if n in sys.modules))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc/self/maps")
def test_import_loads_no_library() -> None:
    result = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "['mioconv', 'numpy']"


def _imports(path: Path) -> set[str]:
    """The modules of ours that a file of the package names: imports and cimports, late ones too,
    but for those that type checkers alone read."""
    if path.suffix == ".py":
        found: set[str] = set()
        todo: list[ast.AST] = [ast.parse(path.read_text())]
        while todo:
            node = todo.pop()
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                todo += node.orelse
                continue
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            todo += ast.iter_child_nodes(node)
        return found
    text = re.sub(r'"""(.*?)"""', "", path.read_text(), flags=re.DOTALL)
    found = set()
    for module, names in re.findall(
        r"^\s*from\s+([\w.]+)\s+c?import\s+(\([^)]*\)|[^\n]+)", text, re.MULTILINE
    ):
        found.update(f"{module}.{name.split()[0]}" for name in names.strip("()\n ").split(","))
    found.update(re.findall(r"^\s*c?import\s+([\w.]+)", text, re.MULTILINE))
    return found


def _graph() -> dict[str, set[str]]:
    """Of each module of the package what it imports and cimports; the package is `mioconv`."""
    modules: dict[str, list[Path]] = {}
    for path in files(PACKAGE, {".py", ".pyx", ".pxd"}):
        parts = ["mioconv", *path.relative_to(PACKAGE).with_suffix("").parts]
        modules.setdefault(".".join(parts).removesuffix(".__init__"), []).append(path)
    return {
        module: {
            next(end for end in (name, name.rpartition(".")[0]) if end in modules)
            for path in paths
            for name in _imports(path)
            if name in modules or name.rpartition(".")[0] in modules
        }
        - {module}
        for module, paths in modules.items()
    }


def test_no_module_depends_on_itself() -> None:
    """Through no chain of imports and cimports."""
    graph = _graph()
    assert graph["mioconv._core.run"] >= {
        "mioconv._core.entries", "mioconv._native.native", "mioconv.errors",
    }  # fmt: skip
    # Where a cycle is, its modules are the exception's second argument.
    graphlib.TopologicalSorter(graph).prepare()


ROOMS = ("_loader", "_native", "_borrow", "_check", "_core", "_call", "torch", "cli")


def _table() -> dict[str, int]:
    """The modules of docs/design.md, in the order in which they may use each other; a folder's name
    stands for all that is in it."""
    text = (ROOT / "docs" / "design.md").read_text()
    table = text.partition("| module | does |\n")[2].partition("\n\n")[0]
    place: dict[str, int] = {}
    for number, row in enumerate(table.splitlines()[1:]):
        for name in re.findall(r"`([\w./]+)`", row.split("|")[1]):
            assert (PACKAGE / name).exists(), f"{name} does not exist"
            module = ".".join(["mioconv", *Path(name).with_suffix("").parts])
            place[module.removesuffix(".__init__")] = number
    return place


def test_modules_use_those_above_them_in_the_table() -> None:
    """docs/design.md has all of them, in an order in which to read them."""
    place = _table()

    def place_of(module: str) -> int | None:
        """None: the package itself, which has them all, and declarations, which have nothing."""
        if module in ("mioconv", "mioconv.__main__"):
            return None
        if module not in place and module.count(".") > 1:
            path = PACKAGE.joinpath(*module.split(".")[1:])
            if path.with_suffix(".pxd").exists() or (path / "__init__.py").exists():
                return None
            module = module.rpartition(".")[0]
        if module not in place and (PACKAGE / module.rpartition(".")[2] / "__init__.py").exists():
            return None
        return place[module]

    for module, used in _graph().items():
        here = place_of(module)
        for other in used:
            there = place_of(other)
            assert here is None or there is None or there <= here, f"{module} uses {other}"


def test_rooms_stand_together_in_the_table() -> None:
    """So that the direction of dependency is that of the folders."""
    place = _table()
    for room in ROOMS:
        there = f"mioconv.{room}."
        rows = sorted({place[module] for module in place if f"{module}.".startswith(there)})
        assert rows, f"the table has no {room}"
        assert rows == list(range(rows[0], rows[-1] + 1)), f"{room} is scattered"
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ROOMS)


def test_the_package_is_listed_on_one_screen() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 25, sorted(entries)
