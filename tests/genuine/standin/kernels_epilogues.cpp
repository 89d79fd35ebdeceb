// What follows a convolution: OpTensor, biases, activations, and the fused kernel.
#include "kernels.hpp"

namespace standin {

namespace {
// c = op(a*alpha0, b*alpha1) + beta*c, each rounded to the tensor's dtype.
struct Combine {
    Type type;
    double alpha0, alpha1, beta;
    std::string op;
    double operator()(double a, double b) const {
        a *= alpha0, b *= alpha1;
        if (op == "miopenAdd") return a + b;
        if (op == "miopenMul") return a * b;
        return op == "miopenMin" ? std::min(a, b) : std::max(a, b);
    }
};
bool combine(Arguments& a, const Launch& l, Type type, Combine* out) {
    const double alpha0 = scalar(a, type), alpha1 = scalar(a, type), beta = scalar(a, type);
    *out = {type, alpha0, alpha1, beta, l.options->value("MIOPEN_TENSOR_OP")};
    return out->op.rfind("miopen", 0) == 0;
}
void put(const Combine& f, char* c, Index at, double a, double b) {
    double value = f(a, b);
    if (f.beta != 0) value += f.beta * load(f.type, c, at);
    store(f.type, c, at, value);
}
}  // namespace

// OpTensorFwdBias. MIOpen's arithmetic takes the pixels of a channel to lie side by side, whatever
// the strides say: for a channels-last tensor it gives wrong numbers, and so does this.
bool bias_add(const std::string&, const Launch& l) {
    Type type;
    if (!type_by_name(*l.options, &type)) return false;
    Arguments a(l);
    auto* in = a.next<char*>();
    auto* bias = a.next<char*>();
    const Index channels = a.next<int>();
    auto* out = a.next<char*>();
    const Index n = a.next<int>(), n_stride = a.next<int>(), c_stride = a.next<int>(), work = a.next<int>();
    Combine f;
    if (!combine(a, l, type, &f)) return false;
    const auto offsets = list<std::int64_t>(a, 3);
    const Index groups = a.next<int>(), by_sample = a.next<int>();
    if (!a.complete()) return false;
    const auto size = static_cast<Index>(bytes(type));
    in += offsets[0] * size, bias += offsets[1] * size, out += offsets[2] * size;
    for (Index g = 0; g < groups; ++g)
        for (Index i = 0; i < work; ++i) {
            const Index c = by_sample ? g % channels : g;
            const Index sample = by_sample ? g / channels : i / (work / n);
            const Index pixel = by_sample ? i : i % (work / n);
            const Index at = sample * n_stride + c * c_stride + pixel;
            put(f, out, at, load(type, in, at), load(type, bias, c));
        }
    return true;
}
// Op4dTensorLite: two tensors of the same packed layout.
bool elementwise(const std::string&, const Launch& l) {
    Type type;
    if (!type_by_name(*l.options, &type)) return false;
    Arguments a(l);
    auto* first = a.next<char*>();
    auto* second = a.next<char*>();
    auto* out = a.next<char*>();
    Combine f;
    if (!combine(a, l, type, &f)) return false;
    const auto offsets = list<std::int64_t>(a, 3);
    const Index work = a.next<std::int64_t>() * l.options->number("RD_BLCK", 1);
    if (!a.complete()) return false;
    for (Index i = 0; i < work; ++i)
        put(f, out, offsets[2] + i, load(type, first, offsets[0] + i), load(type, second, offsets[1] + i));
    return true;
}
// Op4dTensorGeneric, Op5dTensorGeneric: b is broadcast along its dimensions of size 1; the innermost
// stride is 1 by definition.
template <int Inner>  // dimensions behind the batch
static bool broadcast(const std::string&, const Launch& l) {
    Type type;
    if (!type_by_name(*l.options, &type)) return false;
    Arguments a(l);
    auto with_one = [](std::vector<Index> s) { return s.push_back(1), s; };
    auto* first = a.next<char*>();
    const auto a_strides = with_one(list<int>(a, Inner));
    auto* second = a.next<char*>();
    const auto b_sizes = list<int>(a, Inner);
    const auto b_strides = with_one(list<int>(a, Inner));
    auto* out = a.next<char*>();
    const auto sizes = list<int>(a, Inner);
    const auto strides = with_one(list<int>(a, Inner));
    Combine f;
    if (!combine(a, l, type, &f)) return false;
    a.next<std::uint32_t>();
    const Index work = a.next<int>();
    const auto offsets = list<std::int64_t>(a, 3);
    const Index groups = a.next<int>();
    if (!a.complete()) return false;
    std::vector<Index> all{work * groups / Patches::volume(sizes)};
    all.insert(all.end(), sizes.begin(), sizes.end());
    std::vector<Index> b_all{groups / Patches::volume(b_sizes)};
    b_all.insert(b_all.end(), b_sizes.begin(), b_sizes.end());
    each(all, [&](const auto& i) {
        Index b = 0;
        for (std::size_t d = 0; d < i.size(); ++d) b += (b_all[d] == 1 ? 0 : i[d]) * b_strides[d];
        put(f, out, offsets[2] + dot(i, strides), load(type, first, offsets[0] + dot(i, a_strides)),
            load(type, second, offsets[1] + b));
    });
    return true;
}

bool broadcast_4d(const std::string& name, const Launch& l) { return broadcast<3>(name, l); }
bool broadcast_5d(const std::string& name, const Launch& l) { return broadcast<4>(name, l); }

// The gradient of a bias. As in `bias_add`, the pixels of a channel are taken to lie side by side.
bool bias_gradient(const std::string&, const Launch& l) {
    Type type;
    if (!type_by_options(*l.options, &type)) return false;
    const Index unit = l.options->number("MLO_CONVBWDB_UNITSIZE", 1);
    Arguments a(l);
    const auto* from = a.next<const char*>();
    auto* to = a.next<char*>();
    const Index channels = a.next<std::uint32_t>(), c_stride = a.next<std::uint32_t>();
    const Index n_stride = a.next<std::uint32_t>(), per_sample = a.next<std::uint32_t>();
    const Index rest = a.next<std::uint32_t>(), work = a.next<std::uint32_t>();
    if (!a.complete()) return false;
    for (Index c = 0; c < channels; ++c) {
        double sum = 0;
        for (Index i = 0; i < work; ++i) {
            const Index sample = i / per_sample, part = i % per_sample;
            const Index count = rest > 0 && part == per_sample - 1 ? rest : unit;
            for (Index j = 0; j < count; ++j)
                sum += load(type, from, c * c_stride + sample * n_stride + part * unit + j);
        }
        store(type, to, c, sum);
    }
    return true;
}

static bool activate(const Options& o, double* x) {
    switch (o.number("MIOPEN_NRN_OP_ID", -1)) {
        case 0: return true;
        case 3: *x = *x > 0 ? *x : 0; return true;
        default: return false;
    }
}
bool activation(const std::string& name, const Launch& l) {
    Type type;
    if (!type_by_options(*l.options, &type)) return false;
    const Index unit = l.options->number("MIOPEN_READ_UNIT", 1);
    const bool planes = name == "MIOpenActiveFwd2DLite";
    Arguments a(l);
    const auto* from = a.next<const char*>();
    auto* to = a.next<char*>();
    for (int i = 0; i < 3; ++i) scalar(a, type);
    const auto offsets = list<std::int64_t>(a, 2);
    const Index from_stride = planes ? a.next<std::uint32_t>() : 0;
    const Index to_stride = planes ? a.next<std::uint32_t>() : 0;
    if (!a.complete()) return false;
    bool known = true;
    each({static_cast<Index>(l.threads[1]), static_cast<Index>(l.threads[0]) * unit}, [&](const auto& i) {
        double x = load(type, from, offsets[0] + i[0] * from_stride + i[1]);
        known = activate(*l.options, &x) && known;
        store(type, to, offsets[1] + i[0] * to_stride + i[1], x);
    });
    return known;
}

// Convolution, bias and activation in one (the fusion plan's direct solver): sizes are options.
bool fused(const std::string&, const Launch& l) {
    const Options& o = *l.options;
    Type type;
    if (!type_by_options(o, &type) || o.has("-DSPATIAL_BN") || o.has("-DPERACT_BN") || o.number("MLO_DIR_FORWARD") != 1) return false;
    Arguments a(l);
    const bool active = o.number("MIOPEN_YES_ACTIV") == 1;
    if (active)
        for (int i = 0; i < 3; ++i) scalar(a, type);
    const auto* x = a.next<const char*>();
    auto* y = a.next<char*>();
    const auto* w = a.next<const char*>();
    const auto* bias = o.number("MLO_CONV_BIAS") ? a.next<const char*>() : nullptr;
    if (!a.complete()) return false;
    auto n = [&](const char* name) { return static_cast<Index>(o.number(name)); };
    const Index c_in = n("MLO_N_INPUTS"), kh = n("MLO_FILTER_SIZE1"), kw = n("MLO_FILTER_SIZE0");
    const Index height = n("MLO_IN_HEIGHT"), width = n("MLO_IN_WIDTH");
    const Index step_h = n("MLO_FILTER_STRIDE1"), step_w = n("MLO_FILTER_STRIDE0");
    const Index pad_h = n("MLO_FILTER_PAD1"), pad_w = n("MLO_FILTER_PAD0");
    const std::vector<Index> in{n("MLO_IN_BATCH_STRIDE"), n("MLO_IN_CHANNEL_STRIDE"), n("MLO_IN_STRIDE"), 1};
    const std::vector<Index> out{n("MLO_OUT_BATCH_STRIDE"), n("MLO_OUT_CHANNEL_STRIDE"), n("MLO_OUT_STRIDE"), 1};
    double probe = 0;
    if (active && !activate(o, &probe)) return false;
    each({n("MLO_BATCH_SZ"), n("MLO_N_OUTPUTS"), n("MLO_OUT_HEIGHT"), n("MLO_OUT_WIDTH")}, [&](const auto& i) {
        double sum = bias ? load(type, bias, i[1]) : 0;
        each({c_in, kh, kw}, [&](const auto& t) {
            const Index h = i[2] * step_h - pad_h + t[1], v = i[3] * step_w - pad_w + t[2];
            if (h < 0 || v < 0 || h >= height || v >= width) return;
            sum += load(type, x, dot({i[0], t[0], h, v}, in)) * load(type, w, ((i[1] * c_in + t[0]) * kh + t[1]) * kw + t[2]);
        });
        if (active) activate(o, &sum);
        store(type, y, dot(i, out), sum);
    });
    return true;
}

}  // namespace standin
