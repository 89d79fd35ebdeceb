// The ways to compute a problem: each oneDNN implementation with each layout strategy, and our own
// algorithms.
#pragma once

#include <atomic>
#include <dnnl.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/regions.hpp"
#include "recipe.hpp"

namespace mioconv::cpu {

// One way. Immutable but for its primitives, which are compiled when first needed and then shared
// by all handles.
class Solution {
public:
    // `packing`: for packed weights, what makes them, if anything is to be done.
    Solution(
        const ConvProblem& problem, Recipe recipe, std::string name, int threads,
        Recipe packing = {}, provider::Basis basis = {"own"});

    std::uint64_t id() const noexcept { return id_; }
    const std::string& name() const noexcept { return name_; }
    const provider::Basis& basis() const noexcept { return basis_; }
    miopenConvAlgorithm_t algorithm() const noexcept { return algorithm_; }
    int threads() const noexcept { return threads_; }
    std::size_t workspace() const noexcept { return recipe_.workspace; }
    // For who has no scratch memory: so slow that nothing else need be measured against it.
    bool last_resort() const noexcept;
    const Recipe& recipe() const noexcept { return recipe_; }
    float estimate_ms() const noexcept { return estimate_ms_; }

    // The caller's weights as this solution takes them, from Role::wei to Role::dst; nullptr: as
    // they are. Only problems with packed weights have one.
    const std::shared_ptr<const Solution>& packing() const noexcept { return packing_; }
    std::size_t packed_bytes() const noexcept;

    // In the order of Recipe::primitives.
    const std::vector<dnnl::primitive>& compile() const;

    // Its problem was forgotten: who keeps it for later calls should let it go.
    void retire() const noexcept { retired_.store(true, std::memory_order_relaxed); }
    bool retired() const noexcept { return retired_.load(std::memory_order_relaxed); }

private:
    std::string name_;
    provider::Basis basis_;
    std::uint64_t id_;
    miopenConvAlgorithm_t algorithm_;
    int threads_;
    Recipe recipe_;
    float estimate_ms_;
    std::shared_ptr<const Solution> packing_;
    mutable std::mutex mutex_;
    mutable std::vector<dnnl::primitive> primitives_;
    mutable std::atomic<bool> retired_{false};
};

using SolutionPtr = std::shared_ptr<const Solution>;

// All ways to compute the problem, unordered; none if it is unsupported. Reference implementations
// only where nothing else exists: they are thousands of times slower.
std::vector<SolutionPtr> enumerate_solutions(const ConvProblem& problem);

}  // namespace mioconv::cpu
