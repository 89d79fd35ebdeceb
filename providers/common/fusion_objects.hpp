// The objects of MIOpen's fusion API: a plan with its operators, and the arguments of one run.
#pragma once

#include <memory>
#include <vector>

#include "descriptors.hpp"

// Owned by its plan. Holds copies: MIOpen lets the caller destroy the descriptors at once.
struct miopenFusionOpDescriptor {
    enum class Kind { convolution, bias, activation };

    Kind kind;
    std::unique_ptr<miopenConvolutionDescriptor> conv;  // of a convolution
    std::unique_ptr<miopenTensorDescriptor> tensor;     // weights of a convolution; the bias
    miopenActivationMode_t activation = miopenActivationPASTHRU;
};

struct miopenFusionPlanDescriptor
    : mioconv::provider::Counted<&mioconv::provider::Counters::fusion_plans> {
    using Op = miopenFusionOpDescriptor;

    miopenFusionPlanDescriptor(miopenFusionDirection_t way, const miopenTensorDescriptor& input_)
        : direction(way), input(input_) {}

    miopenFusionDirection_t direction;
    miopenTensorDescriptor input;
    std::vector<std::unique_ptr<Op>> ops;
    bool compiled = false;
};

struct miopenOperatorArgs
    : mioconv::provider::Counted<&mioconv::provider::Counters::operator_args> {
    struct Values {
        const miopenFusionOpDescriptor* op;
        const void* data = nullptr;  // weights or bias
        float alpha = 1, beta = 0;
        double activation[3] = {};  // alpha, beta, gamma
    };
    std::vector<Values> values;

    // Replaces what was set for the same operator.
    void set(const Values& next) {
        for (Values& known : values) {
            if (known.op == next.op) {
                known = next;
                return;
            }
        }
        values.push_back(next);
    }
    const Values* find(const miopenFusionOpDescriptor* op) const noexcept {
        for (const Values& known : values) {
            if (known.op == op) return &known;
        }
        return nullptr;
    }
};
