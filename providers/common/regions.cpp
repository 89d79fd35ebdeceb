#include "regions.hpp"

#include <algorithm>
#include <atomic>

#include "export.hpp"
#include "guard.hpp"
#include "mioconv/abi/provider.h"

namespace mioconv::provider {
namespace {

std::atomic<bool> all{false};

bool has(const Classes& classes, std::uint8_t feature, std::uint8_t mask) {
    return (mask >> classes[feature] & 1) != 0;
}

bool struck_out(const Regions& regions, const Region& region, const Classes& classes) {
    const Struck* const first = regions.struck + region.first_struck;
    return std::any_of(first, first + region.struck, [&](const Struck& pair) {
        return has(classes, pair.first, pair.first_classes) &&
               has(classes, pair.second, pair.second_classes);
    });
}

bool inside(const Regions& regions, const Region& region, const Classes& classes) {
    for (std::uint8_t feature = 0; feature < kFeatures; ++feature) {
        if (!has(classes, feature, region.classes[feature])) return false;
    }
    return !struck_out(regions, region, classes);
}

// A name without the instruction set that it ends in.
std::string_view family_of(std::string_view implementation) {
    for (const char* const set : {"@", ":avx", ":sse"}) {
        implementation = implementation.substr(0, implementation.find(set));
    }
    return implementation;
}

}  // namespace

bool is_fuzzed(const Regions& regions, std::string_view set) {
    const std::string between = " " + std::string(set) + " ";
    return std::string_view(regions.sets).find(between) != std::string_view::npos;
}

Admission admission(
    const Regions& regions, const Basis& basis, std::string_view set, const ConvProblem& problem) {
    const bool known = is_fuzzed(regions, set);
    const auto concerns = [&](const Region& region) {
        return region.direction == static_cast<std::int32_t>(problem.direction) &&
               region.dtype == problem.dtype &&
               region.form == static_cast<std::int32_t>(basis.form);
    };
    for (std::size_t i = 0; i < regions.count; ++i) {
        const Region& region = regions.regions[i];
        if (!concerns(region) || basis.implementation != region.implementation) continue;
        if (!inside(regions, region, basis.classes)) return Admission::refused;
        return known ? Admission::proven : Admission::unproven;
    }
    if (known) return Admission::refused;
    // The same source makes the code for each set: its areas are struck out here too.
    for (std::size_t i = 0; i < regions.count; ++i) {
        const Region& region = regions.regions[i];
        if (concerns(region) &&
            family_of(basis.implementation) == family_of(region.implementation) &&
            struck_out(regions, region, basis.classes)) {
            return Admission::refused;
        }
    }
    return Admission::unproven;
}

bool admits_all() noexcept { return all.load(std::memory_order_relaxed); }

}  // namespace mioconv::provider

using namespace mioconv::provider;

MIOCONV_EXPORT miopenStatus_t mioconvAdmitAll(int enabled) {
    return guarded({__func__}, [&] { all.store(enabled != 0, std::memory_order_relaxed); });
}
