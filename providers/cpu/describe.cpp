// What this provider says about itself and its solutions.
#include <algorithm>
#include <cstring>

#include "common/export.hpp"
#include "common/guard.hpp"
#include "common/solution_names.hpp"
#include "cpu_info.hpp"
#include "cpu_regions.hpp"
#include "dnnl_error.hpp"
#include "recipe.hpp"
#include "threads.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace mioconv::cpu {

std::string cpu_model() {
#if defined(__x86_64__)
    unsigned int words[12] = {};
    bool known = true;
    for (unsigned int i = 0; i < 3; ++i) {
        unsigned int* part = words + 4 * i;
        known = known && __get_cpuid(0x80000002u + i, part, part + 1, part + 2, part + 3) != 0;
    }
    if (known) {
        char text[sizeof words + 1] = {};
        std::memcpy(text, words, sizeof words);
        std::string name(text);
        name.erase(0, name.find_first_not_of(' '));
        name.erase(name.find_last_not_of(' ') + 1);
        if (!name.empty()) return name;
    }
#endif
    return "CPU";
}

namespace {

// Of the library that is loaded, which may be another one than was compiled against.
std::string versions() {
    const dnnl_version_t& v = *dnnl_version();
    return "oneDNN " + std::to_string(v.major) + "." + std::to_string(v.minor) + "." +
           std::to_string(v.patch);
}

}  // namespace

const char* instruction_set() {
    switch (dnnl::get_effective_cpu_isa()) {
        case dnnl::cpu_isa::sse41: return "sse41";
        case dnnl::cpu_isa::avx: return "avx";
        case dnnl::cpu_isa::avx2: return "avx2";
        case dnnl::cpu_isa::avx2_vnni: return "avx2_vnni";
        case dnnl::cpu_isa::avx2_vnni_2: return "avx2_vnni_2";
        case dnnl::cpu_isa::avx512_core: return "avx512_core";
        case dnnl::cpu_isa::avx512_core_vnni: return "avx512_core_vnni";
        case dnnl::cpu_isa::avx512_core_bf16: return "avx512_core_bf16";
        case dnnl::cpu_isa::avx512_core_fp16: return "avx512_core_fp16";
        case dnnl::cpu_isa::avx512_core_amx: return "avx512_core_amx";
        case dnnl::cpu_isa::avx512_core_amx_fp16: return "avx512_core_amx_fp16";
        default: return "generic";
    }
}

}  // namespace mioconv::cpu

using namespace mioconv::provider;

// Every call here is done when it returns.
MIOCONV_EXPORT miopenStatus_t mioconvHoldStream(hipStream_t, int microseconds) {
    return guarded({__func__}, [&] { require(microseconds >= 0); });
}

// Nothing is queued on a stream that is destroyed.
MIOCONV_EXPORT miopenStatus_t mioconvGetStreamId(hipStream_t stream, uint64_t* id) {
    return guarded({__func__}, [&] { deref(id) = reinterpret_cast<std::uintptr_t>(stream); });
}

MIOCONV_EXPORT miopenStatus_t mioconvSetScratchGap(size_t bytes) {
    constexpr size_t kMost = 1 << 20;
    return guarded({__func__}, [&] {
        require(bytes <= kMost);
        mioconv::cpu::set_scratch_gap(bytes);
    });
}

MIOCONV_EXPORT miopenStatus_t mioconvGetVersions(char* text, size_t size) {
    return guarded({__func__}, [&] { copy_text(mioconv::cpu::versions(), text, size); });
}

MIOCONV_EXPORT miopenStatus_t mioconvDescribe(char* text, size_t size) {
    return guarded({__func__}, [&] {
        copy_text(
            mioconv::cpu::versions() + ", " + mioconv::cpu::instruction_set() + ", " +
                std::to_string(mioconv::cpu::thread_limit()) + " threads" +
                (mioconv::cpu::is_fuzzed_here() ? "" : kNotFuzzed),
            text, size);
    });
}
