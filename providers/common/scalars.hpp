// MIOpen's alpha and beta arguments: pointers to floats for every dtype that we support.
#pragma once

#include "descriptors.hpp"
#include "status.hpp"

namespace mioconv::provider {

inline float scalar(const void* pointer) {
    require(pointer != nullptr);
    return *static_cast<const float*>(pointer);
}

// Where only alpha = 1 and beta = 0 are implemented.
inline void require_plain(const void* alpha, const void* beta) {
    require(scalar(alpha) == 1 && scalar(beta) == 0, miopenStatusNotImplemented);
}

// The element types that tensor operations know.
inline void require_supported(const miopenTensorDescriptor& tensor) {
    require(tensor.rank > 0);
    require(
        tensor.dtype == miopenFloat || tensor.dtype == miopenHalf || tensor.dtype == miopenBFloat16,
        miopenStatusNotImplemented);
}

}  // namespace mioconv::provider
