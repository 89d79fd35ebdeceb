#include "layouts.hpp"

#include "common/status.hpp"

namespace mioconv::cpu {
namespace {

using dnnl::memory;

const Dims& raw_strides(const ConvProblem& problem, Role role) noexcept {
    if (role == Role::src) return problem.src_strides;
    return role == Role::wei ? problem.wei_strides : problem.dst_strides;
}

bool matches(int rank, const Dims& dims, const Dims& strides, const Dims& other) noexcept {
    for (int i = 0; i < rank; ++i) {
        if (dims[i] > 1 && strides[i] != other[i]) return false;
    }
    return true;
}

// Splits the first dimension of the weights by groups, as oneDNN wants them.
memory::desc make_desc(
    const ConvProblem& problem, Role role, memory::data_type type, const Dims* strides) {
    const Dims& dims = dims_of(problem, role);
    memory::dims shape(dims.begin(), dims.begin() + problem.rank);
    memory::dims steps;
    if (strides != nullptr) steps.assign(strides->begin(), strides->begin() + problem.rank);
    if (role == Role::wei && problem.groups > 1) {
        shape[0] /= problem.groups;
        shape.insert(shape.begin(), problem.groups);
        if (strides != nullptr) steps.insert(steps.begin(), shape[1] * steps[0]);
    }
    return strides == nullptr ? memory::desc(shape, type, memory::format_tag::any)
                              : memory::desc(shape, type, steps);
}

// For activations only.
memory::desc channel_blocks_desc(const ConvProblem& problem, Role role, memory::data_type type) {
    using Tag = memory::format_tag;
    const auto sets = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto wide = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
    const bool is_wide = (sets & wide) == wide;  // the values are sets of bits
    const Dims& dims = dims_of(problem, role);
    const memory::dims shape(dims.begin(), dims.begin() + problem.rank);
    if (problem.rank == 4) return {shape, type, is_wide ? Tag::nChw16c : Tag::nChw8c};
    return {shape, type, is_wide ? Tag::nCdhw16c : Tag::nCdhw8c};
}

}  // namespace

memory::data_type dnnl_type(std::int32_t dtype) noexcept {
    if (dtype == miopenHalf) return memory::data_type::f16;
    return dtype == miopenBFloat16 ? memory::data_type::bf16 : memory::data_type::f32;
}

const Dims& dims_of(const ConvProblem& problem, Role role) noexcept {
    if (role == Role::src) return problem.src;
    return role == Role::wei ? problem.wei : problem.dst;  // z has the shape of dst
}

Dims strides_of(const ConvProblem& problem, Role role) noexcept {
    const Dims& dims = dims_of(problem, role);
    Dims strides = raw_strides(problem, role);
    for (const bool last : {false, true}) {
        const Dims packed = packed_strides(problem.rank, dims, last);
        if (matches(problem.rank, dims, strides, packed)) return packed;
    }
    for (int i = 0; i < problem.rank; ++i) {
        if (dims[i] == 1) strides[i] = 1;
    }
    return strides;
}

bool is_channels_last(const ConvProblem& problem, Role role) noexcept {
    const Dims& dims = dims_of(problem, role);
    return matches(
        problem.rank, dims, raw_strides(problem, role), packed_strides(problem.rank, dims, true));
}

memory::desc caller_desc(const ConvProblem& problem, Role role, memory::data_type type) {
    if (role == Role::bias) return {{problem.dst[1]}, type, memory::format_tag::a};
    const Dims strides = strides_of(problem, role);
    return make_desc(problem, role, type, &strides);
}

memory::desc offered_desc(
    const ConvProblem& problem, Role role, Layout layout, memory::data_type type) {
    if (layout == Layout::any) return make_desc(problem, role, type, nullptr);
    if (layout == Layout::as_is) return caller_desc(problem, role, type);
    if (layout == Layout::channel_blocks) return channel_blocks_desc(problem, role, type);
    const Dims strides = packed_strides(problem.rank, dims_of(problem, role), true);
    return make_desc(problem, role, type, &strides);
}

memory::desc packed_desc(const ConvProblem& problem, Role role, memory::data_type type) {
    const Dims strides =
        packed_strides(problem.rank, dims_of(problem, role), is_channels_last(problem, role));
    return make_desc(problem, role, type, &strides);
}

bool has_gaps(const ConvProblem& problem, Role role) noexcept {
    if (role == Role::bias) return false;
    const Dims& dims = dims_of(problem, role);
    const Dims& strides = raw_strides(problem, role);
    std::int64_t elements = 1, reach = 1;
    for (int i = 0; i < problem.rank; ++i) {
        elements *= dims[i];
        reach += strides[i] * (dims[i] - 1);
    }
    return elements != reach;
}

bool same_layout(const memory::desc& a, const memory::desc& b) {
    if (a == b) return true;
    if (a.get_format_kind() != memory::format_kind::blocked ||
        b.get_format_kind() != memory::format_kind::blocked || a.get_inner_nblks() != 0 ||
        b.get_inner_nblks() != 0 || a.get_data_type() != b.get_data_type() ||
        a.get_dims() != b.get_dims() || a.get_padded_dims() != a.get_dims() ||
        b.get_padded_dims() != b.get_dims()) {
        return false;
    }
    const auto dims = a.get_dims(), left = a.get_strides(), right = b.get_strides();
    for (std::size_t i = 0; i < dims.size(); ++i) {
        if (dims[i] > 1 && left[i] != right[i]) return false;
    }
    return true;
}

}  // namespace mioconv::cpu
