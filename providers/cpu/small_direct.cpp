#include "small_direct.hpp"

#include "spatial.hpp"

namespace mioconv::cpu {
namespace {

constexpr double kMostFlops = 4000;

class SmallDirect final : public RoutineRun {
public:
    explicit SmallDirect(const ConvProblem& problem)
        : direction_(problem.direction),
          images_(problem.src[0]),
          groups_(problem.groups),
          channels_(problem.wei[1]),
          outputs_(problem.dst[1] / problem.groups),
          src_(tensor_of(problem, Role::src)),
          wei_(tensor_of(problem, Role::wei)),
          dst_(tensor_of(problem, Role::dst)),
          window_(window_of(problem)) {}

    void run(const void* const* operands, dnnl_stream_t) override {
        auto* const src = static_cast<float*>(const_cast<void*>(operands[0]));
        auto* const wei = static_cast<float*>(const_cast<void*>(operands[1]));
        auto* const dst = static_cast<float*>(const_cast<void*>(operands[2]));
        if (direction_ == Direction::forward) {
            forward(src, wei, dst);
        } else if (direction_ == Direction::backward_data) {
            backward_data(src, wei, dst);
        } else {
            backward_weights(src, wei, dst);
        }
    }

private:
    // body(image, group, output of the group, channel of the group)
    template <class Body>
    void each_plane(bool with_image, bool with_output, bool with_channel, const Body& body) const {
        for (std::int64_t n = 0; n < (with_image ? images_ : 1); ++n) {
            for (std::int64_t g = 0; g < groups_; ++g) {
                for (std::int64_t k = 0; k < (with_output ? outputs_ : 1); ++k) {
                    for (std::int64_t c = 0; c < (with_channel ? channels_ : 1); ++c) {
                        body(n, g, k, c);
                    }
                }
            }
        }
    }

    // body(offset, position) for every position.
    template <class Body>
    static void each_position(const Axes& axes, const Body& body) {
        std::int64_t at[kSpace];
        for (at[0] = 0; at[0] < axes.size[0]; ++at[0]) {
            for (at[1] = 0; at[1] < axes.size[1]; ++at[1]) {
                const std::int64_t line = at[0] * axes.stride[0] + at[1] * axes.stride[1];
                for (at[2] = 0; at[2] < axes.size[2]; ++at[2]) {
                    body(line + at[2] * axes.stride[2], at);
                }
            }
        }
    }

    // Where output position `out` and a tap meet in src; false outside of it.
    bool meet(const std::int64_t* out, const std::int64_t* tap, std::int64_t* offset) const {
        *offset = 0;
        for (int i = 0; i < kSpace; ++i) {
            const std::int64_t place =
                out[i] * window_.stride[i] - window_.padding[i] + tap[i] * window_.dilation[i];
            if (place < 0 || place >= src_.axes.size[i]) return false;
            *offset += place * src_.axes.stride[i];
        }
        return true;
    }

    void forward(const float* src, const float* wei, float* dst) const {
        each_plane(true, true, false, [&](auto n, auto g, auto k, auto) {
            const std::int64_t output = g * outputs_ + k;
            const float* const x = src + n * src_.first + g * channels_ * src_.second;
            const float* const w = wei + output * wei_.first;
            float* const y = dst + n * dst_.first + output * dst_.second;
            each_position(dst_.axes, [&](auto to, const auto* out) {
                float sum = 0;
                each_position(wei_.axes, [&](auto from, const auto* tap) {
                    std::int64_t at;
                    if (!meet(out, tap, &at)) return;
                    for (std::int64_t c = 0; c < channels_; ++c) {
                        sum += x[at + c * src_.second] * w[from + c * wei_.second];
                    }
                });
                y[to] = sum;
            });
        });
    }

    void backward_data(float* src, const float* wei, const float* dst) const {
        each_plane(true, false, true, [&](auto n, auto g, auto, auto c) {
            float* const x = src + n * src_.first + (g * channels_ + c) * src_.second;
            each_position(src_.axes, [&](auto to, const auto*) { x[to] = 0; });
            const float* const w = wei + g * outputs_ * wei_.first + c * wei_.second;
            const float* const y = dst + n * dst_.first + g * outputs_ * dst_.second;
            each_position(dst_.axes, [&](auto from, const auto* out) {
                each_position(wei_.axes, [&](auto weight, const auto* tap) {
                    std::int64_t at;
                    if (!meet(out, tap, &at)) return;
                    float sum = x[at];
                    for (std::int64_t k = 0; k < outputs_; ++k) {
                        sum += y[from + k * dst_.second] * w[weight + k * wei_.first];
                    }
                    x[at] = sum;
                });
            });
        });
    }

    void backward_weights(const float* src, float* wei, const float* dst) const {
        each_plane(false, true, true, [&](auto, auto g, auto k, auto c) {
            const std::int64_t output = g * outputs_ + k;
            float* const w = wei + output * wei_.first + c * wei_.second;
            each_position(wei_.axes, [&](auto to, const auto* tap) {
                float sum = 0;
                for (std::int64_t n = 0; n < images_; ++n) {
                    const float* const x = src + n * src_.first + (g * channels_ + c) * src_.second;
                    const float* const y = dst + n * dst_.first + output * dst_.second;
                    each_position(dst_.axes, [&](auto from, const auto* out) {
                        std::int64_t at;
                        if (meet(out, tap, &at)) sum += x[at] * y[from];
                    });
                }
                w[to] = sum;
            });
        });
    }

    Direction direction_;
    std::int64_t images_, groups_, channels_, outputs_;  // the last two of one group
    Tensor src_, wei_, dst_;
    Window window_;
};

class SmallDirectRoutine final : public Routine {
public:
    explicit SmallDirectRoutine(const ConvProblem& problem) : problem_(problem) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive&) const override {
        return std::make_unique<SmallDirect>(problem_);
    }

private:
    ConvProblem problem_;
};

}  // namespace

bool small_direct_applies(const ConvProblem& problem) {
    return problem.dtype == miopenFloat && problem.fused == Fused::none && problem.has_bias == 0 &&
           problem.has_sum == 0 && flops(problem) <= kMostFlops;
}

Recipe make_small_direct_recipe(const ConvProblem& problem) {
    return make_caller_recipe(problem, std::make_shared<SmallDirectRoutine>(problem));
}

}  // namespace mioconv::cpu
