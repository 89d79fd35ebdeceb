// CUDA C++ to kernels, and kernels onto a stream.
#pragma once

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "error.hpp"

namespace mioconv::cuda {

// "sm_90": what kernels for a device are compiled for.
std::string architecture_of(int device);

// A kernel by its name among those that a source text declares, compiled by NVRTC for the current
// device with these options at its first use. Never unloaded: CUDA graphs may hold it.
struct Source {
    const char* name;
    std::vector<const char*> texts;  // one after the other
};
CUfunction find_kernel(
    const Source& source, const std::string& kernel, const std::vector<std::string>& options = {},
    std::size_t shared_bytes = 0);

void launch(
    CUfunction function, dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream,
    void** parameters);

// A launch with everything but its addresses: those come first among the kernel's parameters.
class Launch {
public:
    Launch() = default;
    template <class... Values>
    Launch(CUfunction function, dim3 grid, dim3 block, std::size_t shared, Values... values)
        : function_(function), grid_(grid), block_(block), shared_(shared) {
        (append(values), ...);
    }

    explicit operator bool() const noexcept { return function_ != nullptr; }

    template <class... Addresses>
    void operator()(cudaStream_t stream, Addresses... addresses) const {
        constexpr std::size_t first = sizeof...(Addresses);
        void* parameters[first + kMostValues] = {&addresses...};
        for (std::size_t i = 0; i < count_; ++i) {
            parameters[first + i] = const_cast<char*>(bytes_ + offsets_[i]);
        }
        launch(function_, grid_, block_, shared_, stream, parameters);
    }

private:
    static constexpr std::size_t kMostValues = 8, kMostBytes = 512;

    template <class Value>
    void append(const Value& value) {
        static_assert(std::is_trivially_copyable_v<Value>);
        const std::size_t at = (used_ + alignof(Value) - 1) / alignof(Value) * alignof(Value);
        provider::require(
            count_ < kMostValues && at + sizeof(Value) <= kMostBytes, miopenStatusInternalError);
        std::memcpy(bytes_ + at, &value, sizeof(Value));
        offsets_[count_++] = at;
        used_ = at + sizeof(Value);
    }

    CUfunction function_ = nullptr;
    dim3 grid_{}, block_{};
    std::size_t shared_ = 0;
    std::size_t count_ = 0, used_ = 0;
    std::array<std::size_t, kMostValues> offsets_{};
    alignas(16) char bytes_[kMostBytes] = {};
};

}  // namespace mioconv::cuda
