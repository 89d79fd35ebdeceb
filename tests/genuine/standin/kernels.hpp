// What the kernels share: argument lists, element types, boxes of indices.
#pragma once
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <vector>

#include "kernel.h"
#include "number.h"

namespace standin {

using Index = std::int64_t;
using Words = std::vector<std::string>;

template <typename T>
std::vector<Index> list(Arguments& a, int count) {
    std::vector<Index> out;
    for (int i = 0; i < count; ++i) out.push_back(static_cast<Index>(a.next<T>()));
    return out;
}

inline bool type_by_options(const Options& o, Type* out) {
    if (o.has("-DMIOPEN_USE_FP32=1")) return *out = Type::f32, true;
    if (o.has("-DMIOPEN_USE_FP16=1")) return *out = Type::f16, true;
    if (o.has("-DMIOPEN_USE_BFP16=1")) return *out = Type::bf16, true;
    return false;
}
// Of OpTensor's kernels, whose option is a type's name. There is no such type as bfloat16 in OpenCL,
// so with it the genuine compiler fails.
inline bool type_by_name(const Options& o, Type* out) {
    const auto name = o.value("MIOPEN_TYPE");
    if (name == "float") return *out = Type::f32, true;
    if (name == "half") return *out = Type::f16, true;
    return false;
}
// A scalar argument of a tensor's dtype.
inline double scalar(Arguments& a, Type t) {
    if (t == Type::f32) return a.next<float>();
    const auto bits = a.next<std::uint16_t>();
    return load(t, &bits, 0);
}

inline Words split(const std::string& text) {
    Words out(1);
    for (char c : text)
        if (c == '_')
            out.emplace_back();
        else
            out.back() += c;
    return out;
}

// Every index of a box, the last dimension fastest.
inline void each(const std::vector<Index>& sizes, const std::function<void(const std::vector<Index>&)>& f) {
    for (Index s : sizes)
        if (s <= 0) return;
    std::vector<Index> at(sizes.size(), 0);
    for (;;) {
        f(at);
        int d = static_cast<int>(sizes.size()) - 1;
        while (d >= 0 && ++at[d] == sizes[d]) at[d--] = 0;
        if (d < 0) return;
    }
}
inline Index dot(const std::vector<Index>& a, const std::vector<Index>& b) {
    Index sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

// Patches of an image, as columns of a matrix.
struct Patches {
    std::vector<Index> image, kernel, out, pad, stride, dilation;
    // f(offset in the image's plane or -1, row of the matrix's plane, column)
    void visit(const std::function<void(Index, Index, Index)>& f) const {
        Index row = 0;
        each(kernel, [&](const auto& tap) {
            Index column = 0;
            each(out, [&](const auto& at) {
                Index offset = 0;
                for (std::size_t i = 0; i < image.size(); ++i) {
                    const Index p = at[i] * stride[i] - pad[i] + tap[i] * dilation[i];
                    if (p < 0 || p >= image[i]) {
                        offset = -1;
                        break;
                    }
                    offset = offset * image[i] + p;
                }
                f(offset, row, column++);
            });
            ++row;
        });
    }
    static Index volume(const std::vector<Index>& s) {
        Index v = 1;
        for (Index i : s) v *= i;
        return v;
    }
};

// The kernels, by subject: each does its work at once, and says false where it does not know how it
// was compiled.
bool naive(const std::string& name, const Launch& l);
bool im2col_2d(const std::string& name, const Launch& l);
bool im2col_3d(const std::string& name, const Launch& l);
bool col2im_2d(const std::string& name, const Launch& l);
bool col2im_3d(const std::string& name, const Launch& l);
bool swap_nc(const std::string& name, const Launch& l);
bool with_scalar(const std::string& name, const Launch& l);
bool with_transform(const std::string& name, const Launch& l);
bool bias_add(const std::string& name, const Launch& l);
bool elementwise(const std::string& name, const Launch& l);
bool broadcast_4d(const std::string& name, const Launch& l);
bool broadcast_5d(const std::string& name, const Launch& l);
bool bias_gradient(const std::string& name, const Launch& l);
bool activation(const std::string& name, const Launch& l);
bool fused(const std::string& name, const Launch& l);

}  // namespace standin
