// From a problem to what was decided about it.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "convolution_params.hpp"

namespace mioconv {

struct CacheCounters {
    std::int64_t hits = 0, misses = 0, evictions = 0, entries = 0;
};
using CountersByDirection = std::array<CacheCounters, direction_count>;

/// Shared values by problem. When many threads miss the same key together, one builds and the
/// others wait; the lock is not held meanwhile. `T` lives as long as anyone uses it, also after
/// `clear`.
template <typename T>
class BenchmarkCache {
public:
    using Value = std::shared_ptr<T>;
    /// Makes the value of a key. Null means failure: nothing is kept and whoever waited tries
    /// itself.
    using Build = Value (*)(const ConvolutionParams& params, void* context);

    /// `capacity` 0: no bound. Otherwise the least recently used entries leave first.
    explicit BenchmarkCache(std::size_t capacity = 0) : capacity_(capacity) {}

    Value get_or_create(const ConvolutionParams& params, Build build, void* context) {
        const HashedParams key(params);
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            const auto found = entries_.find(key);
            if (found == entries_.end()) break;
            if (found->second.value) {
                ++counters_of(params).hits;
                order_.splice(order_.begin(), order_, found->second.use);
                return found->second.value;
            }
            if (found->second.builder == std::this_thread::get_id()) {
                // A signal's handler, or a callback, came while this thread builds the same: it
                // cannot wait for itself.
                lock.unlock();
                return build(params, context);
            }
            published_.wait(lock);
        }
        ++counters_of(params).misses;
        entries_.try_emplace(key).first->second.builder = std::this_thread::get_id();
        const std::uint64_t generation = generation_;
        lock.unlock();
        Value value;
        std::exception_ptr failure;
        try {
            value = build(params, context);
        } catch (...) {
            failure = std::current_exception();  // the waiters must not wait for ever
        }
        lock.lock();
        // After a `clear` in between, the place may belong to another builder or to nobody: the
        // value still serves this caller, the cache stays as cleared.
        if (generation == generation_) {
            const auto place = entries_.find(key);
            if (!value || !publish(place, value)) entries_.erase(place);
        }
        published_.notify_all();
        if (failure) std::rethrow_exception(failure);
        return value;
    }

    void clear() {
        const std::lock_guard<std::mutex> lock(mutex_);
        ++generation_;
        entries_.clear();
        order_.clear();
        counters_ = {};
        published_.notify_all();
    }

    CountersByDirection counters() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        CountersByDirection result = counters_;
        for (const HashedParams* key : order_) ++result[key->params.direction].entries;
        return result;
    }

    /// 0: no bound.
    void set_capacity(std::size_t capacity) {
        const std::lock_guard<std::mutex> lock(mutex_);
        capacity_ = capacity;
        trim();
    }

    /// All finished entries, most recently used first.
    std::vector<Value> values() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<Value> result;
        for (const HashedParams* key : order_) result.push_back(entries_.find(*key)->second.value);
        return result;
    }

private:
    CacheCounters& counters_of(const ConvolutionParams& params) {
        return counters_[static_cast<std::size_t>(params.direction)];
    }

    using Order = std::list<const HashedParams*>;
    struct Entry {
        Value value;  ///< null while it is being built
        std::thread::id builder;
        Order::iterator use;
    };
    using Entries = std::unordered_map<HashedParams, Entry, HashedParams::Hash>;

    /// Whether there was memory for it: a value is of use without being kept.
    bool publish(typename Entries::iterator place, Value value) {
        try {
            order_.push_front(&place->first);
        } catch (const std::bad_alloc&) {
            return false;
        }
        place->second.value = std::move(value);
        place->second.use = order_.begin();
        trim();
        return true;
    }

    void trim() {
        while (capacity_ && order_.size() > capacity_) {
            const auto oldest = entries_.find(*order_.back());
            ++counters_of(oldest->first.params).evictions;
            order_.pop_back();
            entries_.erase(oldest);
        }
    }

    mutable std::mutex mutex_;
    std::condition_variable published_;
    Entries entries_;
    Order order_;  ///< finished entries, most recently used first
    std::size_t capacity_;
    std::uint64_t generation_ = 0;
    CountersByDirection counters_{};
};

}  // namespace mioconv
