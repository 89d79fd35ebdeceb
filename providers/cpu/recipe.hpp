// A recipe: what one solution does, step by step, and where its buffers lie in the workspace.
#pragma once

#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "layouts.hpp"

namespace mioconv::cpu {

// A piece of memory that steps read or write: the caller's tensor of a role, or a place in the
// workspace.
struct Buffer {
    dnnl::memory::desc desc;
    int role = -1;           // Role, or -1 for the workspace
    std::size_t offset = 0;  // in the workspace
};

// A conversion between the caller's half-precision tensor and floats.
struct Conversion {
    bool widens = true;  // else narrows, rounding to nearest even
    int rank = 0;
    std::int32_t dtype = miopenFloat;  // the narrow one
    Dims dims{}, narrow_strides{}, wide_strides{};
};

struct Argument {
    int name;    // DNNL_ARG_...
    int buffer;  // index
};

// A step of our own, made ready for one handle. `operands` are the addresses of the step's buffers.
class RoutineRun {
public:
    virtual ~RoutineRun() = default;
    virtual void run(const void* const* operands, dnnl_stream_t stream) = 0;
};

// A step of our own; it may use a compiled primitive.
class Routine {
public:
    virtual ~Routine() = default;
    virtual std::unique_ptr<RoutineRun> bind(const dnnl::primitive& primitive) const = 0;
};

struct Step {
    int primitive = -1;  // index into Recipe::primitives, or -1: a conversion
    std::vector<Argument> arguments;  // of the primitive or the routine
    std::shared_ptr<const Routine> routine;  // runs `primitive` itself, as it sees fit
    Conversion conversion;
    int from = -1, to = -1;  // buffers of the conversion
    bool fetches_z = false;  // not needed where z is the output itself
};

// What a cost model wants to know: bytes read and written on the way to and from the convolution.
struct Traffic {
    double transposed_bytes = 0;  // reorders between channels second and channels last
    double blocked_bytes = 0;  // reorders of activations to and from blocked layouts
    double weight_bytes = 0;  // reorders of weights
    double packed_bytes = 0;  // the same, left out: the weights come packed
    double transformed_bytes = 0;  // of weights that come transformed
    double converted_bytes = 0;
    int extra_steps = 0;
};

struct Recipe {
    std::vector<Buffer> buffers;
    std::vector<Step> steps;
    std::vector<dnnl::primitive_desc_base> primitives;
    // Describes the one that is left empty there, oneDNN's convolution, when it is compiled: some
    // descriptors take megabytes, and most solutions never run.
    std::function<dnnl::primitive_desc_base()> convolution;
    std::size_t workspace = 0;  // bytes, with room to align its start
    std::size_t gap = 0;  // bytes behind each buffer in the workspace that nothing may touch
    Traffic traffic;
};

constexpr std::size_t kAlignment = 64;

// For the fuzz: the gap of recipes that are made from now on.
void set_scratch_gap(std::size_t bytes) noexcept;

// The recipe that runs the convolution `conv` for the caller's tensors: conversions and reorders
// where its layouts or types are not theirs.
Recipe make_recipe(const ConvProblem& problem, const dnnl::primitive_desc_base& conv);

// The recipe of a routine that takes the caller's tensors as they are, with its primitive if it has
// one. Its operands are src, weights, dst (where what is fused adds z, it lies there before) and,
// if any, `workspace` bytes and the bias.
Recipe make_caller_recipe(
    const ConvProblem& problem, std::shared_ptr<const Routine> routine, std::size_t workspace = 0,
    const dnnl::primitive_desc_base& primitive = {});

// The recipe of a routine for float32 tensors that lie as the caller's half ones do, gaps excepted:
// on copies, without anything fused. Its operands are src, weights, dst and, if any, `workspace`
// bytes.
Recipe make_converted_recipe(
    const ConvProblem& problem, std::shared_ptr<const Routine> routine, std::size_t workspace,
    const dnnl::primitive_desc_base& primitive);

// What makes the weights, Role::wei, into those of the form `wanted`, written to Role::dst. Without
// steps: they are the caller's own.
Recipe make_packing_recipe(const ConvProblem& problem, const dnnl::memory::desc& wanted);

// A routine that makes the caller's weights into `bytes` bytes of another form.
struct WeightTransform {
    std::shared_ptr<const Routine> routine;  // its operands are the weights, and what it writes
    std::size_t bytes = 0;
};

// The recipe of a routine on channels-last activations. Its operands are what the convolution reads
// (the gradient of the output, for that of the input), the weights (transformed, but where their
// gradient is what is computed), the other activations (where what is fused adds z, it lies there
// before), `workspace` bytes, and the bias, if there is one.
Recipe make_routine_recipe(
    const ConvProblem& problem, const dnnl::primitive_desc_base& primitive,
    std::shared_ptr<const Routine> routine, const WeightTransform& transform,
    std::size_t workspace);

// What `transform` alone does: Role::wei to Role::dst.
Recipe make_packing_recipe(const ConvProblem& problem, const WeightTransform& transform);

}  // namespace mioconv::cpu
