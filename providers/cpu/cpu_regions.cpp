#include "cpu_regions.hpp"

#include "cpu_info.hpp"

namespace mioconv::cpu {
namespace {

using provider::Region;
using provider::Struck;

#include "cpu_regions_data.inc"

}  // namespace

std::string region_name(const std::string& implementation) {
    for (const char* const set : {":avx", ":sse"}) {
        if (implementation.find(set) != std::string::npos) return implementation;
    }
    return implementation + "@" + instruction_set();
}

provider::Admission admission_of(
    const std::string& implementation, const provider::ConvProblem& problem, provider::Form form,
    const provider::Classes& classes) {
    const std::string name = region_name(implementation);
    const std::string set = name.substr(name.find_last_of(":@") + 1);
    return provider::admission(kRegions, name, set, problem, form, classes);
}

}  // namespace mioconv::cpu
