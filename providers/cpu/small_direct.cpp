#include "small_direct.hpp"

#include <algorithm>

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

    // Positions of an axis that meet src.
    struct Span {
        std::int64_t first, last;
    };

    // The p below `count` with 0 <= base + p * step < size.
    static Span inside(
        std::int64_t count, std::int64_t base, std::int64_t step, std::int64_t size) {
        if (base >= size) return {0, 0};
        if (step == 1) return {std::max<std::int64_t>(0, -base), std::min(count, size - base)};
        return {
            base < 0 ? (step - 1 - base) / step : 0, std::min(count, (size - 1 - base) / step + 1)};
    }

    // Where positions of one axis meet src: `count` of them, `step` apart there and `moving_step`
    // apart among themselves, from these offsets on.
    struct Row {
        std::int64_t at, moving_at, count, step, moving_step;
    };

    // body(row) wherever positions of `moving`, whose steps in src are `steps`, meet src while the
    // other one, whose steps are `other_steps`, is at `other`: taps for a position of dst, and the
    // other way round.
    template <class Steps, class Body>
    void each_meeting(
        const Axes& moving, const Steps& steps, const std::int64_t* other, const Steps& other_steps,
        const Body& body) const {
        const Axes& axes = src_.axes;
        std::int64_t base[kSpace];
        Span span[kSpace];
        for (int i = 0; i < kSpace; ++i) {
            base[i] = other[i] * other_steps[i] - window_.padding[i];
            span[i] = inside(moving.size[i], base[i], steps[i], axes.size[i]);
        }
        Row row{};
        row.count = span[2].last - span[2].first;
        if (row.count <= 0) return;
        row.step = steps[2] * axes.stride[2];
        row.moving_step = moving.stride[2];
        for (std::int64_t a = span[0].first; a < span[0].last; ++a) {
            for (std::int64_t b = span[1].first; b < span[1].last; ++b) {
                row.at = (base[0] + a * steps[0]) * axes.stride[0] +
                         (base[1] + b * steps[1]) * axes.stride[1] + base[2] * axes.stride[2] +
                         span[2].first * row.step;
                row.moving_at =
                    a * moving.stride[0] + b * moving.stride[1] + span[2].first * row.moving_step;
                body(row);
            }
        }
    }

    // body(row) of the taps that meet src at position `out` of dst.
    template <class Body>
    void each_taps(const std::int64_t* out, const Body& body) const {
        each_meeting(wei_.axes, window_.dilation, out, window_.stride, body);
    }

    static float dot(
        std::int64_t count, const float* a, std::int64_t a_step, const float* b,
        std::int64_t b_step, float sum) {
        for (std::int64_t i = 0; i < count; ++i) sum += a[i * a_step] * b[i * b_step];
        return sum;
    }

    void forward(const float* src, const float* wei, float* dst) const {
        each_plane(true, true, false, [&](auto n, auto g, auto k, auto) {
            const std::int64_t output = g * outputs_ + k;
            const float* const x = src + n * src_.first + g * channels_ * src_.second;
            const float* const w = wei + output * wei_.first;
            float* const y = dst + n * dst_.first + output * dst_.second;
            each_position(dst_.axes, [&](auto to, const auto* out) {
                float sum = 0;
                each_taps(out, [&](const Row& row) {
                    const float* const a = x + row.at;
                    const float* const b = w + row.moving_at;
                    if (row.count < channels_) {
                        for (std::int64_t i = 0; i < row.count; ++i) {
                            sum =
                                dot(channels_, a + i * row.step, src_.second,
                                    b + i * row.moving_step, wei_.second, sum);
                        }
                    } else {
                        for (std::int64_t c = 0; c < channels_; ++c) {
                            sum =
                                dot(row.count, a + c * src_.second, row.step, b + c * wei_.second,
                                    row.moving_step, sum);
                        }
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
                each_taps(out, [&](const Row& row) {
                    for (std::int64_t i = 0; i < row.count; ++i) {
                        float* const to = x + row.at + i * row.step;
                        *to =
                            dot(outputs_, y + from, dst_.second,
                                w + row.moving_at + i * row.moving_step, wei_.first, *to);
                    }
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
                    each_meeting(
                        dst_.axes, window_.stride, tap, window_.dilation, [&](const Row& row) {
                            sum =
                                dot(row.count, x + row.at, row.step, y + row.moving_at,
                                    row.moving_step, sum);
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
