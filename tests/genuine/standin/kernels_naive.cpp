// MIOpen's naive convolutions: naive_conv_ab_{packed,nonpacked}_{fwd,bwd,wrw}_{layout}_{T}_double_{T}.
#include "kernels.hpp"

namespace standin {

namespace {
struct Tensor3 {  // strides of (outer, group, channel, space…) in elements
    Index outer, group, channel;
    std::vector<Index> space;
};
}  // namespace

bool naive(const std::string& name, const Launch& l) {
    const Words words = split(name);
    if (words.size() != 9) return false;
    const bool packed = words[3] == "packed", last = words[5].back() == 'c';
    const std::string& direction = words[4];
    const int rank = static_cast<int>(words[5].size()) - 2;
    Type type;
    if (words[6] != words[8]) return false;
    if (words[6] == "float") type = Type::f32;
    else if (words[6] == "half") type = Type::f16;
    else if (words[6] == "ushort") type = Type::bf16;
    else return false;

    Arguments a(l);
    // The order of the two inputs and of the result is that of (in, weights, out) in every direction.
    char* first = a.next<char*>();
    char* second = a.next<char*>();
    const double alpha = a.next<double>(), beta = a.next<double>();
    char* third = a.next<char*>();
    if (alpha != 1 || beta != 0) return false;
    const auto in_strides = list<std::uint64_t>(a, rank + 3);
    const auto w_strides = list<std::uint64_t>(a, rank + 3);
    const auto out_strides = list<std::uint64_t>(a, rank + 3);
    const auto in = list<int>(a, rank);
    const Index n = a.next<int>(), k = a.next<int>(), c = a.next<int>();  // k, c: of one group
    const auto out = list<int>(a, rank), stride = list<int>(a, rank), dilation = list<int>(a, rank);
    const auto pad = list<int>(a, rank), kernel = list<int>(a, rank);
    const Index groups = a.next<int>();
    if (!a.complete()) return false;

    // What the arrays hold, innermost first: w, h, (d,) channel, group, batch; or
    // channel, group, w, h, (d,) batch. Weights: x, y, (z,) c, k, group; or c, x, y, (z,) k, group.
    auto strided = [&](const std::vector<Index>& s, bool weights) {
        Tensor3 t;
        if (!last) {
            for (int i = 0; i < rank; ++i) t.space.push_back(s[rank - 1 - i]);
            t.channel = s[rank], t.group = s[rank + 1], t.outer = s[rank + 2];
        } else if (weights) {
            for (int i = 0; i < rank; ++i) t.space.push_back(s[rank - i]);
            t.channel = s[0], t.group = s[rank + 1], t.outer = s[rank + 2];
        } else {
            for (int i = 0; i < rank; ++i) t.space.push_back(s[rank + 1 - i]);
            t.channel = s[0], t.group = s[1], t.outer = s[rank + 2];
        }
        return t;
    };
    auto dense = [&](Index channels, const std::vector<Index>& size, bool weights) {
        Tensor3 t;
        Index volume = 1;
        for (Index s : size) volume *= s;
        const Index all = weights ? channels : channels * groups;
        Index step = last ? all : 1;
        t.space.assign(rank, 0);
        for (int i = rank - 1; i >= 0; --i) t.space[i] = step, step *= size[i];
        t.channel = last ? 1 : volume;
        // Of weights, `group` is the stride of k and `outer` that of the group.
        t.group = weights ? channels * volume : channels * t.channel;
        t.outer = weights ? k * channels * volume : all * volume;
        return t;
    };
    const Tensor3 x = packed ? dense(c, in, false) : strided(in_strides, false);
    const Tensor3 w = packed ? dense(c, kernel, true) : strided(w_strides, true);
    const Tensor3 y = packed ? dense(k, out, false) : strided(out_strides, false);

    // Where output position `o` and tap `t` meet the input; false: in the padding.
    auto meets = [&](const std::vector<Index>& o, const std::vector<Index>& t, Index* offset) {
        *offset = 0;
        for (int i = 0; i < rank; ++i) {
            const Index at = o[i] * stride[i] - pad[i] + t[i] * dilation[i];
            if (at < 0 || at >= in[i]) return false;
            *offset += at * x.space[i];
        }
        return true;
    };
    for (Index g = 0; g < groups; ++g) {
        if (direction == "fwd") {
            for (Index b = 0; b < n; ++b)
                for (Index o = 0; o < k; ++o)
                    each(out, [&](const auto& at) {
                        double sum = 0;
                        for (Index i = 0; i < c; ++i)
                            each(kernel, [&](const auto& tap) {
                                Index from;
                                if (!meets(at, tap, &from)) return;
                                sum += load(type, first, b * x.outer + g * x.group + i * x.channel + from) *
                                       load(type, second, g * w.outer + o * w.group + i * w.channel + dot(tap, w.space));
                            });
                        store(type, third, b * y.outer + g * y.group + o * y.channel + dot(at, y.space), sum);
                    });
        } else if (direction == "bwd") {
            for (Index b = 0; b < n; ++b)
                for (Index i = 0; i < c; ++i) {
                    std::map<Index, double> sums;  // by offset in the image
                    each(in, [&](const auto& at) { sums[dot(at, x.space)] = 0; });
                    each(out, [&](const auto& at) {
                        each(kernel, [&](const auto& tap) {
                            Index to;
                            if (!meets(at, tap, &to)) return;
                            double& sum = sums[to];
                            for (Index o = 0; o < k; ++o)
                                sum += load(type, third, b * y.outer + g * y.group + o * y.channel + dot(at, y.space)) *
                                       load(type, second, g * w.outer + o * w.group + i * w.channel + dot(tap, w.space));
                        });
                    });
                    for (const auto& [to, sum] : sums)
                        store(type, first, b * x.outer + g * x.group + i * x.channel + to, sum);
                }
        } else if (direction == "wrw") {
            for (Index o = 0; o < k; ++o)
                for (Index i = 0; i < c; ++i)
                    each(kernel, [&](const auto& tap) {
                        double sum = 0;
                        for (Index b = 0; b < n; ++b)
                            each(out, [&](const auto& at) {
                                Index from;
                                if (!meets(at, tap, &from)) return;
                                sum += load(type, first, b * x.outer + g * x.group + i * x.channel + from) *
                                       load(type, third, b * y.outer + g * y.group + o * y.channel + dot(at, y.space));
                            });
                        store(type, second, g * w.outer + o * w.group + i * w.channel + dot(tap, w.space), sum);
                    });
        } else {
            return false;
        }
    }
    return true;
}

}  // namespace standin
