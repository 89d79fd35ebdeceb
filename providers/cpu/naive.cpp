#include "naive.hpp"

#include <algorithm>

#include "half.hpp"
#include "shares.hpp"
#include "spatial.hpp"

namespace mioconv::cpu {
namespace {

constexpr std::int64_t kRow = 256;   // neighbouring results that are summed up together
constexpr std::int64_t kBlock = 8;   // channels that share what is loaded
constexpr std::int64_t kSquare = 4;  // the same of a gradient of weights, on either side

// A caller's tensor in memory.
struct Elements {
    miopenDataType_t dtype;
    char* data;

    char* at(std::int64_t offset) const noexcept {
        return data + offset * static_cast<std::int64_t>(size_of(dtype));
    }
    float one(std::int64_t offset) const noexcept { return load_float(dtype, at(offset)); }
    void load(
        std::int64_t offset, std::int64_t stride, std::int64_t count, float* to) const noexcept {
        load_floats(dtype, at(offset), stride, count, to);
    }
    void store(const double* sums, std::int64_t offset, std::int64_t stride, std::int64_t count)
        const noexcept {
        float rounded[kRow];
        for (std::int64_t i = 0; i < count; ++i) rounded[i] = static_cast<float>(sums[i]);
        store_floats(dtype, rounded, count, at(offset), stride);
    }
};

// Numbers of a nest of loops, the innermost first, taken from one counter.
class Counter {
public:
    explicit Counter(std::int64_t value) : rest_(value) {}
    std::int64_t next(std::int64_t count) {
        const std::int64_t digit = rest_ % count;
        rest_ /= count;
        return digit;
    }

private:
    std::int64_t rest_;
};

// Sums are kept in double and rounded once.
class NaiveRun final : public RoutineRun {
public:
    NaiveRun(const ConvProblem& problem, int threads)
        : direction_(problem.direction),
          dtype_(static_cast<miopenDataType_t>(problem.dtype)),
          images_(problem.src[0]),
          groups_(problem.groups),
          channels_(problem.wei[1]),
          outputs_(problem.dst[1] / problem.groups),
          src_(tensor_of(problem, Role::src)),
          wei_(tensor_of(problem, Role::wei)),
          dst_(tensor_of(problem, Role::dst)),
          window_(window_of(problem)),
          threads_(threads) {}

    void run(const void* const* operands, dnnl_stream_t) override {
        const auto elements = [&](int i) {
            return Elements{dtype_, static_cast<char*>(const_cast<void*>(operands[i]))};
        };
        const Elements src = elements(0), wei = elements(1), dst = elements(2);
        if (direction_ == Direction::forward) {
            over_rows(dst_, outputs_, [&](const Place& place) { forward(place, src, wei, dst); });
        } else if (direction_ == Direction::backward_data) {
            over_rows(src_, channels_, [&](const Place& place) { backward(place, src, wei, dst); });
        } else {
            weights(src, wei, dst);
        }
    }

private:
    // A row of results: of an image, some channels of a group, a depth and a height.
    struct Place {
        std::int64_t image, group, depth, height;
        Range channels, row;  // of the group; of the width
    };

    template <class Body>
    void over_rows(const Tensor& result, std::int64_t channels, const Body& body) const {
        const auto& size = result.axes.size;
        const std::int64_t rows = divide_up(size[2], kRow), blocks = divide_up(channels, kBlock);
        const std::int64_t total = rows * size[1] * size[0] * blocks * groups_ * images_;
#pragma omp parallel for num_threads(threads_) schedule(static) if (threads_ > 1)
        for (std::int64_t index = 0; index < total; ++index) {
            Counter counter(index);
            const std::int64_t row = counter.next(rows) * kRow;
            Place place{};
            place.row = {row, std::min(row + kRow, size[2])};
            place.height = counter.next(size[1]);
            place.depth = counter.next(size[0]);
            const std::int64_t first = counter.next(blocks) * kBlock;
            place.channels = {first, std::min(first + kBlock, channels)};
            place.group = counter.next(groups_);
            place.image = counter.next(images_);
            body(place);
        }
    }

    // The position in src that output `out` meets by `tap`.
    std::int64_t met(int axis, std::int64_t out, std::int64_t tap) const {
        return out * window_.stride[axis] + tap * window_.dilation[axis] - window_.padding[axis];
    }
    // The output that meets position `at` of src by `tap`, or -1.
    std::int64_t meeting(int axis, std::int64_t at, std::int64_t tap) const {
        const std::int64_t reach = at + window_.padding[axis] - tap * window_.dilation[axis];
        if (reach < 0 || reach % window_.stride[axis] != 0) return -1;
        const std::int64_t out = reach / window_.stride[axis];
        return out < dst_.axes.size[axis] ? out : -1;
    }
    // The outputs of the width that meet src between `range.begin` and `range.end` by `tap`.
    Range meeting(const Range& range, std::int64_t tap) const {
        const std::int64_t step = window_.stride[2];
        const std::int64_t shift = window_.padding[2] - tap * window_.dilation[2];
        const auto first = [&](std::int64_t at) {  // the least output at `at` or behind it
            return at + shift <= 0 ? 0 : divide_up(at + shift, step);
        };
        return {first(range.begin), std::min(first(range.end), dst_.axes.size[2])};
    }

    std::int64_t tap_offset(std::int64_t a, std::int64_t b, std::int64_t c) const {
        return a * wei_.axes.stride[0] + b * wei_.axes.stride[1] + c * wei_.axes.stride[2];
    }

    void forward(
        const Place& place, const Elements& src, const Elements& wei, const Elements& dst) const {
        double sums[kBlock][kRow];
        clear(place, sums);
        float row[kRow];
        const auto& taps = wei_.axes.size;
        const std::int64_t output = place.group * outputs_ + place.channels.begin;
        for (std::int64_t c = 0; c < channels_; ++c) {
            const std::int64_t channel =
                place.image * src_.first + (place.group * channels_ + c) * src_.second;
            for (std::int64_t a = 0; a < taps[0]; ++a) {
                const std::int64_t depth = met(0, place.depth, a);
                if (depth < 0 || depth >= src_.axes.size[0]) continue;
                for (std::int64_t b = 0; b < taps[1]; ++b) {
                    const std::int64_t height = met(1, place.height, b);
                    if (height < 0 || height >= src_.axes.size[1]) continue;
                    const std::int64_t line =
                        channel + depth * src_.axes.stride[0] + height * src_.axes.stride[1];
                    for (std::int64_t t = 0; t < taps[2]; ++t) {
                        const Range all = meeting({0, src_.axes.size[2]}, t);
                        const Range met_row = {
                            std::max(all.begin, place.row.begin), std::min(all.end, place.row.end)};
                        if (met_row.empty()) continue;
                        src.load(
                            line + met(2, met_row.begin, t) * src_.axes.stride[2],
                            window_.stride[2] * src_.axes.stride[2], met_row.size(), row);
                        for (std::int64_t k = 0; k < place.channels.size(); ++k) {
                            const double weight = wei.one(
                                (output + k) * wei_.first + c * wei_.second + tap_offset(a, b, t));
                            double* const sum = sums[k] + (met_row.begin - place.row.begin);
                            for (std::int64_t i = 0; i < met_row.size(); ++i) {
                                sum[i] += weight * row[i];
                            }
                        }
                    }
                }
            }
        }
        store(place, dst, dst_, output, sums);
    }

    void backward(
        const Place& place, const Elements& src, const Elements& wei, const Elements& dst) const {
        double sums[kBlock][kRow];
        clear(place, sums);
        float row[kRow];
        const auto& taps = wei_.axes.size;
        const std::int64_t channel = place.group * channels_ + place.channels.begin;
        for (std::int64_t k = 0; k < outputs_; ++k) {
            const std::int64_t output = place.group * outputs_ + k;
            for (std::int64_t a = 0; a < taps[0]; ++a) {
                const std::int64_t depth = meeting(0, place.depth, a);
                if (depth < 0) continue;
                for (std::int64_t b = 0; b < taps[1]; ++b) {
                    const std::int64_t height = meeting(1, place.height, b);
                    if (height < 0) continue;
                    const std::int64_t line = place.image * dst_.first + output * dst_.second +
                                              depth * dst_.axes.stride[0] +
                                              height * dst_.axes.stride[1];
                    for (std::int64_t t = 0; t < taps[2]; ++t) {
                        const Range outs = meeting(place.row, t);
                        if (outs.empty()) continue;
                        dst.load(
                            line + outs.begin * dst_.axes.stride[2], dst_.axes.stride[2],
                            outs.size(), row);
                        const std::int64_t at = met(2, outs.begin, t) - place.row.begin;
                        for (std::int64_t c = 0; c < place.channels.size(); ++c) {
                            const double weight = wei.one(
                                output * wei_.first + (place.channels.begin + c) * wei_.second +
                                tap_offset(a, b, t));
                            double* const sum = sums[c] + at;
                            for (std::int64_t i = 0; i < outs.size(); ++i) {
                                sum[i * window_.stride[2]] += weight * row[i];
                            }
                        }
                    }
                }
            }
        }
        store(place, src, src_, channel, sums);
    }

    static void clear(const Place& place, double (*sums)[kRow]) {
        for (std::int64_t k = 0; k < place.channels.size(); ++k) {
            std::fill_n(sums[k], place.row.size(), 0.0);
        }
    }

    static void store(
        const Place& place, const Elements& to, const Tensor& tensor, std::int64_t channel,
        const double (*sums)[kRow]) {
        for (std::int64_t k = 0; k < place.channels.size(); ++k) {
            to.store(
                sums[k],
                place.image * tensor.first + (channel + k) * tensor.second +
                    place.depth * tensor.axes.stride[0] + place.height * tensor.axes.stride[1] +
                    place.row.begin * tensor.axes.stride[2],
                tensor.axes.stride[2], place.row.size());
        }
    }

    void weights(const Elements& src, const Elements& wei, const Elements& dst) const {
        const auto& taps = wei_.axes.size;
        const std::int64_t left = divide_up(outputs_, kSquare);
        const std::int64_t right = divide_up(channels_, kSquare);
        const std::int64_t total = taps[2] * taps[1] * taps[0] * right * left * groups_;
#pragma omp parallel for num_threads(threads_) schedule(static) if (threads_ > 1)
        for (std::int64_t index = 0; index < total; ++index) {
            Counter counter(index);
            const std::int64_t t = counter.next(taps[2]), b = counter.next(taps[1]);
            const std::int64_t a = counter.next(taps[0]);
            const std::int64_t c = counter.next(right) * kSquare;
            const std::int64_t k = counter.next(left) * kSquare;
            const std::int64_t group = counter.next(groups_);
            weight(
                src, wei, dst, group, {k, std::min(k + kSquare, outputs_)},
                {c, std::min(c + kSquare, channels_)}, a, b, t);
        }
    }

    // One tap of some outputs and channels of a group.
    void weight(
        const Elements& src, const Elements& wei, const Elements& dst, std::int64_t group,
        const Range& outputs, const Range& channels, std::int64_t a, std::int64_t b,
        std::int64_t t) const {
        double sums[kSquare][kSquare] = {};
        float xs[kSquare][kRow], ys[kSquare][kRow];
        const Range all = meeting({0, src_.axes.size[2]}, t);
        const auto& size = dst_.axes.size;
        for (std::int64_t n = 0; n < images_; ++n) {
            for (std::int64_t od = 0; od < size[0]; ++od) {
                const std::int64_t depth = met(0, od, a);
                if (depth < 0 || depth >= src_.axes.size[0]) continue;
                for (std::int64_t oh = 0; oh < size[1]; ++oh) {
                    const std::int64_t height = met(1, oh, b);
                    if (height < 0 || height >= src_.axes.size[1]) continue;
                    for (std::int64_t ow = all.begin; ow < all.end; ow += kRow) {
                        const std::int64_t count = std::min(kRow, all.end - ow);
                        for (std::int64_t c = 0; c < channels.size(); ++c) {
                            const std::int64_t channel = group * channels_ + channels.begin + c;
                            src.load(
                                n * src_.first + channel * src_.second +
                                    depth * src_.axes.stride[0] + height * src_.axes.stride[1] +
                                    met(2, ow, t) * src_.axes.stride[2],
                                window_.stride[2] * src_.axes.stride[2], count, xs[c]);
                        }
                        for (std::int64_t k = 0; k < outputs.size(); ++k) {
                            const std::int64_t output = group * outputs_ + outputs.begin + k;
                            dst.load(
                                n * dst_.first + output * dst_.second + od * dst_.axes.stride[0] +
                                    oh * dst_.axes.stride[1] + ow * dst_.axes.stride[2],
                                dst_.axes.stride[2], count, ys[k]);
                        }
                        for (std::int64_t k = 0; k < outputs.size(); ++k) {
                            for (std::int64_t c = 0; c < channels.size(); ++c) {
                                double sum = 0;
                                for (std::int64_t i = 0; i < count; ++i) {
                                    sum += static_cast<double>(xs[c][i]) * ys[k][i];
                                }
                                sums[k][c] += sum;
                            }
                        }
                    }
                }
            }
        }
        for (std::int64_t k = 0; k < outputs.size(); ++k) {
            for (std::int64_t c = 0; c < channels.size(); ++c) {
                wei.store(
                    &sums[k][c],
                    (group * outputs_ + outputs.begin + k) * wei_.first +
                        (channels.begin + c) * wei_.second + tap_offset(a, b, t),
                    1, 1);
            }
        }
    }

    Direction direction_;
    miopenDataType_t dtype_;
    std::int64_t images_, groups_, channels_, outputs_;  // the last two of one group
    Tensor src_, wei_, dst_;
    Window window_;
    int threads_;
};

class Naive final : public Routine {
public:
    Naive(const ConvProblem& problem, int threads) : problem_(problem), threads_(threads) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive&) const override {
        return std::make_unique<NaiveRun>(problem_, threads_);
    }

private:
    ConvProblem problem_;
    int threads_;
};

}  // namespace

bool naive_applies(const ConvProblem& problem) {
    return problem.fused == Fused::none && problem.has_bias == 0 && problem.has_sum == 0;
}

Recipe make_naive_recipe(const ConvProblem& problem, int threads) {
    return make_caller_recipe(problem, std::make_shared<Naive>(problem, threads));
}

}  // namespace mioconv::cpu
