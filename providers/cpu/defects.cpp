#include "defects.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

#include "implementation_name.hpp"

namespace mioconv::cpu {
namespace {

std::atomic<int> kept{0};  // primitives whose code is never freed

bool is_before(int minor) {
    const dnnl_version_t& version = *dnnl_version();
    return version.major < 3 || (version.major == 3 && version.minor < minor);
}

bool has(const std::string& name, const char* part) { return name.find(part) != std::string::npos; }

// Whether a kernel that counts bytes along an axis in 32 bits gets beyond them: oneDNN's read far
// outside of the operands then. Padding and dilations may be so wide where a kernel meets nothing
// but padding.
bool overflows_kernels(const ConvProblem& problem) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    std::int64_t step = 4 * (std::max(problem.src[1], problem.dst[1]) + 15);
    for (int i = problem.rank - 3; i >= 0; --i) {
        for (const std::int64_t distance :
             {reach(problem, i) + problem.dilation[i], std::int64_t{problem.stride[i]},
              std::int64_t{problem.padding[i]}, padding_after(problem, i)}) {
            if (distance > 1 && distance > kMost / step) return true;
        }
        step = std::min(step * std::max(problem.src[i + 2], problem.dst[i + 2]), kMost);
    }
    return false;
}

// The kernel for processors without AVX-512 scales a sum by a register that they do not have (3.2).
bool lacks_register(const std::string& implementation, const ConvProblem& problem) {
    return problem.has_sum != 0 && problem.sum_scale != 1 && has(implementation, "brdgmm") &&
           has(implementation, ":avx2");
}

// brgconv adds z twice, and in bfloat16 computes nonsense and writes past the result, where rows
// have fewer columns than padding, and as much as that at their end is reached by no kernel (3.2;
// of 59,000 problems all such and no others).
bool loses_count_of_columns(const std::string& implementation, const ConvProblem& problem) {
    const int axis = problem.rank - 3;
    return problem.direction == Direction::forward && has(implementation, "brgconv") &&
           problem.padding[axis] > 0 && problem.padding[axis] + padding_after(problem, axis) == 0;
}

bool keeps_code(const std::string& implementation) {
    return has(implementation, "brgconv") && is_before(4);
}

bool fuses(const ConvProblem& problem) {
    return problem.has_sum != 0 || problem.fused != Fused::none;
}

}  // namespace

bool is_unusable(const std::string& implementation, const ConvProblem& problem) {
    constexpr int kMostKept = 500;
    if (is_reference(implementation)) return false;
    if (fuses(problem) && keeps_code(implementation) &&
        kept.load(std::memory_order_relaxed) >= kMostKept) {
        return true;
    }
    return lacks_register(implementation, problem) ||
           loses_count_of_columns(implementation, problem) ||
           (!is_product(implementation) && overflows_kernels(problem));
}

bool moves_stack(const std::string& implementation) {
    return is_before(12) && has(implementation, "gemm:jit");
}

bool reads_scratch_memory(const std::string& implementation) {
    return has(implementation, "brgconv_bwd_w:avx512_core_amx");
}

void note_made(const dnnl::primitive_desc_base& primitive) {
    if (keeps_code(primitive.impl_info_str()) &&
        primitive.get_primitive_attr().get_post_ops().len() > 0) {
        kept.fetch_add(1, std::memory_order_relaxed);
    }
}

}  // namespace mioconv::cpu
