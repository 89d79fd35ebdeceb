// Whether results are what they should be: some of them beside plain sums of the same operands.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "convolution_params.hpp"
#include "half_types.hpp"
#include "solution.hpp"

namespace mioconv {

/// Elements in host memory. With a period, element i is the one at i % period: operands that repeat
/// a pattern need not be in reach themselves.
class HostElements {
public:
    HostElements() = default;
    HostElements(const void* data, std::int64_t dtype, std::int64_t period = 0)
        : data_(data), dtype_(dtype), period_(period) {}

    double operator[](std::int64_t i) const {
        if (period_ != 0) i %= period_;
        if (dtype_ == miopenFloat) return static_cast<const float*>(data_)[i];
        return widen_half(dtype_, static_cast<const std::uint16_t*>(data_)[i]);
    }
    const float* floats() const {
        return dtype_ == miopenFloat && period_ == 0 ? static_cast<const float*>(data_) : nullptr;
    }
    std::int64_t period() const { return period_; }

private:
    const void* data_ = nullptr;
    std::int64_t dtype_ = miopenFloat;
    std::int64_t period_ = 0;
};

/// Terms of the sum that one result is, where no tap meets padding.
inline std::int64_t longest_sum(const ConvolutionParams& params) {
    const auto direction = static_cast<Direction>(params.direction);
    const Operand summed = direction == Direction::backward_weights ? Y : W;
    std::int64_t terms = direction == Direction::backward_weights ? params.shape[Y][0]
                         : direction == Direction::forward        ? params.shape[W][1]
                                                           : params.shape[W][0] / params.groups;
    for (std::int64_t i = 0; i < params.spatial; ++i) terms *= params.shape[summed][2 + i];
    return terms;
}

/// What is done with a sum before it is stored: relu(sum + alpha * z + bias), as far as it is
/// there.
struct CheckedEpilogue {
    const void* bias = nullptr;
    const void* z = nullptr;  ///< lies as the result does
    float alpha = 1;
    bool relu = false;
};

/// Some places of a result, what must be there, and how far off it may be: Higham's bound for a sum
/// in float32 in any order, and one rounding to the element type. Choosing corners, the ends of
/// blocks of channels, the last group and a random rest shows lost tails and mixed up groups.
class ResultCheck {
public:
    /// The operand in the result's place is not read. `seed` picks the random places.
    ResultCheck(
        const ConvolutionParams& params, const std::array<HostElements, operand_count>& operands,
        std::uint64_t seed, const CheckedEpilogue& epilogue = {})
        : params_(params), operands_(operands), epilogue_(epilogue), random_(2 * seed + 1) {
        choose_places();
    }

    std::size_t size() const { return places_.size(); }
    /// Of a place in the result, in elements.
    std::int64_t offset(std::size_t i) const { return offset_of(result(), places_[i]); }

    /// Whether enough of the places would show that terms were lost: operands of zeros, or of what
    /// is not finite, give results that prove nothing.
    bool tells() {
        std::size_t telling = 0;
        for (std::size_t i = 0; i < size(); ++i) {
            const Sum& sum = sum_of(i);
            if (std::isfinite(sum.value) && !leaves_range(sum) &&
                std::abs(sum.value) > bound(sum, Solution()))
                ++telling;
        }
        return 4 * telling >= size();
    }

    /// Empty: what `got` has may be right. Else what is wrong, in words.
    std::string judge(const std::vector<double>& got, const Solution& solution) {
        for (std::size_t i = 0; i < size(); ++i) {
            const Sum& sum = sum_of(i);
            // Beyond the element type's range nothing is promised.
            if (!std::isfinite(sum.value) || leaves_range(sum)) continue;
            if (std::abs(got[i] - sum.value) <= bound(sum, solution)) continue;
            if (!std::isfinite(got[i]) && !operands_are_finite()) continue;
            if (!solution.plain_sum() &&
                std::abs(got[i] - sum.value) <= transform_bound(sum, solution))
                continue;
            return describe(i, got[i], sum.value);
        }
        return {};
    }

    /// Places of a result in host memory.
    std::vector<double> read(const void* data) const {
        const HostElements elements(data, params_.dtype);
        std::vector<double> got;
        for (std::size_t i = 0; i < size(); ++i) got.push_back(elements[offset(i)]);
        return got;
    }

private:
    using Place = std::array<std::int64_t, max_dims>;
    struct Sum {
        double value, magnitude;
        std::int64_t terms;
    };
    /// One sum as loops over two operands.
    struct Nest {
        std::int64_t start[2] = {0, 0};
        int loops = 0;
        struct Loop {
            std::int64_t count, step[2];
        } loop[1 + max_spatial];

        void add(std::int64_t count, std::int64_t first_step, std::int64_t second_step) {
            loop[loops++] = {count, {first_step, second_step}};
        }
    };

    static constexpr std::size_t most_places = 48, least_places = 8;

    const Sum& sum_of(std::size_t i) {
        while (sums_.size() <= i) sums_.push_back(sum_at(places_[sums_.size()]));
        return sums_[i];
    }
    Operand result() const { return result_of(static_cast<Direction>(params_.direction)); }
    int dims() const { return static_cast<int>(2 + params_.spatial); }
    std::int64_t offset_of(Operand operand, const Place& place) const {
        std::int64_t offset = 0;
        for (int i = 0; i < dims(); ++i) offset += place[i] * params_.strides[operand][i];
        return offset;
    }
    std::uint64_t random() {
        random_ ^= random_ << 13;
        random_ ^= random_ >> 7;
        return random_ ^= random_ << 17;
    }

    void choose_places() {
        const auto& shape = params_.shape[result()];
        std::int64_t count = 1;
        for (int i = 0; i < dims(); ++i) count *= shape[i];
        if (count == 0) return;
        std::size_t wanted = most_places;
        // Sums over a batch's pixels are long: a few of them tell as much.
        const double terms = static_cast<double>(longest_sum(params_)),
                     all = terms * static_cast<double>(count);
        wanted = std::clamp(
            static_cast<std::size_t>((2e5 + all / 1000) / terms), least_places, most_places);
        if (count <= static_cast<std::int64_t>(wanted)) {
            for (std::int64_t i = 0; i < count; ++i) places_.push_back(place_of(i));
            return;
        }
        // Two ends of every dimension, and of the blocks that kernels make of channels.
        for (std::size_t i = 0; i < wanted / 2; ++i) {
            Place place{};
            for (int d = 0; d < dims(); ++d) {
                const std::int64_t last = shape[d] - 1;
                const std::int64_t ends[] = {last,     0,       last / 16 * 16, last / 8 * 8 - 1,
                                             last / 2, last - 1};
                // The first places are the corners.
                const std::size_t pick = i < 8 ? i >> (d % 3) & 1 : random() % 6;
                place[d] = std::clamp<std::int64_t>(ends[pick], 0, last);
            }
            places_.push_back(place);
        }
        while (places_.size() < wanted)
            places_.push_back(
                place_of(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(count))));
    }
    Place place_of(std::int64_t i) const {
        Place place{};
        for (int d = dims() - 1; d >= 0; --d) {
            place[d] = i % params_.shape[result()][d];
            i /= params_.shape[result()][d];
        }
        return place;
    }
    Nest nest_of(const Place& place, Operand* first, Operand* second) const {
        const auto& sx = params_.strides[X];
        const auto& sw = params_.strides[W];
        const auto& sy = params_.strides[Y];
        const std::int64_t inputs = params_.shape[W][1];
        const std::int64_t outputs = params_.shape[W][0] / params_.groups;
        Nest nest;
        switch (static_cast<Direction>(params_.direction)) {
            case Direction::forward: {
                *first = X, *second = W;
                const std::int64_t group = place[1] / outputs;
                nest.start[0] = place[0] * sx[0] + group * inputs * sx[1];
                nest.start[1] = place[1] * sw[0];
                nest.add(inputs, sx[1], sw[1]);
                for (int i = 0; i < params_.spatial; ++i) {
                    // Taps t with 0 <= o s - p + t d < size.
                    const std::int64_t from = place[2 + i] * params_.stride[i] - params_.padding[i];
                    const auto [t, end] = range(
                        from, params_.dilation[i], params_.shape[X][2 + i],
                        params_.shape[W][2 + i]);
                    nest.start[0] += (from + t * params_.dilation[i]) * sx[2 + i];
                    nest.start[1] += t * sw[2 + i];
                    nest.add(end - t, params_.dilation[i] * sx[2 + i], sw[2 + i]);
                }
                break;
            }
            case Direction::backward_data: {
                *first = Y, *second = W;
                const std::int64_t group = place[1] / inputs;
                nest.start[0] = place[0] * sy[0] + group * outputs * sy[1];
                nest.start[1] = group * outputs * sw[0] + place[1] % inputs * sw[1];
                nest.add(outputs, sy[1], sw[0]);
                for (int i = 0; i < params_.spatial; ++i) add_back(&nest, place[2 + i], i);
                break;
            }
            case Direction::backward_weights: {
                *first = Y, *second = X;
                const std::int64_t group = place[0] / outputs;
                nest.start[0] = place[0] * sy[1];
                nest.start[1] = (group * inputs + place[1]) * sx[1];
                nest.add(params_.shape[Y][0], sy[0], sx[0]);
                for (int i = 0; i < params_.spatial; ++i) {
                    // Outputs o with 0 <= o s - p + t d < size.
                    const std::int64_t from =
                        place[2 + i] * params_.dilation[i] - params_.padding[i];
                    const auto [o, end] = range(
                        from, params_.stride[i], params_.shape[X][2 + i], params_.shape[Y][2 + i]);
                    nest.start[0] += o * sy[2 + i];
                    nest.start[1] += (from + o * params_.stride[i]) * sx[2 + i];
                    nest.add(end - o, sy[2 + i], params_.stride[i] * sx[2 + i]);
                }
                break;
            }
        }
        return nest;
    }
    /// Steps k in [0, count) with 0 <= from + k * step < size, as [first, end).
    static std::pair<std::int64_t, std::int64_t> range(
        std::int64_t from, std::int64_t step, std::int64_t size, std::int64_t count) {
        const std::int64_t first = from < 0 ? (-from + step - 1) / step : 0;
        const std::int64_t end =
            from >= size ? 0 : std::min(count, (size - from + step - 1) / step);
        return {std::min(first, std::max(end, std::int64_t{0})), std::max(end, std::int64_t{0})};
    }
    /// Taps t whose output (i + p - t d) / s is one: every few taps, if any.
    void add_back(Nest* nest, std::int64_t place, int i) const {
        const std::int64_t s = params_.stride[i], d = params_.dilation[i];
        const std::int64_t from = place + params_.padding[i];
        const std::int64_t taps = params_.shape[W][2 + i], size = params_.shape[Y][2 + i];
        std::int64_t first = -1, step = 1, count = 0;
        for (std::int64_t t = 0; t < taps && from - t * d >= 0; ++t) {
            if ((from - t * d) % s != 0 || (from - t * d) / s >= size) continue;
            if (first < 0)
                first = t;
            else if (count == 1)
                step = t - first;
            ++count;
        }
        first = std::max(first, std::int64_t{0});
        const std::int64_t output = count > 0 ? (from - first * d) / s : 0;
        nest->start[0] += output * params_.strides[Y][2 + i];
        nest->start[1] += first * params_.strides[W][2 + i];
        nest->add(
            count, -(step * d / s) * params_.strides[Y][2 + i], step * params_.strides[W][2 + i]);
    }

    Sum sum_at(const Place& place) const {
        Operand first, second;
        Nest nest = nest_of(place, &first, &second);
        // The innermost loop is the one with the smallest steps.
        int inner = nest.loops - 1;
        for (int i = 0; i < nest.loops; ++i) {
            if (nest.loop[i].count > 1 &&
                (nest.loop[inner].count < 2 ||
                 std::abs(nest.loop[i].step[0]) < std::abs(nest.loop[inner].step[0])))
                inner = i;
        }
        std::swap(nest.loop[inner], nest.loop[nest.loops - 1]);
        Sum sum{0, 0, 1};
        for (int i = 0; i < nest.loops; ++i) sum.terms *= nest.loop[i].count;
        if (sum.terms > 0) {
            const float* const a = operands_[first].floats();
            const float* const b = operands_[second].floats();
            if (a && b)
                walk(a, b, nest, 0, nest.start[0], nest.start[1], &sum);
            else
                walk(
                    operands_[first], operands_[second], nest, 0, nest.start[0], nest.start[1],
                    &sum);
        }
        const std::int64_t at = offset_of(result(), place);
        const auto follow = [&](double term) {
            sum.value += term;
            sum.magnitude += std::abs(term);
            ++sum.terms;
        };
        if (epilogue_.z) follow(epilogue_.alpha * HostElements(epilogue_.z, params_.dtype)[at]);
        if (epilogue_.bias) follow(HostElements(epilogue_.bias, params_.dtype)[place[1]]);
        if (epilogue_.relu && sum.value < 0) sum.value = 0;
        return sum;
    }
    template <typename Elements>
    static void walk(
        const Elements& a, const Elements& b, const Nest& nest, int depth, std::int64_t at_a,
        std::int64_t at_b, Sum* sum) {
        const auto& loop = nest.loop[depth];
        constexpr int most_loops = sizeof nest.loop / sizeof loop;
        if (depth + 1 < nest.loops && depth + 1 < most_loops) {  // gcc 13 sees the second
            for (std::int64_t i = 0; i < loop.count; ++i)
                walk(a, b, nest, depth + 1, at_a + i * loop.step[0], at_b + i * loop.step[1], sum);
            return;
        }
        // Four sums at a time: they need not wait for each other.
        double value[4] = {}, magnitude[4] = {};
        for (std::int64_t i = 0; i < loop.count; ++i) {
            const double product = static_cast<double>(a[at_a + i * loop.step[0]]) *
                                   static_cast<double>(b[at_b + i * loop.step[1]]);
            value[i & 3] += product;
            magnitude[i & 3] += std::abs(product);
        }
        sum->value += (value[0] + value[1]) + (value[2] + value[3]);
        sum->magnitude += (magnitude[0] + magnitude[1]) + (magnitude[2] + magnitude[3]);
    }

    /// The unit roundoff of the element type.
    double roundoff() const {
        return params_.dtype == miopenFloat ? 0 : params_.dtype == miopenHalf ? 0x1p-11 : 0x1p-8;
    }
    static double gamma(std::int64_t roundings) {
        const double growth = static_cast<double>(roundings) * 0x1p-24;
        return growth < 0.5 ? growth / (1 - growth) : 1;
    }
    double stored(const Sum& sum, double accumulated) const {
        const double half_subnormal = params_.dtype == miopenHalf ? 0x1p-25 : 0x1p-134;
        // What follows a convolution may be a step of its own, which rounds once more. MIOpen keeps
        // partial sums of its matrix products in half types.
        double roundings = 1 + (epilogue_.z ? 1 : 0) + (epilogue_.bias ? 1 : 0);
        double spread = std::abs(sum.value) + accumulated;
        if (epilogue_.z || epilogue_.bias) spread = sum.magnitude + accumulated;
        if (params_.provider == static_cast<std::int64_t>(Provider::rocm)) {
            for (int i = 2; i < dims(); ++i) roundings += static_cast<double>(params_.shape[W][i]);
            if (result() == W) roundings += static_cast<double>(params_.shape[Y][0]);
            spread = sum.magnitude + accumulated;
        }
        return accumulated + std::max(roundings * roundoff() * spread, half_subnormal);
    }
    double bound(const Sum& sum, const Solution& solution) const {
        // The pattern's sums are of small integers, and exact in any order.
        if (operands_[result() == X ? Y : X].period() != 0 && solution.plain_sum() &&
            sum.magnitude < 0x1p24)
            return stored(sum, 0);
        double accumulated =
            gamma(sum.terms) * sum.magnitude + static_cast<double>(sum.terms) * 0x1p-126;
        if (params_.dtype == miopenFloat && params_.allow_tf32 != 0)
            accumulated += 2.001 * 0x1p-10 * sum.magnitude;  // tensor cores cut the rest off
        return stored(sum, accumulated);
    }
    /// Winograd and FFT mix elements: errors are those of the largest ones, and grow by what the
    /// transforms of F(4x4, 3x3) multiply at most, (48 / 3)^2.
    double transform_bound(const Sum& sum, const Solution& solution) {
        find_largest();
        const double spread = static_cast<double>(longest_sum(params_)) * largest_[0] * largest_[1];
        // What is added up after the transform are channels, or tiles.
        std::int64_t added = longest_sum(params_);
        if (result() != W)
            for (int i = 2; i < dims(); ++i) added /= params_.shape[W][i];
        return stored(sum, 256 * gamma(added + 32) * spread) + bound(sum, solution);
    }
    bool leaves_range(const Sum& sum) const {
        if (sum.magnitude > 3e38) return true;
        if (params_.dtype != miopenHalf) return false;
        // MIOpen's matrix products keep partial sums in float16.
        const bool partial = params_.provider == static_cast<std::int64_t>(Provider::rocm);
        return (partial ? sum.magnitude : std::abs(sum.value) + gamma(sum.terms) * sum.magnitude) >
               65504.0;
    }
    bool operands_are_finite() {
        find_largest();
        return std::isfinite(largest_[0]) && std::isfinite(largest_[1]);
    }
    /// Reads all of both operands; only done where a result looks wrong.
    void find_largest() {
        if (largest_[0] >= 0) return;
        int next = 0;
        for (const Operand operand : {X, W, Y}) {
            if (operand == result()) continue;
            std::int64_t count = operands_[operand].period();
            if (count == 0)
                count = static_cast<std::int64_t>(
                    params_.bytes(operand) / (params_.dtype == miopenFloat ? 4 : 2));
            double most = 0;
            for (std::int64_t i = 0; i < count; ++i) {
                const double value = std::abs(operands_[operand][i]);
                if (!(value <= most)) most = value;  // NaN too
                if (!std::isfinite(most)) break;
            }
            largest_[next++] = most;
        }
    }
    std::string describe(std::size_t i, double got, double expected) const {
        std::string text = "the result at (";
        for (int d = 0; d < dims(); ++d)
            text += (d > 0 ? ", " : "") + std::to_string(places_[i][d]);
        char numbers[96];
        std::snprintf(numbers, sizeof numbers, ") is %.9g where the sum is %.9g", got, expected);
        return text + numbers;
    }

    const ConvolutionParams& params_;
    const std::array<HostElements, operand_count> operands_;
    const CheckedEpilogue epilogue_;
    std::uint64_t random_;
    std::vector<Place> places_;
    std::vector<Sum> sums_;
    double largest_[2] = {-1, -1};  ///< absolute values of the operands; negative: not looked for
};

}  // namespace mioconv
