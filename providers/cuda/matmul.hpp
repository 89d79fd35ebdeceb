// 1x1 convolutions of packed tensors as matrix products, by a kernel of our own: cuDNN transposes
// such tensors where a row of pixels is no multiple of 16 bytes, or where it skips pixels.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/problem.hpp"
#include "compiling.hpp"

namespace mioconv::cuda {

using provider::ConvProblem;
using provider::Operands;

// What a block computes, how many warps share it, and how many steps are loaded ahead.
struct Tile {
    int m, n, k, warps_m, warps_n, stages;
};

// The tiles that compute a problem on the current device; none where the kernel does not.
std::vector<Tile> matmul_tiles(const ConvProblem& problem);

// As the solution's name has it.
std::string name_of(const Tile& tile);

// A rough time, in ms.
float matmul_estimate(const ConvProblem& problem, const Tile& tile);

// Ready to run on the device that was current when it was made. Compiles.
class Matmul {
public:
    Matmul(const ConvProblem& problem, const Tile& tile);

    void run(const Operands& operands, cudaStream_t stream) const;

private:
    provider::Role from_, to_;
    std::size_t clear_bytes_ = 0;  // of the result, where not every pixel is written
    Launch launch_;
};

}  // namespace mioconv::cuda
