#include "recipe.hpp"

#include <algorithm>
#include <atomic>

#include "activation_reorder.hpp"
#include "dnnl_error.hpp"
#include "half.hpp"
#include "weight_blocks.hpp"

namespace mioconv::cpu {
namespace {

using dnnl::memory;

std::atomic<std::size_t> scratch_gap{0};

std::size_t aligned(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

class RecipeBuilder {
public:
    explicit RecipeBuilder(const ConvProblem& problem) : problem_(problem) {
        recipe_.gap = scratch_gap.load(std::memory_order_relaxed);
    }

    // The caller's tensor as `wanted`; the buffer that holds it once the steps so far have run.
    int read(Role role, const memory::desc& wanted, int target = -1) {
        const std::size_t first = recipe_.steps.size();
        int buffer = caller(role);
        memory::desc have = recipe_.buffers[buffer].desc;
        if (converts(wanted)) {
            have = wide_desc(role);
            const bool arrived = same_layout(have, wanted);
            const int wide = arrived && target >= 0 ? target : scratch(have);
            convert(role, true, buffer, wide);
            buffer = wide;
        }
        if (!same_layout(have, wanted) || (target >= 0 && buffer != target)) {
            const int moved = target >= 0 ? target : scratch(wanted);
            reorder(role, buffer, moved);
            buffer = moved;
        }
        if (role == Role::z) {
            for (auto i = first; i < recipe_.steps.size(); ++i) recipe_.steps[i].fetches_z = true;
        }
        return buffer;
    }

    // The weights as `wanted`, which they are already where the caller packs them.
    int weights(const memory::desc& wanted) {
        if (problem_.packed_weights == 0) return read(Role::wei, wanted);
        const int own = caller(Role::wei);
        if (same_layout(recipe_.buffers[own].desc, wanted)) return own;
        recipe_.traffic.packed_bytes += static_cast<double>(recipe_.buffers[own].desc.get_size());
        recipe_.traffic.packed_bytes += static_cast<double>(wanted.get_size());
        return place(Role::wei, wanted);
    }

    // The weights as `transform` makes them.
    int weights(const WeightTransform& transform) {
        const memory::desc form = bytes_desc(transform.bytes);
        if (problem_.packed_weights != 0) {
            recipe_.traffic.transformed_bytes += static_cast<double>(transform.bytes);
            return place(Role::wei, form);
        }
        const int made = scratch(form);
        run_transform(transform, made);
        return made;
    }

    void run_transform(const WeightTransform& transform, int to) {
        Step step;
        step.routine = transform.routine;
        step.arguments = {{0, caller(Role::wei)}, {0, to}};
        recipe_.steps.push_back(std::move(step));
    }

    // Memory that the caller hands over in the place of a role, in a form that is not the role's.
    int place(Role role, const memory::desc& form) {
        recipe_.buffers.push_back({form, static_cast<int>(role), 0});
        return last_buffer();
    }

    static memory::desc bytes_desc(std::size_t bytes) {
        const memory::dims count = {static_cast<memory::dim>(bytes)};
        return {count, memory::data_type::u8, memory::format_tag::a};
    }

    // Where the convolution is to write an output of the form `given`: the caller's own memory if
    // that form is theirs.
    int output(Role role, const memory::desc& given) {
        const memory::desc own = caller_desc(problem_, role, dnnl_type(problem_.dtype));
        return same_layout(own, given) ? caller(role) : scratch(given);
    }

    // Takes an output to the caller's memory.
    void write(Role role, int buffer) {
        const memory::desc given = recipe_.buffers[buffer].desc;
        if (recipe_.buffers[buffer].role == static_cast<int>(role)) return;
        const int own = caller(role);
        if (!converts(given)) return reorder(role, buffer, own);
        const memory::desc wide = wide_desc(role);
        if (!same_layout(given, wide)) {
            const int moved = scratch(wide);
            reorder(role, buffer, moved);
            buffer = moved;
        }
        convert(role, false, own, buffer);
    }

    // The caller's tensor in floats: element for element where it has no gaps, else packed.
    memory::desc wide_desc(Role role) const {
        constexpr auto kFloat = memory::data_type::f32;
        return has_gaps(problem_, role) ? packed_desc(problem_, role, kFloat)
                                        : caller_desc(problem_, role, kFloat);
    }

    int caller(Role role) {
        recipe_.buffers.push_back(
            {caller_desc(problem_, role, dnnl_type(problem_.dtype)), static_cast<int>(role), 0});
        return last_buffer();
    }

    void primitive(const dnnl::primitive_desc_base& desc, std::vector<Argument> arguments) {
        const memory::desc scratchpad = desc.scratchpad_desc();
        if (const std::size_t bytes = scratchpad.get_size(); bytes > 0) {
            // All scratchpads share one place behind the buffers: steps run one after another.
            recipe_.buffers.push_back({scratchpad, -1, 0});
            scratchpads_.push_back(last_buffer());
            scratchpad_bytes_ = std::max(scratchpad_bytes_, bytes);
            arguments.push_back({DNNL_ARG_SCRATCHPAD, last_buffer()});
        }
        recipe_.primitives.push_back(desc);
        Step step;
        step.primitive = static_cast<int>(recipe_.primitives.size()) - 1;
        step.arguments = std::move(arguments);
        recipe_.steps.push_back(std::move(step));
    }

    // `primitive` may be empty.
    void routine(
        const dnnl::primitive_desc_base& primitive, std::shared_ptr<const Routine> routine,
        const std::vector<int>& operands, std::size_t workspace) {
        Step step;
        if (primitive) {
            recipe_.primitives.push_back(primitive);
            step.primitive = static_cast<int>(recipe_.primitives.size()) - 1;
        }
        step.routine = std::move(routine);
        for (const int buffer : operands) step.arguments.push_back({0, buffer});
        if (workspace > 0) step.arguments.push_back({0, scratch(bytes_desc(workspace))});
        if (problem_.has_bias != 0) step.arguments.push_back({0, caller(Role::bias)});
        recipe_.steps.push_back(std::move(step));
    }

    Recipe finish() {
        for (const int index : scratchpads_) recipe_.buffers[index].offset = bytes_;
        std::size_t total = bytes_ + aligned(scratchpad_bytes_);
        if (scratchpad_bytes_ > 0) total += recipe_.gap;
        recipe_.workspace = total == 0 ? 0 : total + kAlignment;
        recipe_.traffic.extra_steps = static_cast<int>(recipe_.steps.size()) - 1;
        return std::move(recipe_);
    }

private:
    int last_buffer() const { return static_cast<int>(recipe_.buffers.size()) - 1; }

    int scratch(const memory::desc& desc) {
        recipe_.buffers.push_back({desc, -1, bytes_});
        bytes_ += aligned(desc.get_size() + recipe_.gap);
        return last_buffer();
    }

    // Our own conversions know two cases: the caller's half type, and float.
    bool converts(const memory::desc& other) const {
        return other.get_data_type() != dnnl_type(problem_.dtype);
    }

    void convert(Role role, bool widens, int narrow, int wide) {
        Step step;
        step.from = narrow;
        step.to = wide;
        if (!widens) std::swap(step.from, step.to);
        Conversion& conversion = step.conversion;
        conversion.widens = widens;
        conversion.dtype = problem_.dtype;
        if (role == Role::bias) {
            conversion.rank = 1;
            conversion.dims[0] = problem_.dst[1];
            conversion.narrow_strides[0] = conversion.wide_strides[0] = 1;
        } else {
            conversion.rank = problem_.rank;
            conversion.dims = dims_of(problem_, role);
            conversion.narrow_strides = conversion.wide_strides = strides_of(problem_, role);
            if (has_gaps(problem_, role)) {
                conversion.wide_strides = packed_strides(
                    problem_.rank, conversion.dims, is_channels_last(problem_, role));
            }
        }
        recipe_.traffic.converted_bytes +=
            1.5 * static_cast<double>(recipe_.buffers[wide].desc.get_size());
        recipe_.steps.push_back(std::move(step));
    }

    void reorder(Role role, int from, int to) {
        dnnl::primitive_attr attr;
        attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        const auto& source = recipe_.buffers[from].desc;
        const auto& target = recipe_.buffers[to].desc;
        const bool plain = source.get_inner_nblks() == 0 && target.get_inner_nblks() == 0;
        double& bytes = role == Role::wei ? recipe_.traffic.weight_bytes
                        : plain           ? recipe_.traffic.transposed_bytes
                                          : recipe_.traffic.blocked_bytes;
        bytes += static_cast<double>(source.get_size()) + static_cast<double>(target.get_size());
        const int threads = threads_for(problem_);
        auto ours = role == Role::wei
                        ? make_weight_reorder(source, target, problem_.groups > 1, threads)
                        : make_activation_reorder(source, target, threads);
        if (ours != nullptr) {
            Step step;
            step.routine = std::move(ours);
            step.arguments = {{0, from}, {0, to}};
            recipe_.steps.push_back(std::move(step));
            return;
        }
        primitive(
            dnnl::reorder::primitive_desc(engine(), source, engine(), target, attr),
            {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
    }

    const ConvProblem& problem_;
    Recipe recipe_;
    std::vector<int> scratchpads_;
    std::size_t bytes_ = 0;
    std::size_t scratchpad_bytes_ = 0;
};

}  // namespace

void set_scratch_gap(std::size_t bytes) noexcept {
    scratch_gap.store(bytes, std::memory_order_relaxed);
}

Recipe make_recipe(const ConvProblem& problem, const dnnl::primitive_desc_base& conv) {
    RecipeBuilder builder(problem);
    const auto form = [&](int argument) {
        return conv.query_md(dnnl::query::exec_arg_md, argument);
    };
    if (problem.direction == Direction::forward) {
        const int src = builder.read(Role::src, form(DNNL_ARG_SRC));
        const int wei = builder.weights(form(DNNL_ARG_WEIGHTS));
        const int dst = builder.output(Role::dst, form(DNNL_ARG_DST));
        std::vector<Argument> arguments = {
            {DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, wei}, {DNNL_ARG_DST, dst}};
        if (problem.has_bias != 0) {
            arguments.push_back({DNNL_ARG_BIAS, builder.read(Role::bias, form(DNNL_ARG_BIAS))});
        }
        if (problem.has_sum != 0) builder.read(Role::z, form(DNNL_ARG_DST), dst);
        builder.primitive(conv, std::move(arguments));
        builder.write(Role::dst, dst);
    } else if (problem.direction == Direction::backward_data) {
        const int dst = builder.read(Role::dst, form(DNNL_ARG_DIFF_DST));
        const int wei = builder.weights(form(DNNL_ARG_WEIGHTS));
        const int src = builder.output(Role::src, form(DNNL_ARG_DIFF_SRC));
        builder.primitive(
            conv, {{DNNL_ARG_DIFF_DST, dst}, {DNNL_ARG_WEIGHTS, wei}, {DNNL_ARG_DIFF_SRC, src}});
        builder.write(Role::src, src);
    } else {
        const int src = builder.read(Role::src, form(DNNL_ARG_SRC));
        const int dst = builder.read(Role::dst, form(DNNL_ARG_DIFF_DST));
        const int wei = builder.output(Role::wei, form(DNNL_ARG_DIFF_WEIGHTS));
        builder.primitive(
            conv, {{DNNL_ARG_SRC, src}, {DNNL_ARG_DIFF_DST, dst}, {DNNL_ARG_DIFF_WEIGHTS, wei}});
        builder.write(Role::wei, wei);
    }
    return builder.finish();
}

Recipe make_packing_recipe(const ConvProblem& problem, const memory::desc& wanted) {
    RecipeBuilder builder(problem);
    if (!same_layout(caller_desc(problem, Role::wei, dnnl_type(problem.dtype)), wanted)) {
        builder.read(Role::wei, wanted, builder.place(Role::dst, wanted));
    }
    return builder.finish();
}

Recipe make_caller_recipe(
    const ConvProblem& problem, std::shared_ptr<const Routine> routine, std::size_t workspace,
    const dnnl::primitive_desc_base& primitive) {
    RecipeBuilder builder(problem);
    std::vector<int> operands;
    for (const Role role : {Role::src, Role::wei, Role::dst}) {
        operands.push_back(builder.caller(role));
    }
    if (problem.has_sum != 0) {
        const int result = operands.back();
        builder.read(Role::z, caller_desc(problem, Role::dst, dnnl_type(problem.dtype)), result);
    }
    builder.routine(primitive, std::move(routine), operands, workspace);
    return builder.finish();
}

Recipe make_converted_recipe(
    const ConvProblem& problem, std::shared_ptr<const Routine> routine, std::size_t workspace,
    const dnnl::primitive_desc_base& primitive) {
    RecipeBuilder builder(problem);
    const Role result = problem.direction == Direction::forward         ? Role::dst
                        : problem.direction == Direction::backward_data ? Role::src
                                                                        : Role::wei;
    std::vector<int> operands;
    int written = -1;
    for (const Role role : {Role::src, Role::wei, Role::dst}) {
        const auto wide = builder.wide_desc(role);
        operands.push_back(role == result ? builder.output(role, wide) : builder.read(role, wide));
        if (role == result) written = operands.back();
    }
    builder.routine(primitive, std::move(routine), operands, workspace);
    builder.write(result, written);
    return builder.finish();
}

Recipe make_routine_recipe(
    const ConvProblem& problem, const dnnl::primitive_desc_base& primitive,
    std::shared_ptr<const Routine> routine, const WeightTransform& transform,
    std::size_t workspace) {
    RecipeBuilder builder(problem);
    const auto last = [&](Role role) {
        return offered_desc(problem, role, Layout::channels_last, dnnl_type(problem.dtype));
    };
    const bool back = problem.direction == Direction::backward_data;
    const Role first = back ? Role::dst : Role::src, second = back ? Role::src : Role::dst;
    const int source = builder.read(first, last(first));
    if (problem.direction == Direction::backward_weights) {
        const int weights = builder.caller(Role::wei);
        const int gradient = builder.read(second, last(second));
        builder.routine(primitive, std::move(routine), {source, weights, gradient}, workspace);
    } else {
        const int weights = builder.weights(transform);
        const int result = builder.output(second, last(second));
        if (problem.has_sum != 0) builder.read(Role::z, last(second), result);
        builder.routine(primitive, std::move(routine), {source, weights, result}, workspace);
        builder.write(second, result);
    }
    return builder.finish();
}

Recipe make_packing_recipe(const ConvProblem& problem, const WeightTransform& transform) {
    RecipeBuilder builder(problem);
    builder.run_transform(
        transform, builder.place(Role::dst, RecipeBuilder::bytes_desc(transform.bytes)));
    return builder.finish();
}

}  // namespace mioconv::cpu
