// libMIOpen: answers as the vendor's releases do, in the ways that options choose; the numbers are
// the cpu provider's.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "journal.hpp"
#include "mioconv/abi/miopen.h"

namespace fake {
namespace {

// Solutions that exist for the sake of their number, by the real one that runs for them.
std::mutex& ids_mutex() {
    static auto* const mutex = new std::mutex;
    return *mutex;
}
std::map<std::uint64_t, std::uint64_t>& stand_ins() {
    static auto* const all = new std::map<std::uint64_t, std::uint64_t>;
    return *all;
}
std::uint64_t real_id(std::uint64_t id) {
    const std::lock_guard<std::mutex> lock(ids_mutex());
    const auto found = stand_ins().find(id);
    return found == stand_ins().end() ? id : found->second;
}

// A run of `quick_id` takes as long as it takes, after a first one of `first_run_us`; that of any
// other solution takes `run_us`.
void take_time(std::uint64_t id) {
    static std::atomic<std::int64_t> ran{0};
    const std::int64_t quick = option("quick_id");
    std::int64_t us = option("run_us");
    if (quick == 0) {
        ran = 0;
    } else if (static_cast<std::int64_t>(id) == quick) {
        us = ran.exchange(quick) == quick ? 0 : option("first_run_us");
    }
    if (us) std::this_thread::sleep_for(std::chrono::microseconds(us));
}

// An error of HIP that nobody cleared surfaces at the next launch.
bool launch_fails() { return last_error() != 0; }

bool is_bfloat16(miopenTensorDescriptor_t tensor) {
    miopenDataType_t type{};
    int dims[8], strides[8];
    forward<decltype(::miopenGetTensorDescriptor)>("miopenGetTensorDescriptor")(
        tensor, &type, dims, strides);
    return type == miopenBFloat16;
}

// A tensor as a descriptor says it.
struct Tensor {
    miopenDataType_t type{};
    int rank = 0;
    std::array<int, 8> dims{}, strides{};

    explicit Tensor(miopenTensorDescriptor_t tensor) {
        forward<decltype(::miopenGetTensorDescriptorSize)>("miopenGetTensorDescriptorSize")(
            tensor, &rank);
        forward<decltype(::miopenGetTensorDescriptor)>("miopenGetTensorDescriptor")(
            tensor, &type, dims.data(), strides.data());
    }
    size_t itemsize() const { return type == miopenFloat ? 4 : 2; }
    /// Offsets of all elements, in bytes.
    std::vector<std::int64_t> offsets() const {
        std::vector<std::int64_t> all{0};
        for (int d = 0; d < rank; ++d) {
            std::vector<std::int64_t> more;
            for (const auto at : all)
                for (int i = 0; i < dims[d]; ++i)
                    more.push_back(at + std::int64_t{i} * strides[d] * std::int64_t(itemsize()));
            all = more;
        }
        return all;
    }
    bool is_nan(const char* p) const {
        std::uint32_t bits = 0;
        std::memcpy(&bits, p, itemsize());
        const std::uint32_t infinity =
            type == miopenFloat ? 0x7F800000 : type == miopenHalf ? 0x7C00 : 0x7F80;
        return (bits & (type == miopenFloat ? 0x7FFFFFFFu : 0x7FFFu)) > infinity;
    }
};

// Up to 3.4 a layout is told by the order of the strides, which says nothing here.
bool is_mistaken(miopenTensorDescriptor_t tensor) {
    const Tensor it(tensor);
    return option("miopen_version") < 3005000 && it.rank == 5 && it.dims[1] == 1 &&
           it.dims[4] == 1 && it.strides[1] == 1 && it.strides[0] > 1 &&
           it.strides[1] * it.dims[1] * it.dims[2] * it.dims[3] == it.strides[0];
}

// The index arithmetic of MIOpen's kernels for biases and sums: pixels lie side by side, whatever
// the strides say. The descriptor that makes the cpu provider compute so.
class SideBySide {
public:
    explicit SideBySide(miopenTensorDescriptor_t tensor) {
        const Tensor given(tensor);
        auto strides = given.strides;
        for (int d = given.rank - 1, step = 1; d >= 2; step *= given.dims[d--]) strides[d] = step;
        forward<decltype(::miopenCreateTensorDescriptor)>("miopenCreateTensorDescriptor")(&made_);
        forward<decltype(::miopenSetTensorDescriptor)>("miopenSetTensorDescriptor")(
            made_, given.type, given.rank, given.dims.data(), strides.data());
    }
    SideBySide(const SideBySide&) = delete;
    SideBySide& operator=(const SideBySide&) = delete;
    ~SideBySide() {
        forward<decltype(::miopenDestroyTensorDescriptor)>("miopenDestroyTensorDescriptor")(made_);
    }
    operator miopenTensorDescriptor_t() const { return made_; }

private:
    miopenTensorDescriptor_t made_{};
};

// The channels of a group, by fusion plan.
std::map<miopenFusionPlanDescriptor_t, int>& channels_of_plans() {
    static auto* const all = new std::map<miopenFusionPlanDescriptor_t, int>;
    return *all;
}

std::map<miopenHandle_t, hipStream_t>& streams() {
    static auto* const all = new std::map<miopenHandle_t, hipStream_t>;
    return *all;
}

// MIOpen 6.2 lists what does not fit only at the compilation of a plan, 5.4 at each operation.
enum { fusion_works = 0, fusion_fails_late = 1, fusion_fails_early = 2 };

template <typename Count>
miopenStatus_t count_solutions(Count&& ask, size_t* count) {
    // A problem that is not supported: status 6, the output as it was.
    if (option("unsupported")) return miopenStatusNotImplemented;
    if (option("invent")) {
        *count = 1;
        return miopenStatusSuccess;
    }
    if (option("solutions") >= 0) {
        *count = static_cast<size_t>(option("solutions") + option("count_above"));
        return miopenStatusSuccess;
    }
    const miopenStatus_t status = ask(count);
    *count += static_cast<size_t>(option("count_above"));
    return status;
}

template <typename Get>
miopenStatus_t list_solutions(
    Get&& get, size_t room, size_t* count, miopenConvSolution_t* solutions) {
    if (option("unsupported")) {
        *count = 0;
        return miopenStatusSuccess;
    }
    if (room == 0) return miopenStatusBadParm;
    if (option("invent")) {
        // One that nobody can run, for problems that must not be asked about.
        *count = 1;
        solutions[0] = {1.0f, 0, 85, miopenConvolutionAlgoDirect};
        return miopenStatusSuccess;
    }
    if (option("solutions") < 0) return get(room, count, solutions);
    std::vector<miopenConvSolution_t> real(64);
    size_t found = 0;
    const miopenStatus_t status = get(real.size(), &found, real.data());
    if (status != miopenStatusSuccess) return status;
    *count = std::min(room, static_cast<size_t>(option("solutions")));
    if (found == 0) *count = 0;
    const std::lock_guard<std::mutex> lock(ids_mutex());
    for (size_t i = 0; i < *count; ++i) {
        solutions[i] = real[i % found];
        if (i < found) continue;
        solutions[i].solution_id = 1000 + i;
        solutions[i].time += static_cast<float>(i);
        stand_ins()[solutions[i].solution_id] = real[i % found].solution_id;
    }
    return miopenStatusSuccess;
}

miopenStatus_t refuse_workspace(size_t* bytes) {
    *bytes = 0;
    return miopenStatusSuccess;
}

}  // namespace

#define OVERRIDE(name) static auto name

OVERRIDE(miopenGetVersion)(size_t* major, size_t* minor, size_t* patch) -> miopenStatus_t {
    const auto version = option("miopen_version");
    *major = version / 1000000;
    *minor = version / 1000 % 1000;
    *patch = version % 1000;
    return miopenStatusSuccess;
}
OVERRIDE(miopenCreateWithStream)
(miopenHandle_t* handle, miopenAcceleratorQueue_t stream) -> miopenStatus_t {
    const auto status = forward<decltype(::miopenCreateWithStream)>("miopenCreateWithStream")(
        handle, nullptr);
    streams()[*handle] = stream;
    return status;
}
OVERRIDE(miopenSetStream)(miopenHandle_t handle, miopenAcceleratorQueue_t stream) -> miopenStatus_t {
    streams()[handle] = stream;
    return miopenStatusSuccess;
}
OVERRIDE(miopenGetStream)(miopenHandle_t handle, miopenAcceleratorQueue_t* stream) -> miopenStatus_t {
    *stream = streams()[handle];
    return miopenStatusSuccess;
}
OVERRIDE(miopenSetConvolutionAttribute)
(miopenConvolutionDescriptor_t conv, const miopenConvolutionAttrib_t attr, int value)
    -> miopenStatus_t {
    // Only the newest releases know the attribute for TF32.
    if (attr == MIOPEN_CONVOLUTION_ATTRIB_MATH_TYPE && option("no_math_type"))
        return miopenStatusBadParm;
    return forward<decltype(::miopenSetConvolutionAttribute)>("miopenSetConvolutionAttribute")(
        conv, attr, value);
}

// One family of functions for each direction; the twins differ in what they call their operands.
#define DIRECTION(Name)                                                                            \
    OVERRIDE(miopenConvolution##Name##GetSolutionCount)                                            \
    (miopenHandle_t handle, const miopenTensorDescriptor_t a, const miopenTensorDescriptor_t b,    \
     const miopenConvolutionDescriptor_t conv, const miopenTensorDescriptor_t c, size_t* count)    \
        ->miopenStatus_t {                                                                         \
        return count_solutions(                                                                    \
            [&](size_t* out) {                                                                     \
                return forward<decltype(::miopenConvolution##Name##GetSolutionCount)>(             \
                    "miopenConvolution" #Name "GetSolutionCount")(handle, a, b, conv, c, out);     \
            },                                                                                     \
            count);                                                                                \
    }                                                                                              \
    OVERRIDE(miopenConvolution##Name##GetSolution)                                                 \
    (miopenHandle_t handle, const miopenTensorDescriptor_t a, const miopenTensorDescriptor_t b,    \
     const miopenConvolutionDescriptor_t conv, const miopenTensorDescriptor_t c,                   \
     const size_t room, size_t* count, miopenConvSolution_t* solutions)                            \
        ->miopenStatus_t {                                                                         \
        return list_solutions(                                                                     \
            [&](size_t most, size_t* out, miopenConvSolution_t* list) {                            \
                return forward<decltype(::miopenConvolution##Name##GetSolution)>(                  \
                    "miopenConvolution" #Name "GetSolution")(                                      \
                    handle, a, b, conv, c, most, out, list);                                       \
            },                                                                                     \
            room, count, solutions);                                                               \
    }                                                                                              \
    OVERRIDE(miopenConvolution##Name##GetWorkSpaceSize)                                            \
    (miopenHandle_t handle, const miopenTensorDescriptor_t a, const miopenTensorDescriptor_t b,    \
     const miopenConvolutionDescriptor_t conv, const miopenTensorDescriptor_t c, size_t* bytes)    \
        ->miopenStatus_t {                                                                         \
        if (option("workspace_says_zero") || option("unsupported")) return refuse_workspace(bytes); \
        return forward<decltype(::miopenConvolution##Name##GetWorkSpaceSize)>(                     \
            "miopenConvolution" #Name "GetWorkSpaceSize")(handle, a, b, conv, c, bytes);           \
    }                                                                                              \
    OVERRIDE(miopenConvolution##Name##CompileSolution)                                             \
    (miopenHandle_t handle, const miopenTensorDescriptor_t a, const miopenTensorDescriptor_t b,    \
     const miopenConvolutionDescriptor_t conv, const miopenTensorDescriptor_t c,                   \
     const uint64_t id)                                                                            \
        ->miopenStatus_t {                                                                         \
        /* No device compiler on this machine. */                                                  \
        if (option("no_compiler")) return miopenStatusUnknownError;                                \
        return forward<decltype(::miopenConvolution##Name##CompileSolution)>(                      \
            "miopenConvolution" #Name "CompileSolution")(handle, a, b, conv, c, real_id(id));      \
    }                                                                                              \
    OVERRIDE(miopenConvolution##Name##Immediate)                                                   \
    (miopenHandle_t handle, const miopenTensorDescriptor_t a, const void* a_data,                  \
     const miopenTensorDescriptor_t b, const void* b_data,                                         \
     const miopenConvolutionDescriptor_t conv, const miopenTensorDescriptor_t c, void* c_data,     \
     void* workspace, size_t bytes, const uint64_t id)                                             \
        ->miopenStatus_t {                                                                         \
        if (launch_fails()) return miopenStatusUnknownError;                                       \
        if (option("no_compiler")) return miopenStatusUnknownError;                                \
        for (const auto tensor : {a, b, c})                                                        \
            if (is_mistaken(tensor)) return miopenStatusUnknownError;                              \
        take_time(id);                                                                             \
        if (option("skip_run")) return miopenStatusSuccess;                                        \
        return forward<decltype(::miopenConvolution##Name##Immediate)>(                            \
            "miopenConvolution" #Name "Immediate")(                                                \
            handle, a, a_data, b, b_data, conv, c, c_data, workspace, bytes, real_id(id));         \
    }
DIRECTION(Forward)
DIRECTION(BackwardData)
DIRECTION(BackwardWeights)

// bfloat16 has no bias, no bias gradient and no activation in the vendor's releases.
OVERRIDE(miopenConvolutionForwardBias)
(miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t bDesc, const void* b,
 const void* beta, const miopenTensorDescriptor_t yDesc, void* y) -> miopenStatus_t {
    if (option("no_bias") || (option("refuse_bfloat16") && is_bfloat16(yDesc)))
        return miopenStatusNotImplemented;
    return forward<decltype(::miopenConvolutionForwardBias)>("miopenConvolutionForwardBias")(
        handle, alpha, bDesc, b, beta, SideBySide(yDesc), y);
}
OVERRIDE(miopenConvolutionBackwardBias)
(miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t dyDesc, const void* dy,
 const void* beta, const miopenTensorDescriptor_t dbDesc, void* db) -> miopenStatus_t {
    if (option("no_bias") || (option("refuse_bfloat16") && is_bfloat16(dyDesc)))
        return miopenStatusNotImplemented;
    return forward<decltype(::miopenConvolutionBackwardBias)>("miopenConvolutionBackwardBias")(
        handle, alpha, SideBySide(dyDesc), dy, beta, dbDesc, db);
}
OVERRIDE(miopenActivationForward)
(miopenHandle_t handle, const miopenActivationDescriptor_t activDesc, const void* alpha,
 const miopenTensorDescriptor_t xDesc, const void* x, const void* beta,
 const miopenTensorDescriptor_t yDesc, void* y) -> miopenStatus_t {
    if (option("refuse_bfloat16") && is_bfloat16(xDesc)) return miopenStatusNotImplemented;
    return forward<decltype(::miopenActivationForward)>("miopenActivationForward")(
        handle, activDesc, alpha, xDesc, x, beta, yDesc, y);
}
OVERRIDE(miopenOpTensor)
(miopenHandle_t handle, miopenTensorOp_t op, const void* alpha1,
 const miopenTensorDescriptor_t aDesc, const void* A, const void* alpha2,
 const miopenTensorDescriptor_t bDesc, const void* B, const void* beta,
 const miopenTensorDescriptor_t cDesc, void* C) -> miopenStatus_t {
    if (option("refuse_bfloat16") && is_bfloat16(aDesc)) return miopenStatusUnknownError;
    return forward<decltype(::miopenOpTensor)>("miopenOpTensor")(
        handle, op, alpha1, SideBySide(aDesc), A, alpha2, SideBySide(bDesc), B, beta,
        SideBySide(cDesc), C);
}
OVERRIDE(miopenTransformTensor)
(miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t xDesc, const void* x,
 const void* beta, const miopenTensorDescriptor_t yDesc, void* y) -> miopenStatus_t {
    if (option("no_transform")) return miopenStatusUnknownError;
    // Up to 6.3: scalars in the tensor's dtype, and 0 * target is added to the copy.
    const Tensor to(yDesc);
    char* const target = static_cast<char*>(y);
    const std::uint32_t one = to.type == miopenFloat ? 0x3F800000
                              : to.type == miopenHalf ? 0x3C00
                                                      : 0x3F80;
    std::uint32_t scale = 0, keep = 0;
    std::memcpy(&scale, alpha, to.itemsize());
    std::memcpy(&keep, beta, to.itemsize());
    if (keep != 0 || (scale != one && scale != 0)) return miopenStatusNotImplemented;
    std::vector<std::pair<std::int64_t, std::uint32_t>> nans;
    for (const auto at : to.offsets()) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, target + at, to.itemsize());
        if (to.is_nan(target + at)) nans.emplace_back(at, bits);
    }
    constexpr float plain_one = 1, plain_zero = 0;
    const auto status = forward<decltype(::miopenTransformTensor)>("miopenTransformTensor")(
        handle, &plain_one, xDesc, x, &plain_zero, yDesc, y);
    if (scale == 0)
        for (const auto at : to.offsets()) std::memset(target + at, 0, to.itemsize());
    for (const auto& [at, bits] : nans) std::memcpy(target + at, &bits, to.itemsize());
    return status;
}

OVERRIDE(miopenCreateOpConvForward)
(miopenFusionPlanDescriptor_t plan, miopenFusionOpDescriptor_t* op,
 miopenConvolutionDescriptor_t conv, const miopenTensorDescriptor_t w) -> miopenStatus_t {
    if (option("fusion") == fusion_fails_early) return miopenStatusUnsupportedOp;
    channels_of_plans()[plan] = Tensor(w).dims[1];
    return forward<decltype(::miopenCreateOpConvForward)>("miopenCreateOpConvForward")(
        plan, op, conv, w);
}
// The fused kernel does not know of groups: it reads past the weights.
OVERRIDE(miopenExecuteFusionPlan)
(const miopenHandle_t handle, const miopenFusionPlanDescriptor_t plan,
 const miopenTensorDescriptor_t xDesc, const void* x, const miopenTensorDescriptor_t yDesc, void* y,
 miopenOperatorArgs_t args) -> miopenStatus_t {
    const auto status = forward<decltype(::miopenExecuteFusionPlan)>("miopenExecuteFusionPlan")(
        handle, plan, xDesc, x, yDesc, y, args);
    const Tensor to(yDesc);
    if (channels_of_plans()[plan] != Tensor(xDesc).dims[1])
        for (const auto at : to.offsets())
            std::memset(static_cast<char*>(y) + at, 0xFF, to.itemsize());
    return status;
}
OVERRIDE(miopenCompileFusionPlan)
(miopenHandle_t handle, miopenFusionPlanDescriptor_t plan) -> miopenStatus_t {
    if (option("fusion") == fusion_fails_late) return miopenStatusUnsupportedOp;
    if (option("fusion") == fusion_fails_early) return miopenStatusUnknownError;
    return forward<decltype(::miopenCompileFusionPlan)>("miopenCompileFusionPlan")(handle, plan);
}
OVERRIDE(miopenConvolutionBiasActivationForward)
(miopenHandle_t handle, const void* alpha1, const miopenTensorDescriptor_t xDesc, const void* x,
 const miopenTensorDescriptor_t wDesc, const void* w, const miopenConvolutionDescriptor_t conv,
 miopenConvFwdAlgorithm_t algo, void* workspace, size_t bytes, const void* alpha2,
 const miopenTensorDescriptor_t zDesc, const void* z, const miopenTensorDescriptor_t biasDesc,
 const void* bias, const miopenActivationDescriptor_t activation,
 const miopenTensorDescriptor_t yDesc, void* y) -> miopenStatus_t {
    if (option("fusion") != fusion_works) return miopenStatusUnsupportedOp;
    return forward<decltype(::miopenConvolutionBiasActivationForward)>(
        "miopenConvolutionBiasActivationForward")(
        handle, alpha1, xDesc, x, wDesc, w, conv, algo, workspace, bytes, alpha2, zDesc, z,
        biasDesc, bias, activation, yDesc, y);
}

}  // namespace fake

#include "miopen_wrappers.inc"
