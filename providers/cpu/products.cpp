#include "products.hpp"

#include "dnnl_error.hpp"
#include "implementation_name.hpp"

namespace mioconv::cpu {

using dnnl::memory;

dnnl::matmul::primitive_desc product_of(
    const memory::desc& a, const memory::desc& b, const memory::desc& c, bool accumulates) {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    attr.set_fpmath_mode(dnnl::fpmath_mode::strict);
    if (accumulates) {
        dnnl::post_ops ops;
        ops.append_sum(1.f);
        attr.set_post_ops(ops);
    }
    const dnnl::matmul::primitive_desc product(engine(), a, b, c, attr, true);
    if (product && is_reference(product.impl_info_str())) return {};
    return product;
}

std::int64_t scratchpad_floats(const dnnl::matmul::primitive_desc& product) {
    return static_cast<std::int64_t>(
        (product.scratchpad_desc().get_size() + sizeof(float) - 1) / sizeof(float));
}

Products::Products(
    const dnnl::matmul::primitive_desc& product, dnnl::primitive primitive, int threads)
    : primitive_(std::move(primitive)) {
    for (int i = 0; i < threads; ++i) {
        Bound bound;
        const std::pair<int, memory::desc> forms[] = {
            {DNNL_ARG_SRC, product.src_desc()},
            {DNNL_ARG_WEIGHTS, product.weights_desc()},
            {DNNL_ARG_DST, product.dst_desc()},
            {DNNL_ARG_SCRATCHPAD, product.scratchpad_desc()}};
        for (const auto& [name, desc] : forms) {
            bound.memories.emplace_back(desc, engine(), static_cast<void*>(DNNL_MEMORY_NONE));
            bound.arguments.push_back({name, bound.memories.back().get()});
        }
        bound_.push_back(std::move(bound));
    }
}

void Products::end() const { check(failure_.load(std::memory_order_relaxed)); }

void Products::multiply(
    int thread, const float* a, const float* b, float* c, float* scratchpad,
    dnnl_stream_t stream) noexcept {
    Bound& bound = bound_[static_cast<std::size_t>(thread)];
    const void* const pointers[] = {a, b, c, scratchpad};
    for (int i = 0; i < 4; ++i) {
        dnnl_memory_set_data_handle(
            bound.arguments[static_cast<std::size_t>(i)].memory, const_cast<void*>(pointers[i]));
    }
    const dnnl_status_t status =
        dnnl_primitive_execute(primitive_.get(), stream, 4, bound.arguments.data());
    if (status != dnnl_success) failure_.store(status, std::memory_order_relaxed);
}

}  // namespace mioconv::cpu
