// miopenCreate and what else is done with a handle.
#include "export.hpp"
#include "guard.hpp"
#include "handle.hpp"

using namespace mioconv::provider;

MIOCONV_EXPORT miopenStatus_t miopenCreate(miopenHandle_t* handle) {
    return guarded({__func__}, [&] { deref(handle) = make_handle(nullptr); });
}

MIOCONV_EXPORT miopenStatus_t
miopenCreateWithStream(miopenHandle_t* handle, miopenAcceleratorQueue_t stream) {
    return guarded({__func__}, [&] { deref(handle) = make_handle(stream); });
}

MIOCONV_EXPORT miopenStatus_t miopenDestroy(miopenHandle_t handle) {
    return guarded({__func__}, [&] { destroy_handle(handle); });
}

MIOCONV_EXPORT miopenStatus_t
miopenSetStream(miopenHandle_t handle, miopenAcceleratorQueue_t streamID) {
    return guarded({__func__}, [&] {
        require(handle != nullptr);
        set_stream(*handle, streamID);
    });
}

MIOCONV_EXPORT miopenStatus_t
miopenGetStream(miopenHandle_t handle, miopenAcceleratorQueue_t* streamID) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && streamID != nullptr);
        *streamID = get_stream(*handle);
    });
}
