// The ways to compute a problem: each of cuDNN's engine configurations in each layout, and our own
// kernels.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/regions.hpp"
#include "graph.hpp"
#include "mioconv/abi/miopen.h"
#include "own_kernel.hpp"

namespace mioconv::cuda {

// One way, compiled. Immutable; cuDNN lets handles share its plan.
class Solution {
public:
    Solution(
        const Layout& layout, std::uint64_t id, cudnn_frontend::ExecutionPlan_v8 plan,
        provider::Basis basis);
    Solution(const Layout& layout, std::uint64_t id, std::shared_ptr<const OwnKernel> own);

    std::uint64_t id() const noexcept { return id_; }
    miopenConvAlgorithm_t algorithm() const noexcept { return algorithm_; }
    const Layout& layout() const noexcept { return layout_; }
    const provider::Basis& basis() const noexcept { return basis_; }
    // Copies, cuDNN's own, and room to align the start.
    std::size_t workspace() const noexcept { return workspace_; }
    // One of the two is there.
    cudnnBackendDescriptor_t plan() const noexcept { return descriptor_; }
    const OwnKernel* own() const noexcept { return own_.get(); }
    // Whose kernels end with the plan, so that a recorded CUDA graph needs it.
    bool compiled_at_run_time() const noexcept { return compiled_at_run_time_; }

private:
    std::uint64_t id_;
    Layout layout_;
    provider::Basis basis_;
    std::optional<cudnn_frontend::ExecutionPlan_v8> plan_;
    std::shared_ptr<const OwnKernel> own_;
    cudnnBackendDescriptor_t descriptor_ = nullptr;
    miopenConvAlgorithm_t algorithm_;
    std::size_t workspace_ = 0;
    bool compiled_at_run_time_ = false;
};

using SolutionPtr = std::shared_ptr<const Solution>;

struct Ranked {
    SolutionPtr solution;
    float ms;  // measured where Find has run, else estimated
};

// How far a problem's list goes. Naming a configuration is cheap, compiling it is not: a first list
// compiles what the heuristics think best, a search everything.
enum class Extent { first, all };

// One problem's configurations, with what is compiled and measured of them.
class ProblemEntry {
public:
    explicit ProblemEntry(const ConvProblem& problem) : problem_(problem) {}

    // Best first. Compiles what `extent` asks for and no earlier call has.
    std::vector<Ranked> ranked(Extent extent);
    // Compiles it where needed; nullptr if the problem has no such solution.
    SolutionPtr find(std::uint64_t id);
    void set_measured(std::uint64_t id, float ms);
    // It failed: no longer one of the problem's.
    void remove(std::uint64_t id);

private:
    struct Candidate {
        std::uint64_t id;
        std::size_t layout;
        Configuration configuration;
        provider::Basis basis;
        std::function<std::shared_ptr<const OwnKernel>()> make_own;  // not of a configuration
        float estimate_ms;
        bool tried = false;
        SolutionPtr solution;
        float measured_ms = -1;
    };

    // All need the mutex held.
    void list(Extent extent);
    void add(std::size_t layout, cudnnBackendHeurMode_t mode);
    provider::Basis basis_of(const std::string& engine, const Layout& layout) const;
    void add_own(std::size_t layout);
    Candidate* add(const std::string& name, std::size_t layout);
    SolutionPtr make(Candidate& candidate);
    const SolutionPtr& compile(Candidate& candidate);

    const ConvProblem problem_;
    std::mutex mutex_;
    std::vector<Layout> layouts_;
    std::vector<std::unique_ptr<Graph>> graphs_;  // nullptr: cuDNN refuses this layout
    std::vector<Candidate> candidates_;
    bool listed_first_ = false, listed_all_ = false, searched_ = false;
};

// The most problems that are remembered; and now, to forget them where there are more.
void set_capacity(std::size_t problems);
void trim(std::size_t problems);

// Whether the fuzz has run on the current device's architecture.
bool is_fuzzed_here();

// For the whole process and every handle of the problem's device, which must be current.
std::shared_ptr<ProblemEntry> lookup(const ConvProblem& problem);

}  // namespace mioconv::cuda
