// What a cache hit costs, and how well the key's hash spreads. No provider, no Python.
//
//     g++ -std=c++17 -O3 -Iinclude bench/cache.cpp -pthread -o build/cache && build/cache
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <thread>
#include <unordered_set>
#include <vector>

#include "mioconv/benchmark_cache.hpp"

namespace {

using mioconv::ConvolutionParams;
using Clock = std::chrono::steady_clock;

/// A problem such as networks have, by its number; different numbers are different problems.
ConvolutionParams problem(std::uint64_t number) {
    ConvolutionParams p;
    std::memset(&p, 0, sizeof p);
    const auto take = [&number](std::uint64_t count) {
        const auto digit = static_cast<std::int64_t>(number % count);
        number /= count;
        return digit;
    };
    p.direction = take(3);
    const std::int64_t kernel = 1 + 2 * take(4);
    const std::int64_t stride = 1 + take(2);
    const std::int64_t channels = 8 * (1 + take(32));
    const std::int64_t filters = 8 * (1 + take(32));
    const std::int64_t size = 7 + take(64);
    const std::int64_t batch = 1 + static_cast<std::int64_t>(number);
    p.threads = 2;
    p.dtype = 1;
    p.spatial = 2;
    p.groups = 1;
    for (int i = 0; i < 2; ++i) {
        p.padding[i] = kernel / 2;
        p.stride[i] = stride;
        p.dilation[i] = 1;
    }
    const std::int64_t out = (size - 1) / stride + 1;
    p.shape[0] = {batch, channels, size, size};
    p.shape[1] = {filters, channels, kernel, kernel};
    p.shape[2] = {batch, filters, out, out};
    for (int i = 0; i < 3; ++i) {
        const auto& s = p.shape[i];
        p.strides[i] = {s[1] * s[2] * s[3], s[2] * s[3], s[3], 1};
        p.alignment[i] = 16;
    }
    return p;
}

/// The seed's hash: FNV-1a over the bytes, in 32 bits.
std::uint32_t fnv32(const ConvolutionParams& p) {
    std::uint32_t value = 0x811C9DC5u;
    const auto* bytes = reinterpret_cast<const unsigned char*>(&p);
    for (std::size_t i = 0; i < sizeof p; ++i) value = (value ^ bytes[i]) * 0x01000193u;
    return value;
}

std::shared_ptr<int> build(const ConvolutionParams&, void*) { return std::make_shared<int>(1); }

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

/// Nanoseconds of one call of `work`, the median over rounds of `count`.
template <typename Work>
double nanoseconds(int count, Work&& work) {
    std::vector<double> rounds;
    for (int round = 0; round < 31; ++round) {
        const auto start = Clock::now();
        for (int i = 0; i < count; ++i) work(i);
        rounds.push_back(
            std::chrono::duration<double, std::nano>(Clock::now() - start).count() / count);
    }
    return median(rounds);
}

template <typename Hash>
void spread(const char* name, int problems, Hash&& hash) {
    std::unordered_set<std::uint64_t> values, low;
    constexpr std::uint64_t buckets = 1u << 20;
    for (int i = 0; i < problems; ++i) {
        const std::uint64_t value = hash(problem(static_cast<std::uint64_t>(i)));
        values.insert(value);
        low.insert(value % buckets);
    }
    std::printf(
        "  %-28s %7d collisions, %5.1f %% of 2^20 buckets used (ideal %.1f %%)\n", name,
        problems - static_cast<int>(values.size()), 100.0 * low.size() / buckets,
        100.0 * (1 - std::exp(-static_cast<double>(problems) / buckets)));
}

}  // namespace

int main() {
    constexpr int entries = 1000, calls = 100000;
    std::vector<ConvolutionParams> keys;
    for (int i = 0; i < entries; ++i) keys.push_back(problem(static_cast<std::uint64_t>(i) * 7919));
    mioconv::BenchmarkCache<int> cache;
    for (const auto& key : keys) cache.get_or_create(key, build, nullptr);
    volatile std::uint64_t sink = 0;

    std::printf("key: %zu bytes, %d entries\n", sizeof(ConvolutionParams), entries);
    std::printf("  hash                         %6.1f ns\n", nanoseconds(calls, [&](int i) {
                    sink = sink + keys[i % entries].hash();
                }));
    std::printf("  the seed's hash (FNV, 32 bit)%6.1f ns\n", nanoseconds(calls / 10, [&](int i) {
                    sink = sink + fnv32(keys[i % entries]);
                }));
    std::printf("  hit, the same problem        %6.1f ns\n", nanoseconds(calls, [&](int) {
                    sink = sink + *cache.get_or_create(keys[0], build, nullptr);
                }));
    std::printf("  hit, all problems in turn    %6.1f ns\n", nanoseconds(calls, [&](int i) {
                    sink = sink + *cache.get_or_create(keys[i % entries], build, nullptr);
                }));

    double each[2] = {};
    const auto work = [&](int thread) {
        volatile std::uint64_t own = 0;
        each[thread] = nanoseconds(calls, [&](int i) {
            own = own + *cache.get_or_create(keys[(i + thread * 500) % entries], build, nullptr);
        });
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    std::printf("  hit, two threads at once     %6.1f and %.1f ns\n", each[0], each[1]);

    std::printf("a million problems:\n");
    spread("hash", 1000000, [](const ConvolutionParams& p) { return p.hash(); });
    spread("hash, its low 32 bits", 1000000, [](const ConvolutionParams& p) {
        return p.hash() & 0xFFFFFFFFu;
    });
    spread("the seed's hash", 1000000, [](const ConvolutionParams& p) {
        return std::uint64_t{fnv32(p)};
    });
    return 0;
}
