// What the process knows about problems: their solutions and how long each takes.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "solution.hpp"

namespace mioconv::cpu {

struct Ranked {
    SolutionPtr solution;
    float ms;  // measured where Find has run, else estimated
};

// One problem's solutions. They never change; their times may.
class ProblemEntry {
public:
    explicit ProblemEntry(const ConvProblem& problem);

    // Best first.
    std::vector<Ranked> ranked() const;
    // nullptr if the problem has no such solution.
    SolutionPtr find(std::uint64_t id) const noexcept;
    void set_measured(std::uint64_t id, float ms);
    // It is forgotten: nothing of it need be kept.
    void retire() const noexcept;

private:
    const std::vector<SolutionPtr> solutions_;
    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, float> measured_;
};

// Independent of handles. Enumerates the solutions where the problem is new.
std::shared_ptr<ProblemEntry> lookup(const ConvProblem& problem);

// How many problems are remembered, at least one; the least recently used leave first.
void set_capacity(std::size_t problems);
// Forgets all but so many now.
void trim(std::size_t problems);

}  // namespace mioconv::cpu
