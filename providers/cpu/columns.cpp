#include "columns.hpp"

#include <algorithm>
#include <cstring>

#include "vectors.hpp"

namespace mioconv::cpu {
namespace {

// A few floats: a call of memcpy would take longer than they do.
MIOCONV_INLINE void copy_run(const float* from, std::int64_t count, float* to) {
    for (; count >= kLanes; count -= kLanes, from += kLanes, to += kLanes) {
        std::memcpy(to, from, sizeof(Vector));
    }
    for (std::int64_t part = kLanes / 2; part > 0; part /= 2) {
        if ((count & part) == 0) continue;
        for (std::int64_t i = 0; i < part; ++i) to[i] = from[i];
        from += part;
        to += part;
    }
}

// A pixel of the output.
struct Pixel {
    std::int64_t image, at[kSpace];

    Pixel(const Axes& dst, std::int64_t index) {
        for (int axis = kSpace; axis-- > 0; index /= dst.size[axis]) {
            at[axis] = index % dst.size[axis];
        }
        image = index;
    }
    // To the first pixel of the next row.
    void next_row(const Axes& dst) {
        at[2] = 0;
        if (++at[1] < dst.size[1]) return;
        at[1] = 0;
        if (++at[0] < dst.size[0]) return;
        at[0] = 0;
        ++image;
    }
};

MIOCONV_INLINE std::int64_t met(
    const Columns& columns, int axis, std::int64_t output, std::int64_t tap) {
    const Window& window = columns.window;
    return output * window.stride[axis] - window.padding[axis] + tap * window.dilation[axis];
}

MIOCONV_INLINE bool inside(const Columns& columns, int axis, std::int64_t at) {
    return at >= 0 && at < columns.src.axes.size[axis];
}

// The row of the input that a row of outputs meets by a tap; nullptr: padding.
MIOCONV_INLINE const float* row_of(
    const Columns& columns, const float* src, const Pixel& pixel, const std::int64_t* tap) {
    for (int axis = 0; axis < 2; ++axis) {
        const std::int64_t at = met(columns, axis, pixel.at[axis], tap[axis]);
        if (!inside(columns, axis, at)) return nullptr;
        src += at * columns.src.axes.stride[axis];
    }
    return src + pixel.image * columns.src.first;
}

// The outputs along a row that a tap meets.
std::pair<std::int64_t, std::int64_t> meeting(const Columns& columns, std::int64_t tap) {
    const std::int64_t step = columns.window.stride[2], first = met(columns, 2, 0, tap);
    const std::int64_t last = columns.src.axes.size[2] - 1 - first;
    const std::int64_t begin = first < 0 ? (step - 1 - first) / step : 0;
    const std::int64_t end = last < 0 ? 0 : last / step + 1;
    return {begin, std::max(begin, std::min(end, columns.dst.size[2]))};
}

MIOCONV_VECTOR_CLONES void gather_column(
    const Columns& columns, const float* channel, const Tap& tap, std::int64_t begin,
    std::int64_t pixels, float* to) {
    const auto [first, last] = meeting(columns, tap.at[2]);
    const std::int64_t step = columns.window.stride[2] * columns.src.axes.stride[2];
    const std::int64_t shift = met(columns, 2, 0, tap.at[2]) * columns.src.axes.stride[2];
    Pixel pixel(columns.dst, begin);
    while (pixels > 0) {
        const std::int64_t from = pixel.at[2];
        const std::int64_t until = std::min(columns.dst.size[2], from + pixels);
        const float* const row = row_of(columns, channel, pixel, tap.at);
        const std::int64_t a = row == nullptr ? until : std::clamp(first, from, until);
        const std::int64_t b = row == nullptr ? until : std::clamp(last, a, until);
        for (std::int64_t o = from; o < a; ++o) to[o - from] = 0;
        if (step == 1) {
            if (b > a) copy_run(row + shift + a, b - a, to + (a - from));
        } else {
            for (std::int64_t o = a; o < b; ++o) to[o - from] = row[shift + o * step];
        }
        for (std::int64_t o = b; o < until; ++o) to[o - from] = 0;
        to += until - from;
        pixels -= until - from;
        pixel.next_row(columns.dst);
    }
}

std::vector<Run> runs_of(const Columns& columns, std::int64_t first, std::int64_t width) {
    std::vector<Run> runs;
    for (std::int64_t column = first; column < first + width;) {
        const std::size_t tap = columns.tap_of(column);
        std::int64_t length = 1;
        if (columns.taps_inner) {
            const auto& taps = columns.taps;
            const auto follows = [&](std::size_t i) {
                return i < taps.size() && taps[i].at[2] == taps[i - 1].at[2] + 1;
            };
            for (std::size_t i = tap + 1; follows(i); ++i) ++length;
        } else {
            length = columns.channels - columns.channel_of(column);
        }
        length = std::min(length, first + width - column);
        runs.push_back({columns.channel_of(column), length, tap});
        column += length;
    }
    return runs;
}

MIOCONV_VECTOR_CLONES void gather_pixels(
    const Columns& columns, const float* src, const std::vector<Run>& runs, std::int64_t begin,
    std::int64_t pixels, float* to) {
    const std::int64_t step = columns.src.axes.stride[2], width = columns.src.axes.size[2];
    const std::int64_t tap_step = columns.window.dilation[2];
    Pixel pixel(columns.dst, begin);
    for (; pixels > 0; --pixels) {
        for (const Run& run : runs) {
            const std::int64_t* const tap = columns.taps[run.tap].at;
            const float* const row = row_of(columns, src, pixel, tap);
            const std::int64_t at = met(columns, 2, pixel.at[2], tap[2]);
            if (!columns.taps_inner) {
                if (row != nullptr && at >= 0 && at < width) {
                    copy_run(row + at * step + run.channel, run.length, to);
                } else {
                    for (std::int64_t i = 0; i < run.length; ++i) to[i] = 0;
                }
            } else {
                const float* const from =
                    row == nullptr ? nullptr : row + run.channel * columns.src.second;
                const std::int64_t reach = at + (run.length - 1) * tap_step;
                if (row != nullptr && tap_step == 1 && step == 1 && at >= 0 && reach < width) {
                    copy_run(from + at, run.length, to);
                } else {
                    for (std::int64_t i = 0; i < run.length; ++i) {
                        const std::int64_t place = at + i * tap_step;
                        const bool there = row != nullptr && place >= 0 && place < width;
                        to[i] = there ? from[place * step] : 0;
                    }
                }
            }
            to += run.length;
        }
        if (++pixel.at[2] == columns.dst.size[2]) pixel.next_row(columns.dst);
    }
}

}  // namespace

std::int64_t Columns::channel_of(std::int64_t column) const {
    return taps_inner ? column / static_cast<std::int64_t>(taps.size()) : column % channels;
}

std::size_t Columns::tap_of(std::int64_t column) const {
    const auto count = static_cast<std::int64_t>(taps.size());
    return static_cast<std::size_t>(taps_inner ? column % count : column / channels);
}

Columns columns_of(const ConvProblem& problem) {
    Columns columns{};
    columns.src = tensor_of(problem, Role::src);
    columns.dst = tensor_of(problem, Role::dst).axes;
    columns.window = window_of(problem);
    columns.channels = problem.wei[1];
    const Axes weights = tensor_of(problem, Role::wei).axes;
    const auto meets = [&](int axis, std::int64_t tap) {
        for (std::int64_t output = 0; output < columns.dst.size[axis]; ++output) {
            if (inside(columns, axis, met(columns, axis, output, tap))) return true;
        }
        return false;
    };
    Tap tap{};
    for (tap.at[0] = 0; tap.at[0] < weights.size[0]; ++tap.at[0]) {
        if (!meets(0, tap.at[0])) continue;
        for (tap.at[1] = 0; tap.at[1] < weights.size[1]; ++tap.at[1]) {
            if (!meets(1, tap.at[1])) continue;
            for (tap.at[2] = 0; tap.at[2] < weights.size[2]; ++tap.at[2]) {
                if (!meets(2, tap.at[2])) continue;
                tap.offset = 0;
                for (int axis = 0; axis < kSpace; ++axis) {
                    tap.offset += tap.at[axis] * weights.stride[axis];
                }
                columns.taps.push_back(tap);
            }
        }
    }
    columns.taps_inner = columns.src.second != 1 || problem.src[1] == 1;
    columns.by_pixel = !columns.taps_inner ||
                       (columns.window.dilation[2] == 1 && weights.size[2] > columns.dst.size[2]);
    return columns;
}

Piece::Piece(const Columns& columns, std::int64_t first, std::int64_t width)
    : first(first), width(width) {
    if (columns.by_pixel) runs = runs_of(columns, first, width);
}

void gather(
    const Columns& columns, const Piece& piece, const float* src, std::int64_t begin,
    std::int64_t pixels, float* to) {
    if (columns.by_pixel) return gather_pixels(columns, src, piece.runs, begin, pixels, to);
    for (std::int64_t column = piece.first; column < piece.first + piece.width; ++column) {
        gather_column(
            columns, src + columns.channel_of(column) * columns.src.second,
            columns.taps[columns.tap_of(column)], begin, pixels, to);
        to += pixels;
    }
}

}  // namespace mioconv::cpu
