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
    const provider::Basis& basis, const provider::ConvProblem& problem) noexcept {
    const std::string& name = basis.implementation;
    const std::string_view set = std::string_view(name).substr(name.find_last_of(":@") + 1);
    return provider::admission(kRegions, basis, set, problem);
}

}  // namespace mioconv::cpu
