// How a problem's tensors are laid out for cuDNN, and what of them is copied for that.
#pragma once

#include <vector>

#include "common/problem.hpp"

namespace mioconv::cuda {

using provider::ConvProblem;
using provider::Dims;
using provider::Operands;
using provider::Role;

// as_is: on the caller's tensors, which are packed and alike. The others copy what lies otherwise
// into the workspace: to channels last, to channels second, to channels last with zeros up to the
// count that tensor cores load at once (half of it serves some engines too). The gathered ones are
// for convolutions of one tap that skip pixels: they copy the pixels that count, to channels second
// or last, and skip none.
enum class Strategy : int {
    as_is,
    channels_last,
    channels_second,
    padded,
    half_padded,
    gathered_second,
    gathered_last
};

const char* name_of(Strategy strategy) noexcept;

const Dims& dims_of(const ConvProblem& problem, Role role) noexcept;
const Dims& strides_of(const ConvProblem& problem, Role role) noexcept;

// What the direction writes.
Role result_of(const ConvProblem& problem) noexcept;

// One tensor that is copied: where its copy lies in the workspace, and how.
struct Staged {
    Role role;
    Dims dims;
    Dims strides;
    std::size_t offset;
};

struct Layout {
    Strategy strategy;
    Dims dims[3], strides[3];  // of src, wei and dst, as cuDNN is given them
    bool gathers = false;  // src has the pixels that count only, so that every stride is 1
    std::vector<Staged> staged;
    std::size_t staged_bytes = 0;  // cuDNN's own workspace comes after these
    std::int64_t moved_bytes = 0;  // read and written by copying
};

constexpr std::size_t kAlignment = 256;  // of everything inside a workspace
constexpr std::int64_t kOperandAlignment = 16;  // of what cuDNN is given

// The strategies that differ for this problem, best first by what is known of them.
std::vector<Layout> layouts_of(const ConvProblem& problem);

}  // namespace mioconv::cuda
