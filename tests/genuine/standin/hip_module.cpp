// Modules, functions, launches.
#include "hip_state.hpp"

using namespace standin;

// Declared in hip/hip_ext.h, which only a HIP compiler can read.
extern "C" hipError_t hipExtModuleLaunchKernel(hipFunction_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,
                                               uint32_t, size_t, hipStream_t, void**, void**, hipEvent_t, hipEvent_t,
                                               uint32_t);

namespace {

std::string hex(const unsigned char* p, std::size_t bytes) {
    static const char digit[] = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i < bytes; ++i) {
        out += digit[p[i] >> 4];
        out += digit[p[i] & 15];
        if (i % 4 == 3) out += ' ';
    }
    return out;
}

hipError_t launch(hipFunction_t f, const std::uint64_t (&threads)[3], const std::uint32_t (&block)[3],
                  hipStream_t stream, void** pointers, void** extra) {
    if (!alive(f, "function") || !valid(stream)) return hipErrorInvalidHandle;
    Launch l{};
    for (int i = 0; i < 3; ++i) {
        if (!threads[i] || !block[i]) return hipErrorInvalidConfiguration;
        l.threads[i] = threads[i];
        l.block[i] = block[i];
    }
    if (std::uint64_t{block[0]} * block[1] * block[2] > 1024) return hipErrorInvalidConfiguration;
    l.options = &f->module->options;
    if (pointers) {
        l.pointers = pointers;
    } else if (extra) {
        for (void** e = extra; *e != HIP_LAUNCH_PARAM_END; e += 2) {
            if (*e == HIP_LAUNCH_PARAM_BUFFER_POINTER)
                l.arguments = static_cast<const unsigned char*>(e[1]);
            else if (*e == HIP_LAUNCH_PARAM_BUFFER_SIZE)
                l.bytes = *static_cast<std::size_t*>(e[1]);
            else
                return hipErrorInvalidValue;
        }
    }
    char shape[160];
    std::snprintf(shape, sizeof shape, " threads %llu,%llu,%llu block %u,%u,%u bytes %zu: ",
                  static_cast<unsigned long long>(threads[0]),
                  static_cast<unsigned long long>(threads[1]),
                  static_cast<unsigned long long>(threads[2]), block[0], block[1], block[2], l.bytes);
    const bool ran = f->kernel && f->kernel(f->name, l);
    journal((ran ? "run " : "refused ") + f->name + shape + hex(l.arguments, l.bytes));
    {
        Lock lock(state().mutex);
        ++(ran ? state().ran : state().refused)[f->name];
    }
    if (ran) return hipSuccess;
    return std::strcmp(setting("STANDIN_UNKNOWN", "fail"), "noop") ? hipErrorNotSupported : hipSuccess;
}

hipModule_t load(const char* image) {
    auto* module = new ihipModule_t;
    // Code objects of our own compilers are text that ends in a zero byte.
    if (image && !std::strncmp(image, "STANDIN ", 8)) module->options.text = std::string(image + 7) + " ";
    journal("module" + module->options.text);
    return born(module, "module");
}

}  // namespace

extern "C" {

hipError_t hipModuleLoad(hipModule_t* module, const char* path) {
    MAY_FAIL;
    std::string text;
    FILE* file = std::fopen(path, "rb");
    if (!file) return done(hipErrorFileNotFound);
    char part[4096];
    for (std::size_t n; (n = std::fread(part, 1, sizeof part, file)) > 0;) text.append(part, n);
    std::fclose(file);
    *module = load(text.c_str());
    return hipSuccess;
}
hipError_t hipModuleLoadData(hipModule_t* module, const void* image) {
    MAY_FAIL;
    *module = load(static_cast<const char*>(image));
    return hipSuccess;
}
hipError_t hipModuleUnload(hipModule_t module) {
    MAY_FAIL;
    if (!dies(module, "module")) return done(hipErrorInvalidHandle);
    return hipSuccess;  // its functions may be alive: kept
}
hipError_t hipModuleGetFunction(hipFunction_t* function, hipModule_t module, const char* name) {
    MAY_FAIL;
    if (!alive(module, "module")) return done(hipErrorInvalidHandle);
    const auto kernel = standin::find_kernel(name);
    journal(std::string(kernel ? "found " : "unknown ") + name);
    if (!kernel && !std::strcmp(setting("STANDIN_UNKNOWN", "fail"), "missing"))
        return done(hipErrorNotFound);
    *function = born(new ihipModuleSymbol_t{name, kernel, module}, "function");
    return hipSuccess;
}
hipError_t hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, hipFunction_t, int, size_t) {
    MAY_FAIL;
    *blocks = 1;
    return hipSuccess;
}
hipError_t hipModuleLaunchKernel(hipFunction_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                 unsigned bz, unsigned, hipStream_t stream, void** pointers, void** extra) {
    MAY_FAIL;
    return done(launch(f, {std::uint64_t{gx} * bx, std::uint64_t{gy} * by, std::uint64_t{gz} * bz},
                       {bx, by, bz}, stream, pointers, extra));
}
hipError_t hipModuleLaunchCooperativeKernel(hipFunction_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                            unsigned by, unsigned bz, unsigned shared, hipStream_t stream,
                                            void** pointers) {
    return hipModuleLaunchKernel(f, gx, gy, gz, bx, by, bz, shared, stream, pointers, nullptr);
}
hipError_t hipExtModuleLaunchKernel(hipFunction_t f, uint32_t gx, uint32_t gy, uint32_t gz, uint32_t bx, uint32_t by,
                                    uint32_t bz, size_t, hipStream_t stream, void** pointers, void** extra,
                                    hipEvent_t start, hipEvent_t stop, uint32_t) {
    MAY_FAIL;
    if (start && hipEventRecord(start, stream) != hipSuccess) return hipErrorInvalidHandle;
    const auto status = launch(f, {gx, gy, gz}, {bx, by, bz}, stream, pointers, extra);
    if (stop && hipEventRecord(stop, stream) != hipSuccess) return hipErrorInvalidHandle;
    return done(status);
}


// --- what a library with device code of its own (a genuine rocBLAS) calls when it is loaded

void** __hipRegisterFatBinary(const void*) {
    static void* nothing[1];
    return nothing;
}
void __hipUnregisterFatBinary(void**) {}
void __hipRegisterFunction(void**, const void*, char*, const char*, unsigned int, void*, void*, void*, void*, int*) {}
void __hipRegisterVar(void**, void*, char*, char*, int, size_t, int, int) {}
hipError_t __hipPushCallConfiguration(dim3, dim3, size_t, hipStream_t) { return hipSuccess; }
hipError_t __hipPopCallConfiguration(dim3*, dim3*, size_t*, hipStream_t*) { return hipErrorNotSupported; }
hipError_t hipLaunchKernel(const void*, dim3, dim3, void**, size_t, hipStream_t) { return done(hipErrorNotSupported); }

}  // extern "C"
