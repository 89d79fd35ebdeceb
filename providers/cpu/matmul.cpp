#include "matmul.hpp"

#include <omp.h>

#include <algorithm>
#include <string>

#include "columns.hpp"
#include "dnnl_error.hpp"
#include "products.hpp"
#include "shares.hpp"
#include "vectors.hpp"

namespace mioconv::cpu {
namespace {

using dnnl::memory;

// A thread's gathered columns stay in its second-level cache, unless a sum is so long that there
// would be too few of them for a product.
constexpr std::int64_t kPieceBytes = 512 << 10;
constexpr std::int64_t kLeastWidth = 64;
// Packed images with fewer pixels make sums too short: several are brought together.
constexpr std::int64_t kLeastSummed = 192;
constexpr std::int64_t kGatheredPixels = 1024;
// A sum of more is divided where it can be.
constexpr std::int64_t kMostSummed = 4096;

// The largest divisor up to `most`; `number` itself if none comes near to that.
std::int64_t divisor_of(std::int64_t number, std::int64_t most) {
    for (std::int64_t d = std::min(number, most); d > most / 8; --d) {
        if (number % d == 0) return d;
    }
    return number;
}

// Where what lies in a thread's part of the workspace begins, in floats.
struct Parts {
    std::int64_t gradient, first, result, scratchpad, stride;
};

struct Shape {
    Columns columns;
    Tensor dst, wei;
    std::int64_t images, pixels;             // pixels of one image
    std::int64_t groups, outputs, channels;  // of one group the latter
    bool dst_last, src_last;
    // The product is over blocks of `summed` pixels, counted through all images.
    std::int64_t summed, blocks;
    bool collects;  // packed images are brought together, so that a block's pixels are neighbours
    bool src_lies;  // the input is its own columns
    bool wei_lies;  // a piece's result is a part of the weights
    // A group's columns in `parts` parts, each for a thread at a time, in pieces of `width` ones.
    std::int64_t parts, width;
    std::vector<Piece> pieces;
    std::vector<std::int64_t> first_piece;  // of each part, and one more
    std::vector<std::int64_t> dead;  // offsets of weights that meet only padding

    std::int64_t all_outputs() const { return groups * outputs; }
    std::int64_t row() const { return wei_lies ? std::max(wei.first, width) : width; }
    std::int64_t offset_of(std::int64_t column) const {
        return columns.channel_of(column) * wei.second +
               columns.taps[columns.tap_of(column)].offset;
    }
    // Where the gradient's rows, or columns, of a block begin.
    std::int64_t gradient_at(std::int64_t block, std::int64_t group) const {
        const std::int64_t pixel = block * summed;
        if (dst_last) return pixel * all_outputs() + group * outputs;
        if (collects) return pixel * all_outputs() + group * outputs * summed;
        return pixel / pixels * dst.first + group * outputs * pixels + pixel % pixels;
    }
    // The same for an input that is its own columns.
    std::int64_t source_at(std::int64_t block, std::int64_t column) const {
        const std::int64_t pixel = block * summed;
        if (src_last) return pixel * groups * channels + column;
        return pixel / pixels * columns.src.first + column * pixels + pixel % pixels;
    }
};

bool is_packed(const ConvProblem& problem, Role role) {
    return strides_of(problem, role) == packed_strides(problem.rank, dims_of(problem, role), false);
}

bool is_pointwise(const ConvProblem& problem) {
    for (int i = 0; i < problem.rank - 2; ++i) {
        if (problem.wei[i + 2] != 1 || problem.stride[i] != 1 || problem.padding[i] != 0) {
            return false;
        }
    }
    return true;
}

void share_out_pixels(Shape& shape, bool pointwise) {
    const std::int64_t all = shape.images * shape.pixels;
    if (shape.dst_last) {
        shape.src_lies = pointwise && (shape.src_last || shape.images == 1);
        shape.summed = shape.src_lies ? all : divisor_of(all, kMostSummed);
    } else if (shape.images == 1 || shape.pixels >= kLeastSummed) {
        shape.src_lies = pointwise;
        shape.summed = pointwise ? shape.pixels : divisor_of(shape.pixels, kMostSummed);
    } else {
        std::int64_t together = 1;
        for (std::int64_t d = 2; d <= shape.images && d * shape.pixels <= kGatheredPixels; ++d) {
            if (shape.images % d == 0) together = d;
        }
        shape.summed = together * shape.pixels;
        shape.collects = together > 1;
        shape.src_lies = pointwise && !shape.collects;
    }
    shape.blocks = all / shape.summed;
}

void share_out_columns(Shape& shape, std::int64_t tensor_bytes, int threads) {
    const std::int64_t count = shape.columns.count();
    const std::int64_t vectors = divide_up(count, kLanes);
    shape.parts = fair_parts(shape.groups, std::min<std::int64_t>(vectors, 4 * threads), threads);
    const auto part_of = [&](std::int64_t part) {
        const Range range = share_of(vectors, shape.parts, part);
        return Range{range.begin * kLanes, std::min(range.end * kLanes, count)};
    };
    std::int64_t least = count, most = 0;
    for (std::int64_t part = 0; part < shape.parts; ++part) {
        least = std::min(least, part_of(part).size());
        most = std::max(most, part_of(part).size());
    }
    shape.width = least;
    if (!shape.src_lies || !shape.wei_lies) {
        const std::int64_t floats =
            std::min(kPieceBytes, tensor_bytes / (2 * threads)) / std::int64_t{sizeof(float)};
        const std::int64_t column =
            (shape.src_lies ? 0 : shape.summed) + (shape.wei_lies ? 0 : shape.outputs);
        const std::int64_t wanted = std::max(floats / column, kLeastWidth);
        const std::int64_t width = divide_up(most, divide_up(most, wanted));
        shape.width = std::min(divide_up(width, kLanes) * kLanes, least);
    }
    for (std::int64_t part = 0; part < shape.parts; ++part) {
        shape.first_piece.push_back(static_cast<std::int64_t>(shape.pieces.size()));
        const Range range = part_of(part);
        // The last piece overlaps the one before it, and computes some columns again.
        for (std::int64_t at = range.begin; at < range.end; at += shape.width) {
            const std::int64_t first = std::min(at, range.end - shape.width);
            shape.pieces.emplace_back(shape.columns, first, shape.width);
        }
    }
    shape.first_piece.push_back(static_cast<std::int64_t>(shape.pieces.size()));
}

Shape shape_of(const ConvProblem& problem, int threads) {
    Shape shape{};
    shape.columns = columns_of(problem);
    shape.dst = tensor_of(problem, Role::dst);
    shape.wei = tensor_of(problem, Role::wei);
    shape.images = problem.dst[0];
    shape.pixels = 1;
    for (const std::int64_t size : shape.dst.axes.size) shape.pixels *= size;
    shape.groups = problem.groups;
    shape.outputs = problem.dst[1] / problem.groups;
    shape.channels = problem.wei[1];
    shape.dst_last = is_channels_last(problem, Role::dst);
    shape.src_last = is_channels_last(problem, Role::src);
    share_out_pixels(shape, is_pointwise(problem));

    std::int64_t taps = 1;
    for (const std::int64_t size : shape.wei.axes.size) taps *= size;
    for (std::int64_t tap = 0; tap < taps; ++tap) {
        std::int64_t rest = tap, offset = 0;
        for (int axis = kSpace; axis-- > 0; rest /= shape.wei.axes.size[axis]) {
            offset += rest % shape.wei.axes.size[axis] * shape.wei.axes.stride[axis];
        }
        const auto& met = shape.columns.taps;
        const bool lives = std::any_of(
            met.begin(), met.end(), [&](const Tap& other) { return other.offset == offset; });
        if (!lives) shape.dead.push_back(offset);
    }
    shape.wei_lies = shape.dead.empty();
    for (std::int64_t i = 0; i < shape.columns.count() && shape.wei_lies; ++i) {
        shape.wei_lies = shape.offset_of(i) == i;
    }
    std::int64_t elements = 0;
    for (const Role role : {Role::src, Role::wei, Role::dst}) {
        std::int64_t count = 1;
        for (int i = 0; i < problem.rank; ++i) count *= dims_of(problem, role)[i];
        elements += count;
    }
    share_out_columns(shape, elements * std::int64_t{sizeof(float)}, threads);
    return shape;
}

std::int64_t lines(std::int64_t floats) { return divide_up(floats, kLanes) * kLanes; }

Parts parts_of(const Shape& shape, const dnnl::matmul::primitive_desc& product) {
    Parts parts{};
    parts.first = shape.collects ? lines(shape.images * shape.pixels * shape.all_outputs()) : 0;
    parts.result = shape.src_lies ? 0 : lines(shape.summed * shape.width);
    parts.scratchpad = parts.result + (shape.wei_lies ? 0 : lines(shape.outputs * shape.width));
    parts.stride = parts.scratchpad + lines(scratchpad_floats(product));
    return parts;
}

enum Operand { kSource, kWeights, kGradient, kWorkspace };

class MatmulRun final : public RoutineRun {
public:
    MatmulRun(
        const ConvProblem& problem, int threads, const dnnl::matmul::primitive_desc& product,
        dnnl::primitive primitive)
        : shape_(shape_of(problem, threads)),
          threads_(threads),
          parts_(parts_of(shape_, product)),
          products_(product, std::move(primitive), threads) {
        for (std::int64_t i = 0; i < shape_.columns.count(); ++i) {
            if (shape_.wei_lies) break;
            offsets_.push_back(shape_.offset_of(i));
            firsts_.push_back(shape_.columns.tap_of(i) == 0);
        }
    }

    void run(const void* const* operands, dnnl_stream_t stream) override {
        products_.begin();
        const auto* const src = static_cast<const float*>(operands[kSource]);
        const auto* gradient = static_cast<const float*>(operands[kGradient]);
        auto* const weights = static_cast<float*>(const_cast<void*>(operands[kWeights]));
        const bool needs = parts_.first + threads_ * parts_.stride > 0;
        auto* const workspace =
            needs ? static_cast<float*>(const_cast<void*>(operands[kWorkspace])) : nullptr;
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
            const int thread = omp_get_thread_num();
            if (shape_.collects) {
#pragma omp for schedule(static)
                for (std::int64_t row = 0; row < shape_.images * shape_.all_outputs(); ++row) {
                    collect(gradient, row, workspace);
                }
            }
            const float* const rows = shape_.collects ? workspace : gradient;
            float* const own = workspace + parts_.first + thread * parts_.stride;
#pragma omp for schedule(static)
            for (std::int64_t item = 0; item < shape_.groups * shape_.parts; ++item) {
                const std::int64_t group = item / shape_.parts, part = item % shape_.parts;
                for (std::int64_t i = shape_.first_piece[static_cast<std::size_t>(part)];
                     i < shape_.first_piece[static_cast<std::size_t>(part) + 1]; ++i) {
                    compute(
                        thread, src, rows, group, shape_.pieces[static_cast<std::size_t>(i)], own,
                        weights, stream);
                }
            }
        }
        products_.end();
    }

private:
    // One output channel of an image to its place beside those of other images.
    void collect(const float* gradient, std::int64_t row, float* to) const {
        const std::int64_t image = row / shape_.all_outputs(), output = row % shape_.all_outputs();
        const std::int64_t together = shape_.summed / shape_.pixels;
        std::copy_n(
            gradient + row * shape_.pixels, shape_.pixels,
            to + (image / together * shape_.all_outputs() + output) * shape_.summed +
                image % together * shape_.pixels);
    }

    void compute(
        int thread, const float* src, const float* gradient, std::int64_t group, const Piece& piece,
        float* own, float* weights, dnnl_stream_t stream) noexcept {
        float* const group_weights = weights + group * shape_.outputs * shape_.wei.first;
        float* const result = shape_.wei_lies ? group_weights + piece.first : own + parts_.result;
        if (shape_.blocks > 1) {
            for (std::int64_t k = 0; k < shape_.outputs; ++k) {
                std::fill_n(result + k * shape_.row(), piece.width, 0.f);
            }
        }
        for (std::int64_t block = 0; block < shape_.blocks; ++block) {
            const float* columns = own;
            if (shape_.src_lies) {
                columns = src + shape_.source_at(block, group * shape_.channels + piece.first);
            } else {
                gather(
                    shape_.columns, piece,
                    src + group * shape_.channels * shape_.columns.src.second,
                    block * shape_.summed, shape_.summed, own);
            }
            products_.multiply(
                thread, gradient + shape_.gradient_at(block, group), columns, result,
                own + parts_.scratchpad, stream);
        }
        if (!shape_.wei_lies) scatter(piece, result, group_weights);
    }

    // A piece's columns to their places, and zeros to the taps that have no columns.
    void scatter(const Piece& piece, const float* result, float* weights) const noexcept {
        for (std::int64_t k = 0; k < shape_.outputs; ++k) {
            float* const to = weights + k * shape_.wei.first;
            const float* const from = result + k * piece.width;
            const std::int64_t* const offsets = offsets_.data() + piece.first;
            for (std::int64_t i = 0; i < piece.width; ++i) to[offsets[i]] = from[i];
            if (shape_.dead.empty()) continue;
            for (std::int64_t i = 0; i < piece.width; ++i) {
                if (!firsts_[static_cast<std::size_t>(piece.first + i)]) continue;
                float* const channel = to + offsets[i] - shape_.columns.taps.front().offset;
                for (const std::int64_t offset : shape_.dead) channel[offset] = 0;
            }
        }
    }

    Shape shape_;
    int threads_;
    Parts parts_;
    Products products_;
    std::vector<std::int64_t> offsets_;  // of the columns' weights
    std::vector<char> firsts_;  // whether a column is its channel's first
};

class Matmul final : public Routine {
public:
    Matmul(const ConvProblem& problem, int threads, const dnnl::matmul::primitive_desc& product)
        : problem_(problem), threads_(threads), product_(product) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive& primitive) const override {
        return std::make_unique<MatmulRun>(problem_, threads_, product_, primitive);
    }

private:
    ConvProblem problem_;
    int threads_;
    dnnl::matmul::primitive_desc product_;
};

}  // namespace

bool matmul_applies(const ConvProblem& problem) {
    if (problem.direction != Direction::backward_weights || is_depthwise(problem)) return false;
    // Copies have none.
    if (problem.dtype != miopenFloat && has_gaps(problem, Role::wei)) return false;
    for (const Role role : {Role::src, Role::dst}) {
        if (!is_packed(problem, role) &&
            (!is_channels_last(problem, role) || has_gaps(problem, role))) {
            return false;
        }
    }
    return !columns_of(problem).taps.empty();
}

dnnl::matmul::primitive_desc matmul_product(const ConvProblem& problem, int threads) {
    const Shape shape = shape_of(problem, threads);
    constexpr auto kFloat = memory::data_type::f32;
    const std::int64_t m = shape.outputs, n = shape.width, k = shape.summed;
    const std::int64_t gradient_row = shape.collects ? k : shape.pixels;
    const memory::dims a =
        shape.dst_last ? memory::dims{1, shape.all_outputs()} : memory::dims{gradient_row, 1};
    memory::dims b;
    if (shape.src_lies) {
        b = shape.src_last ? memory::dims{shape.groups * shape.channels, 1}
                           : memory::dims{1, shape.pixels};
    } else {
        b = shape.columns.by_pixel ? memory::dims{n, 1} : memory::dims{1, k};
    }
    const auto make = [&] {
        return product_of(
            {{m, k}, kFloat, a}, {{k, n}, kFloat, b}, {{m, n}, kFloat, {shape.row(), 1}},
            shape.blocks > 1);
    };
    // oneDNN's gemm is up to 3 times as fast where sums are short and others come first.
    auto product = make();
    if (!product) return product;
    while (std::string(product.impl_info_str()).rfind("gemm:jit", 0) != 0) {
        if (!product.next_impl()) return make();
    }
    return product;
}

Recipe make_matmul_recipe(
    const ConvProblem& problem, int threads, const dnnl::matmul::primitive_desc& product) {
    const Parts parts = parts_of(shape_of(problem, threads), product);
    const auto bytes =
        static_cast<std::size_t>(parts.first + threads * parts.stride) * sizeof(float);
    auto routine = std::make_shared<Matmul>(problem, threads, product);
    if (problem.dtype == miopenFloat) {
        return make_caller_recipe(problem, std::move(routine), bytes, product);
    }
    return make_converted_recipe(problem, std::move(routine), bytes, product);
}

}  // namespace mioconv::cpu
