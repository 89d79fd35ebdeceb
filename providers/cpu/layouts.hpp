// oneDNN's memory descriptors for a problem's tensors.
#pragma once

#include <dnnl.hpp>

#include "common/strides.hpp"
#include "problem.hpp"

namespace mioconv::cpu {

using provider::packed_strides;

// How an implementation is offered a tensor.
// channel_blocks puts 16 channels (8 without AVX-512) next to each other: what depthwise kernels
// read fastest where the caller's channels come second, and do not choose when left to choose.
enum class Layout { as_is, channels_last, channel_blocks, any };

dnnl::memory::data_type dnnl_type(std::int32_t dtype) noexcept;

// The dims and strides of a role in the caller's memory; those of dimensions of size 1 rewritten,
// since they say nothing and oneDNN recognises layouts by them.
const Dims& dims_of(const ConvProblem& problem, Role role) noexcept;
Dims strides_of(const ConvProblem& problem, Role role) noexcept;
bool is_channels_last(const ConvProblem& problem, Role role) noexcept;

// The caller's memory as oneDNN sees it (weights split by groups), with another type where asked.
dnnl::memory::desc caller_desc(const ConvProblem& problem, Role role, dnnl::memory::data_type type);
// The same tensor laid out otherwise. Layout::any leaves the choice to the implementation.
dnnl::memory::desc offered_desc(
    const ConvProblem& problem, Role role, Layout layout, dnnl::memory::data_type type);
// Packed in the caller's order of dimensions: where a tensor with gaps is gathered.
dnnl::memory::desc packed_desc(const ConvProblem& problem, Role role, dnnl::memory::data_type type);

bool has_gaps(const ConvProblem& problem, Role role) noexcept;

// Whether the same bytes serve as both: equal descriptors, or plain ones that differ only in the
// strides of dimensions of size 1.
bool same_layout(const dnnl::memory::desc& a, const dnnl::memory::desc& b);

}  // namespace mioconv::cpu
