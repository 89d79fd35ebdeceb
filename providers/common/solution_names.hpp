// The ids of solutions: made from their names, which callers can ask for.
#pragma once

#include <cstdint>
#include <string>

namespace mioconv::provider {

// The id of a name, which mioconvGetSolutionName turns back from then on. Ids are part of what
// callers store: the same name gives the same id for ever, and none is 0.
std::uint64_t register_solution_name(const std::string& name);

// Text for a caller's buffer, with its end; BadParm where it does not fit.
void copy_text(const std::string& text, char* out, std::size_t size);

}  // namespace mioconv::provider
