#include "features.hpp"

#include <algorithm>
#include <initializer_list>

namespace mioconv::provider {
namespace {

// The number of bounds that a value is above.
std::uint8_t above(std::int64_t value, std::initializer_list<std::int64_t> bounds) {
    return static_cast<std::uint8_t>(
        std::count_if(bounds.begin(), bounds.end(), [&](std::int64_t b) { return value > b; }));
}

// One; below a block of 16: odd, even, 8; then multiples of 16, of 8, odd, even.
std::uint8_t channel_class(std::int64_t channels) {
    if (channels == 1) return 0;
    if (channels == 8) return 3;
    if (channels < 16) return channels % 2 != 0 ? 1 : 2;
    if (channels % 16 == 0) return 4;
    if (channels % 8 == 0) return 5;
    return channels % 2 != 0 ? 6 : 7;
}

struct Axis {
    std::int64_t in, out, taps, stride, dilation, before, after;

    Axis(const ConvProblem& problem, int axis)
        : in(problem.src[axis + 2]),
          out(problem.dst[axis + 2]),
          taps(problem.wei[axis + 2]),
          stride(problem.stride[axis]),
          dilation(problem.dilation[axis]),
          before(problem.padding[axis]),
          after((out - 1) * stride + reach() - in - before) {}

    std::int64_t reach() const { return dilation * (taps - 1) + 1; }

    std::uint8_t padding_class() const {
        if (before == 0) return 0;
        return before <= (reach() - 1) / 2 ? 1 : before < reach() ? 2 : 3;
    }
    std::uint8_t end_class() const {
        if (after < 0) return 0;
        return after == 0 ? 1 : after <= before ? 2 : 3;
    }

    // Whether a step of `step` from `first` on comes to lie in the input within `count` steps.
    bool meets_input(std::int64_t first, std::int64_t step, std::int64_t count) const {
        const std::int64_t skipped = first < 0 ? (-first + step - 1) / step : 0;
        return skipped < count && first + skipped * step < in;
    }
    bool meets_only_padding() const {
        for (std::int64_t tap = 0; tap < taps; ++tap) {
            if (!meets_input(tap * dilation - before, stride, out)) return true;
        }
        // The first and the last output have the least of the input.
        for (const std::int64_t output : {std::int64_t{0}, out - 1}) {
            if (!meets_input(output * stride - before, dilation, taps)) return true;
        }
        // A dilated kernel may step over all of a short input.
        if (in >= dilation) return false;
        for (std::int64_t output = 0; output < out; ++output) {
            if (!meets_input(output * stride - before, dilation, taps)) return true;
        }
        return false;
    }
};

}  // namespace

Classes classes_of(const ConvProblem& problem, int threads) noexcept {
    Classes classes{};
    const auto at = [&](Feature feature) -> std::uint8_t& {
        return classes[static_cast<std::size_t>(feature)];
    };
    const auto raise = [&](Feature feature, std::uint8_t value) {
        at(feature) = std::max(at(feature), value);
    };
    const int spatial = problem.rank - 2;
    const bool row = spatial == 2 && problem.src[2] == 1 && problem.wei[2] == 1;
    at(Feature::rank) = spatial == 3 ? 2 : row ? 0 : 1;
    for (int i = 0; i < spatial; ++i) {
        const Axis axis(problem, i);
        const std::uint8_t values[] = {
            above(axis.stride, {1, 2, 4}), above(axis.dilation, {1, 2}),
            above(axis.taps, {1, 3, 7, 15}), axis.padding_class(), axis.end_class()};
        const Feature first = i == spatial - 1 ? Feature::width_stride : Feature::rest_stride;
        for (int k = 0; k < 5; ++k) {
            raise(static_cast<Feature>(static_cast<int>(first) + k), values[k]);
        }
        if (i == spatial - 1) {
            at(Feature::width_out) = above(axis.out, {1, 7, 15, 31, 63});
        } else {
            raise(Feature::rest_out, above(axis.out, {1, 7}));
        }
        if (axis.meets_only_padding()) at(Feature::only_padding) = 1;
    }
    if (spatial == 3 && problem.padding[0] > 0) {
        at(Feature::depth_padding) = problem.padding[0] <= problem.stride[0] ? 1 : 2;
    }
    const std::int64_t in = problem.src[1] / problem.groups, out = problem.dst[1] / problem.groups;
    at(Feature::in_channels) = channel_class(in);
    at(Feature::out_channels) = channel_class(out);
    if (problem.groups > 1) {
        const std::uint8_t depthwise = problem.groups % 16 == 0 ? 1 : 2;
        at(Feature::grouping) = in > 1 ? 4 : out > 1 ? 3 : depthwise;
    }
    at(Feature::batch) = above(problem.src[0], {1, 7});
    at(Feature::threads) = above(threads, {1, 2});
    return classes;
}

}  // namespace mioconv::provider
