// What surrounds a GEMM: patches of an image as columns of a matrix, and back.
#include "kernels.hpp"

namespace standin {

namespace {
void to_columns(const Patches& p, Index channels, std::size_t size, const char* image, char* columns) {
    const Index plane = Patches::volume(p.image), width = Patches::volume(p.out);
    const Index rows = Patches::volume(p.kernel);
    for (Index c = 0; c < channels; ++c)
        p.visit([&](Index from, Index row, Index column) {
            char* to = columns + ((c * rows + row) * width + column) * static_cast<Index>(size);
            if (from < 0)
                std::memset(to, 0, size);
            else
                std::memcpy(to, image + (c * plane + from) * static_cast<Index>(size), size);
        });
}
void from_columns(const Patches& p, Index channels, Type type, const char* columns, char* image) {
    const Index plane = Patches::volume(p.image), width = Patches::volume(p.out);
    const Index rows = Patches::volume(p.kernel);
    for (Index c = 0; c < channels; ++c) {
        std::vector<double> sums(plane);
        p.visit([&](Index to, Index row, Index column) {
            if (to >= 0) sums[to] += load(type, columns, (c * rows + row) * width + column);
        });
        for (Index i = 0; i < plane; ++i) store(type, image, c * plane + i, sums[i]);
    }
}
}  // namespace

bool im2col_2d(const std::string&, const Launch& l) {
    Type type;
    if (!type_by_options(*l.options, &type)) return false;
    Arguments a(l);
    const Index size = a.next<int>();  // elements of the image from its offset on
    auto* image = a.next<char*>();
    image += a.next<std::uint64_t>() * bytes(type);
    Patches p;
    p.image = list<int>(a, 2), p.kernel = list<int>(a, 2), p.out = list<int>(a, 2);
    p.pad = list<int>(a, 2), p.stride = list<int>(a, 2), p.dilation = list<int>(a, 2);
    auto* columns = a.next<char*>();
    if (!a.complete()) return false;
    to_columns(p, size / Patches::volume(p.image), bytes(type), image, columns);
    return true;
}
bool im2col_3d(const std::string&, const Launch& l) {
    Type type;
    if (!type_by_options(*l.options, &type)) return false;
    Arguments a(l);
    auto* image = a.next<char*>();
    image += Index{a.next<std::uint32_t>()} * static_cast<Index>(bytes(type));
    const Index channels = a.next<std::uint32_t>();
    Patches p;
    p.image = list<std::uint32_t>(a, 3), p.kernel = list<std::uint32_t>(a, 3);
    p.out = list<std::uint32_t>(a, 3), p.pad = list<std::uint32_t>(a, 3);
    p.stride = list<std::uint32_t>(a, 3), p.dilation = list<std::uint32_t>(a, 3);
    auto* columns = a.next<char*>();
    if (!a.complete()) return false;
    to_columns(p, channels, bytes(type), image, columns);
    return true;
}
// MIOpen 7 has it in HIP, with the number of channels; before, it is one thread an element.
template <int Rank, typename Offset>
static bool col2im(const std::string&, const Launch& l) {
    Type type;
    if (!type_by_options(*l.options, &type)) return false;
    Arguments a(l);
    const auto* columns = a.next<const char*>();
    Patches p;
    p.out = list<std::uint32_t>(a, Rank), p.kernel = list<std::uint32_t>(a, Rank);
    p.pad = list<std::uint32_t>(a, Rank), p.stride = list<std::uint32_t>(a, Rank);
    p.dilation = list<std::uint32_t>(a, Rank);
    const bool hip = l.options->text.find("MIOpenCol2Im" + std::to_string(Rank) + "d.cpp") != std::string::npos;
    Index channels = hip ? a.next<std::uint32_t>() : 0;
    p.image = list<std::uint32_t>(a, Rank);
    if (!hip) channels = static_cast<Index>(l.threads[0]) / Patches::volume(p.image);
    auto* image = a.next<char*>();
    image += static_cast<Index>(a.next<Offset>()) * static_cast<Index>(bytes(type));
    if (!a.complete()) return false;
    from_columns(p, channels, type, columns, image);
    return true;
}

bool col2im_2d(const std::string& name, const Launch& l) { return col2im<2, std::uint32_t>(name, l); }
bool col2im_3d(const std::string& name, const Launch& l) { return col2im<3, std::uint64_t>(name, l); }

// N and C swapped, elements moved as they are. V2 takes every stride-th pixel, or puts it there.
bool swap_nc(const std::string& name, const Launch& l) {
    Type type;
    if (!type_by_options(*l.options, &type)) return false;
    const auto size = static_cast<Index>(bytes(type));
    const bool forth = name.find("NCHW2CNHW") != name.npos, strided = name.find("_V2_") != name.npos;
    Arguments a(l);
    const auto* in = a.next<const char*>();
    auto* out = a.next<char*>();
    in += static_cast<Index>(a.next<std::uint64_t>()) * size;
    out += static_cast<Index>(a.next<std::uint64_t>()) * size;
    Index w_image = 1, w_other = 1, h_step = 1, w_step = 1, image, other, n, c;
    if (strided) {
        w_image = a.next<int>(), w_other = a.next<int>();
        n = a.next<int>(), c = a.next<int>();
        h_step = a.next<int>(), w_step = a.next<int>();
        image = a.next<int>(), other = a.next<int>();
    } else {
        const Index block = a.next<int>(), blocks = a.next<int>();
        n = a.next<int>(), c = a.next<int>();
        image = other = block * blocks;
        w_image = w_other = image;
    }
    if (!a.complete()) return false;
    each({c, n, other}, [&](const auto& i) {
        const Index h = i[2] / w_other, w = i[2] % w_other;
        const Index nchw = (i[1] * c + i[0]) * image + h * h_step * w_image + w * w_step;
        const Index cnhw = (i[0] * n + i[1]) * other + i[2];
        std::memcpy(out + (forth ? cnhw : nchw) * size, in + (forth ? nchw : cnhw) * size,
                    static_cast<std::size_t>(size));
    });
    return true;
}

}  // namespace standin
