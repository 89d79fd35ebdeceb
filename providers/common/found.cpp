#include "found.hpp"

#include <algorithm>

#include "status.hpp"

namespace mioconv::provider {
namespace {

// A handle that meets ever new shapes must not grow for ever.
constexpr std::size_t kMostProblems = 2048;

}  // namespace

void Found::offer(
    miopenConvAlgorithm_t algorithm, float ms, std::size_t workspace, std::uint64_t solution_id) {
    Best offered{};
    offered.result.algo = algorithm;
    offered.result.time = ms;
    offered.result.memory = workspace;
    offered.solution_id = solution_id;
    const auto same = std::find_if(best_.begin(), best_.end(), [&](const Best& other) {
        return other.result.algo == algorithm;
    });
    if (same != best_.end()) {
        if (same->result.time <= ms) return;
        best_.erase(same);
    }
    const auto place = std::find_if(
        best_.begin(), best_.end(), [&](const Best& other) { return other.result.time > ms; });
    best_.insert(place, offered);
}

int Found::copy(int most, miopenConvAlgoPerf_t* results) const {
    const int count = std::min(most, static_cast<int>(best_.size()));
    for (int i = 0; i < count; ++i) results[i] = best_[static_cast<std::size_t>(i)].result;
    return count;
}

const Found::Best* Found::of(int algorithm) const noexcept {
    for (const Best& best : best_) {
        if (static_cast<int>(best.result.algo) == algorithm) return &best;
    }
    return nullptr;
}

void FoundProblems::keep(const ConvProblem& problem, Found found) {
    if (problems_.size() >= kMostProblems) problems_.clear();
    problems_.insert_or_assign(problem, std::move(found));
}

std::uint64_t FoundProblems::solution(
    const ConvProblem& problem, int algorithm, std::size_t workspace) const {
    const auto found = problems_.find(problem);
    const Found::Best* best = found == problems_.end() ? nullptr : found->second.of(algorithm);
    require(best != nullptr && best->result.memory <= workspace, miopenStatusUnknownError);
    return best->solution_id;
}

}  // namespace mioconv::provider
