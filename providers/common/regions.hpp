// Where a library's implementations were found right. A listing is no proof: what the fuzz did not
// cover, or found wrong, is not offered.
//
// The rows are data of each provider, made by `python -m tests.fuzz.regions`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "features.hpp"

namespace mioconv::provider {

// How an implementation is handed the activations.
enum class Form : std::int32_t { packed, channels_last, blocked };

// What a solution is admitted by.
struct Basis {
    std::string implementation;  // as regions name it; "own": an algorithm of ours
    Form form = Form::packed;
    Classes classes{};  // of the problem that the library is given
};

// One implementation in one direction, element type and form.
struct Region {
    const char* implementation;  // with its instruction set
    std::int32_t direction, dtype, form;
    std::uint8_t classes[kFeatures];  // bit masks: those that were covered, and never wrong
    std::int32_t first_struck, struck;  // a run of the provider's list
};

// Two features whose classes together were found wrong, or never met.
struct Struck {
    std::uint8_t first, first_classes, second, second_classes;
};

struct Regions {
    const Region* regions;
    std::size_t count;
    const Struck* struck;
    // Instruction sets, or architectures, that the fuzz ran on, each between spaces.
    const char* sets;
};

enum class Admission {
    proven,
    unproven,  // the fuzz has not run on this instruction set: only checks of results admit it
    refused,
};

// `set`: this machine's instruction set, or the device's architecture. What was found wrong on one
// is refused on all.
Admission admission(
    const Regions& regions, const Basis& basis, std::string_view set, const ConvProblem& problem);

bool is_fuzzed(const Regions& regions, std::string_view set);

// What a provider says of itself where it is not.
constexpr const char* kNotFuzzed = " (not fuzzed: checks of results alone admit solutions here)";

// For the fuzz that makes the regions: whether they are ignored. Read when a problem is first met.
bool admits_all() noexcept;

}  // namespace mioconv::provider
