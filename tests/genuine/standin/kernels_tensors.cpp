// Tensors as a whole: SubTensorOpWith{Scalar,Transform}{1..5}d.
#include "kernels.hpp"

namespace standin {

bool with_scalar(const std::string& name, const Launch& l) {
    Type type;
    if (!type_by_options(*l.options, &type)) return false;
    const auto what = l.options->value("SUBTENSOR_OP_WITH_SCALAR");
    const bool set = what == "SUBTENSOR_OP_WITH_SCALAR_SET";
    if (!set && what != "SUBTENSOR_OP_WITH_SCALAR_MULTIPLY") return false;
    const int rank = name[name.size() - 2] - '0';
    Arguments a(l);
    auto* to = a.next<char*>();
    const double value = scalar(a, type);
    const Index offset = a.next<int>();
    const auto strides = list<int>(a, rank), sizes = list<int>(a, rank);
    if (!a.complete()) return false;
    each(sizes, [&](const auto& i) {
        const Index at = offset + dot(i, strides);
        store(type, to, at, set ? value : load(type, to, at) * value);
    });
    return true;
}
bool with_transform(const std::string& name, const Launch& l) {
    Type type;
    if (!type_by_options(*l.options, &type)) return false;
    const int rank = name[name.size() - 2] - '0';
    Arguments a(l);
    const auto* from = a.next<const char*>();
    double alpha = scalar(a, type);
    // Then what stands in the argument is not the tensor's dtype.
    if (l.options->number("MIOPEN_ALPHA_IS_ONE")) alpha = 1;
    auto* to = a.next<char*>();
    const double beta = scalar(a, type);
    const Index from_offset = a.next<std::uint32_t>(), to_offset = a.next<std::uint32_t>();
    const auto from_strides = list<std::uint32_t>(a, rank), to_strides = list<std::uint32_t>(a, rank);
    const auto sizes = list<std::uint32_t>(a, rank);
    if (!a.complete()) return false;
    const bool keep = l.options->number("MIOPEN_BETA_IS_ZERO") == 0;
    each(sizes, [&](const auto& i) {
        const Index at = to_offset + dot(i, to_strides);
        double value = alpha * load(type, from, from_offset + dot(i, from_strides));
        if (keep) value += beta * load(type, to, at);
        store(type, to, at, value);
    });
    return true;
}

}  // namespace standin
