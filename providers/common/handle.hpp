// What handle_api.cpp, which has MIOpen's functions, needs of a provider's handles: it defines
 // these.
#pragma once

#include "mioconv/abi/miopen.h"
#include "profile.hpp"

namespace mioconv::provider {

miopenHandle* make_handle(hipStream_t stream);
void destroy_handle(miopenHandle* handle);
// Both lock the handle.
void set_stream(miopenHandle& handle, hipStream_t stream);
hipStream_t get_stream(miopenHandle& handle);

}  // namespace mioconv::provider
