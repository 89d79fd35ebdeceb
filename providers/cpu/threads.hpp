// How many threads a call may use, and making OpenMP use just that many.
#pragma once

namespace mioconv::cpu {

// The calling thread's bound: what it set by mioconvSetNumThreads, else the cores that this process
// may use (OMP_NUM_THREADS respected), and no more than OpenMP will give: 1 inside of a parallel
// region, and at most OMP_THREAD_LIMIT. Always 1 in a forked child: OpenMP's pool does not survive
// fork, and a parallel region in the child would wait for ever. That holds too where the library is
// loaded in the child only, if the parent may have used OpenMP by another library.
int thread_limit() noexcept;

// Sets the calling thread's OpenMP count for as long as it lives, and sees to it that a region gets
// as many. oneDNN reads it both where a primitive is made (the split of the work is baked in) and
// where it runs: with fewer threads than that a part of the result would be left out.
class ThreadScope {
public:
    explicit ThreadScope(int threads) noexcept;
    ~ThreadScope();
    ThreadScope(const ThreadScope&) = delete;
    ThreadScope& operator=(const ThreadScope&) = delete;

private:
    int previous_;
    bool changed_;
    bool dynamic_;  // OpenMP may give fewer, by the machine's load
};

}  // namespace mioconv::cpu
