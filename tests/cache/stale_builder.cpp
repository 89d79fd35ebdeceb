// A builder that is overtaken by `clear` serves its own caller, and leaves the cache to the one
// that came after: prints how many entries there are, and whose.
#include <cstdio>
#include <future>
#include <memory>
#include <thread>

#include "mioconv/benchmark_cache.hpp"

using mioconv::BenchmarkCache;
using mioconv::ConvolutionParams;

struct Build {
    int number;
    std::promise<void> began;
    std::shared_future<void> may_end;
};

std::shared_ptr<int> build(const ConvolutionParams&, void* context) {
    auto* const given = static_cast<Build*>(context);
    given->began.set_value();
    given->may_end.wait();
    return std::make_shared<int>(given->number);
}

int main() {
    BenchmarkCache<int> cache(10);
    const ConvolutionParams key{};
    std::promise<void> ends[2];
    Build builds[2];
    std::shared_ptr<int> got[2];
    std::thread threads[2];
    for (int i = 0; i < 2; ++i) {
        builds[i].number = i;
        builds[i].may_end = ends[i].get_future().share();
        threads[i] = std::thread([&, i] { got[i] = cache.get_or_create(key, build, &builds[i]); });
        builds[i].began.get_future().wait();
        if (i == 0) cache.clear();
    }
    ends[0].set_value();
    threads[0].join();
    const std::size_t after_first = cache.values().size();
    ends[1].set_value();
    threads[1].join();
    const auto values = cache.values();
    std::printf(
        "%d %d %zu %zu %d\n", *got[0], *got[1], after_first, values.size(),
        values.empty() ? -1 : *values.front());
}
