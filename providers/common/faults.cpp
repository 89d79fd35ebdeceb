#include "faults.hpp"

#include <mutex>
#include <string>
#include <vector>

#include "export.hpp"
#include "guard.hpp"
#include "mioconv/abi/provider.h"

namespace mioconv::provider {

namespace detail {
std::atomic<bool> watched{false};
}

namespace {

struct Fault {
    std::string function;  // empty: any
    bool any_function;
    std::int64_t remaining;  // matching calls until it fires; 0 = every one
    std::size_t above_bytes;
    std::uint64_t solution_id;
    int status;

    bool matches(const CallInfo& call) const {
        if (!any_function && function != call.function) return false;
        if (above_bytes != 0 && call.bytes <= above_bytes) return false;
        return solution_id == 0 || solution_id == call.solution_id;
    }
};

std::mutex mutex;
std::atomic<bool> armed{false};

std::vector<Fault>& faults() {
    // Never destroyed: other libraries' destructors may call in here when the process ends.
    static auto* const list = new std::vector<Fault>;
    return *list;
}

}  // namespace

bool note_call(const CallInfo& call, int& status) noexcept {
    counters().count_call();
    if (!armed.load(std::memory_order_relaxed)) return false;
    std::lock_guard lock(mutex);
    auto& list = faults();
    for (auto fault = list.begin(); fault != list.end(); ++fault) {
        if (!fault->matches(call)) continue;
        if (fault->remaining > 1) {
            --fault->remaining;
            continue;
        }
        status = fault->status;
        if (fault->remaining == 1) list.erase(fault);
        armed.store(!list.empty(), std::memory_order_relaxed);
        return true;
    }
    return false;
}

}  // namespace mioconv::provider

using namespace mioconv::provider;

// Not guarded: a fault on "whatever is called" must not hit the call that clears it.
MIOCONV_EXPORT miopenStatus_t mioconvInjectFault(const mioconvFault_t* fault) {
    try {
        std::lock_guard lock(mutex);
        auto& list = faults();
        if (fault == nullptr) {
            list.clear();
        } else {
            if (fault->nth < 0) return miopenStatusBadParm;
            const bool any = fault->function == nullptr;
            const std::string name = any ? "" : fault->function;
            for (auto it = list.begin(); it != list.end();) {
                it = it->any_function == any && it->function == name ? list.erase(it) : it + 1;
            }
            watch();
            list.push_back(
                {name, any, fault->nth, fault->above_bytes, fault->solution_id, fault->status});
        }
        armed.store(!list.empty(), std::memory_order_relaxed);
        return miopenStatusSuccess;
    } catch (...) {
        return miopenStatusAllocFailed;
    }
}
