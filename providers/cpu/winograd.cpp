#include "winograd.hpp"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "ending.hpp"
#include "products.hpp"
#include "winograd_transforms.hpp"

namespace mioconv::cpu {
namespace {

using dnnl::memory;
using winograd::both_ways;
using winograd::Transform;

// A block's transformed tiles stay in a core's second-level cache where channels are few. Where
// they are many, a block has this many tiles all the same: the weights are read once for each.
constexpr std::int64_t kBlockBytes = 768 << 10;
constexpr std::int64_t kLeastTiles = 48;
// The gradient of the weights sums over the tiles of a block: short sums make poor products.
constexpr std::int64_t kLeastSummed = 128;
// With fewer, the transforms take longer than the products save.
constexpr std::int64_t kLeastChannels = 32;
static_assert(kLeastChannels >= kLanes, "a vector of channels must fit");
// Keeps the t * t planes of a buffer out of each other's cache sets.
constexpr std::int64_t kPlanePadding = 16;

// The convolution as one over images: `source` is read, `result` written (or its gradient read).
struct Shape {
    std::int64_t images, source_height, source_width, source_channels;
    std::int64_t result_height, result_width, result_channels;
    std::int64_t padding_height, padding_width;
    std::int64_t rows, columns, tiles;  // of tiles
    std::int64_t block, blocks;         // tiles in a block, and how many blocks
    // Of the weights, in elements; `flipped`: the gradient of the input turns the kernel around.
    std::int64_t source_stride, result_stride, row_stride, column_stride;
    bool flipped;

    std::int64_t source_plane() const { return block * source_channels + kPlanePadding; }
    std::int64_t result_plane() const { return block * result_channels + kPlanePadding; }
    std::int64_t weight_plane() const { return source_channels * result_channels + kPlanePadding; }
};

Shape shape_of(const ConvProblem& problem, int m, int threads) {
    const int height = problem.rank - 2, width = problem.rank - 1;
    const bool flipped = problem.direction == Direction::backward_data;
    const Dims& source = flipped ? problem.dst : problem.src;
    const Dims& result = flipped ? problem.src : problem.dst;
    const Dims weights = strides_of(problem, Role::wei);
    Shape shape{};
    shape.images = source[0] * (problem.rank == 5 ? source[2] : 1);
    shape.source_height = source[height];
    shape.source_width = source[width];
    shape.source_channels = source[1];
    shape.result_height = result[height];
    shape.result_width = result[width];
    shape.result_channels = result[1];
    shape.padding_height = problem.padding[height - 2];
    shape.padding_width = problem.padding[width - 2];
    if (flipped) {
        shape.padding_height = 2 - shape.padding_height;
        shape.padding_width = 2 - shape.padding_width;
    }
    shape.flipped = flipped;
    shape.source_stride = weights[flipped ? 0 : 1];
    shape.result_stride = weights[flipped ? 1 : 0];
    shape.row_stride = weights[height];
    shape.column_stride = weights[width];

    shape.rows = (shape.result_height + m - 1) / m;
    shape.columns = (shape.result_width + m - 1) / m;
    shape.tiles = shape.images * shape.rows * shape.columns;
    const std::int64_t positions = (m + 2) * (m + 2);
    const std::int64_t tile_bytes =
        positions * (shape.source_channels + shape.result_channels) * std::int64_t{sizeof(float)};
    const bool sums = problem.direction == Direction::backward_weights;
    const std::int64_t wanted = sums ? std::max(threads * kBlockBytes / tile_bytes, kLeastSummed)
                                     : std::max(kBlockBytes / tile_bytes, kLeastTiles);
    shape.blocks = (shape.tiles + wanted - 1) / wanted;
    if (!sums) {  // each thread takes whole blocks: as many for one as for another
        shape.blocks = (shape.blocks + threads - 1) / threads * threads;
    }
    shape.blocks = std::min(shape.blocks, shape.tiles);
    shape.block = (shape.tiles + shape.blocks - 1) / shape.blocks;
    shape.blocks = (shape.tiles + shape.block - 1) / shape.block;
    return shape;
}

struct Place {
    std::int64_t image, row, column;  // of the tile's first result
};

Place place_of(const Shape& shape, std::int64_t tile, int m) {
    const std::int64_t column = tile % shape.columns;
    const std::int64_t rest = tile / shape.columns;
    return {rest / shape.rows, rest % shape.rows * m, column * m};
}

// The last vector of channels overlaps the one before it where they do not divide by kLanes.
std::int64_t channel_at(std::int64_t index, std::int64_t channels) {
    return std::min(index * kLanes, channels - kLanes);
}
std::int64_t vectors_of(std::int64_t channels) { return (channels + kLanes - 1) / kLanes; }

// Where a tap of the kernel, as the filter runs over the source, lies in the weights.
std::int64_t tap_offset(const Shape& shape, int tap) {
    const int at = shape.flipped ? 8 - tap : tap;
    return at / 3 * shape.row_stride + at % 3 * shape.column_stride;
}

// Size x Size pixels of an image from (row, column) on, zero outside of it.
template <int Size>
MIOCONV_INLINE void read_tile(
    const float* image, std::int64_t height, std::int64_t width, std::int64_t channels,
    std::int64_t row, std::int64_t column, Vector* tile) {
    const bool inside = row >= 0 && column >= 0 && row + Size <= height && column + Size <= width;
    for (int i = 0; i < Size; ++i) {
        const float* line = image + ((row + i) * width + column) * channels;
        for (int j = 0; j < Size; ++j) {
            Vector& pixel = tile[i * Size + j];
            if (inside ||
                (row + i >= 0 && row + i < height && column + j >= 0 && column + j < width)) {
                load(line + j * channels, pixel);
            } else {
                pixel = Vector{};
            }
        }
    }
}

template <int M>
struct Kernels {
    using T = Transform<M>;
    static constexpr int kTile = T::kTile;
    static constexpr int kPositions = kTile * kTile;

    // One tile of the source, transformed: `to` is its row in the first plane.
    MIOCONV_VECTOR_CLONES static void transform_source(
        const Shape& shape, const float* source, std::int64_t tile, float* to) {
        const Place place = place_of(shape, tile, M);
        const std::int64_t channels = shape.source_channels, plane = shape.source_plane();
        const float* image =
            source + place.image * shape.source_height * shape.source_width * channels;
        for (std::int64_t v = 0; v < vectors_of(channels); ++v) {
            const std::int64_t channel = channel_at(v, channels);
            Vector pixels[kPositions], values[kPositions];
            read_tile<kTile>(
                image + channel, shape.source_height, shape.source_width, channels,
                place.row - shape.padding_height, place.column - shape.padding_width, pixels);
            both_ways<kTile, kTile>(
                pixels, values,
                [](const Vector* in, int i, Vector* out, int o)
                    MIOCONV_INLINE_LAMBDA { T::input(in, i, out, o); });
            for (int p = 0; p < kPositions; ++p) {
                store(values[p], to + p * plane + channel);
            }
        }
    }

    // One tile of the result's gradient, transformed.
    MIOCONV_VECTOR_CLONES static void transform_gradient(
        const Shape& shape, const float* gradient, std::int64_t tile, float* to) {
        const Place place = place_of(shape, tile, M);
        const std::int64_t channels = shape.result_channels, plane = shape.result_plane();
        const float* image =
            gradient + place.image * shape.result_height * shape.result_width * channels;
        for (std::int64_t v = 0; v < vectors_of(channels); ++v) {
            const std::int64_t channel = channel_at(v, channels);
            Vector pixels[M * M], values[kPositions];
            read_tile<M>(
                image + channel, shape.result_height, shape.result_width, channels, place.row,
                place.column, pixels);
            both_ways<M, kTile>(
                pixels, values,
                [](const Vector* in, int i, Vector* out, int o)
                    MIOCONV_INLINE_LAMBDA { T::gradient(in, i, out, o); });
            for (int p = 0; p < kPositions; ++p) {
                store(values[p], to + p * plane + channel);
            }
        }
    }

    // The products of one tile back to pixels of the result.
    MIOCONV_VECTOR_CLONES static void transform_result(
        const Shape& shape, const Ending& ending, const float* bias, const float* from,
        std::int64_t tile, float* result) {
        const Place place = place_of(shape, tile, M);
        const std::int64_t channels = shape.result_channels, plane = shape.result_plane();
        float* image = result + place.image * shape.result_height * shape.result_width * channels;
        const std::int64_t rows = std::min<std::int64_t>(M, shape.result_height - place.row);
        const std::int64_t columns = std::min<std::int64_t>(M, shape.result_width - place.column);
        for (std::int64_t v = 0; v < vectors_of(channels); ++v) {
            const std::int64_t channel = channel_at(v, channels);
            Vector values[kPositions], pixels[M * M];
            for (int p = 0; p < kPositions; ++p) {
                load(from + p * plane + channel, values[p]);
            }
            both_ways<kTile, M>(
                values, pixels,
                [](const Vector* in, int i, Vector* out, int o)
                    MIOCONV_INLINE_LAMBDA { T::output(in, i, out, o); });
            Vector own_bias{};
            if (bias != nullptr) load(bias + channel, own_bias);
            for (std::int64_t i = 0; i < rows; ++i) {
                float* line =
                    image + ((place.row + i) * shape.result_width + place.column) * channels;
                for (std::int64_t j = 0; j < columns; ++j) {
                    Vector& value = pixels[i * M + j];
                    float* to = line + j * channels + channel;
                    finish(
                        ending, bias == nullptr ? nullptr : &own_bias, to, v * kLanes - channel,
                        value);
                    store(value, to);
                }
            }
        }
    }

    // The weights of kLanes source channels from `first_channel` on, transformed. Where those lie
    // next to each other, a line of the cache has them all: it is read once for all, into `block`.
    MIOCONV_VECTOR_CLONES static void transform_weights(
        const Shape& shape, const float* weights, std::int64_t first_channel, float* to) {
        const std::int64_t channels = shape.result_channels, plane = shape.weight_plane();
        const bool dense = shape.source_stride == 1;
        alignas(sizeof(Vector)) float block[9][kLanes][kLanes];  // tap, result, source
        for (std::int64_t v = 0; v < vectors_of(channels); ++v) {
            const std::int64_t channel = channel_at(v, channels);
            const float* const first =
                weights + first_channel * shape.source_stride + channel * shape.result_stride;
            for (int tap = 0; dense && tap < 9; ++tap) {
                const float* given = first + tap_offset(shape, tap);
                for (int lane = 0; lane < kLanes; ++lane) {
                    std::memcpy(
                        block[tap][lane], given + lane * shape.result_stride, sizeof(Vector));
                }
            }
            for (int source = 0; source < kLanes; ++source) {
                Vector taps[9], values[kPositions];
                for (int tap = 0; tap < 9; ++tap) {
                    const float* given =
                        dense ? &block[tap][0][source]
                              : first + tap_offset(shape, tap) + source * shape.source_stride;
                    const std::int64_t step = dense ? kLanes : shape.result_stride;
                    for (int lane = 0; lane < kLanes; ++lane) taps[tap][lane] = given[lane * step];
                }
                both_ways<3, kTile>(
                    taps, values,
                    [](const Vector* in, int i, Vector* out, int o)
                        MIOCONV_INLINE_LAMBDA { T::weight(in, i, out, o); });
                float* row = to + (first_channel + source) * channels + channel;
                for (int p = 0; p < kPositions; ++p) store(values[p], row + p * plane);
            }
        }
    }

    // The sums of one source channel back to its part of the weights' gradient.
    MIOCONV_VECTOR_CLONES static void transform_weight_gradient(
        const Shape& shape, const float* from, std::int64_t source_channel, float* weights) {
        const std::int64_t channels = shape.result_channels, plane = shape.weight_plane();
        for (std::int64_t v = 0; v < vectors_of(channels); ++v) {
            const std::int64_t channel = channel_at(v, channels);
            Vector values[kPositions], taps[9];
            const float* row = from + source_channel * channels + channel;
            for (int p = 0; p < kPositions; ++p) load(row + p * plane, values[p]);
            both_ways<kTile, 3>(
                values, taps,
                [](const Vector* in, int i, Vector* out, int o)
                    MIOCONV_INLINE_LAMBDA { T::weight_gradient(in, i, out, o); });
            float* first =
                weights + source_channel * shape.source_stride + channel * shape.result_stride;
            for (int tap = 0; tap < 9; ++tap) {
                float* target = first + tap / 3 * shape.row_stride + tap % 3 * shape.column_stride;
                for (int lane = 0; lane < kLanes; ++lane) {
                    target[lane * shape.result_stride] = taps[tap][lane];
                }
            }
        }
    }
};

// Where the parts of the workspace begin, in floats, each on a line of the cache. `sums` is for the
// gradient of the weights alone.
struct Parts {
    std::int64_t sums, source, result, scratchpad, stride, total;
};

std::int64_t lines(std::int64_t floats) { return (floats + kLanes - 1) / kLanes * kLanes; }

Parts parts_of(
    const ConvProblem& problem, const Shape& shape, int positions, int threads,
    const dnnl::matmul::primitive_desc& product) {
    const std::int64_t scratchpad = scratchpad_floats(product);
    Parts parts{};
    // A thread has a block of its own, but those that sum over blocks share one.
    const bool shared = problem.direction == Direction::backward_weights;
    parts.sums = 0;
    parts.source = shared ? lines(positions * shape.weight_plane()) : 0;
    parts.result = parts.source + lines(positions * shape.source_plane());
    parts.scratchpad = parts.result + lines(positions * shape.result_plane());
    const std::int64_t end = parts.scratchpad + lines(scratchpad);
    parts.stride = shared ? lines(scratchpad) : end - parts.source;
    parts.total = end + (threads - 1) * parts.stride;
    return parts;
}

enum Operand { kSource, kWeights, kResult, kWorkspace, kBias };

template <int M>
class WinogradRun final : public RoutineRun {
    using K = Kernels<M>;

public:
    WinogradRun(
        const ConvProblem& problem, int threads, const dnnl::matmul::primitive_desc& product,
        dnnl::primitive primitive)
        : direction_(problem.direction),
          ending_(problem),
          has_bias_(problem.has_bias != 0),
          shape_(shape_of(problem, M, threads)),
          threads_(threads),
          parts_(parts_of(problem, shape_, K::kPositions, threads, product)),
          products_(product, std::move(primitive), threads) {}

    void run(const void* const* operands, dnnl_stream_t stream) override {
        products_.begin();
        auto* workspace = static_cast<float*>(const_cast<void*>(operands[kWorkspace]));
        const auto* source = static_cast<const float*>(operands[kSource]);
        if (direction_ == Direction::backward_weights) {
            sum_over_tiles(
                source, static_cast<const float*>(operands[kResult]),
                static_cast<float*>(const_cast<void*>(operands[kWeights])), workspace, stream);
        } else {
            filter(
                source, static_cast<const float*>(operands[kWeights]),
                has_bias_ ? static_cast<const float*>(operands[kBias]) : nullptr,
                static_cast<float*>(const_cast<void*>(operands[kResult])), workspace, stream);
        }
        products_.end();
    }

private:
    void filter(
        const float* source, const float* transformed, const float* bias, float* result,
        float* workspace, dnnl_stream_t stream) {
#pragma omp parallel num_threads(threads_)
        {
            const int thread = omp_get_thread_num();
            float* const own = workspace + thread * parts_.stride;
#pragma omp for schedule(static)
            for (std::int64_t block = 0; block < shape_.blocks; ++block) {
                const std::int64_t first = block * shape_.block;
                const std::int64_t count = std::min(shape_.block, shape_.tiles - first);
                for (std::int64_t i = 0; i < count; ++i) {
                    K::transform_source(
                        shape_, source, first + i,
                        own + parts_.source + i * shape_.source_channels);
                }
                products_.multiply(
                    thread, own + parts_.source, transformed, own + parts_.result,
                    own + parts_.scratchpad, stream);
                for (std::int64_t i = 0; i < count; ++i) {
                    K::transform_result(
                        shape_, ending_, bias, own + parts_.result + i * shape_.result_channels,
                        first + i, result);
                }
            }
        }
    }

    void sum_over_tiles(
        const float* source, const float* gradient, float* weights, float* workspace,
        dnnl_stream_t stream) {
        float* const sums = workspace + parts_.sums;
        float* const sources = workspace + parts_.source;
        float* const gradients = workspace + parts_.result;
#pragma omp parallel num_threads(threads_)
        {
            const int thread = omp_get_thread_num();
            float* const scratchpad = workspace + parts_.scratchpad + thread * parts_.stride;
            for (std::int64_t block = 0; block < shape_.blocks; ++block) {
                const std::int64_t first = block * shape_.block;
#pragma omp for schedule(static)
                for (std::int64_t i = 0; i < shape_.block; ++i) {
                    float* const s = sources + i * shape_.source_channels;
                    float* const g = gradients + i * shape_.result_channels;
                    if (first + i < shape_.tiles) {
                        K::transform_source(shape_, source, first + i, s);
                        K::transform_gradient(shape_, gradient, first + i, g);
                    } else {  // the last block may not be full: zeros add nothing
                        for (int p = 0; p < K::kPositions; ++p) {
                            std::fill_n(s + p * shape_.source_plane(), shape_.source_channels, 0.f);
                            std::fill_n(g + p * shape_.result_plane(), shape_.result_channels, 0.f);
                        }
                    }
                }
#pragma omp for schedule(static)
                for (int p = 0; p < K::kPositions; ++p) {
                    float* const sum = sums + p * shape_.weight_plane();
                    if (block == 0) {
                        std::fill_n(sum, shape_.source_channels * shape_.result_channels, 0.f);
                    }
                    products_.multiply(
                        thread, sources + p * shape_.source_plane(),
                        gradients + p * shape_.result_plane(), sum, scratchpad, stream);
                }
            }
#pragma omp for schedule(static)
            for (std::int64_t c = 0; c < shape_.source_channels; ++c) {
                K::transform_weight_gradient(shape_, sums, c, weights);
            }
        }
    }

    Direction direction_;
    Ending ending_;
    bool has_bias_;
    Shape shape_;
    int threads_;
    Parts parts_;
    Products products_;
};

// The transform of the weights, a step of its own: constant weights need it once.
template <int M>
class TransformRun final : public RoutineRun {
public:
    TransformRun(const Shape& shape, int threads) : shape_(shape), threads_(threads) {}

    void run(const void* const* operands, dnnl_stream_t) override {
        const auto* weights = static_cast<const float*>(operands[0]);
        auto* to = static_cast<float*>(const_cast<void*>(operands[1]));
#pragma omp parallel for schedule(static) num_threads(threads_)
        for (std::int64_t v = 0; v < vectors_of(shape_.source_channels); ++v) {
            const std::int64_t channel = channel_at(v, shape_.source_channels);
            Kernels<M>::transform_weights(shape_, weights, channel, to);
        }
    }

private:
    Shape shape_;
    int threads_;
};

class Transforming final : public Routine {
public:
    Transforming(const ConvProblem& problem, int m, int threads)
        : shape_(shape_of(problem, m, threads)), m_(m), threads_(threads) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive&) const override {
        if (m_ == 2) return std::make_unique<TransformRun<2>>(shape_, threads_);
        return std::make_unique<TransformRun<4>>(shape_, threads_);
    }

private:
    Shape shape_;
    int m_;
    int threads_;
};

class Winograd final : public Routine {
public:
    Winograd(
        const ConvProblem& problem, int m, int threads, const dnnl::matmul::primitive_desc& product)
        : problem_(problem), m_(m), threads_(threads), product_(product) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive& primitive) const override {
        if (m_ == 2) {
            return std::make_unique<WinogradRun<2>>(problem_, threads_, product_, primitive);
        }
        return std::make_unique<WinogradRun<4>>(problem_, threads_, product_, primitive);
    }

private:
    ConvProblem problem_;
    int m_;
    int threads_;
    dnnl::matmul::primitive_desc product_;
};

}  // namespace

bool winograd_applies(const ConvProblem& problem) {
    if (problem.dtype != miopenFloat || problem.groups != 1) return false;
    const int first = problem.rank - 4;  // of the two dimensions that are filtered
    for (int i = 0; i < problem.rank - 2; ++i) {
        const bool filtered = i >= first;
        if (problem.stride[i] != 1 || problem.dilation[i] != 1) return false;
        if (problem.wei[i + 2] != (filtered ? 3 : 1)) return false;
        if (problem.padding[i] > (filtered ? 2 : 0)) return false;
    }
    return problem.src[1] >= kLeastChannels && problem.dst[1] >= kLeastChannels;
}

dnnl::matmul::primitive_desc winograd_product(const ConvProblem& problem, int m, int threads) {
    const Shape shape = shape_of(problem, m, threads);
    constexpr auto kFloat = memory::data_type::f32;
    const std::int64_t from = shape.source_channels, to = shape.result_channels;
    memory::desc a, b, c;
    if (problem.direction == Direction::backward_weights) {
        a = {{from, shape.block}, kFloat, {1, from}};
        b = {{shape.block, to}, kFloat, {to, 1}};
        c = {{from, to}, kFloat, {to, 1}};
    } else {
        const std::int64_t positions = (m + 2) * (m + 2);
        a = {{positions, shape.block, from}, kFloat, {shape.source_plane(), from, 1}};
        b = {{positions, from, to}, kFloat, {shape.weight_plane(), to, 1}};
        c = {{positions, shape.block, to}, kFloat, {shape.result_plane(), to, 1}};
    }
    return product_of(a, b, c, problem.direction == Direction::backward_weights);
}

WeightTransform winograd_transform(const ConvProblem& problem, int m, int threads) {
    const Shape shape = shape_of(problem, m, threads);
    const std::int64_t floats = (m + 2) * (m + 2) * shape.weight_plane();
    return {
        std::make_shared<Transforming>(problem, m, threads),
        static_cast<std::size_t>(floats) * sizeof(float)};
}

Recipe make_winograd_recipe(
    const ConvProblem& problem, int m, int threads, const dnnl::matmul::primitive_desc& product) {
    const Shape shape = shape_of(problem, m, threads);
    const Parts parts = parts_of(problem, shape, (m + 2) * (m + 2), threads, product);
    return make_routine_recipe(
        problem, product, std::make_shared<Winograd>(problem, m, threads, product),
        winograd_transform(problem, m, threads),
        static_cast<std::size_t>(parts.total) * sizeof(float));
}

}  // namespace mioconv::cpu
