#include "database.hpp"

#include <algorithm>
#include <list>

#include "common/fork_gate.hpp"
#include "host_memory.hpp"

namespace mioconv::cpu {
namespace {

// A process that meets ever new shapes must not grow for ever. Entries in use live on with their
// users.
struct Database {
    struct Place;
    using Entries = std::unordered_map<ConvProblem, Place, ConvProblemHash>;
    using Order = std::list<const ConvProblem*>;
    struct Place {
        std::shared_ptr<ProblemEntry> entry;
        Order::iterator use;
    };

    std::mutex mutex;
    Entries entries;
    Order order;  // most recently used first
    std::size_t capacity = 4096;

    std::shared_ptr<ProblemEntry> find(const ConvProblem& problem) {
        const auto found = entries.find(problem);
        if (found == entries.end()) return nullptr;
        order.splice(order.begin(), order, found->second.use);
        return found->second.entry;
    }
    void trim(std::size_t problems) {
        while (order.size() > problems) {
            const auto oldest = entries.find(*order.back());
            oldest->second.entry->retire();
            order.pop_back();
            entries.erase(oldest);
        }
    }
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

void ProblemEntry::retire() const noexcept {
    for (const auto& solution : solutions_) solution->retire();
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
        if (auto known = all.find(problem)) return known;
    }
    require_address_space(0);  // else the list may lack some, for good
    // Enumerated without the lock: it takes milliseconds. Two threads may both do it; one wins.
    auto entry = std::make_shared<ProblemEntry>(problem);
    std::lock_guard lock(all.mutex);
    if (auto known = all.find(problem)) return known;
    const auto place = all.entries.emplace(problem, Database::Place{entry, {}}).first;
    all.order.push_front(&place->first);
    place->second.use = all.order.begin();
    all.trim(all.capacity);
    return entry;
}

void set_capacity(std::size_t problems) {
    const provider::ForkGate gate;
    Database& all = database();
    std::lock_guard lock(all.mutex);
    all.capacity = std::max<std::size_t>(problems, 1);
    all.trim(all.capacity);
}

void trim(std::size_t problems) {
    const provider::ForkGate gate;
    Database& all = database();
    std::lock_guard lock(all.mutex);
    all.trim(problems);
}

}  // namespace mioconv::cpu
