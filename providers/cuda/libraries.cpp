#include "libraries.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <initializer_list>

#include "common/status.hpp"

// cudnn-frontend looks its functions up in this.
namespace cudnn_frontend {
extern void* cudnn_dlhandle;
void* cudnn_dlhandle = nullptr;
}  // namespace cudnn_frontend

namespace mioconv::cuda {
namespace {

using Names = std::initializer_list<const char*>;

void* open(const char* variable, Names names) {
    if (const char* const path = variable == nullptr ? nullptr : std::getenv(variable);
        path != nullptr && *path != '\0') {
        return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    for (const int only_loaded : {RTLD_NOLOAD, 0}) {
        for (const char* const name : names) {
            if (void* const found = dlopen(name, RTLD_NOW | RTLD_LOCAL | only_loaded)) return found;
        }
    }
    return nullptr;
}

template <class Function>
bool look_up(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
}

// A library's functions, or nothing at all.
template <class Table>
struct Loaded {
    Table table;
    bool complete = false;
};

template <class Table>
const Table& complete(const Loaded<Table>& loaded) {
    if (__builtin_expect(!loaded.complete, 0)) throw provider::HipError(hipErrorNotInitialized);
    return loaded.table;
}

#define MIOCONV_LOOK_UP(name) &&look_up(library, #name, loaded->table.name)

}  // namespace

// The tables are never destroyed: other libraries' destructors may call in here at exit.

const Runtime& runtime() {
    static const auto* const known = [] {
        auto* const loaded = new Loaded<Runtime>;
        void* const library =
            open("MIOCONV_CUDART_LIBRARY", {"libcudart.so.13", "libcudart.so.12"});
        loaded->complete = library != nullptr MIOCONV_CUDART_FUNCTIONS(MIOCONV_LOOK_UP);
        return loaded;
    }();
    return complete(*known);
}

const Driver& driver() {
    static const auto* const known = [] {
        auto* const loaded = new Loaded<Driver>;
        void* const library = open(nullptr, {"libcuda.so.1"});
        loaded->complete = library != nullptr MIOCONV_DRIVER_FUNCTIONS(MIOCONV_LOOK_UP)
                                          MIOCONV_LOOK_UP(cuDeviceTotalMem_v2);
        if (loaded->complete) {
            look_up(library, "cuStreamGetDevice", loaded->table.cuStreamGetDevice);
        }
        return loaded;
    }();
    return complete(*known);
}

const Cudnn& cudnn() {
    static const auto* const known = [] {
        auto* const loaded = new Loaded<Cudnn>;
        void* const library = open("MIOCONV_CUDNN_LIBRARY", {"libcudnn.so.9"});
        loaded->complete = library != nullptr MIOCONV_CUDNN_FUNCTIONS(MIOCONV_LOOK_UP);
        if (loaded->complete) cudnn_frontend::cudnn_dlhandle = library;
        return loaded;
    }();
    return complete(*known);
}

const Compiler& compiler() {
    static const auto* const known = [] {
        auto* const loaded = new Loaded<Compiler>;
        void* const library = open("MIOCONV_NVRTC_LIBRARY", {"libnvrtc.so.13", "libnvrtc.so.12"});
        loaded->complete = library != nullptr MIOCONV_NVRTC_FUNCTIONS(MIOCONV_LOOK_UP);
        return loaded;
    }();
    return complete(*known);
}

}  // namespace mioconv::cuda
