"""What is searched for, and where: data, nothing else.

A name that is added here is searched for, reported by `mioconv info` and named in errors without
a change anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CPU", "CUDA", "NUMBERS", "PROVIDERS", "ROCM", "Library", "Provider"]

# The core's numbers of the providers.
CPU, ROCM, CUDA = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Library:
    """One shared library and the places where it may be.

    Attributes
    ----------
    title : str
        What errors and `mioconv info` call it.
    variable : str
        Environment variable with the library's full path; it decides alone when it is set.
    names : tuple of str
        File names in the order of preference. Versioned sonames come first, and ``.so.*`` stands
        for any of them, the newest first; the bare name is what wheels carry that bundle the
        library.
    wheels : tuple of str
        Folders below an entry of `sys.path`, as glob patterns.
    root_variables : tuple of str
        Variables that name an installation root, searched after the system loader.
    roots : tuple of str
        Conventional installation roots, as glob patterns, searched last.
    companions : tuple of str
        Folders, relative to the one that holds another library of the same provider, where this
        library belongs to the same installation.
    windows : tuple of str
        Glob patterns, below an entry of `sys.path`, of the wheels' files on Windows. Untested, and
        nothing searches for them yet: mioconv is not built there.
    """

    title: str
    variable: str
    names: tuple[str, ...]
    wheels: tuple[str, ...] = ()
    root_variables: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    companions: tuple[str, ...] = (".",)
    windows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider and its libraries.

    Attributes
    ----------
    number : int
        The core's number.
    name : str
        The name of the provider and of its devices: "cpu", "rocm", "cuda".
    hip, miopen : Library or None
        The vendor's two libraries; None for a provider of our own.
    own : Library or None
        The one library inside the package that serves as both; None for the vendor's.
    needs : tuple of Library
        What a library of our own opens itself, by name, when it is first used: found and opened
        before it, so that those names mean these files.
    devices : str
        The tensors that it serves, in words.
    """

    number: int
    name: str
    devices: str
    hip: Library | None = None
    miopen: Library | None = None
    own: Library | None = None
    needs: tuple[Library, ...] = ()


# Folders of wheels that carry ROCm's libraries: PyTorch's, and ROCm's own split distribution
# (runtime in _core, math libraries in one package for each GPU family or, with the device code in
# packages of its own that add to it, in one for all).
_WHEELS = (
    "torch/lib",
    "_rocm_sdk_libraries*/lib",
    "_rocm_sdk_core/lib",
    "_rocm_sdk_devel/lib",
)
_ROOT_VARIABLES = ("ROCM_PATH", "HIP_PATH")
# AMD's packages, up to ROCm 7.2 and from 7.13 on (core is the one in use, if there are several),
# and Arch's; then Fedora's, for whom the loader's cache is not what it should be.
_ROOTS = (
    "/opt/rocm/core",
    "/opt/rocm",
    "/opt/rocm/core-*",
    "/opt/rocm-*",
    "/usr/lib64/rocm",
    "/usr/lib64/rocm/*",
    "/usr",
)

_ROCM = Provider(
    number=ROCM,
    name="rocm",
    devices="AMD GPUs",
    hip=Library(
        title="HIP runtime",
        variable="MIOCONV_HIP_LIBRARY",
        # A new one with every major release of ROCm.
        names=("libamdhip64.so.*", "libamdhip64.so"),
        wheels=_WHEELS,
        root_variables=_ROOT_VARIABLES,
        roots=_ROOTS,
        companions=(".", "../../_rocm_sdk_core/lib"),
        windows=("_rocm_sdk_*/bin/amdhip64*.dll",),
    ),
    miopen=Library(
        title="MIOpen",
        variable="MIOCONV_MIOPEN_LIBRARY",
        # The soname has never changed: it does not tell the releases apart.
        names=("libMIOpen.so.1", "libMIOpen.so"),
        wheels=_WHEELS,
        root_variables=_ROOT_VARIABLES,
        roots=_ROOTS,
        companions=(".", "../../_rocm_sdk_libraries*/lib"),
        windows=("_rocm_sdk_*/bin/MIOpen*.dll",),
    ),
)

_CPU = Provider(
    number=CPU,
    name="cpu",
    devices="host memory",
    own=Library(
        title="mioconv's CPU library",
        variable="MIOCONV_CPU_LIBRARY",
        names=("libmioconv_cpu.so",),
    ),
)

_CUDA_ROOT_VARIABLES = ("CUDA_PATH", "CUDA_HOME")
_CUDA_ROOTS = ("/usr/local/cuda", "/usr/local/cuda-1[23]*")

_CUDA = Provider(
    number=CUDA,
    name="cuda",
    devices="NVIDIA GPUs",
    own=Library(
        title="mioconv's CUDA library",
        variable="MIOCONV_CUDA_LIBRARY",
        names=("libmioconv_cuda.so",),
    ),
    needs=(
        Library(
            title="CUDA runtime",
            variable="MIOCONV_CUDART_LIBRARY",
            names=("libcudart.so.13", "libcudart.so.12"),
            wheels=("nvidia/cu13/lib", "nvidia/cuda_runtime/lib"),
            root_variables=_CUDA_ROOT_VARIABLES,
            roots=_CUDA_ROOTS,
        ),
        Library(
            title="NVRTC",
            variable="MIOCONV_NVRTC_LIBRARY",
            names=("libnvrtc.so.13", "libnvrtc.so.12"),
            wheels=("nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"),
            root_variables=_CUDA_ROOT_VARIABLES,
            roots=_CUDA_ROOTS,
        ),
        Library(
            title="cuDNN",
            variable="MIOCONV_CUDNN_LIBRARY",
            names=("libcudnn.so.9",),
            wheels=("nvidia/cudnn/lib",),
            root_variables=("CUDNN_PATH", *_CUDA_ROOT_VARIABLES),
            roots=_CUDA_ROOTS,
        ),
    ),
)

PROVIDERS: dict[str, Provider] = {p.name: p for p in (_CPU, _ROCM, _CUDA)}
NUMBERS: dict[int, Provider] = {p.number: p for p in PROVIDERS.values()}
