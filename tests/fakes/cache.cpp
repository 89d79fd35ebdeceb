// The cache of plans: builders that clear it, that come too late, that call it, that fail.
#include "mioconv/benchmark_cache.hpp"

#include <new>
#include <thread>

#include "check.hpp"

namespace {

using Cache = mioconv::BenchmarkCache<int>;
using Value = Cache::Value;
using Builder = std::function<Value()>;

Cache cache;

Value get(std::int64_t problem, Builder builder) {
    mioconv::ConvolutionParams params{};
    params.groups = problem;
    return cache.get_or_create(
        params,
        [](const mioconv::ConvolutionParams&, void* context) {
            return (*static_cast<Builder*>(context))();
        },
        &builder);
}
Builder plain(int value) {
    return [value] { return std::make_shared<int>(value); };
}
Value in_another_thread(std::int64_t problem, const Builder& builder) {
    Value found;
    std::thread([&] { found = get(problem, builder); }).join();
    return found;
}

void cleared_meanwhile() {
    CHECK(*get(1, [] { return cache.clear(), std::make_shared<int>(1); }) == 1);
    CHECK(cache.values().empty());
    CHECK(*get(1, plain(2)) == 2);
}
void too_late() {
    // Cleared, and built by another thread, before this one is done.
    const Value late = get(1, [] {
        cache.clear();
        CHECK(*in_another_thread(1, plain(2)) == 2);
        return std::make_shared<int>(1);
    });
    CHECK(*late == 1);
    CHECK(cache.values().size() == 1 && *cache.values()[0] == 2);
    CHECK(cache.counters()[0].entries == 1);
    CHECK(*get(1, plain(3)) == 2);
}
void calls_itself() {
    CHECK(*get(1, [] {
        CHECK(*get(1, plain(5)) == 5);
        CHECK(*get(2, plain(7)) == 7);
        return std::make_shared<int>(6);
    }) == 6);
    CHECK(*get(1, plain(8)) == 6 && *get(2, plain(8)) == 7);
}
void fails() {
    CHECK(get(1, [] { return Value(); }) == nullptr);
    CHECK(cache.values().empty());
    bool thrown = false;
    try {
        get(1, []() -> Value { throw std::bad_alloc(); });
    } catch (const std::bad_alloc&) {
        thrown = true;
    }
    CHECK(thrown && cache.values().empty());
    CHECK(*in_another_thread(1, plain(1)) == 1);
}
void bounded() {
    for (int i = 0; i < 5; ++i) get(i, plain(i));
    cache.set_capacity(2);
    CHECK(cache.values().size() == 2 && *cache.values()[0] == 4 && *cache.values()[1] == 3);
    CHECK(*get(3, plain(0)) == 3);
    get(9, plain(9));
    CHECK(*get(3, plain(0)) == 3 && *get(4, plain(40)) == 40);
}

}  // namespace

int main(int, char** arguments) {
    return run_case(
        {{"cleared_meanwhile", cleared_meanwhile},
         {"too_late", too_late},
         {"calls_itself", calls_itself},
         {"fails", fails},
         {"bounded", bounded}},
        arguments[1]);
}
