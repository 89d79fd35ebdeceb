// Walking several tensors of one shape and any strides at once, in long runs and on all threads.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "common/strides.hpp"

namespace mioconv::cpu {

using provider::Dims;

template <int N>
struct Run {
    std::array<std::int64_t, N> offset;  // elements, of the run's first element
    std::array<std::int64_t, N> stride;  // elements, between its neighbours
    std::int64_t count;                  // at most kMaxRun
};

constexpr std::int64_t kMaxRun = 1024;  // its floats stay in the first-level cache

namespace detail {

// The shape with unit dimensions dropped, the first tensor's smallest stride last, and dimensions
// merged where every tensor steps through both as through one.
template <int N>
struct LoopNest {
    int rank = 0;
    Dims dims{};
    std::array<Dims, N> strides{};

    LoopNest(int full_rank, const Dims& shape, const std::array<Dims, N>& all) {
        std::array<int, provider::kMaxDims> order{};
        const int used = provider::order_by_stride(full_rank, shape, all[0], order);
        for (int i = used - 1; i >= 0; --i) {
            const int dim = order[i];
            bool merges = rank > 0;
            for (int t = 0; merges && t < N; ++t) {
                merges = strides[t][rank - 1] == all[t][dim] * shape[dim];
            }
            if (merges) {
                dims[rank - 1] *= shape[dim];
            } else {
                dims[rank++] = shape[dim];
            }
            for (int t = 0; t < N; ++t) strides[t][rank - 1] = all[t][dim];
        }
        if (rank == 0) dims[rank++] = 1;
    }
};

}  // namespace detail

// Calls body(run) for runs that cover the shape once. The body must not throw: it runs on OpenMP's
// threads.
template <int N, class Body>
void strided_loop(
    int rank, const Dims& shape, const std::array<Dims, N>& strides, int threads,
    const Body& body) {
    const detail::LoopNest<N> nest(rank, shape, strides);
    const int inner = nest.rank - 1;
    const std::int64_t pieces = (nest.dims[inner] + kMaxRun - 1) / kMaxRun;
    std::int64_t total = pieces;
    for (int i = 0; i < inner; ++i) total *= nest.dims[i];

#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && total > 1)
    for (std::int64_t index = 0; index < total; ++index) {
        const std::int64_t start = index % pieces * kMaxRun;
        Run<N> run{};
        for (int t = 0; t < N; ++t) {
            run.stride[t] = nest.strides[t][inner];
            run.offset[t] = start * run.stride[t];
        }
        run.count = std::min(kMaxRun, nest.dims[inner] - start);
        std::int64_t rest = index / pieces;
        for (int i = inner - 1; i >= 0; --i) {
            const std::int64_t at = rest % nest.dims[i];
            rest /= nest.dims[i];
            for (int t = 0; t < N; ++t) run.offset[t] += at * nest.strides[t][i];
        }
        body(run);
    }
}

}  // namespace mioconv::cpu
