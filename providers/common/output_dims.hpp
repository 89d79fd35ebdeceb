// The arithmetic of convolution sizes.
#pragma once

#include "descriptors.hpp"

namespace mioconv::provider {

// Sizes of the output of a convolution of `x` with `w`, by mode. Throws BadParm where channels,
// groups or ranks contradict one another, or where the kernel is larger than the padded input
// (which MIOpen itself lets pass).
Dims output_dims(
    const miopenConvolutionDescriptor& conv, const miopenTensorDescriptor& x,
    const miopenTensorDescriptor& w);

}  // namespace mioconv::provider
