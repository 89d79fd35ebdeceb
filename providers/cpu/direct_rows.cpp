#include "direct_rows.hpp"

#include <omp.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "ending.hpp"
#include "shares.hpp"
#include "spatial.hpp"

namespace mioconv::cpu {
namespace {

// The results of so many channels and, at most, so many vectors of a row are in registers at a
// time: 24 of AVX-512's 32. Where a vector takes several registers, one of the row.
constexpr int kOutputs = 6;
constexpr int kMostVectors = 4;

#if defined(__x86_64__)
#define MIOCONV_AVX512 __attribute__((target("avx512f")))
#else
#define MIOCONV_AVX512
#endif

// Source positions from `begin` on for which the vectors `first` to `last` of a piece have a tap.
// `edge`: some lanes of them meet padding.
struct Segment {
    std::int64_t begin, end;
    int first, last;
    bool edge;
};

// The segments of the piece that begins at `origin`. Pieces that meet no padding have them in
// common.
struct Segments {
    std::int64_t origin;
    std::vector<Segment> items;
};

// Neighbouring results of a row: their segments, each from `shift` positions on.
struct Piece {
    std::int64_t begin, end, shift;
    const std::vector<Segment>* segments;

    int vectors() const { return static_cast<int>(divide_up(end - begin, kLanes)); }
};

// The convolution as one over rows: `source` is read, `result` written. The gradient of the input
// is one as well, with the kernel turned around.
struct Shape {
    Tensor source, weights, result;
    std::int64_t images, groups;
    std::int64_t source_channels, result_channels;  // of a group
    std::int64_t source_step, result_step;  // between their weights
    // Along each axis, result `o` and tap `t` meet at the source's position o + first + step * t.
    std::int64_t first[kSpace];
    std::int64_t step[kSpace];
    std::int64_t blocks;  // of result channels
    std::vector<Segments> segments;
    std::vector<std::uint32_t> segments_of_piece;  // a long row has many: no more is kept of them

    std::int64_t pieces() const { return static_cast<std::int64_t>(segments_of_piece.size()); }
    Range results_of(std::int64_t piece, std::int64_t pieces) const {
        const std::int64_t row = result.axes.size[2];
        const Range share = share_of(divide_up(row, kLanes), pieces, piece);
        return {share.begin * kLanes, std::min(share.end * kLanes, row)};
    }
    Piece piece(std::int64_t index) const {
        const auto [begin, end] = results_of(index, pieces());
        const Segments& its = segments[segments_of_piece[static_cast<std::size_t>(index)]];
        return {begin, end, begin - its.origin, &its.items};
    }
    std::int64_t lines(const Tensor& tensor) const {
        return tensor.axes.size[0] * tensor.axes.size[1];
    }
    // Of the source's rows with room for a vector that begins before or ends behind them.
    std::int64_t row_floats() const { return source.axes.size[2] + 2 * kLanes; }
    std::int64_t channel_floats() const { return lines(source) * row_floats(); }
    std::int64_t work_floats() const {
        return images * groups * source_channels * channel_floats();
    }
    std::int64_t items() const { return groups * blocks * images * lines(result) * pieces(); }

    // The taps along an axis that meet the source at a result.
    Range met(int axis, std::int64_t result_index) const {
        const std::int64_t at = result_index + first[axis], gap = std::abs(step[axis]);
        const std::int64_t size = source.axes.size[axis];
        // Source positions rise or fall with the taps.
        const std::int64_t before = step[axis] > 0 ? -at : at - size + 1;
        const std::int64_t until = step[axis] > 0 ? size - at : at + 1;
        const auto taps = [&](std::int64_t distance) {
            return distance <= 0 ? 0 : std::min(divide_up(distance, gap), weights.axes.size[axis]);
        };
        return {taps(before), taps(until)};
    }
};

// Whether the source has all that a piece reads.
bool meets_no_padding(const Shape& shape, Range results) {
    const std::int64_t ahead = shape.step[2] > 0 ? shape.weights.axes.size[2] - 1 : 0;
    const std::int64_t behind = shape.weights.axes.size[2] - 1 - ahead;
    const std::int64_t last = results.begin + divide_up(results.size(), kLanes) * kLanes - 1;
    return results.begin + shape.first[2] - behind >= 0 &&
           last + shape.first[2] + ahead < shape.source.axes.size[2];
}

std::vector<Segment> segments_of(const Shape& shape, Range results) {
    const std::int64_t taps = shape.weights.axes.size[2], size = shape.source.axes.size[2];
    const std::int64_t count = divide_up(results.size(), kLanes);
    Range range[kMostVectors];
    std::vector<std::int64_t> bounds = {0, size - kLanes + 1};
    for (std::int64_t v = 0; v < count; ++v) {
        const std::int64_t at = results.begin + v * kLanes + shape.first[2];
        const std::int64_t lanes = std::min<std::int64_t>(results.size() - v * kLanes, kLanes);
        const Range reach = shape.step[2] > 0 ? Range{at, at + taps} : Range{at - taps + 1, at + 1};
        range[v] = {std::max(reach.begin, 1 - lanes), std::min(reach.end, size)};
        bounds.push_back(range[v].begin);
        bounds.push_back(range[v].end);
    }
    std::sort(bounds.begin(), bounds.end());
    std::vector<Segment> segments;
    for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
        Segment segment{bounds[i], bounds[i + 1], kMostVectors, -1, false};
        if (segment.begin == segment.end) continue;
        for (std::int64_t v = 0; v < count; ++v) {
            if (segment.begin < range[v].begin || segment.begin >= range[v].end) continue;
            segment.first = std::min(segment.first, static_cast<int>(v));
            segment.last = static_cast<int>(v);
        }
        if (segment.last < 0) continue;
        segment.edge = segment.begin < 0 || segment.end + kLanes - 1 > size;
        segments.push_back(segment);
    }
    return segments;
}

Shape shape_of(const ConvProblem& problem) {
    const bool back = problem.direction == Direction::backward_data;
    Shape shape{};
    shape.source = tensor_of(problem, back ? Role::dst : Role::src);
    shape.weights = tensor_of(problem, Role::wei);
    shape.result = tensor_of(problem, back ? Role::src : Role::dst);
    shape.images = problem.src[0];
    shape.groups = problem.groups;
    shape.source_channels = back ? problem.dst[1] / problem.groups : problem.wei[1];
    shape.result_channels = back ? problem.wei[1] : problem.dst[1] / problem.groups;
    shape.source_step = back ? shape.weights.first : shape.weights.second;
    shape.result_step = back ? shape.weights.second : shape.weights.first;
    const Window window = window_of(problem);
    for (int axis = 0; axis < kSpace; ++axis) {
        shape.first[axis] = back ? window.padding[axis] : -window.padding[axis];
        shape.step[axis] = back ? -window.dilation[axis] : window.dilation[axis];
    }
    shape.blocks = divide_up(shape.result_channels, kOutputs);
    int most = 1;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) most = kMostVectors;
#endif
    const std::int64_t vectors = divide_up(shape.result.axes.size[2], kLanes);
    const std::int64_t pieces = divide_up(vectors, most);
    std::array<std::optional<std::uint32_t>, kMostVectors + 1> common;  // by the number of vectors
    shape.segments_of_piece.reserve(static_cast<std::size_t>(pieces));
    for (std::int64_t i = 0; i < pieces; ++i) {
        const Range results = shape.results_of(i, pieces);
        const bool inside = meets_no_padding(shape, results);
        auto& known = common[static_cast<std::size_t>(divide_up(results.size(), kLanes))];
        auto its = static_cast<std::uint32_t>(shape.segments.size());
        if (inside && known) {
            its = *known;
        } else {
            shape.segments.push_back({results.begin, segments_of(shape, results)});
            if (inside) known = its;
        }
        shape.segments_of_piece.push_back(its);
    }
    return shape;
}

// --- the sums ------------------------------------------------------------------------------------

// A block of channels at a piece of one row of results.
struct Job {
    const Shape* shape;
    const Ending* ending;
    Piece piece;
    const float* source;  // position 0 of the first row of the group's first channel
    const float* weights[kOutputs];  // those of the first channel of the source
    const float* bias[kOutputs];  // or null
    float* result[kOutputs];  // null where another block has the channel
    std::int64_t depth, row;  // of the results
};

using Lanes = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
using Positions = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));

template <int Vectors, int Step>
struct Sums {
    // For each position of a segment, 16 values of the source from there on meet one tap for each
    // vector of results: vectors are 16 results apart, and so are their taps. `weights` are those
    // of vector 0 at the segment's begin.
    template <int First, int Last, bool Edge>
    MIOCONV_INLINE static void add(
        const float* row, std::int64_t size, const Segment& segment, const float* const* weights,
        Vector (&sum)[kOutputs][Vectors]) {
        const float* at[kOutputs];
        for (int k = 0; k < kOutputs; ++k) at[k] = weights[k];
        constexpr Positions kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        const Positions length = Positions{} + static_cast<std::uint32_t>(size);
        for (std::int64_t i = segment.begin; i < segment.end; ++i) {
            Vector value;
            load(row + i, value);
            // Before the row is beyond its end, too, without a sign: one comparison.
            const Positions where = kLane + static_cast<std::uint32_t>(i);
            const Lanes inside = where < length;
            const std::int64_t tap = (i - segment.begin) * Step;
            for (int k = 0; k < kOutputs; ++k) {
                for (int v = First; v <= Last; ++v) {
                    const Vector more = sum[k][v] + at[k][tap - Step * v * kLanes] * value;
                    sum[k][v] = Edge ? (inside ? more : sum[k][v]) : more;
                }
            }
        }
    }

    template <int Code>
    MIOCONV_INLINE static void add_case(
        const float* row, std::int64_t size, const Segment& segment, const float* const* weights,
        Vector (&sum)[kOutputs][Vectors]) {
        constexpr int kFirst = Code / kMostVectors, kLast = Code % kMostVectors;
        if constexpr (kFirst <= kLast && kLast < Vectors) {
            if (segment.edge) {
                add<kFirst, kLast, true>(row, size, segment, weights, sum);
            } else {
                add<kFirst, kLast, false>(row, size, segment, weights, sum);
            }
        }
    }

    // The weights of the next channel may lie far from this one's: no hardware foresees them.
    MIOCONV_INLINE static void prefetch(const Job& job, std::int64_t offset) {
        for (int k = 0; k < kOutputs; ++k) {
            const float* const row = job.weights[k] + offset;
            for (std::int64_t i = 0; i < job.shape->weights.axes.size[2]; i += kLanes) {
                __builtin_prefetch(row + i);
            }
        }
    }

    MIOCONV_INLINE static void run(const Job& job) {
        const Shape& shape = *job.shape;
        const std::int64_t size = shape.source.axes.size[2];
        const Range depths = shape.met(0, job.depth), rows = shape.met(1, job.row);
        const Axes& taps = shape.weights.axes;
        const std::vector<Segment>& segments = *job.piece.segments;
        Vector sum[kOutputs][Vectors] = {};
        for (std::int64_t c = 0; c < shape.source_channels; ++c) {
            for (std::int64_t i = depths.begin; i < depths.end; ++i) {
                for (std::int64_t j = rows.begin; j < rows.end; ++j) {
                    const std::int64_t depth = job.depth + shape.first[0] + shape.step[0] * i;
                    const std::int64_t line = job.row + shape.first[1] + shape.step[1] * j;
                    const float* const row =
                        job.source + c * shape.channel_floats() +
                        (depth * shape.source.axes.size[1] + line) * shape.row_floats() +
                        job.piece.shift;
                    const std::int64_t offset =
                        c * shape.source_step + i * taps.stride[0] + j * taps.stride[1];
                    if (c + 1 < shape.source_channels) prefetch(job, offset + shape.source_step);
                    for (const Segment& segment : segments) {
                        const std::int64_t tap = Step * (segment.begin + job.piece.shift -
                                                         job.piece.begin - shape.first[2]);
                        const float* weights[kOutputs];
                        for (int k = 0; k < kOutputs; ++k) {
                            weights[k] = job.weights[k] + (offset + tap);
                        }
                        switch (segment.first * kMostVectors + segment.last) {
                            case 0: add_case<0>(row, size, segment, weights, sum); break;
                            case 1: add_case<1>(row, size, segment, weights, sum); break;
                            case 2: add_case<2>(row, size, segment, weights, sum); break;
                            case 3: add_case<3>(row, size, segment, weights, sum); break;
                            case 5: add_case<5>(row, size, segment, weights, sum); break;
                            case 6: add_case<6>(row, size, segment, weights, sum); break;
                            case 7: add_case<7>(row, size, segment, weights, sum); break;
                            case 10: add_case<10>(row, size, segment, weights, sum); break;
                            case 11: add_case<11>(row, size, segment, weights, sum); break;
                            default: add_case<15>(row, size, segment, weights, sum); break;
                        }
                    }
                }
            }
        }
        for (int k = 0; k < kOutputs; ++k) {
            if (job.result[k] == nullptr) continue;
            const Vector bias = Vector{} + (job.bias[k] == nullptr ? 0.f : *job.bias[k]);
            const Vector* const given = job.bias[k] == nullptr ? nullptr : &bias;
            for (int v = 0; v < Vectors; ++v) {
                float* const to = job.result[k] + v * kLanes;
                const std::int64_t lanes = job.piece.end - job.piece.begin - v * kLanes;
                if (lanes >= kLanes) {
                    finish(*job.ending, given, to, 0, sum[k][v]);
                    store(sum[k][v], to);
                } else {
                    float part[kLanes] = {};
                    const auto bytes = static_cast<std::size_t>(lanes) * sizeof(float);
                    if (job.ending->sum) std::memcpy(part, to, bytes);
                    finish(*job.ending, given, part, 0, sum[k][v]);
                    store(sum[k][v], part);
                    std::memcpy(to, part, bytes);
                }
            }
        }
    }
};

template <int Step>
MIOCONV_VECTOR_CLONES void sum_vector(const Job& job) {
    Sums<1, Step>::run(job);
}

template <int Vectors, int Step>
MIOCONV_AVX512 void sum_vectors(const Job& job) {
    Sums<Vectors, Step>::run(job);
}

template <int Step>
void sum(const Job& job) {
    switch (job.piece.vectors()) {
        case 1: return sum_vector<Step>(job);
        case 2: return sum_vectors<2, Step>(job);
        case 3: return sum_vectors<3, Step>(job);
        default: return sum_vectors<4, Step>(job);
    }
}

// --- the work ------------------------------------------------------------------------------------

enum Operand { kSource, kWeights, kResult, kWorkspace, kBias };

class DirectRowsRun final : public RoutineRun {
public:
    DirectRowsRun(const ConvProblem& problem, int threads)
        : shape_(shape_of(problem)),
          ending_(problem),
          back_(problem.direction == Direction::backward_data),
          has_bias_(problem.has_bias != 0),
          threads_(threads) {}

    void run(const void* const* operands, dnnl_stream_t) override {
        const auto* const source = static_cast<const float*>(operands[back_ ? 2 : 0]);
        const auto* const weights = static_cast<const float*>(operands[kWeights]);
        auto* const result = static_cast<float*>(const_cast<void*>(operands[back_ ? 0 : 2]));
        auto* const padded = static_cast<float*>(const_cast<void*>(operands[kWorkspace]));
        const auto* const bias = has_bias_ ? static_cast<const float*>(operands[kBias]) : nullptr;
        const std::int64_t channels = shape_.images * shape_.groups * shape_.source_channels;
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
#pragma omp for schedule(static)
            for (std::int64_t i = 0; i < channels; ++i) {
                pad(source, i, padded + i * shape_.channel_floats());
            }
#pragma omp for schedule(static)
            for (std::int64_t i = 0; i < shape_.items(); ++i) {
                filter(i, padded, weights, bias, result);
            }
        }
    }

private:
    // The rows of a channel, each with a vector of zeros on both sides.
    void pad(const float* source, std::int64_t index, float* to) const {
        const std::int64_t channels = shape_.groups * shape_.source_channels;
        const Axes& axes = shape_.source.axes;
        source += index / channels * shape_.source.first + index % channels * shape_.source.second;
        for (std::int64_t i = 0; i < axes.size[0]; ++i) {
            for (std::int64_t j = 0; j < axes.size[1]; ++j) {
                std::fill_n(to, kLanes, 0.f);
                to = std::copy_n(
                    source + i * axes.stride[0] + j * axes.stride[1], axes.size[2], to + kLanes);
                to = std::fill_n(to, kLanes, 0.f);
            }
        }
    }

    // The rows of a block follow each other: its weights are in the cache by then.
    void filter(
        std::int64_t item, const float* padded, const float* weights, const float* bias,
        float* result) const {
        const auto next = [&](std::int64_t count) {
            const std::int64_t index = item % count;
            item /= count;
            return index;
        };
        Job job{};
        job.shape = &shape_;
        job.ending = &ending_;
        job.piece = shape_.piece(next(shape_.pieces()));
        job.row = next(shape_.result.axes.size[1]);
        job.depth = next(shape_.result.axes.size[0]);
        const std::int64_t image = next(shape_.images);
        const std::int64_t block = next(shape_.blocks);
        const std::int64_t group = item;
        job.source =
            padded + kLanes +
            (image * shape_.groups + group) * shape_.source_channels * shape_.channel_floats();
        // The last block overlaps the one before it, or repeats the last of too few channels.
        const std::int64_t all = shape_.result_channels;
        const std::int64_t first =
            std::max<std::int64_t>(std::min(block * kOutputs, all - kOutputs), 0);
        const std::int64_t group_weights =
            group * (back_ ? shape_.source_channels : shape_.result_channels) *
            shape_.weights.first;
        for (int k = 0; k < kOutputs; ++k) {
            const std::int64_t channel = std::min(first + k, all - 1);
            job.weights[k] = weights + group_weights + channel * shape_.result_step;
            if (first + k >= all || first + k < block * kOutputs) continue;
            const std::int64_t index = group * all + channel;
            if (bias != nullptr) job.bias[k] = bias + index;
            job.result[k] = result + image * shape_.result.first + index * shape_.result.second +
                            job.depth * shape_.result.axes.stride[0] +
                            job.row * shape_.result.axes.stride[1] + job.piece.begin;
        }
        if (back_) {
            sum<-1>(job);
        } else {
            sum<1>(job);
        }
    }

    Shape shape_;
    Ending ending_;
    bool back_;
    bool has_bias_;
    int threads_;
};

class DirectRows final : public Routine {
public:
    DirectRows(const ConvProblem& problem, int threads) : problem_(problem), threads_(threads) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive&) const override {
        return std::make_unique<DirectRowsRun>(problem_, threads_);
    }

private:
    ConvProblem problem_;
    int threads_;
};

}  // namespace

bool direct_rows_applies(const ConvProblem& problem) {
    // Measured: oneDNN's kernels are faster with fewer taps, and where weights come in blocks
    // already, but where a group's channels do not fill their vectors.
    constexpr std::int64_t kLeastTaps = 64, kLeastTapsOfFew = 32, kFewChannels = 16;
    if (problem.dtype != miopenFloat || problem.direction == Direction::backward_weights) {
        return false;
    }
    const int row = problem.rank - 1;
    for (int i = 0; i < problem.rank - 2; ++i) {
        if (problem.stride[i] != 1) return false;
    }
    const bool few = std::max(problem.wei[1], problem.dst[1] / problem.groups) <= kFewChannels;
    if (problem.packed_weights != 0 && !few) return false;
    if (problem.wei[row] < (few ? kLeastTapsOfFew : kLeastTaps)) return false;
    if (problem.dilation[row - 2] != 1) return false;
    for (const Role role : {Role::src, Role::wei, Role::dst}) {
        if (dims_of(problem, role)[row] > 1 && strides_of(problem, role)[row] != 1) return false;
    }
    return true;
}

double direct_rows_cycles(const ConvProblem& problem) {
    // Two multiplications a cycle, each with a weight to be loaded, and one load of the source; of
    // one vector's sums, each waits for the one before it.
    constexpr double kVector = 3, kLoad = 1, kLatency = 4, kSegment = 12;
    const Shape shape = shape_of(problem);
    double row = 0, rows[2] = {0, 0};
    for (const std::uint32_t its : shape.segments_of_piece) {
        for (const Segment& segment : shape.segments[its].items) {
            const auto positions = static_cast<double>(segment.end - segment.begin);
            const auto vectors = static_cast<double>(segment.last - segment.first + 1);
            row += kSegment + positions * std::max(kVector * vectors + kLoad, kLatency);
        }
    }
    for (const int axis : {0, 1}) {
        for (std::int64_t i = 0; i < shape.result.axes.size[axis]; ++i) {
            rows[axis] += static_cast<double>(shape.met(axis, i).size());
        }
    }
    return row * rows[0] * rows[1] *
           static_cast<double>(shape.images * shape.groups * shape.blocks * shape.source_channels);
}

Recipe make_direct_rows_recipe(const ConvProblem& problem, int threads) {
    return make_caller_recipe(
        problem, std::make_shared<DirectRows>(problem, threads),
        static_cast<std::size_t>(shape_of(problem).work_floats()) * sizeof(float));
}

}  // namespace mioconv::cpu
