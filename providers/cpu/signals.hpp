// Keeping signals away from kernels that cannot bear them.
#pragma once

#include <csignal>
#include <string>

namespace mioconv::cpu {

// Whether an implementation of oneDNN may point the stack pointer at memory of the heap while it
// runs: the kernel puts the frame of a signal's handler below that, over whatever lies there
// (oneDNN#4845, mended in 3.12).
bool moves_stack(const std::string& implementation);

// For as long as it lives no signal is handled in this thread, nor ever again in those of its
// OpenMP pool that work with it: others of the process handle them, or this one, later. Signals of
// faults stay as they are.
class NoSignals {
public:
    explicit NoSignals(int threads) noexcept;
    ~NoSignals();
    NoSignals(const NoSignals&) = delete;
    NoSignals& operator=(const NoSignals&) = delete;

private:
    sigset_t before_;
};

}  // namespace mioconv::cpu
