// Keeping signals away from kernels that cannot bear them: see `moves_stack`.
#pragma once

#include <csignal>

namespace mioconv::cpu {

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
