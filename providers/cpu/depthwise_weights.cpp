// Gradients of the weights: sums over the positions of one channel.

#include <omp.h>

#include "depthwise_tiles.hpp"

namespace mioconv::cpu::depthwise {
namespace {

// The sums of so many neighbouring taps are in registers at a time.
constexpr int kMostTaps = 5;

struct Shape {
    std::int64_t outputs, multiplier;  // output channels, and how many of them an input has
    Tensor src, wei, dst;
    Window window;
    std::int64_t images;
    // The work: blocks of 16 outputs, each over tiles of the output planes, in so many parts.
    std::int64_t blocks, row_tiles, column_tiles, tiles, parts;
    std::int64_t src_floats, dst_floats;  // of a thread's transposed tiles; 0: read where it lies
    int rows_at_once;

    std::int64_t taps() const { return wei.axes.size[0] * wei.axes.size[1] * wei.axes.size[2]; }

    // The input positions along an axis that a range of outputs meets.
    Range met(int axis, Range outputs_met) const {
        const std::int64_t reach = (wei.axes.size[axis] - 1) * window.dilation[axis] + 1;
        const std::int64_t first = outputs_met.begin * window.stride[axis] - window.padding[axis];
        const std::int64_t last =
            (outputs_met.end - 1) * window.stride[axis] - window.padding[axis] + reach;
        return {std::max<std::int64_t>(first, 0), std::min(last, src.axes.size[axis])};
    }

    // The outputs along an axis for which a tap lies inside of the input.
    Range meeting(int axis, std::int64_t tap) const {
        const std::int64_t shift = window.padding[axis] - tap * window.dilation[axis];
        const std::int64_t step = window.stride[axis];
        const std::int64_t last = src.axes.size[axis] - 1 + shift;
        return {
            shift > 0 ? divide_up(shift, step) : 0,
            last < 0 ? 0 : std::min(last / step + 1, dst.axes.size[axis])};
    }
};

// --- the sums ------------------------------------------------------------------------------------

// S neighbouring taps of R rows of the kernel, for one row of outputs.
struct Line {
    const float* rows[3];  // of the input, from its first column on
    const float* gradient;
    std::int64_t first;  // where output 0 and the first tap meet, from a row's begin
    std::int64_t x_step, tap_step, gradient_step;  // floats
    Range any, all;  // outputs that some taps meet, and that all do
    Range each[kMostTaps];
};

template <int R, int S>
MIOCONV_INLINE void sum_line(const Line& line, std::int64_t row_taps, float* sums) {
    Vector sum[R][S];
    for (int r = 0; r < R; ++r) {
        for (int s = 0; s < S; ++s) load(sums + (r * row_taps + s) * kLanes, sum[r][s]);
    }
    const auto at_border = [&](std::int64_t begin, std::int64_t end) MIOCONV_INLINE_LAMBDA {
        for (std::int64_t o = begin; o < end; ++o) {
            Vector gradient;
            load(line.gradient + o * line.gradient_step, gradient);
            const std::int64_t at = line.first + o * line.x_step;
            for (int s = 0; s < S; ++s) {
                if (o < line.each[s].begin || o >= line.each[s].end) continue;
                for (int r = 0; r < R; ++r) {
                    Vector x;
                    load(line.rows[r] + (at + s * line.tap_step), x);
                    sum[r][s] += x * gradient;
                }
            }
        }
    };
    at_border(line.any.begin, line.all.begin);
    for (std::int64_t o = line.all.begin; o < line.all.end; ++o) {
        Vector gradient;
        load(line.gradient + o * line.gradient_step, gradient);
        const std::int64_t at = line.first + o * line.x_step;
        for (int r = 0; r < R; ++r) {
            for (int s = 0; s < S; ++s) {
                Vector x;
                load(line.rows[r] + (at + s * line.tap_step), x);
                sum[r][s] += x * gradient;
            }
        }
    }
    at_border(line.all.end, line.any.end);
    for (int r = 0; r < R; ++r) {
        for (int s = 0; s < S; ++s) store(sum[r][s], sums + (r * row_taps + s) * kLanes);
    }
}

// S neighbouring taps, from `tap` on, of all rows of the kernel over a tile of outputs.
template <int S>
MIOCONV_INLINE void sum_taps(
    const Shape& shape, const View& x, const View& gradient, Range rows, Range columns,
    std::int64_t tap, float* sums) {
    const Window& window = shape.window;
    const std::int64_t row_taps = shape.wei.axes.size[2];
    Line line{};
    line.x_step = window.stride[2] * x.pixel_step;
    line.tap_step = window.dilation[2] * x.pixel_step;
    line.gradient_step = gradient.pixel_step;
    line.first = (tap * window.dilation[2] - window.padding[2] - x.first_column) * x.pixel_step;
    for (int s = 0; s < S; ++s) {
        const Range met = shape.meeting(2, tap + s);
        line.each[s] = {std::max(met.begin, columns.begin), std::min(met.end, columns.end)};
    }
    // Later taps meet earlier outputs.
    line.any = {line.each[S - 1].begin, std::max(line.each[0].end, line.each[S - 1].begin)};
    line.all.begin = std::min(std::max(line.each[0].begin, line.any.begin), line.any.end);
    line.all.end = std::max(line.each[S - 1].end, line.all.begin);
    for (std::int64_t o = rows.begin; o < rows.end; ++o) {
        const std::int64_t top = o * window.stride[1] - window.padding[1];
        const auto inside = [&](std::int64_t row_tap) MIOCONV_INLINE_LAMBDA {
            const std::int64_t row = top + row_tap * window.dilation[1];
            return row >= 0 && row < shape.src.axes.size[1];
        };
        line.gradient = gradient.row(o) - gradient.first_column * gradient.pixel_step;
        std::int64_t row_tap = 0;
        while (row_tap < shape.wei.axes.size[1]) {
            float* const to = sums + (row_tap * row_taps + tap) * kLanes;
            const auto input = [&](int r) MIOCONV_INLINE_LAMBDA {
                return x.row(top + (row_tap + r) * window.dilation[1]);
            };
            if (!inside(row_tap)) {
                ++row_tap;
            } else if (
                S <= 3 && shape.rows_at_once == 3 && row_tap + 2 < shape.wei.axes.size[1] &&
                inside(row_tap + 2)) {
                for (int r = 0; r < 3; ++r) line.rows[r] = input(r);
                if constexpr (S <= 3) sum_line<3, S>(line, row_taps, to);
                row_tap += 3;
            } else {
                line.rows[0] = input(0);
                sum_line<1, S>(line, row_taps, to);
                ++row_tap;
            }
        }
    }
}

MIOCONV_VECTOR_CLONES void sum_tile(
    const Shape& shape, const View& x, const View& gradient, Range rows, Range columns,
    float* sums) {
    const std::int64_t taps = shape.wei.axes.size[2];
    const std::int64_t pieces = divide_up(taps, kMostTaps);
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
        const Range part = share_of(taps, pieces, piece);
        const auto sum = [&](auto size) MIOCONV_INLINE_LAMBDA {
            sum_taps<decltype(size)::value>(shape, x, gradient, rows, columns, part.begin, sums);
        };
        switch (part.size()) {
            case 1: sum(std::integral_constant<int, 1>()); break;
            case 2: sum(std::integral_constant<int, 2>()); break;
            case 3: sum(std::integral_constant<int, 3>()); break;
            case 4: sum(std::integral_constant<int, 4>()); break;
            default: sum(std::integral_constant<int, kMostTaps>()); break;
        }
    }
}

// --- the work ------------------------------------------------------------------------------------

Shape shape_of(const ConvProblem& problem, int threads) {
    Shape shape{};
    shape.src = tensor_of(problem, Role::src);
    shape.wei = tensor_of(problem, Role::wei);
    shape.dst = tensor_of(problem, Role::dst);
    shape.window = window_of(problem);
    shape.images = problem.src[0];
    shape.outputs = problem.dst[1];
    shape.multiplier = problem.dst[1] / problem.src[1];
    shape.blocks = divide_up(shape.outputs, kLanes);
#if defined(__x86_64__)
    shape.rows_at_once = __builtin_cpu_supports("avx512f") ? 3 : 1;  // registers
#else
    shape.rows_at_once = 3;
#endif
    const bool wide = shape.outputs >= kLanes;
    const bool src_lies = wide && shape.src.second == 1 && shape.multiplier == 1;
    const bool dst_lies = wide && shape.dst.second == 1;

    const std::int64_t planes = shape.images * shape.dst.axes.size[0];
    const std::int64_t height = shape.dst.axes.size[1], width = shape.dst.axes.size[2];
    // Pixels of a tile of so many rows and columns.
    const auto src_pixels = [&](std::int64_t rows, std::int64_t columns) {
        std::int64_t pixels = 1;
        for (const auto& [axis, outputs] : {std::pair{1, rows}, std::pair{2, columns}}) {
            pixels *= std::min(
                (outputs - 1) * shape.window.stride[axis] +
                    (shape.wei.axes.size[axis] - 1) * shape.window.dilation[axis] + 1,
                shape.src.axes.size[axis]);
        }
        return src_lies ? 0 : pixels;
    };
    const auto dst_pixels = [&](std::int64_t rows, std::int64_t columns) {
        return dst_lies ? 0 : rows * columns;
    };
    const auto fits = [&](std::int64_t rows, std::int64_t columns) {
        const std::int64_t pixels = src_pixels(rows, columns) + dst_pixels(rows, columns);
        return pixels * kLanes * std::int64_t{sizeof(float)} <= kTileBytes;
    };
    std::int64_t rows = height, columns = width;
    while (rows > 1 && !fits(rows, columns)) rows = divide_up(rows, 2);
    while (columns > kLanes && !fits(rows, columns)) columns = divide_up(columns, 2);
    shape.row_tiles = divide_up(height, rows);
    shape.column_tiles = divide_up(width, columns);

    shape.parts =
        fair_parts(shape.blocks, std::min<std::int64_t>(4 * threads, planes * height), threads);
    // Parts of one size where rows are enough.
    while (planes * shape.row_tiles * shape.column_tiles % shape.parts != 0 &&
           shape.row_tiles < height && planes * shape.row_tiles < 8 * shape.parts) {
        ++shape.row_tiles;
    }
    shape.tiles = planes * shape.row_tiles * shape.column_tiles;
    shape.parts = std::min(shape.parts, shape.tiles);
    rows = divide_up(height, shape.row_tiles);
    columns = divide_up(width, shape.column_tiles);
    shape.src_floats = src_pixels(rows, columns) * kLanes;
    shape.dst_floats = dst_pixels(rows, columns) * kLanes;
    return shape;
}

std::int64_t sums_of(const Shape& shape) {
    return shape.parts * shape.blocks * shape.taps() * kLanes;
}

std::int64_t workspace_of(const Shape& shape, int threads) {
    return sums_of(shape) + threads * (shape.src_floats + shape.dst_floats);
}

enum Operand { kSource, kWeights, kGradient, kWorkspace };

class WeightsRun final : public RoutineRun {
public:
    WeightsRun(const ConvProblem& problem, int threads)
        : shape_(shape_of(problem, threads)), threads_(threads) {}

    void run(const void* const* operands, dnnl_stream_t) override {
        const auto* const src = static_cast<const float*>(operands[kSource]);
        const auto* const dst = static_cast<const float*>(operands[kGradient]);
        auto* const wei = static_cast<float*>(const_cast<void*>(operands[kWeights]));
        auto* const workspace = static_cast<float*>(const_cast<void*>(operands[kWorkspace]));
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
            float* const tiles = workspace + sums_of(shape_) +
                                 omp_get_thread_num() * (shape_.src_floats + shape_.dst_floats);
#pragma omp for schedule(static)
            for (std::int64_t item = 0; item < shape_.blocks * shape_.parts; ++item) {
                const std::int64_t block = item / shape_.parts, part = item % shape_.parts;
                sum_part(src, dst, block, part, sums(workspace, block, part), tiles);
            }
#pragma omp for schedule(static)
            for (std::int64_t block = 0; block < shape_.blocks; ++block) {
                float* const total = sums(workspace, block, 0);
                for (std::int64_t part = 1; part < shape_.parts; ++part) {
                    const float* const more = sums(workspace, block, part);
                    for (std::int64_t i = 0; i < shape_.taps() * kLanes; ++i) total[i] += more[i];
                }
                store_weights(total, block, wei);
            }
        }
    }

private:
    float* sums(float* workspace, std::int64_t block, std::int64_t part) const {
        return workspace + (block * shape_.parts + part) * shape_.taps() * kLanes;
    }

    void sum_part(
        const float* src, const float* dst, std::int64_t block, std::int64_t part, float* sums,
        float* tiles) const {
        std::fill_n(sums, shape_.taps() * kLanes, 0.f);
        const Block lanes(block, shape_.outputs);
        const Range range = share_of(shape_.tiles, shape_.parts, part);
        const std::int64_t plane_taps = shape_.wei.axes.size[1] * shape_.wei.axes.size[2];
        for (std::int64_t tile = range.begin; tile < range.end; ++tile) {
            const Range columns =
                share_of(shape_.dst.axes.size[2], shape_.column_tiles, tile % shape_.column_tiles);
            std::int64_t rest = tile / shape_.column_tiles;
            const Range rows =
                share_of(shape_.dst.axes.size[1], shape_.row_tiles, rest % shape_.row_tiles);
            rest /= shape_.row_tiles;
            const std::int64_t depth = rest % shape_.dst.axes.size[0];
            const std::int64_t image = rest / shape_.dst.axes.size[0];
            const Range x_rows = shape_.met(1, rows), x_columns = shape_.met(2, columns);
            if (x_rows.empty() || x_columns.empty()) continue;
            const View gradient = view(
                dst + image * shape_.dst.first + depth * shape_.dst.axes.stride[0], shape_.dst, 1,
                lanes, rows, columns, shape_.dst_floats == 0 ? nullptr : tiles + shape_.src_floats);
            for (std::int64_t tap = 0; tap < shape_.wei.axes.size[0]; ++tap) {
                const std::int64_t x_depth = depth * shape_.window.stride[0] -
                                             shape_.window.padding[0] +
                                             tap * shape_.window.dilation[0];
                if (x_depth < 0 || x_depth >= shape_.src.axes.size[0]) continue;
                const View x = view(
                    src + image * shape_.src.first + x_depth * shape_.src.axes.stride[0],
                    shape_.src, shape_.multiplier, lanes, x_rows, x_columns,
                    shape_.src_floats == 0 ? nullptr : tiles);
                sum_tile(shape_, x, gradient, rows, columns, sums + tap * plane_taps * kLanes);
            }
        }
    }

    View view(
        const float* plane, const Tensor& tensor, std::int64_t multiplier, const Block& block,
        Range rows, Range columns, float* tile) const {
        if (tile != nullptr) {
            return read_tile(plane, tensor, multiplier, block, rows, columns, tile);
        }
        return {plane + block.first, tensor.axes.stride[1], tensor.axes.stride[2], 0, 0};
    }

    void store_weights(const float* sums, std::int64_t block, float* wei) const {
        const Axes& axes = shape_.wei.axes;
        const Block lanes(block, shape_.outputs);
        for (std::int64_t lane = lanes.own.begin; lane < lanes.own.end; ++lane) {
            float* const to = wei + (lanes.first + lane) * shape_.wei.first;
            const float* from = sums + lane;
            for (std::int64_t i = 0; i < axes.size[0]; ++i) {
                for (std::int64_t j = 0; j < axes.size[1]; ++j) {
                    float* const row = to + i * axes.stride[0] + j * axes.stride[1];
                    for (std::int64_t k = 0; k < axes.size[2]; ++k, from += kLanes) {
                        row[k * axes.stride[2]] = *from;
                    }
                }
            }
        }
    }

    Shape shape_;
    int threads_;
};

class Weights final : public Routine {
public:
    Weights(const ConvProblem& problem, int threads) : problem_(problem), threads_(threads) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive&) const override {
        return std::make_unique<WeightsRun>(problem_, threads_);
    }

private:
    ConvProblem problem_;
    int threads_;
};

}  // namespace

Recipe make_weights_recipe(const ConvProblem& problem, int threads) {
    const Shape shape = shape_of(problem, threads);
    return make_caller_recipe(
        problem, std::make_shared<Weights>(problem, threads),
        static_cast<std::size_t>(workspace_of(shape, threads)) * sizeof(float));
}

}  // namespace mioconv::cpu::depthwise
