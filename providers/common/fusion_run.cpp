// Fused convolutions: compiling and running fusion plans, and
// miopenConvolutionBiasActivationForward. Both become one problem with an epilogue, which the
// provider computes in one operation or refuses.
#include "convolution.hpp"
#include "export.hpp"
#include "fusion_objects.hpp"
#include "guard.hpp"
#include "output_dims.hpp"
#include "profile.hpp"
#include "scalars.hpp"
#include "strides.hpp"

using namespace mioconv::provider;
using Kind = miopenFusionOpDescriptor::Kind;

namespace {

// A clipped ReLU is refused: the libraries' turn NaN into a bound.
Fused fused_activation(miopenActivationMode_t mode, double alpha) {
    switch (mode) {
        case miopenActivationPASTHRU: return Fused::none;
        case miopenActivationRELU: return Fused::relu;
        case miopenActivationLEAKYRELU: return alpha == 0 ? Fused::relu : Fused::leaky_relu;
        default: throw StatusError(miopenStatusUnsupportedOp);
    }
}

void set_activation(Epilogue& epilogue, miopenActivationMode_t mode, double alpha) {
    epilogue.fused = fused_activation(mode, alpha);
    if (epilogue.fused == Fused::leaky_relu) epilogue.slope = static_cast<float>(alpha);
}

// A bias is read as packed elements of the tensors' type.
void check_bias(const miopenTensorDescriptor& bias, const miopenTensorDescriptor& y) {
    const int channel_dim = bias.rank == 1 ? 0 : 1;
    require(bias.dtype == y.dtype);
    for (int i = 0; i < bias.rank; ++i) {
        require(bias.dims[i] == (i == channel_dim ? y.dims[1] : 1));
    }
    require(y.dims[1] == 1 || bias.strides[channel_dim] == 1, miopenStatusUnsupportedOp);
}

// What a plan's operators are, once they are known to form a chain that can be fused.
struct Chain {
    const miopenFusionOpDescriptor* conv = nullptr;
    const miopenFusionOpDescriptor* bias = nullptr;
    const miopenFusionOpDescriptor* activation = nullptr;
};

// Convolution, then bias, then activation; the last two are optional.
Chain read_chain(const miopenFusionPlanDescriptor& plan) {
    require(plan.direction == miopenVerticalFusion, miopenStatusUnsupportedOp);
    Chain chain;
    for (const auto& op : plan.ops) {
        auto& slot = op->kind == Kind::convolution ? chain.conv
                     : op->kind == Kind::bias      ? chain.bias
                                                   : chain.activation;
        const bool in_order = op->kind == Kind::convolution ? plan.ops.front() == op
                              : op->kind == Kind::bias      ? chain.activation == nullptr
                                                            : true;
        require(slot == nullptr && in_order, miopenStatusUnsupportedOp);
        slot = op.get();
    }
    require(chain.conv != nullptr && !chain.conv->conv->transposed(), miopenStatusUnsupportedOp);
    return chain;
}

// The output that a plan is compiled for: laid out as its input is.
miopenTensorDescriptor expected_output(
    const miopenTensorDescriptor& x, const miopenFusionOpDescriptor& conv) {
    miopenTensorDescriptor y = x;
    y.dims = output_dims(*conv.conv, x, *conv.tensor);
    const Dims last = packed_strides(x.rank, x.dims, true);
    y.strides = packed_strides(x.rank, y.dims, x.strides == last);
    return y;
}

}  // namespace

MIOCONV_EXPORT miopenStatus_t
miopenCompileFusionPlan(miopenHandle_t handle, miopenFusionPlanDescriptor_t fusePlanDesc) {
    return guarded({__func__}, [&] {
        require(handle != nullptr);
        auto& plan = deref(fusePlanDesc);
        const Chain chain = read_chain(plan);
        const auto y = expected_output(plan.input, *chain.conv);
        Epilogue epilogue;
        if (chain.bias != nullptr) {
            check_bias(*chain.bias->tensor, y);
            epilogue.bias = true;
        }
        // The slope of a leaky ReLU comes with the arguments; any will do to ask for support.
        if (chain.activation != nullptr)
            set_activation(epilogue, chain.activation->activation, 0.5);
        prepare_fused(
            handle, make_problem(
                        place_of(handle), Direction::forward, plan.input, *chain.conv->tensor,
                        *chain.conv->conv, y, epilogue));
        plan.compiled = true;
    });
}

MIOCONV_EXPORT miopenStatus_t miopenFusionPlanGetWorkSpaceSize(
    miopenHandle_t handle, miopenFusionPlanDescriptor_t fusePlanDesc, size_t* workSpaceSize,
    miopenConvFwdAlgorithm_t) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && fusePlanDesc != nullptr);
        deref(workSpaceSize) = 0;  // running a plan takes no workspace from the caller
    });
}

MIOCONV_EXPORT miopenStatus_t miopenExecuteFusionPlan(
    const miopenHandle_t handle, const miopenFusionPlanDescriptor_t fusePlanDesc,
    const miopenTensorDescriptor_t inputDesc, const void* input,
    const miopenTensorDescriptor_t outputDesc, void* output, miopenOperatorArgs_t args) {
    return guarded({__func__}, [&] {
        require(handle != nullptr);
        const auto& plan = deref(fusePlanDesc);
        const auto& x = deref(inputDesc);
        const auto& y = deref(outputDesc);
        const auto& values = deref(args);
        require(plan.compiled && input != nullptr && output != nullptr);
        require(x.rank == plan.input.rank && x.dims == plan.input.dims);

        const Chain chain = read_chain(plan);
        Operands operands;
        operands[Role::src] = input;
        operands[Role::dst] = output;
        Epilogue epilogue;
        const auto& conv = deref(values.find(chain.conv));
        require(conv.alpha == 1 && conv.beta == 0, miopenStatusUnsupportedOp);
        operands[Role::wei] = conv.data;
        if (chain.bias != nullptr) {
            epilogue.bias = true;
            operands[Role::bias] = deref(values.find(chain.bias)).data;
        }
        if (chain.activation != nullptr) {
            const auto& activation = deref(values.find(chain.activation));
            set_activation(epilogue, chain.activation->activation, activation.activation[0]);
        }
        const ConvProblem problem = make_problem(
            place_of(handle), Direction::forward, x, *chain.conv->tensor, *chain.conv->conv, y,
            epilogue);
        const KernelTimer timer(handle);
        run_fused(handle, problem, operands, {nullptr, 0});
    });
}

// y = act(conv(x, w) + alpha2 * z + bias). z may be y itself; with alpha2 = 0 it is not read, and
// may be NULL. The workspace is optional: what is missing comes from the handle.
MIOCONV_EXPORT miopenStatus_t miopenConvolutionBiasActivationForward(
    miopenHandle_t handle, const void* alpha1, const miopenTensorDescriptor_t xDesc, const void* x,
    const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenConvolutionDescriptor_t convDesc, miopenConvFwdAlgorithm_t, void* workspace,
    size_t workspaceSizeInBytes, const void* alpha2, const miopenTensorDescriptor_t zDesc,
    const void* z, const miopenTensorDescriptor_t biasDesc, const void* bias,
    const miopenActivationDescriptor_t activationDesc, const miopenTensorDescriptor_t yDesc,
    void* y) {
    return guarded({__func__}, [&] {
        require(handle != nullptr);
        const auto& output = deref(yDesc);
        const auto& conv = deref(convDesc);
        const auto& activation = deref(activationDesc);
        require(x != nullptr && w != nullptr && y != nullptr);
        require(scalar(alpha1) == 1 && !conv.transposed(), miopenStatusUnsupportedOp);

        Epilogue epilogue;
        Operands operands;
        operands[Role::src] = x;
        operands[Role::wei] = w;
        operands[Role::dst] = y;
        set_activation(epilogue, activation.mode, activation.alpha);
        if (bias != nullptr) {
            check_bias(deref(biasDesc), output);
            epilogue.bias = true;
            operands[Role::bias] = bias;
        }
        // With alpha2 = 0 z may hold anything: multiplying by zero would keep its NaN.
        if (const float scale = scalar(alpha2); scale != 0) {
            const auto& addend = deref(zDesc);
            require(z != nullptr && addend.rank == output.rank && addend.dims == output.dims);
            require(addend.dtype == output.dtype);
            require(addend.strides == output.strides, miopenStatusUnsupportedOp);
            epilogue.sum = true;
            epilogue.sum_scale = scale;
            operands[Role::z] = z;
        }
        const ConvProblem problem = make_problem(
            place_of(handle), Direction::forward, deref(xDesc), deref(wDesc), conv, output,
            epilogue);
        const KernelTimer timer(handle);
        run_fused(handle, problem, operands, {workspace, workspaceSizeInBytes});
    });
}
