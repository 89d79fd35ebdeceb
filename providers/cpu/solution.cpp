#include "solution.hpp"

#include <algorithm>

#include "common/fork_gate.hpp"
#include "common/solution_names.hpp"
#include "cost_model.hpp"
#include "cpu_regions.hpp"
#include "defects.hpp"
#include "depthwise.hpp"
#include "direct_rows.hpp"
#include "dnnl_error.hpp"
#include "host_memory.hpp"
#include "implementation_name.hpp"
#include "matmul.hpp"
#include "naive.hpp"
#include "small_direct.hpp"
#include "threads.hpp"
#include "winograd.hpp"

namespace mioconv::cpu {
namespace {

using dnnl::memory;
using provider::Admission;
using provider::Form;

miopenConvAlgorithm_t algorithm_of(const std::string& name) {
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    if (has("wino")) return miopenConvolutionAlgoWinograd;  // before the product that it uses
    if (has("gemm") || has("matmul")) return miopenConvolutionAlgoGEMM;
    if (has("brg") || has("brdgmm")) return miopenConvolutionAlgoImplicitGEMM;
    return miopenConvolutionAlgoDirect;
}

Form form_of(const memory::desc& activations) {
    if (activations.get_inner_nblks() > 0) return Form::blocked;
    const auto strides = activations.get_strides();
    return strides[1] == 1 && activations.get_dims()[1] > 1 ? Form::channels_last : Form::packed;
}

struct Strategy {
    const char* name;
    Layout activations;
    Layout weights;
};

// "plain" lets the implementation choose the layout of the weights only, "blocked" of everything.
// Where two come out the same, the first one named here stays.
constexpr Strategy kStrategies[] = {
    {"asis", Layout::as_is, Layout::as_is},
    {"plain", Layout::as_is, Layout::any},
    {"nhwc", Layout::channels_last, Layout::any},
    {"blocked", Layout::any, Layout::any},
    {"channel_blocks", Layout::channel_blocks, Layout::any},  // depthwise only
};

struct Geometry {
    memory::dims stride, dilation, pad_before, pad_after;

    explicit Geometry(const ConvProblem& problem) {
        for (int i = 0; i < problem.rank - 2; ++i) {
            stride.push_back(problem.stride[i]);
            dilation.push_back(problem.dilation[i] - 1);  // oneDNN counts the gaps
            pad_before.push_back(problem.padding[i]);
            pad_after.push_back(padding_after(problem, i));
        }
    }
};

dnnl::primitive_attr make_attributes(const ConvProblem& problem) {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    attr.set_fpmath_mode(dnnl::fpmath_mode::strict);  // whatever the environment says
    dnnl::post_ops ops;
    if (problem.has_sum != 0) ops.append_sum(problem.sum_scale);
    if (problem.fused == Fused::relu) {
        // oneDNN's own ReLU turns NaN into 0. ELU with alpha 0 is ReLU that keeps NaN, and adding
        // zero turns its -0 into 0.
        ops.append_eltwise(dnnl::algorithm::eltwise_elu, 0.f, 0.f);
        ops.append_eltwise(dnnl::algorithm::eltwise_linear, 1.f, 0.f);
    } else if (problem.fused == Fused::leaky_relu) {
        ops.append_eltwise(dnnl::algorithm::eltwise_relu, problem.slope, 0.f);
    }
    attr.set_post_ops(ops);
    return attr;
}

// oneDNN advances a descriptor in place from one implementation to the next.
dnnl::primitive_desc_base clone(const dnnl::primitive_desc_base& desc) {
    dnnl_primitive_desc_t copy = nullptr;
    check(dnnl_primitive_desc_clone(&copy, desc.get()));
    dnnl::primitive_desc_base result;
    result.reset(copy);
    return result;
}

// Whether to describe channels-last activations costs more than it can gain. Where the last axis is
// padded by more than half of the kernel's reach, oneDNN's brgconv, which comes before the others
// in its list, prepares for every width up to that of the rows: 0.1 ms a column. A column's own
// work is to be ten times that, at 50 multiply-adds a nanosecond.
bool takes_long_to_describe(const ConvProblem& problem) {
    const int last = problem.rank - 1, axis = last - 2;
    const std::int64_t reach = std::int64_t{problem.dilation[axis]} * (problem.wei[last] - 1);
    std::int64_t padding = problem.padding[axis], columns = problem.dst[last];
    if (problem.direction == Direction::backward_data) {
        if (problem.stride[axis] != 1) return false;  // another implementation
        padding = reach - padding;  // as the convolution by the flipped weights
        columns = problem.src[last];
    }
    return problem.direction != Direction::backward_weights && 2 * padding > reach &&
           provider::flops(problem) / 2 < 5e5 * static_cast<double>(columns);
}

// Hands oneDNN's descriptor of the problem, for one strategy, to `use`: the first implementation,
// from which it can be advanced to the others. Empty where there is none.
template <class Use>
void describe(
    const ConvProblem& problem, const Strategy& strategy, memory::data_type type, Use&& use) {
    const Geometry g(problem);
    const auto attr = make_attributes(problem);
    // Gradients of weights add up in float and are rounded once, by us.
    const auto weights_type =
        problem.direction == Direction::backward_weights ? memory::data_type::f32 : type;
    constexpr auto kDirect = dnnl::algorithm::convolution_direct;
    const auto src = offered_desc(problem, Role::src, strategy.activations, type);
    const auto dst = offered_desc(problem, Role::dst, strategy.activations, type);
    const auto wei = offered_desc(problem, Role::wei, strategy.weights, weights_type);
    if (problem.direction == Direction::forward) {
        const auto bias =
            problem.has_bias != 0 ? caller_desc(problem, Role::bias, type) : memory::desc();
        return use(dnnl::convolution_forward::primitive_desc(
            engine(), dnnl::prop_kind::forward_inference, kDirect, src, wei, bias, dst, g.stride,
            g.dilation, g.pad_before, g.pad_after, attr, true));
    }
    // The gradients ask for a forward descriptor as a hint.
    const auto any = [&](Role role) { return offered_desc(problem, role, Layout::any, type); };
    const dnnl::convolution_forward::primitive_desc hint(
        engine(), dnnl::prop_kind::forward_training, kDirect, any(Role::src), any(Role::wei),
        any(Role::dst), g.stride, g.dilation, g.pad_before, g.pad_after, attr, true);
    if (!hint) return;
    if (problem.direction == Direction::backward_data) {
        use(dnnl::convolution_backward_data::primitive_desc(
            engine(), kDirect, src, wei, dst, g.stride, g.dilation, g.pad_before, g.pad_after, hint,
            attr, true));
    } else {
        use(dnnl::convolution_backward_weights::primitive_desc(
            engine(), kDirect, src, wei, dst, g.stride, g.dilation, g.pad_before, g.pad_after, hint,
            attr, true));
    }
}

// The implementation at that place among those of one strategy.
dnnl::primitive_desc_base describe_again(
    const ConvProblem& problem, const Strategy& strategy, memory::data_type type, int place) {
    dnnl::primitive_desc_base found;
    describe(problem, strategy, type, [&](auto desc) {
        for (int i = 0; desc && i < place; ++i) {
            if (!desc.next_impl()) return;
        }
        found = std::move(desc);
    });
    provider::require(static_cast<bool>(found), miopenStatusInternalError);
    return found;
}

class Enumerator {
public:
    explicit Enumerator(const ConvProblem& problem)
        : problem_(problem),
          threads_(threads_for(problem)),
          classes_(provider::classes_of(problem, threads_)) {}

    std::vector<SolutionPtr> run() {
        ThreadScope scope(threads_);
        offer(dnnl_type(problem_.dtype), "");
        if (found_.empty() && problem_.dtype != miopenFloat) {
            offer(memory::data_type::f32, "+f32");  // the CPU lacks the type: convert inside
        } else if (problem_.dtype == miopenBFloat16 && only_products()) {
            // What else there is in bfloat16 was found wrong here. Converted, the work is that of
            // float32, a tenth of the time of oneDNN's product of so many parts.
            as_float_ = true;
            offer(memory::data_type::f32, "+f32");
        }
        std::vector<SolutionPtr> solutions;
        const bool packs = problem_.packed_weights != 0;
        const auto add = [&](Recipe recipe, const std::string& name, Recipe packing = {},
                             const Found* found = nullptr) {
            provider::Basis basis{"own", Form::packed, classes_};
            if (found != nullptr) basis = found->basis;
            solutions.push_back(std::make_shared<const Solution>(
                problem_, std::move(recipe), name, threads_, std::move(packing), basis));
        };
        for (const auto& item : found_.empty() ? references_ : found_) {
            const auto form = item.conv.query_md(dnnl::query::exec_arg_md, DNNL_ARG_WEIGHTS);
            Recipe recipe = make_recipe(problem_, item.conv);
            for (auto& primitive : recipe.primitives) {
                if (primitive.get() == item.conv.get()) primitive = {};
            }
            recipe.convolution = item.again;
            add(std::move(recipe), item.name,
                packs ? make_packing_recipe(problem_, form) : Recipe{}, &item);
        }
        if (small_direct_applies(problem_)) {
            add(make_small_direct_recipe(problem_), "small_direct|asis");
        }
        if (depthwise_applies(problem_)) {
            add(make_depthwise_recipe(problem_, threads_), "depthwise|asis");
        }
        if (direct_rows_applies(problem_)) {
            add(make_direct_rows_recipe(problem_, threads_), "direct_rows|asis");
        }
        ThreadScope one(1);  // a product runs on one thread, beside the others
        // In half types for those that have little else.
        const bool is_float = problem_.dtype == miopenFloat;
        if (matmul_applies(problem_) && (is_float || as_float_)) {
            if (const auto product = matmul_product(problem_, threads_)) {
                add(make_matmul_recipe(problem_, threads_, product),
                    std::string("matmul:") + product.impl_info_str() + "|asis" +
                        (is_float ? "" : "+f32"));
            }
        }
        if (!winograd_applies(problem_)) return solutions;
        for (const int m : {2, 4}) {
            const auto product = winograd_product(problem_, m, threads_);
            if (!product) continue;
            const std::string size = std::to_string(m) + "x" + std::to_string(m);
            add(make_winograd_recipe(problem_, m, threads_, product),
                "winograd_" + size + ":" + product.impl_info_str() + "|nhwc",
                packs ? make_packing_recipe(problem_, winograd_transform(problem_, m, threads_))
                      : Recipe{});
        }
        return solutions;
    }

private:
    struct Found {
        dnnl::primitive_desc_base conv;
        std::string name, implementation;
        provider::Basis basis;
        std::function<dnnl::primitive_desc_base()> again;
    };

    bool only_products() const {
        return std::all_of(found_.begin(), found_.end(), [](const Found& item) {
            return is_product(item.implementation);
        });
    }

    bool has_channels_last(const Strategy& strategy) const {
        return strategy.activations == Layout::channels_last ||
               (strategy.activations == Layout::as_is &&
                (is_channels_last(problem_, Role::src) || is_channels_last(problem_, Role::dst)));
    }

    void offer(memory::data_type type, const char* suffix) {
        const bool avoids_channels_last = takes_long_to_describe(problem_);
        for (const Strategy& strategy : kStrategies) {
            if (strategy.activations == Layout::channel_blocks && !is_depthwise(problem_)) continue;
            // In float16 brgconv is all that there is, whoever chooses the layout.
            if (avoids_channels_last &&
                (has_channels_last(strategy) || type == memory::data_type::f16)) {
                continue;
            }
            const auto label = [&](const std::string& implementation) {
                return implementation + "|" + strategy.name + suffix;
            };
            const auto again = [this, &strategy, type](int place) {
                return [problem = problem_, &strategy, type, place] {
                    return describe_again(problem, strategy, type, place);
                };
            };
            describe(problem_, strategy, type, [&](auto desc) {
                collect(std::move(desc), label, again);
            });
        }
    }

    template <class Desc, class Label, class Again>
    void collect(Desc desc, const Label& label, const Again& again) {
        if (!desc) return;
        // Of this strategy: the first one that is admitted has the best set.
        std::vector<std::string> kinds;
        int place = -1;
        do {
            ++place;
            const std::string implementation = desc.impl_info_str();
            const std::string kind = kind_of(implementation);
            if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) continue;
            const int activations =
                problem_.direction == Direction::backward_data ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC;
            provider::Basis basis{
                region_name(implementation),
                form_of(desc.query_md(dnnl::query::exec_arg_md, activations)), classes_};
            // References are what all others are compared with, and come when nothing else is left.
            if (!provider::admits_all() && !is_reference(implementation) &&
                admission_of(basis, admitted_as()) == Admission::refused) {
                continue;
            }
            if (as_float_ && (is_reference(implementation) || is_product(implementation))) continue;
            if (is_unusable(implementation, problem_)) continue;
            kinds.push_back(kind);
            Found item{
                clone(desc), label(implementation), implementation, std::move(basis), again(place)};
            auto& list = is_reference(implementation) ? references_ : found_;
            const bool known = std::any_of(list.begin(), list.end(), [&](const Found& other) {
                return same_work(item, other);
            });
            if (!known) list.push_back(std::move(item));
        } while (desc.next_impl());
    }

    bool same_work(const Found& a, const Found& b) const {
        if (a.implementation != b.implementation) return false;
        static constexpr int kArguments[] = {DNNL_ARG_SRC,          DNNL_ARG_WEIGHTS,
                                             DNNL_ARG_DST,          DNNL_ARG_DIFF_SRC,
                                             DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST};
        return std::all_of(std::begin(kArguments), std::end(kArguments), [&](int argument) {
            return same_layout(
                a.conv.query_md(dnnl::query::exec_arg_md, argument),
                b.conv.query_md(dnnl::query::exec_arg_md, argument));
        });
    }

    // By what rows of the regions: those of float32 where that is computed although there are
    // implementations in the problem's own type.
    ConvProblem admitted_as() const {
        ConvProblem problem = problem_;
        if (as_float_) problem.dtype = miopenFloat;
        return problem;
    }

    const ConvProblem& problem_;
    int threads_;
    provider::Classes classes_;
    bool as_float_ = false;
    std::vector<Found> found_, references_;
};

}  // namespace

Solution::Solution(
    const ConvProblem& problem, Recipe recipe, std::string name, int threads, Recipe packing,
    provider::Basis basis)
    : name_(std::move(name)),
      basis_(std::move(basis)),
      id_(provider::register_solution_name(name_)),
      algorithm_(algorithm_of(name_)),
      threads_(threads),
      recipe_(std::move(recipe)),
      estimate_ms_(cpu::estimate_ms(problem, name_, recipe_.traffic, threads)) {
    if (packing.steps.empty()) return;
    packing_ = std::make_shared<const Solution>(problem, std::move(packing), name_, threads);
}

bool Solution::last_resort() const noexcept { return name_ == kNaive; }

std::size_t Solution::packed_bytes() const noexcept {
    if (packing_ == nullptr) return 0;
    for (const Buffer& buffer : packing_->recipe().buffers) {
        if (buffer.role == static_cast<int>(Role::dst)) return buffer.desc.get_size();
    }
    return 0;
}

const std::vector<dnnl::primitive>& Solution::compile() const {
    const provider::ForkGate gate;
    std::lock_guard lock(mutex_);
    if (primitives_.empty()) {
        std::vector<dnnl::primitive> made;
        for (const Step& step : recipe_.steps) {
            if (step.primitive < 0) continue;
            require_address_space(threads_);
            ThreadScope scope(step.routine != nullptr ? 1 : threads_);
            auto description = recipe_.primitives[static_cast<std::size_t>(step.primitive)];
            if (!description) description = recipe_.convolution();
            made.emplace_back(description.get());
            note_made(description);
        }
        if (!made.empty()) require_address_space(threads_);  // else they may lack parts
        primitives_ = std::move(made);
    }
    return primitives_;
}

std::vector<SolutionPtr> enumerate_solutions(const ConvProblem& problem) {
    if (problem.dtype != miopenFloat && problem.dtype != miopenHalf &&
        problem.dtype != miopenBFloat16) {
        return {};
    }
    auto solutions = Enumerator(problem).run();
    // As MIOpen has it, a caller without scratch memory is served, if slowly. With packed weights
    // more solutions need none, and the list must have all that the one without them has.
    const bool any_free = std::any_of(
        solutions.begin(), solutions.end(),
        [](const SolutionPtr& solution) { return solution->workspace() == 0; });
    if ((!any_free || problem.packed_weights != 0) && naive_applies(problem)) {
        const int threads = threads_for(problem);
        solutions.push_back(std::make_shared<const Solution>(
            problem, make_naive_recipe(problem, threads), kNaive, threads));
    }
    return solutions;
}

}  // namespace mioconv::cpu
