// What this provider's exceptions mean, and its engine.
#include "common/guard.hpp"
#include "dnnl_error.hpp"
#include "host_memory.hpp"
#include "threads.hpp"

namespace mioconv::provider {

miopenStatus_t status_of_current_exception() noexcept {
    try {
        throw;
    } catch (const StatusError& failure) {
        return failure.status();
    } catch (const dnnl::error& failure) {
        return cpu::to_miopen(failure.status);
    } catch (const std::bad_alloc&) {
        return miopenStatusAllocFailed;
    } catch (...) {
        return miopenStatusUnknownError;
    }
}

const char* foreign_error_text(hipError_t) noexcept { return nullptr; }

}  // namespace mioconv::provider

namespace mioconv::cpu {

const dnnl::engine& engine() {
    static const auto* const instance = [] {
        // oneDNN 3.2's own cache takes reorders for one another whose descriptors differ only in
        // the strides of dimensions of size 1, and then moves the wrong elements. Ours serve
        // instead.
        check(dnnl_set_primitive_cache_capacity(0));
        return new dnnl::engine(dnnl::engine::kind::cpu, 0);
    }();
    return *instance;
}

// Whoever uses oneDNN first makes what it keeps: its engine, the instruction sets, settings of the
// environment. That is done while the library is loaded, which a fork waits for: a child would wait
// for ever for a thread that it does not have. Without the memory for it, the first use does it.
[[gnu::constructor]] void use_once() {
    try {
        const ThreadScope scope(1);  // a child's may have a parent's pool of threads
        require_address_space(1);
        dnnl::get_effective_cpu_isa();
        const dnnl::memory::desc desc(
            {16}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::a);
        dnnl::memory from(desc, engine()), to(desc, engine());
        dnnl::stream stream(engine());
        dnnl::reorder(from, to).execute(stream, from, to);
    } catch (...) {
    }
}

}  // namespace mioconv::cpu
