// MIOpen's fusion API up to compilation: building plans and argument lists. What a plan can be
// compiled to is the provider's business.
#include "export.hpp"
#include "fusion_objects.hpp"
#include "guard.hpp"

using namespace mioconv::provider;
using Kind = miopenFusionOpDescriptor::Kind;

namespace {

// Operators may be added until the plan is compiled.
miopenFusionOpDescriptor& add_op(
    miopenFusionPlanDescriptor_t plan, miopenFusionOpDescriptor_t* out, Kind kind) {
    auto& owner = deref(plan);
    require(out != nullptr && !owner.compiled);
    auto op = std::make_unique<miopenFusionOpDescriptor>();
    op->kind = kind;
    owner.ops.push_back(std::move(op));
    *out = owner.ops.back().get();
    return **out;
}

float scalar_or(const void* pointer, float otherwise) {
    return pointer == nullptr ? otherwise : *static_cast<const float*>(pointer);
}

void set_values(
    miopenOperatorArgs_t args, const miopenFusionOpDescriptor_t op, Kind kind, const void* alpha,
    const void* beta, miopenOperatorArgs::Values values) {
    require(deref(op).kind == kind);
    values.op = op;
    values.alpha = scalar_or(alpha, 1);
    values.beta = scalar_or(beta, 0);
    deref(args).set(values);
}

}  // namespace

MIOCONV_EXPORT miopenStatus_t miopenCreateFusionPlan(
    miopenFusionPlanDescriptor_t* fusePlanDesc, const miopenFusionDirection_t fuseDirection,
    const miopenTensorDescriptor_t inputDesc) {
    return guarded({__func__}, [&] {
        require(fusePlanDesc != nullptr);
        require(fuseDirection == miopenVerticalFusion || fuseDirection == miopenHorizontalFusion);
        *fusePlanDesc = new miopenFusionPlanDescriptor(fuseDirection, deref(inputDesc));
    });
}

MIOCONV_EXPORT miopenStatus_t miopenDestroyFusionPlan(miopenFusionPlanDescriptor_t fusePlanDesc) {
    return guarded({__func__}, [&] { delete fusePlanDesc; });
}

MIOCONV_EXPORT miopenStatus_t miopenCreateOpConvForward(
    miopenFusionPlanDescriptor_t fusePlanDesc, miopenFusionOpDescriptor_t* convOp,
    miopenConvolutionDescriptor_t convDesc, const miopenTensorDescriptor_t wDesc) {
    return guarded({__func__}, [&] {
        auto conv = std::make_unique<miopenConvolutionDescriptor>(deref(convDesc));
        auto weights = std::make_unique<miopenTensorDescriptor>(deref(wDesc));
        auto& op = add_op(fusePlanDesc, convOp, Kind::convolution);
        op.conv = std::move(conv);
        op.tensor = std::move(weights);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenCreateOpBiasForward(
    miopenFusionPlanDescriptor_t fusePlanDesc, miopenFusionOpDescriptor_t* biasOp,
    const miopenTensorDescriptor_t bDesc) {
    return guarded({__func__}, [&] {
        auto bias = std::make_unique<miopenTensorDescriptor>(deref(bDesc));
        add_op(fusePlanDesc, biasOp, Kind::bias).tensor = std::move(bias);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenCreateOpActivationForward(
    miopenFusionPlanDescriptor_t fusePlanDesc, miopenFusionOpDescriptor_t* activFwdOp,
    miopenActivationMode_t mode) {
    return guarded({__func__}, [&] {
        require(mode >= miopenActivationPASTHRU && mode <= miopenActivationELU);
        add_op(fusePlanDesc, activFwdOp, Kind::activation).activation = mode;
    });
}

MIOCONV_EXPORT miopenStatus_t miopenCreateOperatorArgs(miopenOperatorArgs_t* args) {
    return guarded({__func__}, [&] { deref(args) = new miopenOperatorArgs; });
}

MIOCONV_EXPORT miopenStatus_t miopenDestroyOperatorArgs(miopenOperatorArgs_t args) {
    return guarded({__func__}, [&] { delete args; });
}

MIOCONV_EXPORT miopenStatus_t miopenSetOpArgsConvForward(
    miopenOperatorArgs_t args, const miopenFusionOpDescriptor_t convOp, const void* alpha,
    const void* beta, const void* w) {
    return guarded({__func__}, [&] {
        require(w != nullptr);
        miopenOperatorArgs::Values values{};
        values.data = w;
        set_values(args, convOp, Kind::convolution, alpha, beta, values);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenSetOpArgsBiasForward(
    miopenOperatorArgs_t args, const miopenFusionOpDescriptor_t biasOp, const void* alpha,
    const void* beta, const void* bias) {
    return guarded({__func__}, [&] {
        require(bias != nullptr);
        miopenOperatorArgs::Values values{};
        values.data = bias;
        set_values(args, biasOp, Kind::bias, alpha, beta, values);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenSetOpArgsActivForward(
    miopenOperatorArgs_t args, const miopenFusionOpDescriptor_t activFwdOp, const void* alpha,
    const void* beta, double activAlpha, double activBeta, double activGamma) {
    return guarded({__func__}, [&] {
        miopenOperatorArgs::Values values{};
        values.activation[0] = activAlpha;
        values.activation[1] = activBeta;
        values.activation[2] = activGamma;
        set_values(args, activFwdOp, Kind::activation, alpha, beta, values);
    });
}
