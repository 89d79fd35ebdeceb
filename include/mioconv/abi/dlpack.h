/* DLPack's C structures (v1.3), restated in our own words from the published specification.
 *
 * A producer hands out a capsule named "dltensor" (DLManagedTensor, before 1.0) or
 * "dltensor_versioned" (DLManagedTensorVersioned); the consumer renames it to "used_…" and owns it
 * from then on. The exchange API (1.2 and later) is a table of C functions that a producer's type
 * carries in `__dlpack_c_exchange_api__`: it lends a tensor without a capsule.
 */
#ifndef MIOCONV_ABI_DLPACK_H
#define MIOCONV_ABI_DLPACK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MIOCONV_DLPACK_MAJOR = 1, MIOCONV_DLPACK_MINOR = 3 };

/* int32_t in the structures; the names are the specification's. */
enum {
    kDLCPU = 1,
    kDLCUDA = 2,
    kDLCUDAHost = 3,
    kDLROCM = 10,
    kDLROCMHost = 11,
    kDLCUDAManaged = 13
};

enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLComplex = 5, kDLBool = 6 };

/* Bits of DLManagedTensorVersioned::flags. */
enum { DLPACK_FLAG_BITMASK_READ_ONLY = 1, DLPACK_FLAG_BITMASK_IS_COPIED = 2 };

typedef struct DLPackVersion {
    uint32_t major;
    uint32_t minor;
} DLPackVersion;

typedef struct DLDevice {
    int32_t device_type;
    int32_t device_id;
} DLDevice;

typedef struct DLDataType {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} DLDataType;

typedef struct DLTensor {
    void* data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t* shape;
    int64_t* strides; /* in elements; NULL means packed, row-major */
    uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensor {
    DLTensor dl_tensor;
    void* manager_ctx;
    void (*deleter)(struct DLManagedTensor* self);
} DLManagedTensor;

typedef struct DLManagedTensorVersioned {
    DLPackVersion version;
    void* manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned* self);
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;

typedef struct DLPackExchangeAPIHeader {
    DLPackVersion version;
    struct DLPackExchangeAPIHeader* prev_api;
} DLPackExchangeAPIHeader;

/* Each function returns 0, or -1 with a Python exception set. */
typedef struct DLPackExchangeAPI {
    DLPackExchangeAPIHeader header;
    int (*managed_tensor_allocator)(
        DLTensor* prototype, DLManagedTensorVersioned** out, void* error_ctx,
        void (*SetError)(void* error_ctx, const char* kind, const char* message));
    int (*managed_tensor_from_py_object_no_sync)(void* py_object, DLManagedTensorVersioned** out);
    int (*managed_tensor_to_py_object_no_sync)(DLManagedTensorVersioned* tensor, void** out);
    /* May be NULL. The view is valid only while the object is alive and control is here. */
    int (*dltensor_from_py_object_no_sync)(void* py_object, DLTensor* out);
    int (*current_work_stream)(int32_t device_type, int32_t device_id, void** out_stream);
} DLPackExchangeAPI;

#ifdef __cplusplus
}
#endif

#endif /* MIOCONV_ABI_DLPACK_H */
