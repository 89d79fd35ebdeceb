"""The comparison with ROCm's headers (MIOCONV_CHECK_ROCM_HEADERS): that it sees differences.

ROCm's own headers are compared where they are installed, by CMake. Here our headers stand for
theirs, as they are and with one thing changed.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from helpers import c_declarations, rocm_headers, standin

pytestmark = pytest.mark.skipif(standin.compiler() is None, reason="no C++ compiler")

ABI = c_declarations.ABI


def compare(folder: Path, hip: str, miopen: str, major: int) -> str:
    """What the compiler says of these headers in the place of ROCm's; nothing, where they agree."""
    suffix = "_6" if major >= 6 else "_5"
    renamed = re.sub(rf"(hipMemoryType\w+){suffix}\b", r"\1", hip)
    renamed = re.sub(r'extern "C" \{', "", renamed)
    if major < 6:
        renamed = renamed.replace("int type;", "int memoryType;")
    for name, text in {
        "hip/hip_runtime_api.h": f"#undef MIOCONV_ABI_HIP_H\n{renamed}",
        "hip/hip_version.h":
            f"#define HIP_VERSION_MAJOR {major}\n#define HIP_VERSION_MINOR 2\n",
        "miopen/miopen.h": f"#undef MIOCONV_ABI_MIOPEN_H\n{miopen}".replace('#include "hip.h"', ""),
        "miopen/version.h":
            "#define MIOPEN_VERSION_MAJOR 3\n#define MIOPEN_VERSION_MINOR 2\n",
    }.items():  # fmt: skip
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    source = folder / "check.cpp"
    source.write_text(rocm_headers.write(with_miopen=True))
    command = [
        *(standin.compiler() or []), "-std=c++17", "-fsyntax-only", f"-I{folder}",
        f"-I{ABI.parents[1]}", str(source)]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True).stderr


@pytest.fixture
def headers() -> tuple[str, str]:
    return (ABI / "hip.h").read_text(), (ABI / "miopen.h").read_text()


@pytest.mark.parametrize("major", [5, 6, 7])
def test_equal(tmp_path: Path, headers: tuple[str, str], major: int) -> None:
    assert compare(tmp_path, *headers, major) == ""


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("hipErrorOutOfMemory = 2", "hipErrorOutOfMemory = 12", "hipErrorOutOfMemory"),
        ("hipMemoryTypeDevice_6 = 2", "hipMemoryTypeDevice_6 = 1", "hipMemoryTypeDevice_6"),
        ("void* devicePointer;\n    void* hostPointer;",
         "void* hostPointer;\n    int more;\n    void* devicePointer;", "devicePointer"),
        ("char gap3[1160 - 588]", "char gap3[1164 - 588]", "gcnArchName"),
        ("hipMalloc(void** ptr, size_t size)", "hipMalloc(void** ptr, int size)", "hipMalloc"),
        ("hipEventRecord(hipEvent_t event, hipStream_t stream)",
         "hipEventRecord(hipEvent_t event)", "hipEventRecord"),
        ("miopenBFloat16 = 5", "miopenBFloat16 = 7", "miopenBFloat16"),
        ("size_t workspace_size;\n    uint64_t solution_id;",
         "uint64_t solution_id;\n    size_t workspace_size;", "solution_id"),
        ("miopenSetConvolutionGroupCount(miopenConvolutionDescriptor_t convDesc, int groupCount)",
         "miopenSetConvolutionGroupCount(miopenConvolutionDescriptor_t convDesc, float groupCount)",
         "miopenSetConvolutionGroupCount"),
    ],
)  # fmt: skip
def test_different(
    tmp_path: Path, headers: tuple[str, str], before: str, after: str, named: str
) -> None:
    hip, miopen = headers
    flat = [re.sub(r"\(\s+", "(", re.sub(r",\n\s+", ", ", text)) for text in (hip, miopen)]
    assert sum(before in text for text in flat) == 1, "the header changed: adapt this test"
    changed = [text.replace(before, after) for text in flat]
    assert re.search(
        rf"static assertion failed: \W*{named}|\.{named}", compare(tmp_path, *changed, 6)
    )
