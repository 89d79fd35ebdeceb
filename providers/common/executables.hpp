// What is ready to run on a handle, by problem and solution.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "problem.hpp"

namespace mioconv::provider {

constexpr std::uint64_t kBestSolution = 0;  // MIOpen's "no id"

// Needs the handle's mutex held. The one that ran last is found by one comparison.
template <class Executable>
class Executables {
public:
    // `make` gives a unique_ptr of one where there is none yet.
    template <class Make>
    Executable& get(const ConvProblem& problem, std::uint64_t solution_id, Make make) {
        if (__builtin_expect(
                last_ != nullptr && last_key_.solution_id == solution_id &&
                    last_key_.problem == problem,
                1)) {
            return *last_;
        }
        const Key key{problem, solution_id};
        auto found = ready_.find(key);
        if (found == ready_.end()) {
            std::unique_ptr<Executable> made = make();
            if (ready_.size() >= kMost) clear();
            found = ready_.emplace(key, std::move(made)).first;
        }
        last_key_ = key;
        last_ = found->second.get();
        return *last_;
    }

    // Lets go of those of which `is_over` says so.
    template <class IsOver>
    void sweep(IsOver is_over) {
        for (auto at = ready_.begin(); at != ready_.end();) {
            if (!is_over(*at->second)) {
                ++at;
                continue;
            }
            if (last_ == at->second.get()) last_ = nullptr;
            at = ready_.erase(at);
        }
    }

private:
    static constexpr std::size_t kMost = 2048;

    struct Key {
        ConvProblem problem;
        std::uint64_t solution_id;
        bool operator==(const Key& other) const noexcept {
            return solution_id == other.solution_id && problem == other.problem;
        }
    };
    struct KeyHash {
        std::size_t operator()(const Key& key) const noexcept {
            return ConvProblemHash{}(key.problem) ^ key.solution_id;
        }
    };

    void clear() {
        last_ = nullptr;
        ready_.clear();
    }

    std::unordered_map<Key, std::unique_ptr<Executable>, KeyHash> ready_;
    Key last_key_{};
    Executable* last_ = nullptr;
};

}  // namespace mioconv::provider
