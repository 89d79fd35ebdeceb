// What oneDNN calls its implementations.
#pragma once

#include <string>

namespace mioconv::cpu {

// The name without instruction sets: oneDNN lists the same kernel once for each.
std::string kind_of(const std::string& implementation);

// Whether it is one of oneDNN's reference implementations, thousands of times slower than others.
bool is_reference(const std::string& implementation);

// Whether it is a matrix product of columns that it gathers.
bool is_product(const std::string& implementation);

}  // namespace mioconv::cpu
