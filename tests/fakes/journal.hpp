// What every call into the stand-in goes through: the journal, injected failures, object life times.
//
// Both stand-in libraries share it; it lives in the HIP one, on which MIOpen's depends as it does in
// the vendor's installation.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#define FAKE_EXPORT extern "C" __attribute__((visibility("default")))

namespace fake {

// A setting of the stand-in, by name; `fake_set` and FAKE_ROCM_OPTIONS write them.
__attribute__((visibility("default"))) std::int64_t option(const char* name);

// The cpu provider's function of this name.
__attribute__((visibility("default"))) void* next(const char* name);
template <typename F>
F* forward(const char* name) {
    return reinterpret_cast<F*>(next(name));
}

// Where the vendor's library is not safe in two threads at once.
extern __attribute__((visibility("default"))) const char heuristics;

// The error that HIP keeps for this thread.
__attribute__((visibility("default"))) int& last_error();
__attribute__((visibility("default"))) int& current_device();

class __attribute__((visibility("default"))) Call {
public:
    Call(const char* name, bool hip);
    ~Call();

    void add(const char* name, const std::string& json);
    void add(const char* name, const void* value) { number(name, reinterpret_cast<std::uintptr_t>(value)); }
    template <typename T>
    std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>> add(const char* name, T value) {
        if constexpr (std::is_floating_point_v<T>)
            real(name, value);
        else
            number(name, static_cast<std::uint64_t>(value));
    }
    // Scalars that MIOpen takes by address, as the float that they must be.
    void scalar(const char* name, const void* value);
    template <typename T>
    void list(const char* name, const T* values, std::int64_t count) {
        std::string text = "[";
        for (std::int64_t i = 0; values && i < count; ++i)
            text += (i ? "," : "") + std::to_string(values[i]);
        add(name, text + "]");
    }

    // Objects: made, ended, used. Using what does not live is a violation.
    void made(const void* object);
    void ended(const void* object);
    void used(const void* object);

    // One thread at a time: in the vendor's heuristics and Find, and with a handle. Takes a moment, so
    // that others come by.
    void alone(const void* what);

    // Whether this call is to fail, and with which status.
    bool fails(int* status);
    // Notes the outcome.
    template <typename R>
    R done(R status) {
        finish(static_cast<int>(status));
        return status;
    }

private:
    void number(const char* name, std::uint64_t value);
    void real(const char* name, double value);
    void finish(int status);

    std::string text_;
    const char* name_;
    const void* alone_[2] = {nullptr, nullptr};
    bool hip_;
    int status_ = 0;
};

}  // namespace fake
