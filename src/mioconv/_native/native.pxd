# The C++ headers of include/mioconv. Declarations only. What may throw is `except +`: that is what
# allocates, for they throw nothing else. C functions throw nothing at all.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from mioconv._native.hip cimport hipError_t, hipMemcpyKind, hipStream_t
from mioconv._native.miopen cimport (
    mioconvFault_t, mioconvObjectCounts_t, miopenConvAlgoPerf_t, miopenConvAlgorithm_t,
    miopenConvSolution_t, miopenConvolutionDescriptor_t, miopenDataType_t, miopenHandle_t,
    miopenStatus_t)


cdef extern from *:
    cdef cppclass AtomicBool "std::atomic<bool>":
        cbool load() noexcept nogil
        void store(cbool) noexcept nogil


cdef extern from "<atomic>" nogil:
    cdef cppclass AtomicCount "std::atomic<std::int64_t>":
        int64_t load() noexcept
        int64_t add "fetch_add"(int64_t) noexcept


cdef extern from "mioconv/activity.hpp" namespace "mioconv" nogil:
    cdef cppclass Activity:
        Activity() except +
        void close(int seconds) noexcept
        void reset() noexcept


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
        cbool mixed_layouts() noexcept
        cbool mistakes_channels_last(int64_t ndim, const int64_t* shape) noexcept
        cbool packs_weights() noexcept
        const char* hipGetErrorString(hipError_t) noexcept
        hipError_t hipGetLastError() noexcept
        hipError_t hipRuntimeGetVersion(int*) noexcept
        hipError_t hipDriverGetVersion(int*) noexcept
        hipError_t hipGetDeviceCount(int*) noexcept
        hipError_t hipMemsetAsync(void*, int, size_t, hipStream_t) noexcept
        hipError_t hipMemcpyAsync(void*, const void*, size_t, hipMemcpyKind, hipStream_t) noexcept
        hipError_t hipStreamSynchronize(hipStream_t) noexcept
        hipError_t hipDeviceSynchronize() noexcept
        const char* miopenGetErrorString(miopenStatus_t) noexcept
        miopenStatus_t miopenGetVersion(size_t*, size_t*, size_t*) noexcept
        # Optional ones are pointers here, to be asked before they are called.
        void* miopenSetTensorDescriptorV2
        miopenStatus_t (*mioconvGetSolutionName)(uint64_t, char*, size_t) noexcept
        miopenStatus_t (*mioconvSetCacheCapacity)(size_t) noexcept
        miopenStatus_t (*mioconvTrimCache)(size_t) noexcept
        miopenStatus_t (*mioconvGetVersions)(char*, size_t) noexcept
        miopenStatus_t (*mioconvDescribe)(char*, size_t) noexcept
        miopenStatus_t (*mioconvSetNumThreads)(int) noexcept
        miopenStatus_t (*mioconvGetNumThreads)(int*) noexcept
        miopenStatus_t (*mioconvGetObjectCounts)(mioconvObjectCounts_t*) noexcept
        miopenStatus_t (*mioconvInjectFault)(const mioconvFault_t*) noexcept

    cdef enum class MemoryType:
        unregistered
        host
        device
        managed
        other


cdef extern from "mioconv/activity.hpp" namespace "mioconv" nogil:
    cdef cppclass InFlight:
        void enter(const Api& api) noexcept


cdef extern from "mioconv/error.hpp" namespace "mioconv" nogil:
    cdef cppclass Status:
        Status() noexcept
        const char* call
        int code
        cbool hip
        cbool ok() noexcept
        cbool out_of_memory() noexcept
        cbool capture() noexcept

    Status status_of(const char* call, hipError_t code) noexcept
    Status status_of(const char* call, miopenStatus_t code) noexcept
    cbool capturing(const Api& api, hipStream_t stream) noexcept
    Status refused_in_capture(const char* call) noexcept


cdef extern from "mioconv/directions.hpp" namespace "mioconv" nogil:
    cpdef enum class Direction(int):
        forward
        backward_data
        backward_weights

    cdef enum Operand:
        X
        W
        Y

    Operand result_of(Direction direction) noexcept

    cdef cppclass Operands:
        void** data "data.data()"

    cdef cppclass DirectionCalls:
        Status solution_count(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, size_t*) noexcept
        Status solutions(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, size_t room,
            size_t* count, miopenConvSolution_t* list) noexcept
        Status compile(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, uint64_t id) noexcept
        Status run(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, void* workspace,
            size_t bytes, uint64_t id) noexcept
        Status workspace(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, size_t*) noexcept
        Status find(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, int room, int* count,
            miopenConvAlgoPerf_t* list, void* workspace, size_t bytes) noexcept
        Status solution_workspace(
            miopenHandle_t, const Operands&, miopenConvolutionDescriptor_t, uint64_t id,
            size_t* bytes) noexcept


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
        size_t bytes(Operand operand) noexcept
        cbool lies_channels_last() noexcept


cdef extern from "mioconv/tensor_view.hpp" namespace "mioconv" nogil:
    cdef cppclass TensorView:
        TensorView() noexcept
        void* data
        int64_t ndim
        int64_t* shape "shape.data()"
        int64_t* strides "strides.data()"
        miopenDataType_t dtype
        int device_type
        int device_id
        cbool read_only
        int array_library
        int64_t count() noexcept
        int64_t itemsize() noexcept
        int64_t bytes() noexcept
        cbool too_large() noexcept
        int64_t alignment() noexcept

    cbool lies_in(const TensorView& tensor, Layout layout) noexcept
    cbool only_channels_last(const TensorView& tensor) noexcept
    cbool same_memory(const TensorView& a, const TensorView& b) noexcept
    cbool overlaps_itself(const TensorView& tensor) noexcept
    cbool may_overlap(const TensorView& a, const TensorView& b) noexcept
    void set_dense_strides(TensorView& tensor, Layout layout) noexcept
    void describe_operand(
        ConvolutionParams& params, Operand operand, const TensorView& tensor) noexcept
    uint64_t checksum(const TensorView& tensor) noexcept
    void copy_on_host(const TensorView& source, const TensorView& target) noexcept


cdef extern from "mioconv/tensor_ops.hpp" namespace "mioconv" nogil:
    Status bias_gradient(
        const Api& api, miopenHandle_t handle, const TensorView& gradient,
        const TensorView& bias) noexcept
    Status transform(
        const Api& api, miopenHandle_t handle, const TensorView& source,
        const TensorView& target) noexcept
    Status accumulate(
        const Api& api, miopenHandle_t handle, const TensorView& source,
        const TensorView& target) noexcept


cdef extern from "mioconv/half_sum.hpp" namespace "mioconv" nogil:
    cdef cppclass HalfSum:
        void begin(miopenDataType_t dtype, int64_t count) except +
        void* data() noexcept
        size_t bytes() noexcept
        void add() noexcept
        void round() noexcept


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

    Status read_device_info(const Api& api, int device, DeviceInfo* info) except +

    cdef cppclass Device:
        const Api& api
        const int index
        const DeviceInfo info
        const int64_t architecture_hash
        HandlePool handles
        WorkspacePool workspaces

    cdef cppclass Devices:
        Devices() except +
        Status get(const Api& api, int index, Device** out) except +
        vector[Device*] all() except +
        void set_allocator(const Allocator* allocator) noexcept

    cdef cppclass CurrentDevice:
        Status set(const Api& api, int device) noexcept


cdef extern from "mioconv/stream.hpp" namespace "mioconv" nogil:
    Status order_streams(const Api& api, hipStream_t before, hipStream_t after) noexcept

    cdef cppclass PointerOwner:
        MemoryType type
        int device

    PointerOwner owner_of(const Api& api, const void* data) noexcept

    cdef cppclass DeviceMemory:
        Status allocate(const Api& api, int device, size_t bytes, hipStream_t stream) noexcept
        void* data() noexcept
        hipStream_t stream() noexcept
        int device() noexcept
        const Api* api() noexcept
        void share() noexcept
        void abandon() noexcept


cdef extern from "mioconv/stream_id.hpp" namespace "mioconv" nogil:
    cdef cppclass LastUse:
        Status note(const Api& api, hipStream_t stream, cbool by_event) noexcept
        Status wait(const Api& api, hipStream_t stream) noexcept
        cbool is_on(const Api& api, hipStream_t stream) noexcept
        cbool recorded() noexcept
        void abandon() noexcept


cdef extern from "mioconv/handle.hpp" namespace "mioconv" nogil:
    cdef cppclass HandlePool:
        pass

    cdef cppclass HandleLease:
        HandleLease() except +
        Status lease(HandlePool& pool, hipStream_t stream) except +
        cbool lease_idle(HandlePool& pool) noexcept
        Status use(hipStream_t stream) noexcept
        miopenHandle_t get() noexcept


cdef extern from "mioconv/workspace.hpp" namespace "mioconv" nogil:
    cdef cppclass MemoryStats:
        int64_t current, peak, reserved

    cdef struct Allocator:
        Status (*allocate)(
            const Api& api, int device, size_t bytes, hipStream_t stream,
            void** data) noexcept nogil
        void (*free)(void* data) noexcept nogil

    cdef cppclass WorkspacePool:
        void release_unused() except +
        MemoryStats stats() noexcept

    cdef cppclass Workspace:
        Workspace() except +
        Status lease(WorkspacePool& pool, size_t bytes, hipStream_t stream) except +
        void give_back() noexcept
        void use(hipStream_t stream) noexcept
        void* data() noexcept


cdef extern from "mioconv/timing.hpp" namespace "mioconv" nogil:
    cdef cppclass Timing:
        Status make(const Api& api) noexcept
        Status begin(hipStream_t stream, int calls) noexcept
        Status end(hipStream_t stream, float* ms) noexcept
        cbool disturbed() noexcept


cdef extern from "mioconv/solution.hpp" namespace "mioconv" nogil:
    cpdef enum class Source(int):
        heuristic
        measured
        pinned

    cdef cppclass Solution:
        Solution() noexcept
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
        cbool wrong
        int inspected

    const char* algorithm_name(miopenConvAlgorithm_t algorithm) noexcept


cdef extern from "mioconv/solver_names.hpp" namespace "mioconv" nogil:
    const char* solver_name(uint64_t id) noexcept
    miopenConvAlgorithm_t solver_algorithm(uint64_t id) noexcept
    const uint64_t[3][2] general_solvers


cdef extern from "mioconv/exclusions.hpp" namespace "mioconv" nogil:
    cbool name_of(const Api& api, uint64_t id, char* name, size_t size) noexcept

    cdef cppclass Exclusions:
        Exclusions() except +
        vector[uint64_t] ids
        vector[string] patterns
        cbool excludes(const Api& api, const Solution& solution) noexcept


cdef extern from "mioconv/entry.hpp" namespace "mioconv" nogil:
    cdef cppclass Choice:
        int64_t workspace_limit
        uint64_t pinned
        const Exclusions* exclusions
        cbool strict_accuracy
        vector[uint64_t] tried

    cdef cppclass Mutex "std::mutex":
        Mutex() except +
        void lock() noexcept
        void unlock() noexcept

    cdef enum class Turn "mioconv::Entry::Turn"(int):
        nothing
        mine
        later

    cdef cppclass Entry:
        Entry(Device& device, const ConvolutionParams& params) except +
        Status describe() noexcept
        miopenConvolutionDescriptor_t convolution() noexcept
        Operand result() noexcept
        Status add_bias(miopenHandle_t handle, const void* bias, void* data) noexcept
        Status add_scaled(miopenHandle_t handle, float alpha, const void* z, void* data) noexcept
        Status packed_size(miopenHandle_t handle, uint64_t id, size_t* bytes) noexcept
        Status pack_weights(
            miopenHandle_t handle, uint64_t id, const void* weights, void* packed,
            size_t bytes) noexcept
        cbool choose(const Choice& choice, Solution* out) noexcept
        cbool empty() noexcept
        void append(const Solution& solution) except +
        void confirm(uint64_t id, cbool applies, size_t workspace) except +
        void rank(vector[Solution] listed) except +
        void recall(const vector[Solution]& remembered, cbool complete) except +
        cbool pin(uint64_t id) except +
        Turn begin_search(const Choice& choice) noexcept
        void end_search() noexcept
        vector[Solution] solutions() except +
        vector[Solution] admitted(const Choice& choice) except +
        cbool any_runs() noexcept
        cbool sums_plainly() noexcept
        void mark_failed(uint64_t id) noexcept
        void mark_out_of_memory(uint64_t id) noexcept
        void mark_inspected(uint64_t id, int runs) noexcept
        void set_aside(uint64_t id, const string& fault) except +
        string fault(uint64_t id) except +
        cbool forget_out_of_memory() noexcept
        Device& device
        const ConvolutionParams params
        const DirectionCalls calls
        Operands operands


cdef extern from "mioconv/guarded_memory.hpp" namespace "mioconv" nogil:
    cdef cppclass GuardedMemory:
        Status lease(
            const Api& api, WorkspacePool& pool, size_t bytes, hipStream_t stream) except +
        Status restore() noexcept
        void give_back() noexcept
        void* data() noexcept
        Status look(cbool* intact) except +


cdef extern from "mioconv/inspection.hpp" namespace "mioconv" nogil:
    cdef cppclass PatternOperands:
        Status lease(const Entry& entry, Operands* operands, hipStream_t stream) except +
        Status lease(
            const Entry& entry, Operands* operands, hipStream_t stream,
            size_t weight_bytes) except +

    cdef cppclass Inspection:
        Status begin(
            const Entry& entry, const Operands& operands, hipStream_t stream,
            uint64_t seed) except +
        void begin(const Entry& entry, const PatternOperands& operands, uint64_t seed) except +
        cbool begun() noexcept
        cbool tells() except +
        Status look(
            const Entry& entry, const Solution& solution, const void* result, hipStream_t stream,
            string* fault) except +

    const int first_runs
    Status run_inspected(
        const Entry& entry, miopenHandle_t handle, Operands operands, const Solution& solution,
        hipStream_t stream, uint64_t seed, cbool* ran, int* looks, string* fault) except +
    Status run_on_pattern(
        const Entry& entry, miopenHandle_t handle, const Solution& solution, hipStream_t stream,
        string* fault) except +


cdef extern from "mioconv/fusion.hpp" namespace "mioconv" nogil:
    Status apply_relu(const Entry& entry, miopenHandle_t handle, void* data) noexcept
    cdef cppclass Epilogue:
        Epilogue() noexcept
        const void* bias
        const void* z
        float alpha
        cbool relu, bias_pending, z_pending, relu_pending, z_in_place, undone
        Status refusal
        cbool anything() noexcept
        cbool pending() noexcept

    cdef enum class Way "mioconv::Fusion::Way"(int):
        undecided
        fused
        separate

    cdef cppclass AtomicWay "std::atomic<mioconv::Fusion::Way>":
        Way load() noexcept
        void store(Way) noexcept

    cdef cppclass Fusion:
        Fusion(shared_ptr[Entry] convolution, cbool bias) except +
        Status run(const void* x, const void* w, void* y, const Epilogue& epilogue,
                   hipStream_t stream) except +
        Status run_inspected(
            const void* x, const void* w, void* y, const Epilogue& epilogue, hipStream_t stream,
            cbool* ran, string* fault) except +
        cbool begin_timing() noexcept
        AtomicWay way
        AtomicCount inspected


cdef extern from "mioconv/benchmark_cache.hpp" namespace "mioconv" nogil:
    cdef cppclass CacheCounters:
        int64_t hits, misses, evictions, entries

    # An array, indexed by direction.
    cdef cppclass CountersByDirection:
        CacheCounters& operator[](size_t) noexcept

    cdef cppclass BenchmarkCache[T]:
        BenchmarkCache(size_t capacity) except +
        shared_ptr[T] get_or_create(
            const ConvolutionParams& params,
            shared_ptr[T] (*build)(const ConvolutionParams&, void*) noexcept nogil,
            void* context) except +
        void clear() noexcept
        CountersByDirection counters() noexcept
        void set_capacity(size_t capacity) noexcept
        vector[shared_ptr[T]] values() except +


cdef extern from "mioconv/statistics.hpp" namespace "mioconv" nogil:
    cdef cppclass DirectionStatistics:
        AtomicCount finds, fallbacks, find_us

    cdef cppclass Statistics:
        DirectionStatistics& of(Direction direction) noexcept
        void clear() noexcept

    cdef cppclass CallRecord:
        CallRecord() noexcept
        int provider, direction, mode, way
        uint64_t solution_id
        int64_t workspace
        int tried

    CallRecord& last_call() noexcept
