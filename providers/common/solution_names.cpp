#include "solution_names.hpp"

#include <cstring>
#include <mutex>
#include <unordered_map>

#include "export.hpp"
#include "fork_gate.hpp"
#include "guard.hpp"

namespace mioconv::provider {
namespace {

// FNV-1a. Ids are part of what callers store, so this must never change.
std::uint64_t id_of(const std::string& name) noexcept {
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
    return hash == 0 ? 1 : hash;  // 0 means "no solution" in MIOpen
}

struct Registry {
    std::mutex mutex;
    std::unordered_map<std::uint64_t, std::string> names;
};

Registry& registry() {
    static auto* const instance = new Registry;
    return *instance;
}

}  // namespace

std::uint64_t register_solution_name(const std::string& name) {
    const std::uint64_t id = id_of(name);
    Registry& all = registry();
    const ForkGate gate;
    std::lock_guard lock(all.mutex);
    all.names.emplace(id, name);
    return id;
}

void copy_text(const std::string& text, char* out, std::size_t size) {
    require(out != nullptr && size > text.size());
    std::memcpy(out, text.c_str(), text.size() + 1);
}

}  // namespace mioconv::provider

using namespace mioconv::provider;

MIOCONV_EXPORT miopenStatus_t
mioconvGetSolutionName(uint64_t solution_id, char* name, size_t size) {
    return guarded({__func__, 0, solution_id}, [&] {
        Registry& all = registry();
        const ForkGate gate;
        std::lock_guard lock(all.mutex);
        const auto found = all.names.find(solution_id);
        require(found != all.names.end());
        copy_text(found->second, name, size);
    });
}
