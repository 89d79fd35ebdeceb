#include "database.hpp"

#include <algorithm>

#include "common/fork_gate.hpp"

namespace mioconv::cpu {
namespace {

// A process that meets ever new shapes must not grow for ever. Forgetting all is crude and rare;
// entries in use live on with their users.
constexpr std::size_t kMaxProblems = 4096;

struct Database {
    std::mutex mutex;
    std::unordered_map<ConvProblem, std::shared_ptr<ProblemEntry>, ConvProblemHash> entries;
};

Database& database() {
    static auto* const instance = new Database;
    return *instance;
}

}  // namespace

ProblemEntry::ProblemEntry(const ConvProblem& problem) : solutions_(enumerate_solutions(problem)) {}

std::vector<Ranked> ProblemEntry::ranked() const {
    const provider::ForkGate gate;
    std::vector<Ranked> list;
    list.reserve(solutions_.size());
    {
        std::lock_guard lock(mutex_);
        for (const auto& solution : solutions_) {
            const auto found = measured_.find(solution->id());
            const bool known = found != measured_.end();
            list.push_back({solution, known ? found->second : solution->estimate_ms()});
        }
    }
    std::stable_sort(
        list.begin(), list.end(), [](const Ranked& a, const Ranked& b) { return a.ms < b.ms; });
    return list;
}

SolutionPtr ProblemEntry::find(std::uint64_t id) const noexcept {
    for (const auto& solution : solutions_) {
        if (solution->id() == id) return solution;
    }
    return nullptr;
}

void ProblemEntry::set_measured(std::uint64_t id, float ms) {
    const provider::ForkGate gate;
    std::lock_guard lock(mutex_);
    measured_[id] = ms;
}

std::shared_ptr<ProblemEntry> lookup(const ConvProblem& problem) {
    const provider::ForkGate gate;
    Database& all = database();
    {
        std::lock_guard lock(all.mutex);
        const auto found = all.entries.find(problem);
        if (found != all.entries.end()) return found->second;
    }
    // Enumerated without the lock: it takes milliseconds. Two threads may both do it; one wins.
    auto entry = std::make_shared<ProblemEntry>(problem);
    std::lock_guard lock(all.mutex);
    if (all.entries.size() >= kMaxProblems) all.entries.clear();
    return all.entries.emplace(problem, std::move(entry)).first->second;
}

}  // namespace mioconv::cpu
