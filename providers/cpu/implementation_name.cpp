#include "implementation_name.hpp"

#include <algorithm>
#include <iterator>

namespace mioconv::cpu {

std::string kind_of(const std::string& implementation) {
    static const char* const kSets[] = {":avx512", ":avx2", ":avx", ":sse41"};
    std::string kind;
    for (std::size_t i = 0; i < implementation.size();) {
        const bool set = std::any_of(std::begin(kSets), std::end(kSets), [&](const char* name) {
            return implementation.compare(i, std::char_traits<char>::length(name), name) == 0;
        });
        if (!set) {
            kind += implementation[i++];
            continue;
        }
        while (i < implementation.size() && implementation[i] != '+') ++i;
    }
    return kind;
}

bool is_reference(const std::string& implementation) {
    return implementation.rfind("ref", 0) == 0 || implementation.rfind("gemm:ref", 0) == 0;
}

bool is_product(const std::string& implementation) {
    return implementation.find("gemm") != std::string::npos;
}

}  // namespace mioconv::cpu
