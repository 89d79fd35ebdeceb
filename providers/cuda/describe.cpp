// What this provider says about itself.
#include <string>

#include "common/export.hpp"
#include "common/guard.hpp"
#include "common/solution_names.hpp"
#include "error.hpp"
#include "kernels.hpp"
#include "solution.hpp"

using namespace mioconv::cuda;
using namespace mioconv::provider;

MIOCONV_EXPORT miopenStatus_t mioconvSetCacheCapacity(size_t problems) {
    return guarded({__func__}, [&] { set_capacity(problems); });
}

MIOCONV_EXPORT miopenStatus_t mioconvTrimCache(size_t problems) {
    return guarded({__func__}, [&] { trim(problems); });
}

// Workspaces are not looked into here: the fuzz guards each as a whole.
MIOCONV_EXPORT miopenStatus_t mioconvSetScratchGap(size_t bytes) {
    return guarded({__func__}, [&] { require(bytes == 0, miopenStatusNotImplemented); });
}

MIOCONV_EXPORT miopenStatus_t mioconvHoldStream(hipStream_t stream, int microseconds) {
    return guarded({__func__}, [&] {
        require(microseconds >= 0);
        hold(microseconds, to_cuda(stream));
    });
}

MIOCONV_EXPORT miopenStatus_t mioconvGetStreamId(hipStream_t stream, uint64_t* id) {
    return guarded({__func__}, [&] {
        unsigned long long found = 0;
        check(runtime().cudaStreamGetId(to_cuda(stream), &found));
        deref(id) = found;
    });
}

// Of the libraries that are loaded, which may be others than were compiled against.
MIOCONV_EXPORT miopenStatus_t mioconvGetVersions(char* text, size_t size) {
    return guarded({__func__}, [&] {
        const auto version = [](std::size_t number, std::size_t major, std::size_t minor) {
            return std::to_string(number / major) + "." + std::to_string(number % major / minor);
        };
        const std::size_t library = cudnn().cudnnGetVersion();
        int cuda_version = 0;
        check(runtime().cudaRuntimeGetVersion(&cuda_version));
        copy_text(
            "cuDNN " + version(library, 10000, 100) + "." + std::to_string(library % 100) +
                ", CUDA " + version(static_cast<std::size_t>(cuda_version), 1000, 10) +
                (is_fuzzed_here() ? "" : kNotFuzzed),
            text, size);
    });
}

MIOCONV_EXPORT miopenStatus_t mioconvDescribe(char* text, size_t size) {
    return mioconvGetVersions(text, size);
}

// A GPU has no threads of ours to bound; 0 says so.
MIOCONV_EXPORT miopenStatus_t mioconvSetNumThreads(int threads) {
    return guarded({__func__}, [&] { require(threads >= 0); });
}

MIOCONV_EXPORT miopenStatus_t mioconvGetNumThreads(int* threads) {
    return guarded({__func__}, [&] { deref(threads) = 0; });
}
