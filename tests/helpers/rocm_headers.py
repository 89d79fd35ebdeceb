"""Writes the C++ that compares include/mioconv/abi with ROCm's own headers, by static_asserts.

    python -m helpers.rocm_headers hip [miopen] > check.cpp     (in tests/)

CMake does that with -DMIOCONV_CHECK_ROCM_HEADERS=ON. Everything that the headers of the installed
release declare is compared; what came with a later release is left out by its version.
"""

from __future__ import annotations

import sys

if __package__:
    from . import c_declarations as c
else:  # CMake runs the file itself
    import c_declarations as c

_PRELUDE = """\
// Ours first: from HIP 6 on, AMD's header renames some of these by macros.
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIOCONV_ABI_COMPARED
namespace ours {
#include "mioconv/abi/hip.h"
#include "mioconv/abi/miopen.h"
}
// Some are macros in AMD's header.
namespace our_values {
%s
}

#define __HIP_DISABLE_CPP_FUNCTIONS__  // overloads, which have no one address
#include <hip/hip_runtime_api.h>
#include <hip/hip_version.h>
"""

_COMPARISON = """
// Two types that look alike from C: of one size and kind, pointers to what looks alike. Ours may
// say int where AMD says an enum whose values changed, and name structs otherwise.
template <typename A, typename B>
struct Alike : std::bool_constant<
                   std::is_same_v<A, B> ||
                   (sizeof(A) == sizeof(B) &&
                    (std::is_enum_v<A> || std::is_integral_v<A>) &&
                    (std::is_enum_v<B> || std::is_integral_v<B>))> {};
template <typename A, typename B>
struct Alike<const A, const B> : Alike<A, B> {};
template <typename A, typename B>
struct Alike<const A, B> : Alike<A, B> {};
template <typename A, typename B>
struct Alike<A, const B> : Alike<A, B> {};
template <>
struct Alike<void, void> : std::true_type {};
template <typename A, typename B>
struct Alike<A*, B*>
    : std::disjunction<  // structs may be incomplete: the last one is asked only where it is none
          std::conjunction<std::is_class<A>, std::is_class<B>>,
          Alike<std::remove_cv_t<A>, std::remove_cv_t<B>>> {};
template <typename R, typename... A, typename S, typename... B>
struct Alike<R (*)(A...), S (*)(B...)> {
    template <bool same, typename Dummy = void>
    struct All : std::false_type {};
    template <typename Dummy>
    struct All<true, Dummy> : std::conjunction<Alike<R, S>, Alike<A, B>...> {};
    static constexpr bool value = All<sizeof...(A) == sizeof...(B)>::value;
};

#define CHECK_FUNCTION(name) \\
    static_assert(Alike<decltype(&ours::name), decltype(&::name)>::value, #name)
#define CHECK_OVERLOADED(name, signature)                                                  \\
    static_assert(                                                                         \\
        Alike<decltype(&ours::name), decltype(static_cast<signature>(&::name))>::value, #name)
#define CHECK_VALUE(name, theirs) \\
    static_assert(our_values::name##_ == static_cast<long long>(theirs), #name)
#define CHECK_FIELD(type, field, theirs, their_field)                                     \\
    static_assert(                                                                        \\
        offsetof(ours::type, field) == offsetof(theirs, their_field), #type "." #field);  \\
    static_assert(sizeof(ours::type::field) == sizeof(theirs::their_field), #type "." #field)
"""

# Enumerators whose values moved with HIP 6 carry the major that they are of.
_OF_MAJOR = "_5", "_6"

_HIP_STRUCTS = """
#if HIP_VERSION_MAJOR >= 6
CHECK_FIELD(hipPointerAttribute_t, type, hipPointerAttribute_t, type);
#define THEIR_PROPERTIES hipDeviceProp_tR0600
#define OUR_PROPERTIES hipDeviceProp_tR0600
#else
CHECK_FIELD(hipPointerAttribute_t, type, hipPointerAttribute_t, memoryType);
#define THEIR_PROPERTIES hipDeviceProp_t
#define OUR_PROPERTIES hipDeviceProp_t
#endif
CHECK_FIELD(hipPointerAttribute_t, device, hipPointerAttribute_t, device);
CHECK_FIELD(hipPointerAttribute_t, devicePointer, hipPointerAttribute_t, devicePointer);
CHECK_FIELD(hipPointerAttribute_t, hostPointer, hipPointerAttribute_t, hostPointer);
CHECK_FIELD(hipPointerAttribute_t, isManaged, hipPointerAttribute_t, isManaged);
CHECK_FIELD(hipPointerAttribute_t, allocationFlags, hipPointerAttribute_t, allocationFlags);
CHECK_FIELD(OUR_PROPERTIES, name, THEIR_PROPERTIES, name);
CHECK_FIELD(OUR_PROPERTIES, totalGlobalMem, THEIR_PROPERTIES, totalGlobalMem);
CHECK_FIELD(OUR_PROPERTIES, multiProcessorCount, THEIR_PROPERTIES, multiProcessorCount);
CHECK_FIELD(OUR_PROPERTIES, pciBusID, THEIR_PROPERTIES, pciBusID);
CHECK_FIELD(OUR_PROPERTIES, gcnArchName, THEIR_PROPERTIES, gcnArchName);
static_assert(sizeof(ours::OUR_PROPERTIES) == sizeof(THEIR_PROPERTIES), "device properties");
"""

_MIOPEN_STRUCTS = """
CHECK_FIELD(miopenConvSolution_t, time, miopenConvSolution_t, time);
CHECK_FIELD(miopenConvSolution_t, workspace_size, miopenConvSolution_t, workspace_size);
CHECK_FIELD(miopenConvSolution_t, solution_id, miopenConvSolution_t, solution_id);
CHECK_FIELD(miopenConvSolution_t, algorithm, miopenConvSolution_t, algorithm);
static_assert(sizeof(ours::miopenConvSolution_t) == sizeof(miopenConvSolution_t), "solution");
CHECK_FIELD(miopenConvAlgoPerf_t, fwd_algo, miopenConvAlgoPerf_t, fwd_algo);
CHECK_FIELD(miopenConvAlgoPerf_t, time, miopenConvAlgoPerf_t, time);
CHECK_FIELD(miopenConvAlgoPerf_t, memory, miopenConvAlgoPerf_t, memory);
static_assert(sizeof(ours::miopenConvAlgoPerf_t) == sizeof(miopenConvAlgoPerf_t), "performance");
"""

# Not in every recorded release, and not told by a function's row: by the release that has them.
_SINCE = {
    "MIOPEN_CONVOLUTION_ATTRIB_FP8_ROUNDING_MODE": "MIOPEN_VERSION_MAJOR >= 3",
    # Newer than the recorded releases; AMD's enumerators cannot be asked for by the preprocessor.
    "MIOPEN_CONVOLUTION_ATTRIB_MATH_TYPE": "0",
}
# Exported, but declared in a header that is not installed.
_INTERNAL = {"miopenSetConvolutionFindMode", "miopenGetConvolutionFindMode"}

# A C++ overload stands beside the C function in AMD's header.
_OVERLOADED = {"hipMallocAsync": "hipError_t (*)(void**, size_t, hipStream_t)"}


def write(with_miopen: bool) -> str:
    """The C++ of the comparison."""
    values = [
        f"constexpr long long {name}_ = ours::{name};"
        for header in ("hip.h", "miopen.h")
        for names in c.parse(header).enums.values()
        for name in names
    ]
    lines = [_PRELUDE % "\n".join(values)]
    if with_miopen:
        lines += ["#include <miopen/miopen.h>", "#include <miopen/version.h>"]
    lines.append(_COMPARISON)
    lines += _functions("HIP")
    lines += _enumerators("hip.h")
    lines.append(_HIP_STRUCTS)
    if with_miopen:
        lines += _functions("MIOPEN")
        lines += _enumerators("miopen.h")
        lines.append(_MIOPEN_STRUCTS)
    return "\n".join(lines) + "\n"


def _functions(library: str) -> list[str]:
    lines = []
    for row in c.functions():
        if row.library != library or row.name in _INTERNAL:
            continue
        check = f"CHECK_FUNCTION({row.name});"
        if row.name in _OVERLOADED:
            check = f"CHECK_OVERLOADED({row.name}, {_OVERLOADED[row.name]});"
        if library == "HIP":
            major, minor = (*row.since, 0)[:2]
            since = (
                f"HIP_VERSION_MAJOR > {major} || (HIP_VERSION_MAJOR == {major} && "
                f"HIP_VERSION_MINOR >= {minor})"
            )
            if row.name == "hipGetDeviceProperties":  # a macro for the one below from HIP 6 on
                since = "HIP_VERSION_MAJOR < 6"
        else:
            # MIOpen counts its own: 2.19 is ROCm 5.4's, 3.2 is ROCm 6.2's.
            since = (
                "MIOPEN_VERSION_MAJOR > 3 || (MIOPEN_VERSION_MAJOR == 3 && "
                "MIOPEN_VERSION_MINOR >= 2)"
                if row.since >= (6, 2)
                else "1"
            )
        lines.append(f"#if {since}\n{check}\n#endif")
    return lines


def _enumerators(header: str) -> list[str]:
    lines = []
    for names in c.parse(header).enums.values():
        for name in names:
            theirs, condition = name, _SINCE.get(name, "1")
            if name.endswith(_OF_MAJOR):
                theirs = name[:-2]
                condition = (
                    "HIP_VERSION_MAJOR < 6" if name.endswith("_5") else "HIP_VERSION_MAJOR >= 6"
                )
            lines.append(f"#if {condition}\nCHECK_VALUE({name}, {theirs});\n#endif")
    return lines


if __name__ == "__main__":
    print(write("miopen" in sys.argv[1:]), end="")
