// Matrix products of float32 by oneDNN, one for each of our threads at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <dnnl.hpp>
#include <vector>

namespace mioconv::cpu {

// c = a b, or c += a b; each runs on one thread if made under ThreadScope(1). Empty if oneDNN has
// nothing for it but its reference.
dnnl::matmul::primitive_desc product_of(
    const dnnl::memory::desc& a, const dnnl::memory::desc& b, const dnnl::memory::desc& c,
    bool accumulates);

// Floats that a product needs as scratchpad.
std::int64_t scratchpad_floats(const dnnl::matmul::primitive_desc& product);

// A compiled product, ready for each of some threads.
class Products {
public:
    Products(const dnnl::matmul::primitive_desc& product, dnnl::primitive primitive, int threads);

    // Before the threads start, and after they have met: throws what went wrong meanwhile.
    void begin() noexcept { failure_.store(dnnl_success, std::memory_order_relaxed); }
    void end() const;

    // Inside a parallel region: does not throw.
    void multiply(
        int thread, const float* a, const float* b, float* c, float* scratchpad,
        dnnl_stream_t stream) noexcept;

private:
    struct Bound {
        std::vector<dnnl::memory> memories;
        std::vector<dnnl_exec_arg_t> arguments;
    };
    dnnl::primitive primitive_;
    std::vector<Bound> bound_;
    std::atomic<dnnl_status_t> failure_{dnnl_success};
};

}  // namespace mioconv::cpu
