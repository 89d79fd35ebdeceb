// RAII for MIOpen's descriptors. Creation can fail, so it is a call of its own that answers a
// Status; an object that holds nothing destroys nothing.
#pragma once

#include <array>
#include <climits>
#include <cstdint>
#include <utility>

#include "error.hpp"

namespace mioconv {

/// Owns one object of the library: made by `Create`, ended by `Destroy`, both members of the table.
template <typename T, auto Create, auto Destroy>
class Descriptor {
public:
    Descriptor() = default;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    Descriptor(Descriptor&& other) noexcept
        : api_(other.api_), object_(std::exchange(other.object_, nullptr)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(api_, other.api_);
        std::swap(object_, other.object_);
        return *this;
    }
    ~Descriptor() {
        // A destructor cannot report; the providers' object counters show in tests what went wrong.
        if (object_) (api_->*Destroy)(object_);
    }

    T get() const { return object_; }

protected:
    Status create(const Api& api, const char* call) {
        if (object_) return {};
        api_ = &api;
        return status_of(call, (api.*Create)(&object_));
    }

    const Api* api_ = nullptr;
    T object_ = nullptr;
};

constexpr int max_spatial = 3;
constexpr int max_dims = 2 + max_spatial;

class TensorDescriptor : public Descriptor<
                             miopenTensorDescriptor_t, &Api::miopenCreateTensorDescriptor,
                             &Api::miopenDestroyTensorDescriptor> {
public:
    /// Sizes and strides in elements, outermost first. Values beyond 32 bits need the 64-bit setter
    /// (MIOpen 3.2 and later); without it the answer is NotImplemented.
    Status set(
        const Api& api, miopenDataType_t dtype, int dims, const std::int64_t* shape,
        const std::int64_t* strides) {
        MIOCONV_TRY(create(api, "miopenCreateTensorDescriptor"));
        std::array<int, max_dims> shape32{}, strides32{};
        bool narrow = true;
        for (int i = 0; i < dims; ++i) {
            narrow = narrow && shape[i] <= INT_MAX && strides[i] <= INT_MAX;
            shape32[i] = static_cast<int>(shape[i]);
            strides32[i] = static_cast<int>(strides[i]);
        }
        if (narrow)
            return MIOCONV_CALL(
                api, miopenSetTensorDescriptor, object_, dtype, dims, shape32.data(),
                strides32.data());
        std::array<std::size_t, max_dims> shape64{}, strides64{};
        for (int i = 0; i < dims; ++i) {
            shape64[i] = static_cast<std::size_t>(shape[i]);
            strides64[i] = static_cast<std::size_t>(strides[i]);
        }
        return MIOCONV_CALL_OPTIONAL(
            api, miopenSetTensorDescriptorV2, object_, dtype, dims, shape64.data(),
            strides64.data());
    }
};

/// Whether the pixels of a channel lie side by side, as MIOpen's bias and element by element calls
/// take them to do whatever the strides say: on other tensors they answer 0 and compute wrong
/// numbers (MIOpen#2860).
inline bool by_planes(
    int dims, const std::array<std::int64_t, max_dims>& shape,
    const std::array<std::int64_t, max_dims>& strides) {
    std::int64_t step = 1;
    for (int i = dims - 1; i >= 1; --i) {
        if (shape[i] != 1 && strides[i] != step) return false;
        step *= shape[i];
    }
    return true;
}

/// Describes a dense channels-last tensor to such calls: as a batch of single pixels.
inline Status set_pixels(
    const Api& api, miopenDataType_t dtype, int dims,
    const std::array<std::int64_t, max_dims>& shape, TensorDescriptor* out) {
    std::int64_t pixels = shape[0];
    for (int i = 2; i < dims; ++i) pixels *= shape[i];
    const std::array<std::int64_t, max_dims> sizes{pixels, shape[1], 1, 1, 1};
    const std::array<std::int64_t, max_dims> strides{shape[1], 1, 1, 1, 1};
    return out->set(api, dtype, dims, sizes.data(), strides.data());
}

struct ConvolutionSettings {
    int spatial = 2;
    std::array<std::int64_t, max_spatial> padding{}, stride{}, dilation{};
    std::int64_t groups = 1;
    miopenConvolutionMode_t mode = miopenConvolution;
    bool deterministic = false;
    bool strict_math = true;  ///< no TF32 or other reduced internal precision
    bool packed_weights = false;
};

class ConvolutionDescriptor
    : public Descriptor<
          miopenConvolutionDescriptor_t, &Api::miopenCreateConvolutionDescriptor,
          &Api::miopenDestroyConvolutionDescriptor> {
public:
    /// All that the settings say, before any query: attributes change which solutions exist.
    Status set(const Api& api, const ConvolutionSettings& settings) {
        MIOCONV_TRY(create(api, "miopenCreateConvolutionDescriptor"));
        std::array<int, max_spatial> padding{}, stride{}, dilation{};
        for (int i = 0; i < settings.spatial; ++i) {
            padding[i] = static_cast<int>(settings.padding[i]);
            stride[i] = static_cast<int>(settings.stride[i]);
            dilation[i] = static_cast<int>(settings.dilation[i]);
        }
        MIOCONV_TRY(MIOCONV_CALL(
            api, miopenInitConvolutionNdDescriptor, object_, settings.spatial, padding.data(),
            stride.data(), dilation.data(), api.maps_modes() ? miopenConvolution : settings.mode));
        MIOCONV_TRY(MIOCONV_CALL(
            api, miopenSetConvolutionGroupCount, object_, static_cast<int>(settings.groups)));
        MIOCONV_TRY(MIOCONV_CALL(
            api, miopenSetConvolutionAttribute, object_, MIOPEN_CONVOLUTION_ATTRIB_DETERMINISTIC,
            settings.deterministic));
        set_math_type(api, settings.strict_math);
        if (settings.packed_weights)
            MIOCONV_TRY(MIOCONV_CALL_OPTIONAL(api, mioconvSetPackedWeights, object_, 1));
        // Normal mode: Find measures. An exported function of an internal header, so it may be
        // missing.
        if (api.miopenSetConvolutionFindMode)
            api.miopenSetConvolutionFindMode(object_, miopenConvolutionFindModeNormal);
        return {};
    }

private:
    /// A library without the attribute has no reduced precision to forbid. It answers BadParm, and
    /// prints an error whatever the level of its log: it is asked once.
    void set_math_type(const Api& api, bool strict) {
        if (api.no_math_type && api.no_math_type->load(std::memory_order_relaxed)) return;
        const miopenStatus_t status =
            api.miopenSetConvolutionAttribute(object_, MIOPEN_CONVOLUTION_ATTRIB_MATH_TYPE, strict);
        if (api.no_math_type && status == miopenStatusBadParm)
            api.no_math_type->store(true, std::memory_order_relaxed);
    }
};

}  // namespace mioconv
