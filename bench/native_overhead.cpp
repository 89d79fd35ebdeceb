// What lies below a Python call, on a 1x1x4x4 input with a 3x3 kernel: the core's parts of a call,
// the provider's execute for every solution, and oneDNN's own. Built with -DMIOCONV_BUILD_BENCH=ON;
// `mioconv bench --overhead --native` runs it. Lines with tabs are for that.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <dnnl.hpp>
#include <vector>

#include "mioconv/abi/provider.h"
#include "mioconv/benchmark_cache.hpp"
#include "mioconv/entry.hpp"

namespace {

constexpr int kCalls = 20000;
constexpr int kRounds = 25;

// Microseconds a call, the best of several rounds: other processes only ever add time.
template <class Call>
double microseconds(const Call& call) {
    double best = 1e30;
    for (int round = 0; round < kRounds; ++round) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < kCalls; ++i) call();
        const std::chrono::duration<double, std::micro> time =
            std::chrono::steady_clock::now() - start;
        best = std::min(best, time.count() / kCalls);
    }
    return best;
}

// oneDNN alone: the convolution with its weights laid out already, and with the reorder of the
// caller's weights before it, which is what a call with plain weights cannot do without.
void bare_onednn(float* x, float* w, float* y) {
    using dnnl::memory;
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    const dnnl::stream stream(engine);
    const auto type = memory::data_type::f32;
    const memory::desc xd({1, 1, 4, 4}, type, memory::format_tag::nhwc);
    const memory::desc plain({1, 1, 3, 3}, type, memory::format_tag::oihw);
    const memory::desc wd({1, 1, 3, 3}, type, memory::format_tag::any);
    const dnnl::convolution_forward::primitive_desc desc(
        engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, xd, wd, xd,
        {1, 1}, {1, 1}, {1, 1});
    const dnnl::convolution_forward primitive(desc);
    memory xm(desc.src_desc(), engine, x), ym(desc.dst_desc(), engine, y);
    memory given(plain, engine, w), wm(desc.weights_desc(), engine);
    const dnnl::reorder reorder(given, wm);
    const dnnl_exec_arg_t moves[] = {{DNNL_ARG_FROM, given.get()}, {DNNL_ARG_TO, wm.get()}};
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, xm.get()}, {DNNL_ARG_WEIGHTS, wm.get()}, {DNNL_ARG_DST, ym.get()}};
    const auto move = [&] { dnnl_primitive_execute(reorder.get(), stream.get(), 2, moves); };
    const auto run = [&] { dnnl_primitive_execute(primitive.get(), stream.get(), 3, arguments); };
    move();
    std::printf("bare oneDNN, %s: %.3f us", desc.impl_info_str(), microseconds(run));
    std::printf(", with the reorder of weights %.3f us\n", microseconds([&] { move(), run(); }));
}

// The core's own parts of a call whose entry is known, without Python.
void parts_of_a_call(float* x, float* w, float* y) {
    using namespace mioconv;
    static Api api;
#define MIOCONV_FUNCTION(library, need, since, name) api.name = &::name;
#include "mioconv/abi/functions.def"
#undef MIOCONV_FUNCTION
    static Devices devices;
    Device* device = nullptr;
    if (!devices.get(api, 0, &device).ok()) return;
    ConvolutionParams params{};
    params.threads = params.groups = 1;
    params.dtype = miopenFloat;
    params.spatial = 2;
    params.stride = params.dilation = {1, 1, 0};
    params.shape[X] = {1, 1, 4, 4};
    params.shape[W] = {1, 1, 3, 3};
    params.shape[Y] = {1, 1, 2, 2};
    params.strides[X] = {16, 16, 4, 1};
    params.strides[W] = {9, 9, 3, 1};
    params.strides[Y] = {4, 4, 2, 1};
    static BenchmarkCache<Entry> entries(10000);
    const auto build = [](const ConvolutionParams& key, void* context) {
        auto entry = std::make_shared<Entry>(*static_cast<Device*>(context), key);
        entry->describe();
        HandleLease lease;
        lease.lease(entry->device.handles, nullptr);
        std::size_t count = 0;
        entry->calls.solution_count(lease.get(), entry->operands, entry->convolution(), &count);
        std::vector<miopenConvSolution_t> listed(count);
        entry->calls.solutions(
            lease.get(), entry->operands, entry->convolution(), count, &count, listed.data());
        std::vector<Solution> ranked;
        for (const auto& item : listed) {
            Solution solution;
            solution.id = item.solution_id;
            solution.workspace = item.workspace_size;
            ranked.push_back(solution);
        }
        entry->rank(ranked);
        return entry;
    };
    const auto entry = entries.get_or_create(params, build, device);
    Operands operands = entry->operands;
    operands.data = {x, w, y};
    Solution solution;
    entry->choose(Choice{}, &solution);
    HandleLease held;
    held.lease(device->handles, nullptr);
    std::vector<char> scratch(solution.workspace);
    const auto part = [](const char* name, double time) { std::printf("%s\t%.3f\n", name, time); };
    part("key and look-up", microseconds([&] { entries.get_or_create(params, build, device); }));
    part("leases of handle and workspace", microseconds([&] {
             HandleLease handle;
             Workspace workspace;
             handle.lease(device->handles, nullptr);
             workspace.lease(device->workspaces, solution.workspace, nullptr);
         }));
    part("choice", microseconds([&] { entry->choose(Choice{}, &solution); }));
    part("execute", microseconds([&] {
             entry->calls.run(
                 held.get(), operands, entry->convolution(), scratch.data(), solution.workspace,
                 solution.id);
         }));
}

}  // namespace

int main() {
    omp_set_num_threads(1);  // for the bare calls; the provider has its own bound
    mioconvSetNumThreads(1);
    alignas(64) float x[16] = {}, w[9] = {}, y[16] = {};
    bare_onednn(x, w, y);
    parts_of_a_call(x, w, y);

    miopenHandle_t handle;
    miopenTensorDescriptor_t xd, wd;
    miopenConvolutionDescriptor_t conv;
    const int x_dims[] = {1, 1, 4, 4}, w_dims[] = {1, 1, 3, 3};
    miopenCreate(&handle);
    miopenCreateTensorDescriptor(&xd);
    miopenCreateTensorDescriptor(&wd);
    miopenSetTensorDescriptor(xd, miopenFloat, 4, x_dims, nullptr);
    miopenSetTensorDescriptor(wd, miopenFloat, 4, w_dims, nullptr);
    miopenCreateConvolutionDescriptor(&conv);
    miopenInitConvolutionDescriptor(conv, miopenConvolution, 1, 1, 1, 1, 1, 1);

    size_t count = 0;
    miopenConvolutionForwardGetSolutionCount(handle, wd, xd, conv, xd, &count);
    std::vector<miopenConvSolution_t> solutions(count);
    miopenConvolutionForwardGetSolution(handle, wd, xd, conv, xd, count, &count, solutions.data());
    for (const auto& solution : solutions) {
        char name[256];
        mioconvGetSolutionName(solution.solution_id, name, sizeof name);
        std::vector<char> workspace(solution.workspace_size);
        const double time = microseconds([&] {
            miopenConvolutionForwardImmediate(
                handle, wd, w, xd, x, conv, xd, y, workspace.data(), workspace.size(),
                solution.solution_id);
        });
        std::printf(
            "immediate, %s: %.3f us (estimate %.3f)\n", name, time,
            static_cast<double>(solution.time) * 1e3);
    }
    miopenDestroyConvolutionDescriptor(conv);
    miopenDestroyTensorDescriptor(wd);
    miopenDestroyTensorDescriptor(xd);
    miopenDestroy(handle);
}
