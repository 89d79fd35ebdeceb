"""The table of native functions of each provider: opening libraries, filling it, asking it.

``mioconv._loader`` decides which files to open; this module opens them and fills the table that the
rest of the package calls through. Nothing here is called at import.
"""

from libc.errno cimport EMFILE, ENFILE, ENOMEM
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from mioconv._native.hip cimport hipError_t
from mioconv._native.miopen cimport (
    mioconvFault_t, mioconvObjectCount_t, mioconvObjectCounts_t, miopenStatus_t)
from mioconv._native.native cimport (
    Activity, Api, AtomicBool, DeviceInfo, FunctionRow, Provider, Status, function_row_count,
    function_rows, read_device_info, status_of)

import atexit
import os
import threading

from mioconv._loader.advice import hip_advice, miopen_advice
from mioconv._native.interpreter import REFUSAL
from mioconv.errors import (
    CaptureError, MioconvError, OutOfMemoryError, StatusError, UnsupportedError)


cdef extern from "<dlfcn.h>" nogil:
    void* dlopen(const char* name, int flags)
    void* dlsym(void* handle, const char* name)
    char* dlerror()
    int RTLD_NOW
    int RTLD_LOCAL
    int RTLD_NOLOAD

cdef extern from "<link.h>" nogil:
    cdef struct link_map:
        char* l_name
    int RTLD_DI_LINKMAP

cdef extern from "<dlfcn.h>" nogil:
    int dlinfo(void* handle, int request, void* result)


cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* where, size_t bytes, int protection, int flags, int file, long offset)
    int munmap(void* where, size_t bytes)
    void* MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS


cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)


cdef extern from *:
    const unsigned int CYTHON_HEX_VERSION
    const char* MIOCONV_VERSION

cdef extern from "Python.h":
    ctypedef struct PyInterpreterState:
        pass
    PyInterpreterState* PyInterpreterState_Get()
    PyInterpreterState* PyInterpreterState_Main()

# For Pythons that do not tell `_interpreter`.
if PyInterpreterState_Get() != PyInterpreterState_Main():
    raise ImportError(REFUSAL)

version = (<bytes>MIOCONV_VERSION).decode()
cython_version = f"{CYTHON_HEX_VERSION >> 24}.{CYTHON_HEX_VERSION >> 16 & 255}." \
                 f"{CYTHON_HEX_VERSION >> 8 & 255}"

CPU = <int>Provider.cpu
ROCM = <int>Provider.rocm
CUDA = <int>Provider.cuda

cdef Api[3] tables
cdef Activity* activity = new Activity()
# Set last, and read by other threads without a lock.
cdef AtomicBool[3] ready
# In a child process: the parent had initialised this GPU runtime.
cdef AtomicBool[3] inherited
cdef AtomicBool[3] no_math_type
PROVIDERS = ("cpu", "rocm", "cuda")
# What an allocator of the user's raised in this thread: `last` for the error that comes of it;
# `stop`, as SystemExit, is raised once the call has let go of what it holds.
refusals = threading.local()
cdef AtomicBool stopping  # there was one in some thread


def stop_after_call(error: BaseException) -> None:
    refusals.stop = error
    stopping.store(True)


cdef int raise_stop() except -1 nogil:
    if stopping.load():
        with gil:
            error = refusals.__dict__.pop("stop", None)
            if error is not None:
                raise error
    return 0


cdef class End:
    """What the interpreter drops when all functions that were registered with `atexit` have run,
    in whatever order: the last moment at which other threads still get the GIL. Until then they may
    call, for instance threads that such a function waits for. See Activity."""
    cdef bint reached

    def reach(self):
        # In a forked child of multiprocessing this may be dropped long before the end.
        self.reached = True

    def __dealloc__(self):
        if self.reached:
            with nogil:
                activity.close(10)


atexit.register(End().reach)


# --- the table ------------------------------------------------------------------------------------

cdef const Api* api_of(int provider) except NULL nogil:
    """The table of a provider, which is loaded at its first use. Raises ProviderNotFoundError."""
    # A function without the GIL must have no Python object of its own, or it takes the GIL at every
    # return.
    if not ready[provider].load():
        with gil:
            load_provider(provider)
    return &tables[provider]


cdef int load_provider(int provider) except -1:
    if inherited[provider].load():
        raise UnsupportedError(
            f"the {PROVIDERS[provider]} provider was in use when this process was forked, "
            f"and a GPU context does not survive a fork; start processes with "
            f"multiprocessing's 'spawn' or 'forkserver', or use the GPU in the child only "
            f"(tensors on the CPU go on working)")
    load(provider)
    return 0


# What opens a provider's libraries and calls `install`: it knows folders and variables, and lies
# above this.
cdef object load = None


def set_loader(function) -> None:
    global load
    load = function


cdef bint usable(int provider) noexcept nogil:
    """Whether a provider is loaded and this process may call it."""
    return ready[provider].load()


# How many problems each provider shall remember; 0: as many as it does by itself.
cdef size_t most_problems = 0


cdef void bound_caches(size_t problems) noexcept nogil:
    """Bound what the providers remember, now and when they are loaded."""
    global most_problems
    cdef int provider
    most_problems = problems
    for provider in range(3):
        if ready[provider].load() and tables[provider].mioconvSetCacheCapacity != NULL:
            tables[provider].mioconvSetCacheCapacity(problems)


cdef void trim_caches(size_t problems) noexcept nogil:
    """Let the providers forget all but so many problems, and what handles keep for scratch."""
    cdef int provider
    for provider in range(3):
        if ready[provider].load() and tables[provider].mioconvTrimCache != NULL:
            tables[provider].mioconvTrimCache(problems)


cdef int forks = 0


cdef int generation() noexcept nogil:
    """Another number in every child: what must not be used after a fork compares it. To ask for the
    process's number is a system call, a tenth of a plan's."""
    return forks


cdef void after_fork() noexcept nogil:
    """In the child: whoever asks for a GPU again gets an error instead of a crash."""
    global forks
    cdef int provider
    forks += 1
    activity.reset()
    for provider in range(1, 3):
        if ready[provider].load():
            inherited[provider].store(True)
            ready[provider].store(False)


pthread_atfork(NULL, NULL, after_fork)


cdef const Api* ready_api(provider) except NULL:
    cdef int number = PROVIDERS.index(provider) if isinstance(provider, str) else provider
    return api_of(number)


cdef int require_address_space(str path, str text) except -1:
    """Raise MemoryError where a library of this size, and what it needs, could not be mapped."""
    cdef size_t bytes = 1 << 28
    cdef void* room
    if os.path.isfile(path):
        bytes += <size_t>os.path.getsize(path)
    room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if room == MAP_FAILED:
        raise MemoryError(text)
    munmap(room, bytes)
    return 0


def open_library(path: str, only_if_loaded: bool = False) -> int:
    """Open a shared library, privately and for good.

    Parameters
    ----------
    path
        File or soname, as the system's loader takes it.
    only_if_loaded
        Succeed only if this process has the library already.

    Returns
    -------
    int
        The loader's handle, for `install` and `library_path`.

    Raises
    ------
    OSError
        With the loader's own words; with an errno where the process lacks file descriptors.
    MemoryError
        No memory or address space.
    """
    cdef bytes name = path.encode()
    cdef const char* c_name = name
    cdef int flags = RTLD_NOW | RTLD_LOCAL
    cdef void* handle
    if only_if_loaded:
        flags |= RTLD_NOLOAD
    with nogil:
        handle = dlopen(c_name, flags)
    if handle == NULL:
        reason = dlerror()
        text = ((<bytes>reason).decode(errors="replace") if reason != NULL
                else f"{path}: not loaded in this process")
        # The loader has no number for its errors, and one text for lack of address space and for
        # folders that forbid execution.
        if "map segment" in text or os.strerror(ENOMEM) in text:
            require_address_space(path, text)
        for number in (EMFILE, ENFILE):
            if os.strerror(number) in text:
                raise OSError(number, text)
        raise OSError(text)
    return <size_t>handle


def library_path(handle: int) -> str:
    """The file behind a handle of `open_library`."""
    cdef link_map* entry = NULL
    if dlinfo(<void*><size_t>handle, RTLD_DI_LINKMAP, &entry) != 0 or entry == NULL:
        raise OSError((<bytes>dlerror()).decode(errors="replace"))
    return (<bytes>entry.l_name).decode(errors="surrogateescape")


def install(provider: int, hip: int, miopen: int, own: int, paths: tuple) -> list:
    """Fill a provider's table from opened libraries; it is usable afterwards.

    Parameters
    ----------
    provider
        `CPU`, `ROCM` or `CUDA`.
    hip, miopen, own
        Handles of the libraries that have HIP's, MIOpen's and mioconv's functions; ``own`` is 0 for
        the vendor's libraries.
    paths
        Files of the first two, for error texts.

    Returns
    -------
    list of str
        Optional functions that the libraries lack.

    Raises
    ------
    LookupError
        A required function is missing: names it, its library and the file.
    """
    cdef Api table
    cdef void* symbol
    cdef size_t[3] handles = [hip, miopen, own]
    cdef const FunctionRow* row
    cdef size_t i
    table.provider = <Provider><int>provider
    missing = []
    for i in range(function_row_count):
        row = &function_rows[i]
        symbol = dlsym(<void*>handles[row.library], row.name) if handles[row.library] else NULL
        (<void**>((<char*>&table) + row.offset))[0] = symbol
        if symbol != NULL:
            continue
        name = (<bytes>row.name).decode()
        if row.required:
            library = ("HIP", "MIOpen", "mioconv")[row.library]
            raise LookupError(
                f"{paths[min(row.library, 1)]}: this {library} library has no function {name}, "
                f"which {library} {(<bytes>row.since).decode()} and later have")
        if handles[row.library]:  # else the vendor's, which has nothing of ours to lack
            missing.append(name)
    read_versions(&table)
    table.activity = activity
    if most_problems and table.mioconvSetCacheCapacity != NULL:
        table.mioconvSetCacheCapacity(most_problems)
    # No release of MIOpen before 3.5 has the attribute; of 3.5.1 there are several.
    no_math_type[provider].store(
        provider == <int>Provider.rocm and table.miopen_version < 3005000)
    table.no_math_type = &no_math_type[provider]
    tables[provider] = table
    ready[<int>provider].store(True)
    return missing


cdef void read_versions(Api* table) noexcept:
    cdef int hip_version = 0
    cdef size_t major = 0, minor = 0, patch = 0
    # Asking HIP for its version initialises it: without a device it fails, which is for the first
    # use of a device to report, not for loading.
    if table.hipRuntimeGetVersion(&hip_version) == 0:
        table.hip_version = hip_version
    else:
        table.hipGetLastError()
    if table.miopenGetVersion(&major, &minor, &patch) == 0:
        table.miopen_version = major * 1000000 + minor * 1000 + patch


# --- statuses -------------------------------------------------------------------------------------

cdef int raise_status(const Api* api, Status status, object problem,
                      tuple tried=()) except -1:
    """Raise what a native call answered; `problem` is a `mioconv.Problem`, or None; `tried` names
    the solutions that failed, this one last."""
    raise_stop()
    call = (<bytes>status.call).decode()
    if status.hip:
        text = (<bytes>api.hipGetErrorString(<hipError_t>status.code)).decode(errors="replace")
        # HIP keeps an error until it is asked for; the next call must not find this one.
        api.hipGetLastError()
    else:
        text = (<bytes>api.miopenGetErrorString(<miopenStatus_t>status.code)).decode(
            errors="replace")
    if api.provider == Provider.rocm:
        advice = hip_advice(status.code) if status.hip else miopen_advice(status.code)
        text += f": {advice}" if advice else ""
    line = problem.driver_line() if problem is not None else None
    if status.out_of_memory():
        error = OutOfMemoryError(
            f"{call}: out of memory ({text})" + (f"; problem: {line}" if line else "")
            + (f"; solutions tried: {', '.join(tried)}" if tried else ""))
        raise error from (refusals.__dict__.pop("last", None) if call == "allocator" else None)
    if status.capture():
        raise CaptureError(
            f"{call} is not possible while a stream is captured into a graph ({text}); call once "
            f"before the capture, or use mioconv.prepare or mioconv.plan"
            + (f"; problem: {line}" if line else ""))
    raise StatusError(call, status.code, text, line, tried)


# --- questions ------------------------------------------------------------------------------------

def versions(provider) -> dict:
    """Versions that the loaded libraries report: HIP runtime and driver (HIP's number), MIOpen; of
    our own providers, whose HIP and MIOpen are the ABI's, the libraries behind them too, by name.
    """
    cdef const Api* api = ready_api(provider)
    cdef int driver = 0
    cdef char[512] text
    if api.hipDriverGetVersion(&driver) != 0:
        api.hipGetLastError()
    cdef uint64_t miopen = api.miopen_version
    found = {
        "hip_runtime": api.hip_version,
        "hip_driver": driver,
        "miopen": (miopen // 1000000, miopen // 1000 % 1000, miopen % 1000),
    }
    if api.mioconvGetVersions != NULL and api.mioconvGetVersions(text, sizeof(text)) == 0:
        for library in (<bytes>text).decode().split(", "):
            name, _, number = library.partition(" ")
            found[name.lower()] = tuple(map(int, number.split(".")))
    return found


def release(provider) -> str:
    """The versions that a provider's results and times depend on, for cache files to tell apart: of
    the library and below it, and ours, since they say what an id means and how solutions are
    ranked. Three releases of ROCm have the same MIOpen, 3.5.1."""
    known = versions(provider)
    named = [name for name in ("onednn", "cudnn", "cuda") if name in known] or ["miopen"]
    found = [f"{name} {'.'.join(map(str, known[name]))}" for name in named]
    if provider == "rocm":
        found.append(f"hip {known['hip_runtime']}")
    return ", ".join([*found, f"mioconv {version}"])


def devices(provider) -> list:
    """Name, architecture, compute units and memory (bytes) of each device of a provider.

    Raises
    ------
    StatusError
        No device, no permission or no driver, in HIP's own words.
    """
    cdef const Api* api = ready_api(provider)
    cdef int count = 0, index
    cdef DeviceInfo info
    cdef Status status = status_of("hipGetDeviceCount", api.hipGetDeviceCount(&count))
    if not status.ok():
        raise_status(api, status, None)
    found = []
    for index in range(count):
        status = read_device_info(api[0], index, &info)
        if not status.ok():
            raise_status(api, status, None)
        found.append({
            "name": info.name.decode(errors="replace"),
            "architecture": info.architecture.decode(errors="replace"),
            "compute_units": info.compute_units,
            "total_memory": info.total_memory,
        })
    return found


def describe(provider) -> str | None:
    """One line about the library behind a provider of ours; None for the vendor's."""
    cdef const Api* api = ready_api(provider)
    cdef char[512] text
    if api.mioconvDescribe == NULL or api.mioconvDescribe(text, sizeof(text)) != 0:
        return None
    return (<bytes>text).decode(errors="replace")


# --- hooks for tests ------------------------------------------------------------------------------

cdef dict count_dict(const mioconvObjectCount_t& count):
    return {"created": count.created, "destroyed": count.destroyed}


def object_counts(provider) -> dict:
    """What a provider of ours made, destroyed, and was called: for leak tests."""
    cdef const Api* api = ready_api(provider)
    cdef mioconvObjectCounts_t counts
    if api.mioconvGetObjectCounts == NULL:
        raise MioconvError(f"the {provider} provider keeps no counts")
    api.mioconvGetObjectCounts(&counts)
    return {
        "handles": count_dict(counts.handles),
        "tensor_descriptors": count_dict(counts.tensor_descriptors),
        "convolution_descriptors": count_dict(counts.convolution_descriptors),
        "activation_descriptors": count_dict(counts.activation_descriptors),
        "fusion_plans": count_dict(counts.fusion_plans),
        "operator_args": count_dict(counts.operator_args),
        "streams": count_dict(counts.streams),
        "events": count_dict(counts.events),
        "allocations": count_dict(counts.allocations),
        "bytes_allocated": counts.bytes_allocated,
        "native_calls": counts.native_calls,
    }


def inject_fault(provider, function: str | None, *, nth: int = 1, above_bytes: int = 0,
                 solution_id: int = 0, status: int = 0) -> None:
    """Make a function of a provider of ours fail; ``function=None`` clears every fault.

    ``nth`` counts matching calls from now (0: all of them). See mioconvFault_t in provider.h.
    """
    cdef const Api* api = ready_api(provider)
    cdef mioconvFault_t fault
    cdef bytes name
    if api.mioconvInjectFault == NULL:
        raise MioconvError(f"the {provider} provider takes no faults")
    if function is None:
        api.mioconvInjectFault(NULL)
        return
    name = function.encode()
    fault.function = name
    fault.nth = nth
    fault.above_bytes = above_bytes
    fault.solution_id = solution_id
    fault.status = status
    if api.mioconvInjectFault(&fault) != 0:
        raise ValueError(f"no function {function!r} to make fail")
