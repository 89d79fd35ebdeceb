// A solution made ready to run on one handle.
#pragma once

#include <dnnl.hpp>
#include <memory>
#include <vector>

#include "solution.hpp"

namespace mioconv::cpu {

// Memory objects and argument lists are made once; a run sets the pointers that changed and calls
// the primitives through oneDNN's C interface: no allocation and no exception on the way. Not for
// two threads at a time (a handle has its own).
class Executable {
public:
    explicit Executable(SolutionPtr solution);

    const Solution& solution() const noexcept { return *solution_; }

    // `workspace` must have solution().workspace() bytes, from any address.
    void run(const Operands& operands, void* workspace, dnnl_stream_t stream);

private:
    struct BoundStep {
        const_dnnl_primitive_t primitive = nullptr;  // nullptr: a conversion
        std::vector<dnnl_exec_arg_t> arguments;
        std::unique_ptr<RoutineRun> routine;
        std::vector<int> operands;  // of the routine: buffers
        Conversion conversion;
        const void* const* cleared = nullptr;  // into address_: scratch memory that it reads
        std::size_t cleared_bytes = 0;
        const void* const* from = nullptr;  // into address_
        const void* const* to = nullptr;
        bool fetches_z = false;
    };

    static bool already_there(const BoundStep& step) noexcept;
    void bind(const Operands& operands, void* workspace);
    void run_steps(dnnl_stream_t stream);
    // Calls `visit` with each gap that the recipe has: where it begins, and its bytes.
    template <class Visit>
    void each_gap(const Visit& visit) const;

    SolutionPtr solution_;
    bool bears_signals_, ran_ = false;
    std::vector<dnnl::primitive> primitives_;
    std::vector<dnnl::memory> memories_;
    std::vector<const void*> address_;  // of each buffer, now
    std::vector<BoundStep> steps_;
    std::vector<const void*> operands_;  // of a routine, gathered for its run
};

}  // namespace mioconv::cpu
