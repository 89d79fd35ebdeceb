# MIOpen's C ABI as include/mioconv/abi/miopen.h and provider.h restate it. Declarations only.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t


cdef extern from "mioconv/abi/miopen.h" nogil:
    ctypedef void* miopenHandle_t
    ctypedef void* miopenConvolutionDescriptor_t

    ctypedef enum miopenStatus_t:
        miopenStatusSuccess
        miopenStatusNotImplemented

    ctypedef enum miopenDataType_t:
        miopenHalf
        miopenFloat
        miopenBFloat16

    ctypedef enum miopenConvolutionMode_t:
        miopenConvolution
        miopenDepthwise

    ctypedef enum miopenConvAlgorithm_t:
        miopenConvolutionAlgoWinograd

    ctypedef struct miopenConvSolution_t:
        float time
        size_t workspace_size
        uint64_t solution_id
        miopenConvAlgorithm_t algorithm

    ctypedef struct miopenConvAlgoPerf_t:
        float time
        size_t memory


cdef extern from "mioconv/abi/provider.h" nogil:
    ctypedef struct mioconvObjectCount_t:
        uint64_t created
        uint64_t destroyed

    ctypedef struct mioconvObjectCounts_t:
        mioconvObjectCount_t handles
        mioconvObjectCount_t tensor_descriptors
        mioconvObjectCount_t convolution_descriptors
        mioconvObjectCount_t activation_descriptors
        mioconvObjectCount_t fusion_plans
        mioconvObjectCount_t operator_args
        mioconvObjectCount_t streams
        mioconvObjectCount_t events
        mioconvObjectCount_t allocations
        uint64_t bytes_allocated
        uint64_t native_calls

    ctypedef struct mioconvFault_t:
        const char* function
        int64_t nth
        size_t above_bytes
        uint64_t solution_id
        int status
