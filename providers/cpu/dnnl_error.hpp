// oneDNN's statuses in MIOpen's terms.
#pragma once

#include <dnnl.hpp>

#include "common/status.hpp"

namespace mioconv::cpu {

inline miopenStatus_t to_miopen(dnnl_status_t status) noexcept {
    switch (status) {
        case dnnl_success: return miopenStatusSuccess;
        case dnnl_out_of_memory: return miopenStatusAllocFailed;
        case dnnl_invalid_arguments: return miopenStatusBadParm;
        case dnnl_unimplemented: return miopenStatusUnsupportedOp;
        default: return miopenStatusInternalError;
    }
}

inline void check(dnnl_status_t status) {
    provider::require(status == dnnl_success, to_miopen(status));
}

// The one CPU engine of the process. It owns no threads and is never destroyed, so that handles
// that outlive static destruction (Python at exit) stay valid.
const dnnl::engine& engine();

}  // namespace mioconv::cpu
