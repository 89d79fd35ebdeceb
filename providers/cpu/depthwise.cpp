#include "depthwise.hpp"

#include "depthwise_tiles.hpp"

namespace mioconv::cpu {

bool depthwise_applies(const ConvProblem& problem) {
    if (problem.dtype != miopenFloat || problem.wei[1] != 1 || problem.fused != Fused::none ||
        problem.has_bias != 0 || problem.has_sum != 0) {
        return false;
    }
    if (problem.direction == Direction::backward_weights) return true;
    if (problem.dst[1] != problem.src[1]) return problem.direction == Direction::forward;
    // Where nothing is to be transposed, oneDNN's kernels are faster than ours.
    return !is_channels_last(problem, Role::src) || !is_channels_last(problem, Role::dst);
}

Recipe make_depthwise_recipe(const ConvProblem& problem, int threads) {
    return problem.direction == Direction::backward_weights
               ? depthwise::make_weights_recipe(problem, threads)
               : depthwise::make_filter_recipe(problem, threads);
}

}  // namespace mioconv::cpu
