#include "journal.hpp"

#include <dlfcn.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace {

struct Fault {
    std::string function;  // empty: whatever is called
    std::int64_t nth = 0;  // 1: the next matching call; 0: every one
    int hip_status = 0, miopen_status = 0;
    bool armed = false, taken = false;
};

struct State {
    std::mutex mutex;
    std::vector<std::string> journal, violations;
    std::map<std::string, std::int64_t> options;
    std::map<const void*, std::string> live;
    std::set<const void*> dead;
    std::map<const void*, int> inside;  // calls that want to be alone with something
    Fault fault;
    bool recording = true;
};

// Never destroyed: other threads may call until the process is gone.
State& state() {
    static State* const made = [] {
        auto* fresh = new State;
        fresh->options = {{"hip_version", 60200000}, {"miopen_version", 3002000}, {"devices", 2},
                          {"solutions", -1},         {"memory_pools", 0}};
        // "key=value,key=value"
        if (const char* given = std::getenv("FAKE_ROCM_OPTIONS")) {
            const std::string text = given;
            for (std::size_t at = 0; at < text.size();) {
                std::size_t end = text.find(',', at);
                if (end == std::string::npos) end = text.size();
                const std::string item = text.substr(at, end - at);
                const std::size_t equals = item.find('=');
                if (equals != std::string::npos)
                    fresh->options[item.substr(0, equals)] =
                        std::strtoll(item.c_str() + equals + 1, nullptr, 0);
                at = end + 1;
            }
        }
        return fresh;
    }();
    return *made;
}

const char* copied(const std::string& text) {
    thread_local std::string kept;
    kept = text;
    return kept.c_str();
}

std::string joined(const std::vector<std::string>& items) {
    std::string text = "[";
    for (std::size_t i = 0; i < items.size(); ++i) text += (i ? "," : "") + items[i];
    return text + "]";
}

}  // namespace

namespace fake {

std::int64_t option(const char* name) {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    const auto found = all.options.find(name);
    return found == all.options.end() ? 0 : found->second;
}

void* next(const char* name) {
    static void* const library = [] {
        const char* path = std::getenv("FAKE_ROCM_FORWARD_TO");
        void* handle = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
        if (!handle) {
            std::fprintf(stderr, "FAKE_ROCM_FORWARD_TO: %s\n", path ? dlerror() : "not set");
            std::abort();
        }
        return handle;
    }();
    void* symbol = dlsym(library, name);
    if (!symbol) {
        std::fprintf(stderr, "the library behind the stand-in has no %s\n", name);
        std::abort();
    }
    return symbol;
}

const char heuristics = 0;

int& last_error() {
    thread_local int error = 0;
    return error;
}

int& current_device() {
    thread_local int device = 0;
    return device;
}

Call::Call(const char* name, bool hip) : name_(name), hip_(hip) {}

Call::~Call() {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    for (const void* what : alone_)
        if (what) --all.inside[what];
    if (!all.recording) return;
    all.journal.push_back(
        "{\"call\":\"" + std::string(name_) + "\",\"status\":" + std::to_string(status_) +
        ",\"on\":" + std::to_string(current_device()) + ",\"args\":{" + text_ + "}}");
}

void Call::add(const char* name, const std::string& json) {
    text_ += (text_.empty() ? "\"" : ",\"") + std::string(name) + "\":" + json;
}
void Call::number(const char* name, std::uint64_t value) {
    add(name, std::to_string(static_cast<std::int64_t>(value)));
}
void Call::real(const char* name, double value) { add(name, std::to_string(value)); }
void Call::scalar(const char* name, const void* value) {
    float number = 0;
    if (value) std::memcpy(&number, value, sizeof number);
    add(name, value ? std::to_string(number) : std::string("null"));
}

void Call::made(const void* object) {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.live[object] = name_;
    all.dead.erase(object);
}

void Call::ended(const void* object) {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    if (!object) return;
    if (!all.live.erase(object))
        all.violations.push_back("\"" + std::string(name_) + " of what does not live\"");
    all.dead.insert(object);
}

void Call::used(const void* object) {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    if (object && !all.live.count(object))
        all.violations.push_back("\"" + std::string(name_) + " uses what does not live\"");
}

void Call::alone(const void* what) {
    State& all = state();
    {
        const std::lock_guard<std::mutex> lock(all.mutex);
        alone_[alone_[0] != nullptr] = what;
        if (++all.inside[what] > 1)
            all.violations.push_back("\"" + std::string(name_) + " while another thread is there\"");
    }
    if (const auto us = option("slow_us")) std::this_thread::sleep_for(std::chrono::microseconds(us));
}

bool Call::fails(int* status) {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    Fault& fault = all.fault;
    if (!fault.armed || (!fault.function.empty() && fault.function != name_)) return false;
    if (fault.nth > 0) {
        if (--fault.nth > 0) return false;
        fault.armed = false;
    }
    fault.taken = true;
    *status = hip_ ? fault.hip_status : fault.miopen_status;
    return true;
}

void Call::finish(int status) {
    status_ = status;
    if (!hip_) return;
    // HIP 7 keeps an error past successes, until it is asked for.
    if (status != 0 || option("hip_version") < 70000000) last_error() = status;
}

}  // namespace fake

// --- what tests call, through ctypes -------------------------------------------------------------

FAKE_EXPORT void fake_set(const char* name, std::int64_t value) {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.options[name] = value;
}

FAKE_EXPORT const char* fake_journal() {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    return copied(joined(all.journal));
}

FAKE_EXPORT void fake_clear() {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.journal.clear();
    all.violations.clear();
}

FAKE_EXPORT const char* fake_violations() {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    return copied(joined(all.violations));
}

// The functions that made what lives now.
FAKE_EXPORT const char* fake_live() {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    std::vector<std::string> names;
    for (const auto& entry : all.live) names.push_back("\"" + entry.second + "\"");
    return copied(joined(names));
}

// `function` NULL or empty: any. nth 1: the next matching call, once; 0: every one.
FAKE_EXPORT void fake_fail(
    const char* function, std::int64_t nth, int hip_status, int miopen_status) {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.fault = {function ? function : "", nth, hip_status, miopen_status, true, false};
}

// Ends the fault; whether it happened.
FAKE_EXPORT int fake_end_fault() {
    State& all = state();
    const std::lock_guard<std::mutex> lock(all.mutex);
    const bool taken = all.fault.taken;
    all.fault = {};
    return taken;
}
