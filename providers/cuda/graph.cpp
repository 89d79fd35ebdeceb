#include "graph.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <list>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "common/strides.hpp"
#include "error.hpp"

namespace mioconv::cuda {
namespace {

namespace fe = cudnn_frontend;
using provider::Direction;
using provider::Fused;

cudnnDataType_t cudnn_type(std::int32_t dtype) noexcept {
    if (dtype == miopenHalf) return CUDNN_DATA_HALF;
    return dtype == miopenBFloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

// Builders share a handle, which is for one thread at a time.
std::recursive_mutex& building() {
    static auto* const mutex = new std::recursive_mutex;
    return *mutex;
}

cudnnHandle_t builders_handle(int device) {
    static auto* const handles = new std::unordered_map<int, cudnnHandle_t>;
    std::lock_guard lock(building());
    cudnnHandle_t& handle = (*handles)[device];
    if (handle == nullptr) check(cudnn().cudnnCreate(&handle));
    return handle;
}

constexpr std::int64_t kFirstVirtual = 100;

class Builder {
public:
    Builder(const ConvProblem& problem, const Layout& layout)
        : problem_(problem), layout_(layout) {}

    fe::OperationGraph_v8 build(cudnnHandle_t handle) {
        const bool fused =
            problem_.direction == Direction::forward &&
            (problem_.has_bias != 0 || problem_.has_sum != 0 || problem_.fused != Fused::none);
        steps_ =
            (problem_.has_sum != 0) + (problem_.has_bias != 0) + (problem_.fused != Fused::none);
        if (fused) {
            build_fused();
        } else {
            operations_.push_back(
                convolution(tensor(Role::src), tensor(Role::wei), tensor(Role::dst)));
        }
        return fe::OperationGraphBuilder_v8()
            .setHandle(handle)
            .setOperationGraph(operations_)
            .build();
    }

private:
    // The convolution's own result and what follows it stay inside, in float.
    void build_fused() {
        std::list<fe::Tensor_v8> results;
        results.push_back(next(0));
        operations_.push_back(convolution(tensor(Role::src), tensor(Role::wei), results.back()));
        const auto follow = [&](const fe::Tensor_v8* other, float scale, const auto& description) {
            const fe::Tensor_v8& last = results.back();
            const int step = static_cast<int>(results.size());
            results.push_back(next(step));
            fe::OperationBuilder_v8 builder(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
            builder.setxDesc(last).setyDesc(results.back()).setpwDesc(description);
            if (other != nullptr) builder.setbDesc(*other).setAlpha(1.f).setAlpha2(scale);
            operations_.push_back(builder.build());
        };
        const auto sum = pointwise(CUDNN_POINTWISE_ADD, 0);
        if (problem_.has_sum != 0) {
            const fe::Tensor_v8 z = tensor(Role::z);
            follow(&z, problem_.sum_scale, sum);
        }
        if (problem_.has_bias != 0) {
            const fe::Tensor_v8 b = bias();
            follow(&b, 1, sum);
        }
        if (problem_.fused != Fused::none) {
            follow(nullptr, 1, pointwise(CUDNN_POINTWISE_RELU_FWD, problem_.slope));
        }
    }

    // The result of a step: the output itself after the last one.
    fe::Tensor_v8 next(int step) {
        if (step == steps_) return tensor(Role::dst);
        return describe(
            layout_.dims[static_cast<int>(Role::dst)], layout_.strides[static_cast<int>(Role::dst)],
            kFirstVirtual + step, CUDNN_DATA_FLOAT, true);
    }

    fe::Tensor_v8 tensor(Role role) {
        const Role laid = role == Role::z ? Role::dst : role;
        return describe(
            layout_.dims[static_cast<int>(laid)], layout_.strides[static_cast<int>(laid)],
            uid_of(role), cudnn_type(problem_.dtype), false);
    }

    fe::Tensor_v8 bias() {
        Dims dims{};
        dims.fill(1);
        dims[1] = problem_.dst[1];
        const Dims& as = layout_.strides[static_cast<int>(Role::dst)];
        const bool last = as[1] == 1;
        return describe(
            dims, provider::packed_strides(problem_.rank, dims, last), uid_of(Role::bias),
            cudnn_type(problem_.dtype), false);
    }

    fe::Tensor_v8 describe(
        const Dims& dims, const Dims& strides, std::int64_t uid, cudnnDataType_t type,
        bool is_virtual) {
        return fe::TensorBuilder_v8()
            .setDim(problem_.rank, dims.data())
            .setStride(problem_.rank, strides.data())
            .setId(uid)
            .setAlignment(kOperandAlignment)
            .setDataType(type)
            .setVirtual(is_virtual)
            .build();
    }

    static fe::PointWiseDesc_v8 pointwise(cudnnPointwiseMode_t mode, float slope) {
        fe::PointWiseDescBuilder_v8 builder;
        builder.setMode(mode).setComputeType(CUDNN_DATA_FLOAT);
        if (slope != 0) builder.setReluLowerClipSlope(slope);
        return builder.build();
    }

    fe::Operation_v8 convolution(
        const fe::Tensor_v8& src, const fe::Tensor_v8& wei, const fe::Tensor_v8& dst) {
        const int spatial = problem_.rank - 2;
        std::array<std::int64_t, provider::kMaxSpatial> padding{}, stride{}, dilation{};
        std::copy_n(problem_.padding.begin(), spatial, padding.begin());
        if (layout_.gathers) {
            std::fill_n(stride.begin(), spatial, 1);
        } else {
            std::copy_n(problem_.stride.begin(), spatial, stride.begin());
        }
        std::copy_n(problem_.dilation.begin(), spatial, dilation.begin());
        const auto geometry = fe::ConvDescBuilder_v8()
                                  .setComputeType(CUDNN_DATA_FLOAT)
                                  .setMathMode(CUDNN_CROSS_CORRELATION)
                                  .setSpatialDimCount(spatial)
                                  .setSpatialStride(spatial, stride.data())
                                  .setPrePadding(spatial, padding.data())
                                  .setPostPadding(spatial, padding.data())
                                  .setDilation(spatial, dilation.data())
                                  .build();
        switch (problem_.direction) {
            case Direction::forward:
                return fe::OperationBuilder_v8(
                           CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
                    .setxDesc(src)
                    .setwDesc(wei)
                    .setyDesc(dst)
                    .setcDesc(geometry)
                    .setAlpha(1.f)
                    .setBeta(0.f)
                    .build();
            case Direction::backward_data:
                return fe::OperationBuilder_v8(
                           CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)
                    .setdxDesc(src)
                    .setwDesc(wei)
                    .setdyDesc(dst)
                    .setcDesc(geometry)
                    .setAlpha(1.f)
                    .setBeta(0.f)
                    .build();
            default:
                return fe::OperationBuilder_v8(
                           CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR)
                    .setxDesc(src)
                    .setdwDesc(wei)
                    .setdyDesc(dst)
                    .setcDesc(geometry)
                    .setAlpha(1.f)
                    .setBeta(0.f)
                    .build();
        }
    }

    const ConvProblem& problem_;
    const Layout& layout_;
    int steps_ = 0;
    std::vector<fe::Operation_v8> operations_;
};

std::vector<fe::ManagedOpaqueDescriptor> make_descriptors(
    cudnnBackendDescriptorType_t type, std::size_t count) {
    std::vector<fe::ManagedOpaqueDescriptor> made;
    for (std::size_t i = 0; i < count; ++i) {
        made.push_back(fe::make_shared_backend_pointer(type));
        check(made.back()->get_status());
    }
    return made;
}

std::int64_t engine_number(cudnnBackendDescriptor_t configuration) {
    const auto engine = make_descriptors(CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
    cudnnBackendDescriptor_t engine_ = engine[0]->get_backend_descriptor();
    std::int64_t count = 0, number = 0;
    check(fe::detail::get_attribute(
        configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
        &engine_));
    check(fe::detail::get_attribute(
        engine_, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, &number));
    return number;
}

// The engine's number and its knobs, much as cudnn-frontend writes them.
std::string configuration_name(cudnnBackendDescriptor_t configuration) {
    // What mixes elements before it sums them has errors of another kind: the name says so.
    std::string name;
    if (fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_FFT>(configuration)) name = "fft_";
    if (fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_WINOGRAD>(configuration)) name = "winograd_";
    name += "eng" + std::to_string(engine_number(configuration));

    std::int64_t count = 0;
    const auto knobs =
        make_descriptors(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS);
    std::vector<cudnnBackendDescriptor_t> knobs_;
    for (const auto& knob : knobs) knobs_.push_back(knob->get_backend_descriptor());
    check(fe::detail::get_attribute(
        configuration, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
        static_cast<std::int64_t>(knobs_.size()), &count, knobs_.data()));
    std::vector<std::pair<int, std::int64_t>> choices;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(count, CUDNN_KNOB_TYPE_COUNTS); ++i) {
        cudnnBackendKnobType_t type = CUDNN_KNOB_TYPE_COUNTS;
        std::int64_t value = 0;
        check(fe::detail::get_attribute(
            knobs_[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, nullptr, &type));
        check(fe::detail::get_attribute(
            knobs_[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, nullptr, &value));
        choices.emplace_back(static_cast<int>(type), value);
    }
    std::sort(choices.begin(), choices.end());
    for (const auto& [type, value] : choices) {
        name += "_k" + std::to_string(type) + "=" + std::to_string(value);
    }
    return name;
}

// Sums are in float, and rounded once. Engines that do otherwise say so in a note, with exceptions
// on either side; those that say nothing are left out by the regions.
bool rounds_between(const ConvProblem& problem, cudnnBackendDescriptor_t configuration) {
    if (problem.dtype != miopenFloat) {
        const std::int64_t number = engine_number(configuration);
        // For first layers: its results are those of float sums, whatever its note says.
        if (problem.direction == Direction::forward && number == 63) return false;
    }
    return fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS>(configuration) ||
           fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION>(configuration);
}

// Whether several blocks have parts of one sum, which they may round before they add them: knobs 0
// (in so many parts) and 25 (the parts lie in the workspace).
bool shares_sums(const std::string& name) {
    const auto knob = [&](const std::string& key) {
        const std::size_t at = name.find(key);
        return at == std::string::npos ? 0 : std::atoi(name.c_str() + at + key.size());
    };
    return knob("_k0=") > 1 || knob("_k25=") > 0;
}

bool is_forbidden(const ConvProblem& problem, cudnnBackendDescriptor_t configuration) {
    if (rounds_between(problem, configuration)) return true;
    if (problem.dtype == miopenFloat && problem.strict_math != 0 &&
        fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_TENSOR_CORE>(configuration)) {
        return true;
    }
    return problem.deterministic != 0 &&
           fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC>(configuration);
}

fe::OperationGraph_v8 make_graph(
    const ConvProblem& problem, const Layout& layout, cudnnHandle_t handle) {
    std::lock_guard lock(building());
    return Builder(problem, layout).build(handle);
}

// cuDNN 9.14 to 9.19: asked for proposals, it divides by zero for some gradients of the input whose
// stride and dilation have a common divisor, as strides (2, 6) with dilations (1, 2). The process
// ends, in every mode of the heuristics, when they come to the engines that are compiled at run
// time.
bool proposing_ends_process(const ConvProblem& problem) {
    if (problem.direction != Direction::backward_data) return false;
    for (int axis = 0; axis < problem.rank - 2; ++axis) {
        if (std::gcd(problem.stride[axis], problem.dilation[axis]) > 1) return true;
    }
    return false;
}

// The engines that the fallbacks begin with, for every problem, with cuDNN's choice of knobs.
std::vector<fe::ManagedOpaqueDescriptor> general_engines(const fe::OperationGraph_v8& operations) {
    std::vector<fe::ManagedOpaqueDescriptor> found;
    for (const std::int64_t number : {1, 25, 0}) {
        try {
            const auto engine = fe::EngineBuilder_v8()
                                    .setOperationGraph(operations)
                                    .setGlobalEngineIdx(number)
                                    .build();
            found.push_back(fe::EngineConfigBuilder_v8().setEngine(engine).build().get_desc());
        } catch (fe::cudnnException& failure) {
            if (to_miopen(failure.getCudnnStatus()) == miopenStatusAllocFailed) throw;
        }
    }
    return found;
}

std::vector<fe::ManagedOpaqueDescriptor> proposals(
    fe::OperationGraph_v8& operations, cudnnBackendHeurMode_t mode) {
    auto heuristics =
        fe::EngineHeuristicsBuilder_v8().setOperationGraph(operations).setHeurMode(mode).build();
    return heuristics.getEngineConfig(heuristics.getEngineConfigCount());
}

}  // namespace

std::int64_t uid_of(Role role) noexcept { return 1 + static_cast<std::int64_t>(role); }

Graph::Graph(const ConvProblem& problem, const Layout& layout)
    : problem_(problem),
      handle_(builders_handle(problem.place)),
      operations_(make_graph(problem, layout, handle_)) {}

std::vector<Configuration> Graph::configurations(cudnnBackendHeurMode_t mode) {
    std::lock_guard lock(building());
    std::vector<Configuration> found;
    try {
        for (auto& each : proposing_ends_process(problem_) ? general_engines(operations_)
                                                           : proposals(operations_, mode)) {
            std::string name = configuration_name(each->get_backend_descriptor());
            if (is_forbidden(problem_, each->get_backend_descriptor())) continue;
            std::string engine =
                "eng" + std::to_string(engine_number(each->get_backend_descriptor()));
            if (shares_sums(name)) engine += "_split";
            found.push_back({std::move(name), std::move(engine), each});
        }
    } catch (fe::cudnnException& failure) {
        // A graph that cuDNN does not compute has no proposals, which is an answer.
        if (to_miopen(failure.getCudnnStatus()) == miopenStatusAllocFailed) throw;
    }
    return found;
}

fe::ExecutionPlan_v8 Graph::plan(const Configuration& configuration) {
    std::lock_guard lock(building());
    return fe::ExecutionPlanBuilder_v8()
        .setHandle(handle_)
        .setEngineConfig(configuration.descriptor, operations_.getTag())
        .build();
}

}  // namespace mioconv::cuda
