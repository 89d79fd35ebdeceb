// cuDNN's graphs: one convolution with what is fused behind it, the engine configurations that
// compute it, and plans.
#pragma once

#include <string>
#include <vector>

#include "frontend.hpp"
#include "layouts.hpp"

namespace mioconv::cuda {

// An engine with its knobs. The name tells both, and is the same in every process.
struct Configuration {
    std::string name;
    std::string engine;  // what regions know of it, "eng9"
    cudnn_frontend::ManagedOpaqueDescriptor descriptor;
};

// A graph in one layout. Graphs, queries and plans are made on a handle of this file's own for each
// device, which is never destroyed: what comes from a handle must not outlive it. Needs that device
// to be current. Throws what cuDNN answers.
class Graph {
public:
    Graph(const ConvProblem& problem, const Layout& layout);

    // What a mode of the heuristics proposes, best first, without what the problem forbids: engines
    // that round in between, that use TF32, whose results vary.
    std::vector<Configuration> configurations(cudnnBackendHeurMode_t mode);

    // Compiles.
    cudnn_frontend::ExecutionPlan_v8 plan(const Configuration& configuration);

private:
    const ConvProblem& problem_;
    cudnnHandle_t handle_;
    cudnn_frontend::OperationGraph_v8 operations_;
};

// The name of a tensor inside a plan's argument list.
std::int64_t uid_of(Role role) noexcept;

}  // namespace mioconv::cuda
