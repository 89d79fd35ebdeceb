# The C++ headers of include/mioconv. Declarations only.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from mioconv.hip cimport hipError_t, hipMemcpyKind, hipStream_t
from mioconv.miopen cimport (
    mioconvFault_t, mioconvObjectCounts_t, miopenConvAlgorithm_t, miopenConvAlgoPerf_t,
    miopenConvolutionDescriptor_t, miopenConvSolution_t, miopenDataType_t, miopenHandle_t,
    miopenStatus_t)


cdef extern from *:
    cdef cppclass AtomicBool "std::atomic<bool>":
        cbool load() nogil
        void store(cbool) nogil


cdef extern from "mioconv/activity.hpp" namespace "mioconv" nogil:
    cdef cppclass Activity:
        Activity()
        void close(int seconds)
        void reset()


cdef extern from "mioconv/api.hpp" namespace "mioconv" nogil:
    cpdef enum class Provider(int):
        cpu
        rocm
        cuda

    cdef cppclass Api:
        Provider provider
        Activity* activity
        AtomicBool* no_math_type
        int hip_version
        uint64_t miopen_version
        cbool mixed_layouts()
        cbool packs_weights()
        const char* hipGetErrorString(hipError_t)
        hipError_t hipGetLastError()
        hipError_t hipRuntimeGetVersion(int*)
        hipError_t hipDriverGetVersion(int*)
        hipError_t hipGetDeviceCount(int*)
        hipError_t hipMemsetAsync(void*, int, size_t, hipStream_t)
        hipError_t hipMemcpyAsync(void*, const void*, size_t, hipMemcpyKind, hipStream_t)
        hipError_t hipStreamSynchronize(hipStream_t)
        hipError_t hipDeviceSynchronize()
        const char* miopenGetErrorString(miopenStatus_t)
        miopenStatus_t miopenGetVersion(size_t*, size_t*, size_t*)
        # Optional ones are pointers here, to be asked before they are called.
        void* miopenSetTensorDescriptorV2
        miopenStatus_t (*mioconvGetSolutionName)(uint64_t, char*, size_t)
        miopenStatus_t (*mioconvDescribe)(char*, size_t)
        miopenStatus_t (*mioconvSetNumThreads)(int)
        miopenStatus_t (*mioconvGetNumThreads)(int*)
        miopenStatus_t (*mioconvGetObjectCounts)(mioconvObjectCounts_t*)
        miopenStatus_t (*mioconvInjectFault)(const mioconvFault_t*)

    cdef enum class MemoryType:
        unregistered
        host
        device
        managed
        other


cdef extern from "mioconv/activity.hpp" namespace "mioconv" nogil:
    cdef cppclass InFlight:
        void enter(const Api& api)


cdef extern from "mioconv/error.hpp" namespace "mioconv" nogil:
    cdef cppclass Status:
        Status()
        const char* call
        int code
        cbool hip
        cbool ok()
        cbool out_of_memory()
        cbool capture()

    Status status_of(const char* call, hipError_t code)
    Status status_of(const char* call, miopenStatus_t code)
    cbool capturing(const Api& api, hipStream_t stream)
    Status refused_in_capture(const char* call)


cdef extern from "mioconv/directions.hpp" namespace "mioconv" nogil:
    cpdef enum class Direction(int):
        forward
        backward_data
        backward_weights

    cdef enum Operand:
        X
        W
        Y

    Operand result_of(Direction direction)

    cdef cppclass Operands:
        void** data "data.data()"

    cdef cppclass DirectionCalls:
        Status solution_count(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, size_t*)
        Status solutions(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, size_t room,
            size_t* count, miopenConvSolution_t* list)
        Status compile(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, uint64_t id)
        Status run(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, void* workspace,
            size_t bytes, uint64_t id)
        Status workspace(miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, size_t*)
        Status find(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, int room, int* count,
            miopenConvAlgoPerf_t* list, void* workspace, size_t bytes)
        Status solution_workspace(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, uint64_t id,
            size_t* bytes)


cdef extern from "mioconv/convolution_params.hpp" namespace "mioconv" nogil:
    cdef enum:
        max_dims "mioconv::max_dims"

    cdef enum class Layout(int64_t):
        packed
        channels_last

    cdef cppclass ConvolutionParams:
        int64_t provider, device, architecture, threads, direction, fusion, mode, dtype
        int64_t deterministic, allow_tf32, packed_weights, spatial, groups
        int64_t* padding "padding.data()"
        int64_t* stride "stride.data()"
        int64_t* dilation "dilation.data()"
        int64_t[3][5] shape  # [operand][dimension]
        int64_t[3][5] strides
        int64_t[3] alignment
        size_t bytes(Operand operand)


cdef extern from "mioconv/tensor_view.hpp" namespace "mioconv" nogil:
    cdef cppclass TensorView:
        TensorView()
        void* data
        int64_t ndim
        int64_t* shape "shape.data()"
        int64_t* strides "strides.data()"
        miopenDataType_t dtype
        int device_type
        int device_id
        cbool read_only
        int array_library
        int64_t count()
        int64_t itemsize()
        int64_t bytes()
        cbool too_large()
        int64_t alignment()

    cbool lies_in(const TensorView& tensor, Layout layout)
    cbool only_channels_last(const TensorView& tensor)
    cbool same_memory(const TensorView& a, const TensorView& b)
    cbool overlaps_itself(const TensorView& tensor)
    cbool may_overlap(const TensorView& a, const TensorView& b)
    void set_dense_strides(TensorView& tensor, Layout layout)
    void describe_operand(
        ConvolutionParams& params, Operand operand, const TensorView& tensor)
    void copy_on_host(const TensorView& source, const TensorView& target)


cdef extern from "mioconv/tensor_ops.hpp" namespace "mioconv" nogil:
    Status bias_gradient(
        const Api& api, miopenHandle_t handle, const TensorView& gradient, const TensorView& bias)
    Status transform(
        const Api& api, miopenHandle_t handle, const TensorView& source, const TensorView& target)
    Status accumulate(
        const Api& api, miopenHandle_t handle, const TensorView& source, const TensorView& target)


cdef extern from "mioconv/half_sum.hpp" namespace "mioconv" nogil:
    cdef cppclass HalfSum:
        void begin(miopenDataType_t dtype, int64_t count)
        void* data()
        size_t bytes()
        void add()
        void round()


cdef extern from "mioconv/function_table.hpp" namespace "mioconv" nogil:
    ctypedef struct FunctionRow:
        int library
        cbool required
        const char* since
        const char* name
        size_t offset

    const FunctionRow* function_rows
    const size_t function_row_count


cdef extern from "mioconv/device.hpp" namespace "mioconv" nogil:
    cdef cppclass DeviceInfo:
        string name
        string architecture
        int64_t compute_units
        int64_t total_memory

    Status read_device_info(const Api& api, int device, DeviceInfo* info)

    cdef cppclass Device:
        const Api& api
        const int index
        const DeviceInfo info
        const int64_t architecture_hash
        HandlePool handles
        WorkspacePool workspaces

    cdef cppclass Devices:
        Status get(const Api& api, int index, Device** out)
        vector[Device*] all()
        void set_allocator(const Allocator* allocator)

    cdef cppclass CurrentDevice:
        Status set(const Api& api, int device)


cdef extern from "mioconv/stream.hpp" namespace "mioconv" nogil:
    Status order_streams(const Api& api, hipStream_t before, hipStream_t after)

    cdef cppclass PointerOwner:
        MemoryType type
        int device

    PointerOwner owner_of(const Api& api, const void* data)

    cdef cppclass DeviceMemory:
        Status allocate(const Api& api, int device, size_t bytes, hipStream_t stream)
        void* data()
        hipStream_t stream()
        int device()
        const Api* api()
        void share()
        void abandon()


cdef extern from "mioconv/handle.hpp" namespace "mioconv" nogil:
    cdef cppclass HandlePool:
        pass

    cdef cppclass HandleLease:
        Status lease(HandlePool& pool, hipStream_t stream)
        cbool lease_idle(HandlePool& pool)
        Status use(hipStream_t stream)
        miopenHandle_t get()


cdef extern from "mioconv/workspace.hpp" namespace "mioconv" nogil:
    cdef cppclass MemoryStats:
        int64_t current, peak, reserved

    cdef struct Allocator:
        Status (*allocate)(
            const Api& api, int device, size_t bytes, hipStream_t stream,
            void** data) noexcept nogil
        void (*free)(void* data) noexcept nogil

    cdef cppclass WorkspacePool:
        void release_unused()
        MemoryStats stats()

    cdef cppclass Workspace:
        Status lease(WorkspacePool& pool, size_t bytes, hipStream_t stream)
        void give_back()
        void use(hipStream_t stream)
        void* data()


cdef extern from "mioconv/timing.hpp" namespace "mioconv" nogil:
    cdef cppclass Timing:
        Status make(const Api& api)
        Status begin(hipStream_t stream, int calls)
        Status end(hipStream_t stream, float* ms)
        cbool disturbed()


cdef extern from "mioconv/solution.hpp" namespace "mioconv" nogil:
    cpdef enum class Source(int):
        heuristic
        measured
        pinned

    cdef cppclass Solution:
        Solution()
        uint64_t id
        float time_ms
        size_t workspace
        miopenConvAlgorithm_t algorithm
        Source source
        cbool measured
        cbool listed
        cbool searched
        cbool failed
        cbool out_of_memory

    const char* algorithm_name(miopenConvAlgorithm_t algorithm)


cdef extern from "mioconv/solver_names.hpp" namespace "mioconv" nogil:
    const char* solver_name(uint64_t id)
    miopenConvAlgorithm_t solver_algorithm(uint64_t id)
    const uint64_t[3][2] general_solvers


cdef extern from "mioconv/exclusions.hpp" namespace "mioconv" nogil:
    cbool name_of(const Api& api, uint64_t id, char* name, size_t size)

    cdef cppclass Exclusions:
        vector[uint64_t] ids
        vector[string] patterns
        cbool excludes(const Api& api, const Solution& solution)


cdef extern from "mioconv/plan.hpp" namespace "mioconv" nogil:
    cdef cppclass Choice:
        int64_t workspace_limit
        uint64_t pinned
        const Exclusions* exclusions
        cbool strict_accuracy
        vector[uint64_t] tried

    cdef cppclass Mutex "std::mutex":
        Mutex()
        void lock()
        void unlock()

    cdef cppclass Plan:
        Plan(Device& device, const ConvolutionParams& params)
        Status describe()
        miopenConvolutionDescriptor_t convolution()
        Operand result()
        Status add_bias(miopenHandle_t handle, const void* bias, void* data)
        Status add_scaled(miopenHandle_t handle, float alpha, const void* z, void* data)
        Status packed_size(miopenHandle_t handle, uint64_t id, size_t* bytes)
        Status pack_weights(
            miopenHandle_t handle, uint64_t id, const void* weights, void* packed, size_t bytes)
        cbool choose(const Choice& choice, Solution* out)
        cbool empty()
        void append(const Solution& solution)
        void confirm(uint64_t id, cbool applies, size_t workspace)
        void rank(vector[Solution] listed)
        void recall(const vector[Solution]& remembered, cbool complete)
        cbool pin(uint64_t id)
        cbool begin_search(const Choice& choice)
        void end_search()
        vector[Solution] solutions()
        vector[Solution] admitted(const Choice& choice)
        cbool sums_plainly()
        void mark_failed(uint64_t id)
        void mark_out_of_memory(uint64_t id)
        cbool forget_out_of_memory()
        Device& device
        const ConvolutionParams params
        const DirectionCalls calls
        Operands operands


cdef extern from "mioconv/fusion.hpp" namespace "mioconv" nogil:
    Status apply_relu(const Plan& plan, miopenHandle_t handle, void* data)
    Status run_bias_activation(
        const Plan& plan, miopenHandle_t handle, const void* x, const void* w, float alpha,
        const void* z, const void* bias, void* y)

    cdef cppclass FusionPlan:
        @staticmethod
        cbool available(const Api& api)
        Status execute(
            hipStream_t stream, const void* x, const void* w, const void* bias, void* y)

    cdef enum class Way "mioconv::Fusion::Way"(int):
        undecided
        fused
        separate

    cdef cppclass AtomicWay "std::atomic<mioconv::Fusion::Way>":
        Way load()
        void store(Way)

    cdef cppclass Fusion:
        Fusion(shared_ptr[Plan] convolution, cbool bias)
        Status lease(hipStream_t stream, unique_ptr[FusionPlan]* out)
        void give_back(unique_ptr[FusionPlan] plan)
        cbool begin_timing()
        AtomicWay way

    cdef cppclass Epilogue:
        Epilogue()
        const void* bias
        const void* z
        float alpha
        cbool relu, bias_pending, z_pending, relu_pending
        Status refusal
        cbool anything()
        cbool pending()


cdef extern from "mioconv/benchmark_cache.hpp" namespace "mioconv" nogil:
    cdef cppclass CacheCounters:
        int64_t hits, misses, evictions, entries

    # An array, indexed by direction.
    cdef cppclass CountersByDirection:
        CacheCounters& operator[](size_t)

    cdef cppclass BenchmarkCache[T]:
        BenchmarkCache(size_t capacity)
        shared_ptr[T] get_or_create(
            const ConvolutionParams& params,
            shared_ptr[T] (*build)(const ConvolutionParams&, void*) noexcept nogil, void* context)
        void clear()
        CountersByDirection counters()
        void set_capacity(size_t capacity)
        vector[shared_ptr[T]] values()


cdef extern from "mioconv/statistics.hpp" namespace "mioconv" nogil:
    cdef cppclass AtomicCount "std::atomic<std::int64_t>":
        int64_t load()
        int64_t add "fetch_add"(int64_t)

    cdef cppclass DirectionStatistics:
        AtomicCount finds, fallbacks, find_us

    cdef cppclass Statistics:
        DirectionStatistics& of(Direction direction)
        void clear()

    cdef cppclass CallRecord:
        CallRecord()
        int provider, direction, mode, way
        uint64_t solution_id
        int64_t workspace
        int tried

    CallRecord& last_call()
