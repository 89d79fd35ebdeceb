#include "layouts.hpp"

#include "common/strides.hpp"

namespace mioconv::cuda {
namespace {

using provider::Direction;
using provider::packed_strides;

constexpr Role kTensors[] = {Role::src, Role::wei, Role::dst};

std::int64_t size_of(const ConvProblem& problem) noexcept {
    return problem.dtype == miopenFloat ? 4 : 2;
}

std::int64_t channels_at_once(const ConvProblem& problem) noexcept { return 16 / size_of(problem); }

std::int64_t round_up(std::int64_t value, std::int64_t step) noexcept {
    return (value + step - 1) / step * step;
}

// Strides of dimensions of size 1 say nothing.
bool lies_so(const ConvProblem& problem, Role role, const Dims& strides) noexcept {
    for (int i = 0; i < problem.rank; ++i) {
        if (dims_of(problem, role)[i] > 1 && strides_of(problem, role)[i] != strides[i]) {
            return false;
        }
    }
    return true;
}

bool lies_packed(const ConvProblem& problem, Role role, bool last) noexcept {
    return lies_so(problem, role, packed_strides(problem.rank, dims_of(problem, role), last));
}

bool all_packed(const ConvProblem& problem, bool last) noexcept {
    for (const Role role : kTensors) {
        if (!lies_packed(problem, role, last)) return false;
    }
    return true;
}

void stage(
    Layout& layout, const ConvProblem& problem, Role role, const Dims& dims, const Dims& strides) {
    std::int64_t bytes = size_of(problem);
    for (int i = 0; i < problem.rank; ++i) bytes *= dims[i];
    layout.staged.push_back({role, dims, strides, layout.staged_bytes});
    layout.staged_bytes +=
        (static_cast<std::size_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
    layout.moved_bytes += 2 * bytes;
}

Layout make_layout(const ConvProblem& problem, Strategy strategy, bool last) {
    Layout layout;
    layout.strategy = strategy;
    layout.gathers = strategy == Strategy::gathered_second || strategy == Strategy::gathered_last;
    // Engines are asked for addresses that are multiples of 16. They accept others too, and some
    // then end the context: what does not lie so is copied.
    const bool misaligned = problem.alignment < kOperandAlignment;
    const auto place = [&](Role role) {
        const Role laid = role == Role::z ? Role::dst : role;
        const Dims& dims = layout.dims[static_cast<int>(laid)];
        const Dims& strides = layout.strides[static_cast<int>(laid)];
        if (misaligned || dims != dims_of(problem, role) || !lies_so(problem, role, strides)) {
            stage(layout, problem, role, dims, strides);
        }
    };
    for (const Role role : kTensors) {
        Dims& dims = layout.dims[static_cast<int>(role)];
        dims = dims_of(problem, role);
        for (int i = 2; layout.gathers && role == Role::src && i < problem.rank; ++i) {
            dims[i] = problem.dst[i];
        }
        if (strategy == Strategy::padded || strategy == Strategy::half_padded) {
            const std::int64_t step =
                channels_at_once(problem) / (strategy == Strategy::padded ? 1 : 2);
            dims[1] = round_up(dims[1], step);
            if (role == Role::wei) dims[0] = round_up(dims[0], step);
        }
        layout.strides[static_cast<int>(role)] = packed_strides(problem.rank, dims, last);
        place(role);
    }
    if (problem.has_sum != 0) place(Role::z);
    return layout;
}

// Tensor cores load 16 bytes of channels; engines for other counts are several times slower.
bool pays_to_pad(const ConvProblem& problem) noexcept {
    const bool tensor_cores = problem.dtype != miopenFloat || problem.strict_math == 0;
    if (!tensor_cores || problem.groups != 1) return false;
    const std::int64_t step = channels_at_once(problem);
    const bool inputs = problem.src[1] % step != 0, outputs = problem.dst[1] % step != 0;
    // A bias is read as it is.
    return (inputs || outputs) && !(outputs && problem.has_bias != 0);
}

// One tap, no padding, pixels that are skipped: what is copied is a part of the input. The gradient
// of the input would have to be spread.
bool skips_pixels(const ConvProblem& problem) noexcept {
    bool skips = false;
    for (int i = 0; i < problem.rank - 2; ++i) {
        if (problem.wei[2 + i] != 1 || problem.padding[i] != 0) return false;
        skips = skips || problem.stride[i] != 1;
    }
    return skips && problem.direction != Direction::backward_data;
}

// cuDNN reads a tensor of one pixel as one with the channels last, and then the weights too: with
// channels second and more than one tap it computes something else.
bool is_taken_for_last(const ConvProblem& problem) noexcept {
    std::int64_t taps = 1, in = 1, out = 1;
    for (int i = 2; i < problem.rank; ++i) {
        taps *= problem.wei[i];
        in *= problem.src[i];
        out *= problem.dst[i];
    }
    return taps > 1 && problem.wei[1] > 1 && (in == 1 || out == 1);
}

// Depthwise kernels for channels second keep up in float; everything else in half types, and what
// TF32 may help, is faster with the channels last, copies included.
bool prefers_last(const ConvProblem& problem) noexcept {
    return problem.dtype != miopenFloat ||
           (problem.strict_math == 0 && !provider::is_depthwise(problem));
}

}  // namespace

const char* name_of(Strategy strategy) noexcept {
    switch (strategy) {
        case Strategy::as_is: return "asis";
        case Strategy::channels_last: return "nhwc";
        case Strategy::channels_second: return "nchw";
        case Strategy::padded: return "padded";
        case Strategy::half_padded: return "halfpadded";
        case Strategy::gathered_second: return "gathered";
        default: return "gatherednhwc";
    }
}

// z lies as the result does.
const Dims& dims_of(const ConvProblem& problem, Role role) noexcept {
    if (role == Role::src) return problem.src;
    return role == Role::wei ? problem.wei : problem.dst;
}

const Dims& strides_of(const ConvProblem& problem, Role role) noexcept {
    if (role == Role::src) return problem.src_strides;
    return role == Role::wei ? problem.wei_strides : problem.dst_strides;
}

Role result_of(const ConvProblem& problem) noexcept {
    switch (problem.direction) {
        case Direction::forward: return Role::dst;
        case Direction::backward_data: return Role::src;
        default: return Role::wei;
    }
}

std::vector<Layout> layouts_of(const ConvProblem& problem) {
    if (problem.dtype != miopenFloat && problem.dtype != miopenHalf &&
        problem.dtype != miopenBFloat16) {
        return {};
    }
    const bool as_last = is_taken_for_last(problem);
    const bool second = !as_last && all_packed(problem, false), last = all_packed(problem, true);
    const auto make = [&](Strategy strategy, bool channels_last) {
        return make_layout(problem, strategy, channels_last);
    };
    std::vector<Layout> layouts;
    if (second || last) {
        layouts.push_back(make(Strategy::as_is, last));
        if (!last) {
            auto place = prefers_last(problem) ? layouts.begin() : layouts.end();
            layouts.insert(place, make(Strategy::channels_last, true));
        }
        if (!second && !as_last) layouts.push_back(make(Strategy::channels_second, false));
    } else if (as_last) {
        layouts.push_back(make(Strategy::channels_last, true));
    } else if (prefers_last(problem)) {
        layouts.push_back(make(Strategy::channels_last, true));
        layouts.push_back(make(Strategy::channels_second, false));
    } else {
        layouts.push_back(make(Strategy::channels_second, false));
        layouts.push_back(make(Strategy::channels_last, true));
    }
    if (pays_to_pad(problem)) {
        layouts.push_back(make(Strategy::padded, true));
        // The first layers of networks, which have engines of their own.
        const std::int64_t half = channels_at_once(problem) / 2;
        if (problem.src[1] < half && problem.dst[1] % half == 0) {
            layouts.push_back(make(Strategy::half_padded, true));
        }
    }
    if (second && !last && skips_pixels(problem)) {
        layouts.push_back(make(Strategy::gathered_second, false));
        if (prefers_last(problem)) layouts.push_back(make(Strategy::gathered_last, true));
    }
    return layouts;
}

}  // namespace mioconv::cuda
