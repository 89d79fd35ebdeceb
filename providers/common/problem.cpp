#include "problem.hpp"

#include <algorithm>

#include "status.hpp"
#include "strides.hpp"

namespace mioconv::provider {
namespace {

// Strides must give every element an address of its own.
void require_distinct_elements(const miopenTensorDescriptor& tensor) {
    std::array<int, kMaxDims> order{};
    const int used = order_by_stride(tensor.rank, tensor.dims, tensor.strides, order);
    std::int64_t reach = 1;
    for (int i = 0; i < used; ++i) {
        const int dim = order[i];
        require(tensor.strides[dim] >= reach);
        reach = tensor.strides[dim] * (tensor.dims[dim] - 1) + reach;
    }
}

// Each result reads the one input in its place.
bool is_pointwise(const ConvProblem& problem, int axis) noexcept {
    return problem.wei[axis + 2] == 1 && problem.stride[axis] == 1 && problem.padding[axis] == 0;
}

// A single input gives a single result.
bool is_absent(const ConvProblem& problem, int axis) noexcept {
    return problem.src[axis + 2] == 1 && problem.wei[axis + 2] == 1 && problem.padding[axis] == 0;
}

// Whether a dimension and the next are stepped through as one.
bool merges(const Dims& dims, const Dims& strides, int dim) noexcept {
    return dims[dim] == 1 || dims[dim + 1] == 1 || strides[dim] == dims[dim + 1] * strides[dim + 1];
}

template <typename Values>
void take_out(Values& values, int at, int last) noexcept {
    std::copy(values.begin() + at + 1, values.end(), values.begin() + at);
    values.back() = last;
}

void merge(Dims& dims, Dims& strides, int dim) noexcept {
    if (dims[dim + 1] == 1) strides[dim + 1] = strides[dim];
    dims[dim + 1] *= dims[dim];
    take_out(dims, dim, 0);
    take_out(strides, dim, 0);
}

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) noexcept {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
    return hash ^ (hash >> 32);
}

}  // namespace

std::size_t ConvProblemHash::operator()(const ConvProblem& problem) const noexcept {
    static_assert(sizeof(ConvProblem) % sizeof(std::uint64_t) == 0);
    std::uint64_t words[sizeof(ConvProblem) / sizeof(std::uint64_t)];
    std::memcpy(words, &problem, sizeof words);
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (const std::uint64_t word : words) hash = mix(hash, word);
    return static_cast<std::size_t>(hash);
}

ConvProblem make_problem(
    std::int32_t place, Direction direction, const miopenTensorDescriptor& x,
    const miopenTensorDescriptor& w, const miopenConvolutionDescriptor& conv,
    const miopenTensorDescriptor& y, const Epilogue& epilogue) {
    require((x.rank == 4 || x.rank == 5) && w.rank == x.rank && y.rank == x.rank);
    require(conv.spatial_rank == x.rank - 2 && conv.groups >= 1);
    require(x.dtype == w.dtype && x.dtype == y.dtype);
    require_distinct_elements(x);
    require_distinct_elements(w);
    require_distinct_elements(y);

    const bool turned = conv.transposed();
    const miopenTensorDescriptor& src = turned ? y : x;
    const miopenTensorDescriptor& dst = turned ? x : y;
    require(src.dims[0] == dst.dims[0]);
    require(src.dims[1] == w.dims[1] * conv.groups && dst.dims[1] == w.dims[0]);
    require(w.dims[0] % conv.groups == 0);
    if (conv.mode == miopenDepthwise) require(conv.groups == src.dims[1]);
    for (int i = 0; i < conv.spatial_rank; ++i) {
        const std::int64_t reach = std::int64_t{conv.dilation[i]} * (w.dims[i + 2] - 1) + 1;
        const std::int64_t room = src.dims[i + 2] + 2 * std::int64_t{conv.padding[i]} - reach;
        require(room >= 0 && dst.dims[i + 2] == room / conv.stride[i] + 1);
    }

    ConvProblem problem;
    if (turned && direction != Direction::backward_weights) {
        direction = direction == Direction::forward ? Direction::backward_data : Direction::forward;
    }
    problem.direction = direction;
    problem.dtype = x.dtype;
    problem.rank = x.rank;
    problem.groups = conv.groups;
    problem.place = place;
    problem.fused = epilogue.fused;
    problem.has_bias = epilogue.bias;
    problem.has_sum = epilogue.sum;
    problem.slope = epilogue.slope;
    problem.sum_scale = epilogue.sum_scale;
    problem.padding = conv.padding;
    problem.stride = conv.stride;
    problem.dilation = conv.dilation;
    problem.deterministic = conv.attributes[MIOPEN_CONVOLUTION_ATTRIB_DETERMINISTIC] != 0;
    problem.strict_math = conv.attributes[MIOPEN_CONVOLUTION_ATTRIB_MATH_TYPE] != 0;
    problem.alignment = 16;
    problem.packed_weights = conv.packed_weights;
    problem.unused = 0;
    problem.src = src.dims;
    problem.wei = w.dims;
    problem.dst = dst.dims;
    problem.src_strides = src.strides;
    problem.wei_strides = w.strides;
    problem.dst_strides = dst.strides;
    return problem;
}

ConvProblem collapsed(ConvProblem problem) noexcept {
    if (problem.rank < 5) return problem;
    for (int axis = 0; axis < 2; ++axis) {
        const int dim = axis + 2;
        const bool drops_next = is_absent(problem, axis + 1);
        const bool both = is_pointwise(problem, axis) && is_pointwise(problem, axis + 1);
        if (!(both || drops_next || is_absent(problem, axis)) ||
            !merges(problem.src, problem.src_strides, dim) ||
            !merges(problem.dst, problem.dst_strides, dim)) {
            continue;
        }
        merge(problem.src, problem.src_strides, dim);
        merge(problem.wei, problem.wei_strides, dim);
        merge(problem.dst, problem.dst_strides, dim);
        const int gone = drops_next ? axis + 1 : axis;
        take_out(problem.padding, gone, 0);
        take_out(problem.stride, gone, 1);
        take_out(problem.dilation, gone, 1);
        --problem.rank;
        break;
    }
    return problem;
}

double flops(const ConvProblem& problem) noexcept {
    double count = 2;
    for (int i = 0; i < problem.rank; ++i) {
        count *= static_cast<double>(problem.dst[i]);
        if (i > 0) count *= static_cast<double>(problem.wei[i]);  // dst[1] stands for wei[0]
    }
    return count;
}

}  // namespace mioconv::provider
