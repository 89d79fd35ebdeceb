// Fusion plans: convolution, bias and ReLU as one operation of the library.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "entry.hpp"
#include "inspection.hpp"

namespace mioconv {

class ActivationDescriptor
    : public Descriptor<
          miopenActivationDescriptor_t, &Api::miopenCreateActivationDescriptor,
          &Api::miopenDestroyActivationDescriptor> {
public:
    Status set_relu(const Api& api) {
        if (!api.miopenCreateActivationDescriptor || !api.miopenSetActivationDescriptor)
            return status_of("miopenCreateActivationDescriptor", miopenStatusNotImplemented);
        MIOCONV_TRY(create(api, "miopenCreateActivationDescriptor"));
        return MIOCONV_CALL(
            api, miopenSetActivationDescriptor, object_, miopenActivationRELU, 0.0, 0.0, 0.0);
    }
};

/// relu(result) in place.
inline Status apply_relu(const Entry& entry, miopenHandle_t handle, void* data) {
    const Api& api = entry.device.api;
    constexpr float one = 1, zero = 0;
    ActivationDescriptor relu;
    MIOCONV_TRY(relu.set_relu(api));
    return MIOCONV_CALL_OPTIONAL(
        api, miopenActivationForward, handle, relu.get(), &one, entry.result_elements(), data,
        &zero, entry.result_elements(), data);
}

/// y = relu(conv(x, w) + alpha * z + bias) in one call; z may be y.
inline Status run_bias_activation(
    const Entry& entry, miopenHandle_t handle, const void* x, const void* w, float alpha,
    const void* z, const void* bias, void* y) {
    const Api& api = entry.device.api;
    constexpr float one = 1;
    ActivationDescriptor relu;
    MIOCONV_TRY(relu.set_relu(api));
    // It takes no workspace, and picks its algorithm itself whatever is named here.
    return MIOCONV_CALL_OPTIONAL(
        api, miopenConvolutionBiasActivationForward, handle, &one, entry.operands.descriptor[X], x,
        entry.operands.descriptor[W], w, entry.convolution(), miopenConvolutionFwdAlgoDirect,
        nullptr, 0, &alpha, entry.result_descriptor(), z, entry.bias_descriptor(), bias, relu.get(),
        entry.result_descriptor(), y);
}

/// Arguments of one execution. They are made for each call: kept ones have given wrong results
/// (onnxruntime#15671).
class OperatorArgs
    : public Descriptor<
          miopenOperatorArgs_t, &Api::miopenCreateOperatorArgs, &Api::miopenDestroyOperatorArgs> {
public:
    Status make(const Api& api) { return create(api, "miopenCreateOperatorArgs"); }
};

class FusionPlanDescriptor
    : public Descriptor<miopenFusionPlanDescriptor_t, nullptr, &Api::miopenDestroyFusionPlan> {
public:
    Status make(const Api& api, miopenTensorDescriptor_t input) {
        api_ = &api;
        return MIOCONV_CALL(api, miopenCreateFusionPlan, &object_, miopenVerticalFusion, input);
    }
};

/// One compiled plan. The kernels that compilation makes belong to a handle, so the plan owns its
/// own; it serves one call at a time.
class FusionPlan {
public:
    FusionPlan(std::shared_ptr<Entry> convolution, bool bias)
        : convolution_(std::move(convolution)), bias_(bias), handle_(convolution_->device.api) {}

    static bool available(const Api& api) {
        return api.miopenCreateFusionPlan && api.miopenDestroyFusionPlan &&
               api.miopenCreateOpConvForward && api.miopenCreateOpBiasForward &&
               api.miopenCreateOpActivationForward && api.miopenCompileFusionPlan &&
               api.miopenCreateOperatorArgs && api.miopenDestroyOperatorArgs &&
               api.miopenSetOpArgsConvForward && api.miopenSetOpArgsBiasForward &&
               api.miopenSetOpArgsActivForward && api.miopenExecuteFusionPlan;
    }

    /// Fails with UnsupportedOp where the library cannot fuse this problem: in some releases when
    /// an operator is added, in others at compilation.
    Status build(hipStream_t stream) {
        const Api& api = handle_.api;
        const Entry& conv = *convolution_;
        MIOCONV_TRY(MIOCONV_CALL(api, miopenCreateWithStream, &handle_.handle, stream));
        handle_.stream = stream;
        MIOCONV_TRY(plan_.make(api, conv.operands.descriptor[X]));
        MIOCONV_TRY(MIOCONV_CALL(
            api, miopenCreateOpConvForward, plan_.get(), &conv_op_, conv.convolution(),
            conv.operands.descriptor[W]));
        if (bias_)
            MIOCONV_TRY(MIOCONV_CALL(
                api, miopenCreateOpBiasForward, plan_.get(), &bias_op_, conv.bias_descriptor()));
        MIOCONV_TRY(MIOCONV_CALL(
            api, miopenCreateOpActivationForward, plan_.get(), &relu_op_, miopenActivationRELU));
        return MIOCONV_CALL(api, miopenCompileFusionPlan, handle_.handle, plan_.get());
    }

    Status execute(hipStream_t stream, const void* x, const void* w, const void* bias, void* y) {
        const Api& api = handle_.api;
        constexpr float one = 1, zero = 0;
        MIOCONV_TRY(handle_.use(stream));
        OperatorArgs args;
        MIOCONV_TRY(args.make(api));
        MIOCONV_TRY(
            MIOCONV_CALL(api, miopenSetOpArgsConvForward, args.get(), conv_op_, &one, &zero, w));
        if (bias_)
            MIOCONV_TRY(MIOCONV_CALL(
                api, miopenSetOpArgsBiasForward, args.get(), bias_op_, &one, &zero, bias));
        MIOCONV_TRY(MIOCONV_CALL(
            api, miopenSetOpArgsActivForward, args.get(), relu_op_, &one, &zero, 0.0, 0.0, 0.0));
        return MIOCONV_CALL(
            api, miopenExecuteFusionPlan, handle_.handle, plan_.get(),
            convolution_->operands.descriptor[X], x, convolution_->operands.descriptor[Y], y,
            args.get());
    }

private:
    std::shared_ptr<Entry> convolution_;  ///< owns the tensor and convolution descriptors
    const bool bias_;
    PooledHandle handle_;
    FusionPlanDescriptor plan_;  ///< ends before its handle
    miopenFusionOpDescriptor_t conv_op_ = nullptr, bias_op_ = nullptr, relu_op_ = nullptr;
};

/// What follows a convolution: result = act(result + alpha * z + bias). What the library refuses is
/// left to the caller: `pending` says which steps, `refusal` what it answered first.
struct Epilogue {
    const void* bias = nullptr;  ///< dense; null: none
    const void* z = nullptr;  ///< lies as the result does; null: none
    float alpha = 0;
    bool relu = false;
    bool bias_pending = false, z_pending = false, relu_pending = false;
    Status refusal;
    bool z_in_place = false;  ///< z is the result's own memory: nothing is written but by one fused
                              ///< operation
    bool undone = false;  ///< for that reason nothing was

    bool anything() const { return bias || z || relu; }
    bool pending() const { return bias_pending || z_pending || relu_pending; }
    CheckedEpilogue checked() const { return {bias, z, alpha, relu}; }
};

/// What is known of fusing one problem: compiled plans that no call uses, and which way is faster.
class Fusion {
public:
    enum class Way : int { undecided = 0, timing, fused, separate };

    Fusion(std::shared_ptr<Entry> convolution, bool bias)
        : convolution_(std::move(convolution)), bias_(bias) {}

    /// relu(conv(x, w) + alpha * z + bias) as one native operation.
    Status run(
        const void* x, const void* w, void* y, const Epilogue& epilogue, hipStream_t stream) {
        const Entry& entry = *convolution_;
        if (epilogue.z == nullptr) {
            if (!FusionPlan::available(entry.device.api))
                return status_of("miopenCreateFusionPlan", miopenStatusNotImplemented);
            std::unique_ptr<FusionPlan> leased;
            MIOCONV_TRY(lease(stream, &leased));
            MIOCONV_TRY(leased->execute(stream, x, w, epilogue.bias, y));
            give_back(std::move(leased));
            return {};
        }
        HandleLease handle;
        MIOCONV_TRY(handle.lease(entry.device.handles, stream));
        Workspace zeros;
        const void* bias = epilogue.bias;
        if (bias == nullptr) {  // the call wants one
            const auto bytes =
                static_cast<std::size_t>(4 * entry.params.shape[Y][1]);  // for floats
            MIOCONV_TRY(zeros.lease(entry.device.workspaces, bytes, stream));
            MIOCONV_TRY(
                MIOCONV_CALL(entry.device.api, hipMemsetAsync, zeros.data(), 0, bytes, stream));
            bias = zeros.data();
        }
        return run_bias_activation(entry, handle.get(), x, w, epilogue.alpha, epilogue.z, bias, y);
    }
    /// The same between guards, and looked at; see the function of this name for solutions. z may
    /// be the result, and is needed again where the call has to be done anew: the result comes
    /// there last.
    Status run_inspected(
        const void* x, const void* w, void* y, const Epilogue& epilogue, hipStream_t stream,
        bool* ran, std::string* fault) {
        const Entry& entry = *convolution_;
        Operands operands = entry.operands;
        operands.data[X] = const_cast<void*>(x);
        operands.data[W] = const_cast<void*>(w);
        *ran = false;
        Inspection inspection;
        MIOCONV_TRY(inspection.begin(
            entry, operands, stream, static_cast<std::uint64_t>(inspected.load()),
            epilogue.checked()));
        if (inspected.load() < first_runs && !inspection.tells()) {
            MIOCONV_TRY(run_on_pattern(epilogue, stream, fault));
            if (fault->empty()) inspected.store(first_runs);
            return {};
        }
        MIOCONV_TRY(run_guarded(
            entry, inspection, any_solution(), y,
            epilogue.z == y || entry.params.bytes(entry.result()) <= most_guarded, stream, ran,
            fault, [&](void*, void* target) { return run(x, w, target, epilogue, stream); }));
        if (fault->empty()) inspected.fetch_add(1);
        return {};
    }

    /// Makes the calling thread the one that times both ways; others go on fused meanwhile.
    bool begin_timing() {
        Way expected = Way::undecided;
        return way.compare_exchange_strong(expected, Way::timing);
    }

    std::atomic<Way> way{Way::undecided};
    std::atomic<std::int64_t> inspected{0};  ///< runs whose results were looked at, and right

private:
    /// On the pattern instead, bias and z as well.
    Status run_on_pattern(const Epilogue& like, hipStream_t stream, std::string* fault) {
        const Entry& entry = *convolution_;
        Operands operands = entry.operands;
        PatternOperands given;
        Workspace bias, z;
        Epilogue epilogue = like;
        MIOCONV_TRY(given.lease(entry, &operands, stream));
        if (like.bias) {
            const auto bytes =
                static_cast<std::size_t>(4 * entry.params.shape[Y][1]);  // for floats
            MIOCONV_TRY(given.lease_more(entry, &bias, bytes, stream));
            epilogue.bias = bias.data();
        }
        if (like.z) {
            MIOCONV_TRY(given.lease_more(entry, &z, entry.params.bytes(Y), stream));
            epilogue.z = z.data();
        }
        Inspection inspection;
        inspection.begin(entry, given, 0, epilogue.checked());
        for (int i = 0; i < first_runs && fault->empty(); ++i) {
            bool ran;
            MIOCONV_TRY(run_guarded(
                entry, inspection, any_solution(), nullptr, true, stream, &ran, fault,
                [&](void*, void* target) {
                    return run(operands.data[X], operands.data[W], target, epilogue, stream);
                }));
        }
        return {};
    }
    /// Which algorithm a fused operation is by, nobody says.
    Solution any_solution() const {
        Solution any;
        if (!convolution_->sums_plainly()) any.algorithm = miopenConvolutionAlgoWinograd;
        return any;
    }
    /// A compiled plan for this caller alone, made where none is free.
    Status lease(hipStream_t stream, std::unique_ptr<FusionPlan>* out) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!idle_.empty()) {
                *out = std::move(idle_.back());
                idle_.pop_back();
                return {};
            }
        }
        if (capturing(convolution_->device.api, stream))
            return refused_in_capture("miopenCompileFusionPlan");
        auto made = std::make_unique<FusionPlan>(convolution_, bias_);
        MIOCONV_TRY(made->build(stream));
        *out = std::move(made);
        return {};
    }
    void give_back(std::unique_ptr<FusionPlan> plan) {
        const std::lock_guard<std::mutex> lock(mutex_);
        try {
            idle_.push_back(std::move(plan));
        } catch (const std::bad_alloc&) {
            // Without room to keep it, it is compiled again.
        }
    }

    std::shared_ptr<Entry> convolution_;
    const bool bias_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<FusionPlan>> idle_;
};

}  // namespace mioconv
