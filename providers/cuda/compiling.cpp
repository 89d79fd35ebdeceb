#include "compiling.hpp"

#include <mutex>
#include <unordered_map>

namespace mioconv::cuda {
namespace {

using provider::HipError;

void check_compiler(nvrtcResult result) {
    if (result == NVRTC_SUCCESS) return;
    throw HipError(
        result == NVRTC_ERROR_OUT_OF_MEMORY ? hipErrorOutOfMemory : hipErrorNoBinaryForGpu);
}

CUlibrary compile(
    const Source& source, const std::string& architecture,
    const std::vector<std::string>& options) {
    std::string text;
    for (const char* const part : source.texts) text += part;
    const Compiler& nvrtc = compiler();
    nvrtcProgram program = nullptr;
    check_compiler(
        nvrtc.nvrtcCreateProgram(&program, text.c_str(), source.name, 0, nullptr, nullptr));
    struct Guard {
        nvrtcProgram* program;
        ~Guard() { compiler().nvrtcDestroyProgram(program); }
    } guard{&program};
    const std::string target = "--gpu-architecture=" + architecture;
    std::vector<const char*> all = {target.c_str(), "--std=c++17"};
    for (const std::string& option : options) all.push_back(option.c_str());
    check_compiler(nvrtc.nvrtcCompileProgram(program, static_cast<int>(all.size()), all.data()));
    std::size_t size = 0;
    check_compiler(nvrtc.nvrtcGetCUBINSize(program, &size));
    std::vector<char> binary(size);
    check_compiler(nvrtc.nvrtcGetCUBIN(program, binary.data()));
    CUlibrary library = nullptr;
    check(driver().cuLibraryLoadData(
        &library, binary.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    return library;
}

// By architecture, source and options. A library belongs to no context: it serves every device.
struct Libraries {
    std::mutex mutex;
    std::unordered_map<std::string, CUlibrary> compiled;
};

Libraries& libraries() {
    static auto* const instance = new Libraries;
    return *instance;
}

// The runtime makes its context the thread's at the first call that needs one; the driver's
// functions do not.
void need_context() {
    thread_local bool has_context = false;
    if (!has_context) {
        check(runtime().cudaSetDevice(current_device()));
        has_context = true;
    }
}

}  // namespace

std::string architecture_of(int device) {
    int major = 0, minor = 0;
    check(runtime().cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    check(runtime().cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
    return "sm_" + std::to_string(major) + std::to_string(minor);
}

CUfunction find_kernel(
    const Source& source, const std::string& kernel, const std::vector<std::string>& options,
    std::size_t shared_bytes) {
    const int device = current_device();
    const std::string architecture = architecture_of(device);
    Libraries& all = libraries();
    std::lock_guard lock(all.mutex);
    std::string key = architecture + " " + source.name;
    for (const std::string& option : options) key += " " + option;
    need_context();
    CUlibrary& library = all.compiled[key];
    if (library == nullptr) library = compile(source, architecture, options);
    CUkernel found = nullptr;
    check(driver().cuLibraryGetKernel(&found, library, kernel.c_str()));
    constexpr std::size_t kAlways = 48 * 1024;
    if (shared_bytes > kAlways) {
        check(driver().cuKernelSetAttribute(
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, static_cast<int>(shared_bytes), found,
            device));
    }
    // The driver takes either where it takes a function.
    return reinterpret_cast<CUfunction>(found);
}

void launch(
    CUfunction function, dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream,
    void** parameters) {
    need_context();
    check(driver().cuLaunchKernel(
        function, grid.x, grid.y, grid.z, block.x, block.y, block.z, static_cast<unsigned>(shared),
        stream, parameters, nullptr));
}

}  // namespace mioconv::cuda
