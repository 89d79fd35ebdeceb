#include "cpu_regions.hpp"

#include "cpu_info.hpp"

namespace mioconv::cpu {
namespace {

using provider::Region;
using provider::Struck;

#include "cpu_regions_data.inc"

// What decides about the code for floating-point numbers: the instructions for 8-bit integers that
// some sets add are no part of it.
std::string float_set() {
    const std::string set = instruction_set();
    return set.substr(0, set.find("_vnni"));
}

}  // namespace

std::string region_name(const std::string& implementation) {
    for (const char* const set : {":avx", ":sse"}) {
        if (implementation.find(set) != std::string::npos) return implementation;
    }
    return implementation + "@" + float_set();
}

bool is_fuzzed_here() { return provider::is_fuzzed(kRegions, float_set()); }

provider::Admission admission_of(
    const provider::Basis& basis, const provider::ConvProblem& problem) {
    return provider::admission(kRegions, basis, float_set(), problem);
}

}  // namespace mioconv::cpu
