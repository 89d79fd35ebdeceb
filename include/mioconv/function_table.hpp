// functions.def as data for the loader: where in the table each function's pointer goes.
#pragma once

#include <cstddef>
#include <type_traits>

#include "api.hpp"

namespace mioconv {

struct FunctionRow {
    int library;  ///< 0 HIP, 1 MIOpen, 2 mioconv's own additions
    bool required;
    const char* since;
    const char* name;
    std::size_t offset;  ///< of the pointer in Api
};

namespace detail {
enum { LIBRARY_HIP = 0, LIBRARY_MIOPEN = 1, LIBRARY_MIOCONV = 2 };
enum { NEED_OPTIONAL = 0, NEED_REQUIRED = 1 };
}  // namespace detail

static_assert(std::is_standard_layout_v<Api>, "offsetof needs it");

inline const FunctionRow function_rows[] = {
#define MIOCONV_FUNCTION(library, need, since, name) \
    {detail::LIBRARY_##library, detail::NEED_##need != 0, since, #name, offsetof(Api, name)},
#include "abi/functions.def"
#undef MIOCONV_FUNCTION
};
inline constexpr std::size_t function_row_count = sizeof function_rows / sizeof function_rows[0];

}  // namespace mioconv
