// The convolution itself and the gradient of its input: each result is a sum over the taps.
//
// With strides, the gradient of the input is as many filters as there are strides: the pixels whose
// distance is the stride meet the same taps.

#include <omp.h>

#include <vector>

#include "depthwise_tiles.hpp"

namespace mioconv::cpu::depthwise {
namespace {

// So many neighbouring results are in registers at a time.
constexpr int kMostResults = 8;

// A tap along one axis: result `i` of its filter meets the source position i * step + offset, if
// that is inside of the source, which it is for the results in `range`.
struct Tap {
    std::int64_t index, offset;
    Range range;
};

// Results from `first` on, `spacing` apart.
struct Filter {
    std::int64_t first, count;
    std::vector<Tap> taps;

    // Its results among those of a range.
    Range within(Range results, std::int64_t spacing) const {
        const auto before = [&](std::int64_t end) {
            return end <= first ? 0 : std::min(divide_up(end - first, spacing), count);
        };
        return {before(results.begin), before(results.end)};
    }
};

struct Axis {
    std::int64_t step, spacing;
    std::vector<Filter> filters;

    // The source positions that some results need.
    Range met(Range results) const {
        Range all{0, 0};
        for (const Filter& filter : filters) {
            const Range mine = filter.within(results, spacing);
            for (const Tap& tap : filter.taps) {
                const std::int64_t begin = std::max(mine.begin, tap.range.begin);
                const std::int64_t end = std::min(mine.end, tap.range.end);
                if (begin >= end) continue;
                const Range met{begin * step + tap.offset, (end - 1) * step + tap.offset + 1};
                all = all.empty()
                          ? met
                          : Range{std::min(all.begin, met.begin), std::max(all.end, met.end)};
            }
        }
        return all;
    }

    // The most that any of `tiles` needs.
    std::int64_t most_met(std::int64_t results, std::int64_t tiles) const {
        std::int64_t most = 0;
        for (std::int64_t i = 0; i < tiles; ++i) {
            most = std::max(most, met(share_of(results, tiles, i)).size());
        }
        return most;
    }
};

Filter make_filter(std::int64_t first, std::int64_t count) { return {first, count, {}}; }

void add_tap(
    Filter& filter, std::int64_t index, std::int64_t offset, std::int64_t step,
    std::int64_t source) {
    const std::int64_t last = source - 1 - offset;
    const Range range{
        offset < 0 ? divide_up(-offset, step) : 0,
        last < 0 ? 0 : std::min(last / step + 1, filter.count)};
    filter.taps.push_back({index, offset, range});
}

Axis axis_of(
    int axis, bool back, const Window& window, std::int64_t taps, std::int64_t source,
    std::int64_t results) {
    const std::int64_t stride = window.stride[axis];
    Axis made{back ? 1 : stride, back ? stride : 1, {}};
    for (std::int64_t first = 0; first < std::min(made.spacing, results); ++first) {
        Filter filter = make_filter(first, divide_up(results - first, made.spacing));
        for (std::int64_t tap = 0; tap < taps; ++tap) {
            const std::int64_t reach = tap * window.dilation[axis];
            const std::int64_t offset =
                back ? first + window.padding[axis] - reach : reach - window.padding[axis];
            if (offset % made.spacing != 0) continue;
            add_tap(filter, tap, offset / made.spacing, made.step, source);
        }
        made.filters.push_back(std::move(filter));
    }
    return made;
}

struct Shape {
    Tensor source, weights, result;
    std::int64_t images, channels;  // of the result
    std::int64_t multiplier;  // of them, for a channel of the source
    Axis axes[kSpace];
    // The work: blocks of 16 channels, each over tiles of the planes.
    std::int64_t blocks, row_tiles, column_tiles, tiles;
    std::int64_t source_floats, result_floats;  // of a thread's tiles; 0: where the tensor lies
    int results_at_once;

    std::int64_t taps() const {
        return weights.axes.size[0] * weights.axes.size[1] * weights.axes.size[2];
    }
    std::int64_t thread_floats() const { return taps() * kLanes + source_floats + result_floats; }
};

// --- the sums ------------------------------------------------------------------------------------

struct Job {
    const Shape* shape;
    View source;
    Target result;
    Range rows, columns;
    const float* weights;  // of one depth of the kernel
    bool adds;  // to what the result has so far
};

// P results of a row from `first` on.
template <int P>
MIOCONV_INLINE void filter_results(
    const Job& job, const Filter& down, std::int64_t row, const Filter& across, std::int64_t first,
    float* to) {
    const Axis& columns = job.shape->axes[2];
    const std::int64_t row_taps = job.shape->weights.axes.size[2];
    const std::int64_t to_step = columns.spacing * job.result.pixel_step;
    const std::int64_t from_step = columns.step * job.source.pixel_step;
    Vector sum[P];
    for (int p = 0; p < P; ++p) {
        if (job.adds) {
            load(to + p * to_step, sum[p]);
        } else {
            sum[p] = Vector{};
        }
    }
    // Neighbouring taps are equally far apart, here and there.
    const auto taps = static_cast<std::int64_t>(across.taps.size());
    if (taps > 0) {
        const Tap& begin = across.taps.front();
        const Tap& end = across.taps.back();
        const bool inside = std::max(begin.range.begin, end.range.begin) <= first &&
                            first + P <= std::min(begin.range.end, end.range.end);
        const std::int64_t pixel = job.source.pixel_step;
        const std::int64_t at =
            (first * columns.step + begin.offset - job.source.first_column) * pixel;
        const std::int64_t at_step = taps > 1 ? (across.taps[1].offset - begin.offset) * pixel : 0;
        const std::int64_t weight_step =
            taps > 1 ? (across.taps[1].index - begin.index) * kLanes : 0;
        for (const Tap& down_tap : down.taps) {
            if (row < down_tap.range.begin || row >= down_tap.range.end) continue;
            const float* const line =
                job.source.row(row * job.shape->axes[1].step + down_tap.offset);
            const float* weights = job.weights + (down_tap.index * row_taps + begin.index) * kLanes;
            // A pointer for every third result: the others are within an addressing mode's reach.
            const float* from[(P + 2) / 3];
            for (int i = 0; i < (P + 2) / 3; ++i) from[i] = line + (at + 3 * i * from_step);
            for (std::int64_t tap = 0; tap < taps; ++tap) {
                Vector weight;
                load(weights, weight);
                const Range range = inside ? Range{first, first + P}
                                           : across.taps[static_cast<std::size_t>(tap)].range;
                if (range.begin <= first && first + P <= range.end) {
                    for (int p = 0; p < P; ++p) {
                        Vector value;
                        load(from[p / 3] + p % 3 * from_step, value);
                        sum[p] += value * weight;
                    }
                } else {
                    for (int p = 0; p < P; ++p) {
                        if (first + p < range.begin || first + p >= range.end) continue;
                        Vector value;
                        load(from[p / 3] + p % 3 * from_step, value);
                        sum[p] += value * weight;
                    }
                }
                for (const float*& pointer : from) pointer += at_step;
                weights += weight_step;
            }
        }
    }
    for (int p = 0; p < P; ++p) store(sum[p], to + p * to_step);
}

MIOCONV_VECTOR_CLONES void filter_tile(const Job& job) {
    const Axis& rows = job.shape->axes[1];
    const Axis& columns = job.shape->axes[2];
    for (const Filter& down : rows.filters) {
        const Range mine = down.within(job.rows, rows.spacing);
        for (std::int64_t row = mine.begin; row < mine.end; ++row) {
            float* const line = job.result.row(down.first + row * rows.spacing);
            for (const Filter& across : columns.filters) {
                const Range results = across.within(job.columns, columns.spacing);
                const std::int64_t groups = divide_up(results.size(), job.shape->results_at_once);
                for (std::int64_t group = 0; group < groups; ++group) {
                    const Range part = share_of(results.size(), groups, group);
                    const std::int64_t first = results.begin + part.begin;
                    float* const to =
                        line + (across.first + first * columns.spacing - job.result.first_column) *
                                   job.result.pixel_step;
                    const auto filter = [&](auto size) MIOCONV_INLINE_LAMBDA {
                        filter_results<decltype(size)::value>(job, down, row, across, first, to);
                    };
                    switch (part.size()) {
                        case 1: filter(std::integral_constant<int, 1>()); break;
                        case 2: filter(std::integral_constant<int, 2>()); break;
                        case 3: filter(std::integral_constant<int, 3>()); break;
                        case 4: filter(std::integral_constant<int, 4>()); break;
                        case 5: filter(std::integral_constant<int, 5>()); break;
                        case 6: filter(std::integral_constant<int, 6>()); break;
                        case 7: filter(std::integral_constant<int, 7>()); break;
                        default: filter(std::integral_constant<int, kMostResults>()); break;
                    }
                }
            }
        }
    }
}

// --- the work ------------------------------------------------------------------------------------

Shape shape_of(const ConvProblem& problem, int threads) {
    const bool back = problem.direction == Direction::backward_data;
    const Role from = back ? Role::dst : Role::src, to = back ? Role::src : Role::dst;
    Shape shape{};
    shape.source = tensor_of(problem, from);
    shape.weights = tensor_of(problem, Role::wei);
    shape.result = tensor_of(problem, to);
    shape.images = problem.src[0];
    shape.channels = dims_of(problem, to)[1];
    shape.multiplier = shape.channels / dims_of(problem, from)[1];
    shape.blocks = divide_up(shape.channels, kLanes);
    const Window window = window_of(problem);
    for (int axis = 0; axis < kSpace; ++axis) {
        shape.axes[axis] = axis_of(
            axis, back, window, shape.weights.axes.size[axis], shape.source.axes.size[axis],
            shape.result.axes.size[axis]);
    }
#if defined(__x86_64__)
    shape.results_at_once = __builtin_cpu_supports("avx512f") ? kMostResults : 4;  // registers
#else
    shape.results_at_once = kMostResults;
#endif
    const bool source_lies =
        shape.source.second == 1 && shape.multiplier == 1 && shape.channels >= kLanes;
    // A block that overlaps another must not write the other's channels.
    const bool result_lies = shape.result.second == 1 && shape.channels % kLanes == 0;

    const std::int64_t planes = shape.images * shape.result.axes.size[0];
    const std::int64_t height = shape.result.axes.size[1], width = shape.result.axes.size[2];
    const auto measure = [&] {
        const std::int64_t rows = divide_up(height, shape.row_tiles);
        const std::int64_t columns = divide_up(width, shape.column_tiles);
        shape.result_floats = result_lies ? 0 : rows * columns * kLanes;
        shape.source_floats = source_lies
                                  ? 0
                                  : shape.axes[1].most_met(height, shape.row_tiles) *
                                        shape.axes[2].most_met(width, shape.column_tiles) * kLanes;
        return (shape.result_floats + shape.source_floats) * std::int64_t{sizeof(float)};
    };
    shape.row_tiles = shape.column_tiles = 1;
    while (measure() > kTileBytes && shape.row_tiles < height) {
        shape.row_tiles = std::min(2 * shape.row_tiles, height);
    }
    while (measure() > kTileBytes && divide_up(width, shape.column_tiles) > 2 * kLanes) {
        shape.column_tiles *= 2;
    }
    const auto items = [&] { return shape.blocks * planes * shape.row_tiles * shape.column_tiles; };
    while (imbalance(items(), threads) > kFairShare && shape.row_tiles < height) ++shape.row_tiles;
    measure();
    shape.tiles = planes * shape.row_tiles * shape.column_tiles;
    return shape;
}

enum Operand { kSource, kWeights, kResult, kWorkspace };

class FilterRun final : public RoutineRun {
public:
    FilterRun(const ConvProblem& problem, int threads)
        : shape_(shape_of(problem, threads)),
          back_(problem.direction == Direction::backward_data),
          threads_(threads) {}

    void run(const void* const* operands, dnnl_stream_t) override {
        const auto* const source = static_cast<const float*>(operands[back_ ? 2 : 0]);
        const auto* const weights = static_cast<const float*>(operands[kWeights]);
        auto* const result = static_cast<float*>(const_cast<void*>(operands[back_ ? 0 : 2]));
        auto* const workspace = static_cast<float*>(const_cast<void*>(operands[kWorkspace]));
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
            float* const own = workspace + omp_get_thread_num() * shape_.thread_floats();
            std::int64_t last = -1;  // whose weights are there
#pragma omp for schedule(static)
            for (std::int64_t item = 0; item < shape_.blocks * shape_.tiles; ++item) {
                const std::int64_t index = item / shape_.tiles;
                const Block block(index, shape_.channels);
                if (index != last) read_weights(weights, block, own);
                last = index;
                filter(source, block, item % shape_.tiles, result, own);
            }
        }
    }

private:
    // A vector a tap.
    void read_weights(const float* weights, const Block& block, float* to) const {
        Tensor tensor = shape_.weights;
        tensor.second = tensor.first;  // a filter has one channel: outputs are what lies beside
        const Range rows{0, tensor.axes.size[1]}, columns{0, tensor.axes.size[2]};
        for (std::int64_t i = 0; i < tensor.axes.size[0]; ++i) {
            read_tile(
                weights + i * tensor.axes.stride[0], tensor, 1, block, rows, columns,
                to + i * rows.size() * columns.size() * kLanes);
        }
    }

    void filter(
        const float* source, const Block& block, std::int64_t tile, float* result,
        float* own) const {
        float* const source_tile = own + shape_.taps() * kLanes;
        float* const result_tile = source_tile + shape_.source_floats;
        const Axes& sizes = shape_.result.axes;
        const Range columns =
            share_of(sizes.size[2], shape_.column_tiles, tile % shape_.column_tiles);
        std::int64_t rest = tile / shape_.column_tiles;
        const Range rows = share_of(sizes.size[1], shape_.row_tiles, rest % shape_.row_tiles);
        rest /= shape_.row_tiles;
        const std::int64_t depth = rest % sizes.size[0], image = rest / sizes.size[0];
        float* const to = result + image * shape_.result.first + depth * sizes.stride[0];

        Job job{};
        job.shape = &shape_;
        job.rows = rows;
        job.columns = columns;
        job.result = shape_.result_floats > 0
                         ? target_of(result_tile, rows, columns)
                         : Target{to + block.first, sizes.stride[1], sizes.stride[2], 0, 0};
        const Axis& depths = shape_.axes[0];
        const Filter& deep = depths.filters[static_cast<std::size_t>(depth % depths.spacing)];
        const std::int64_t at = depth / depths.spacing;
        const Range met_rows = shape_.axes[1].met(rows), met_columns = shape_.axes[2].met(columns);
        for (const Tap& tap : deep.taps) {
            if (at < tap.range.begin || at >= tap.range.end) continue;
            const float* const from =
                source + image * shape_.source.first +
                (at * depths.step + tap.offset) * shape_.source.axes.stride[0];
            const Axes& axes = shape_.source.axes;
            job.source = shape_.source_floats > 0
                             ? read_tile(
                                   from, shape_.source, shape_.multiplier, block, met_rows,
                                   met_columns, source_tile)
                             : View{from + block.first, axes.stride[1], axes.stride[2], 0, 0};
            job.weights = own + tap.index * shape_.weights.axes.size[1] *
                                    shape_.weights.axes.size[2] * kLanes;
            filter_tile(job);
            job.adds = true;
        }
        if (!job.adds) fill_zeros(job);
        if (shape_.result_floats > 0) {
            write_tile(result_tile, block, rows, columns, shape_.result, to);
        }
    }

    // Nothing but padding meets this depth.
    static void fill_zeros(const Job& job) {
        for (std::int64_t row = job.rows.begin; row < job.rows.end; ++row) {
            for (std::int64_t column = job.columns.begin; column < job.columns.end; ++column) {
                std::fill_n(
                    job.result.row(row) +
                        (column - job.result.first_column) * job.result.pixel_step,
                    kLanes, 0.f);
            }
        }
    }

    Shape shape_;
    bool back_;
    int threads_;
};

class FilterRoutine final : public Routine {
public:
    FilterRoutine(const ConvProblem& problem, int threads) : problem_(problem), threads_(threads) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive&) const override {
        return std::make_unique<FilterRun>(problem_, threads_);
    }

private:
    ConvProblem problem_;
    int threads_;
};

}  // namespace

Recipe make_filter_recipe(const ConvProblem& problem, int threads) {
    const Shape shape = shape_of(problem, threads);
    return make_caller_recipe(
        problem, std::make_shared<FilterRoutine>(problem, threads),
        static_cast<std::size_t>(threads * shape.thread_floats()) * sizeof(float));
}

}  // namespace mioconv::cpu::depthwise
