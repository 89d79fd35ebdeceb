// A cpu library that computes something else, as it is told. Everything but a solution's run is the
// real library's, which this one is linked with.
//
// The variable WRONG has what to do, in words with spaces between:
//   at=N bytes=N     what is overwritten: from so many bytes behind the start of the result
//   halved=1         with half of itself, as floats: zeros stay what they are, and NaN
//   scratch=N        so many bytes behind the end of the scratch memory are
//   call=N           only in the Nth run of a solution; without it in every run
//   offset=N         only where the result lies so many bytes behind a multiple of 64
//   threads=N        only where the calling thread may use so many
//   all=1            whatever runs; without it only the solution that ran first
//   fused=1          fused operations, and only these
#include <dlfcn.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "mioconv/abi/miopen.h"
#include "mioconv/abi/provider.h"

namespace {

long option(const char* name, long otherwise) {
    const char* const words = std::getenv("WRONG");
    const std::string key = std::string(" ") + name + "=";
    const std::string text = std::string(" ") + (words != nullptr ? words : "");
    const auto at = text.find(key);
    return at == std::string::npos ? otherwise : std::atol(text.c_str() + at + key.size());
}

std::mutex mutex;
std::map<std::uint64_t, long> runs;
std::uint64_t first = 0;

bool is_due(std::uint64_t id, const void* result) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (first == 0) first = id;
    const long run = ++runs[id];
    int threads = 0;
    mioconvGetNumThreads(&threads);
    const long offset = static_cast<long>(reinterpret_cast<std::uintptr_t>(result) % 64);
    return (option("all", 0) != 0 || id == first) && option("call", run) == run &&
           option("offset", offset) == offset && option("threads", threads) == threads;
}

void overwrite(void* result) {
    char* const start = static_cast<char*>(result) + option("at", 0);
    const long bytes = option("bytes", 0);
    if (option("halved", 0) != 0) {
        for (long i = 0; i < bytes / 4; ++i) reinterpret_cast<float*>(start)[i] /= 2;
        return;
    }
    // The pattern of 40 and more as a float in each element type.
    std::memset(start, 0x52, bytes);
}

void overwrite(std::uint64_t id, void* result, void* scratch, std::size_t size) {
    if (option("fused", 0) != 0 || !is_due(id, result)) return;
    overwrite(result);
    if (scratch != nullptr) {
        std::memset(static_cast<char*>(scratch) + size, 0x52, option("scratch", 0));
    }
}

template <class Function>
Function* real(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define IMMEDIATE(name)                                                                           \
    extern "C" __attribute__((visibility("default"))) miopenStatus_t name(                        \
        miopenHandle_t handle, const miopenTensorDescriptor_t a, const void* a_data,              \
        const miopenTensorDescriptor_t b, const void* b_data,                                     \
        const miopenConvolutionDescriptor_t conv, const miopenTensorDescriptor_t out, void* data, \
        void* scratch, size_t size, const uint64_t id) {                                          \
        static auto* const run = real<decltype(name)>(#name);                                     \
        const miopenStatus_t status =                                                             \
            run(handle, a, a_data, b, b_data, conv, out, data, scratch, size, id);                \
        if (status == miopenStatusSuccess) overwrite(id, data, scratch, size);                    \
        return status;                                                                            \
    }

IMMEDIATE(miopenConvolutionForwardImmediate)
IMMEDIATE(miopenConvolutionBackwardDataImmediate)
IMMEDIATE(miopenConvolutionBackwardWeightsImmediate)

extern "C" __attribute__((visibility("default"))) miopenStatus_t miopenExecuteFusionPlan(
    const miopenHandle_t handle, const miopenFusionPlanDescriptor_t plan,
    const miopenTensorDescriptor_t x, const void* x_data, const miopenTensorDescriptor_t y,
    void* data, miopenOperatorArgs_t arguments) {
    static auto* const run = real<decltype(miopenExecuteFusionPlan)>("miopenExecuteFusionPlan");
    const miopenStatus_t status = run(handle, plan, x, x_data, y, data, arguments);
    if (status == miopenStatusSuccess && option("fused", 0) != 0) overwrite(data);
    return status;
}

extern "C" __attribute__((visibility("default"))) miopenStatus_t
miopenConvolutionBiasActivationForward(
    miopenHandle_t handle, const void* alpha1, const miopenTensorDescriptor_t x, const void* x_data,
    const miopenTensorDescriptor_t w, const void* w_data, const miopenConvolutionDescriptor_t conv,
    miopenConvFwdAlgorithm_t algorithm, void* workspace, size_t size, const void* alpha2,
    const miopenTensorDescriptor_t z, const void* z_data, const miopenTensorDescriptor_t bias,
    const void* bias_data, const miopenActivationDescriptor_t activation,
    const miopenTensorDescriptor_t y, void* data) {
    static auto* const run = real<decltype(miopenConvolutionBiasActivationForward)>(
        "miopenConvolutionBiasActivationForward");
    const miopenStatus_t status =
        run(handle, alpha1, x, x_data, w, w_data, conv, algorithm, workspace, size, alpha2, z,
            z_data, bias, bias_data, activation, y, data);
    if (status == miopenStatusSuccess && option("fused", 0) != 0) overwrite(data);
    return status;
}
