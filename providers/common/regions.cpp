#include "regions.hpp"

#include <algorithm>
#include <atomic>

#include "export.hpp"
#include "guard.hpp"
#include "mioconv/abi/provider.h"

namespace mioconv::provider {
namespace {

std::atomic<bool> all{false};

bool inside(const Regions& regions, const Region& region, const Classes& classes) {
    const auto has = [&](std::uint8_t feature, std::uint8_t mask) {
        return (mask >> classes[feature] & 1) != 0;
    };
    for (std::uint8_t feature = 0; feature < kFeatures; ++feature) {
        if (!has(feature, region.classes[feature])) return false;
    }
    const Struck* const first = regions.struck + region.first_struck;
    return std::none_of(first, first + region.struck, [&](const Struck& pair) {
        return has(pair.first, pair.first_classes) && has(pair.second, pair.second_classes);
    });
}

}  // namespace

bool is_fuzzed(const Regions& regions, std::string_view set) {
    const std::string between = " " + std::string(set) + " ";
    return std::string_view(regions.sets).find(between) != std::string_view::npos;
}

Admission admission(
    const Regions& regions, const Basis& basis, std::string_view set, const ConvProblem& problem) {
    const bool known = is_fuzzed(regions, set);
    for (std::size_t i = 0; i < regions.count; ++i) {
        const Region& region = regions.regions[i];
        if (region.direction == static_cast<std::int32_t>(problem.direction) &&
            region.dtype == problem.dtype && region.form == static_cast<std::int32_t>(basis.form) &&
            basis.implementation == region.implementation) {
            if (!inside(regions, region, basis.classes)) return Admission::refused;
            return known ? Admission::proven : Admission::unproven;
        }
    }
    return known ? Admission::refused : Admission::unproven;
}

bool admits_all() noexcept { return all.load(std::memory_order_relaxed); }

}  // namespace mioconv::provider

using namespace mioconv::provider;

MIOCONV_EXPORT miopenStatus_t mioconvAdmitAll(int enabled) {
    return guarded({__func__}, [&] { all.store(enabled != 0, std::memory_order_relaxed); });
}
