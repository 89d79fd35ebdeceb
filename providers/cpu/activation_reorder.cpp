#include "activation_reorder.hpp"

#include <algorithm>
#include <optional>

#include "shares.hpp"
#include "tile_transpose.hpp"

namespace mioconv::cpu {
#if defined(__x86_64__)
namespace {

// The planar side has the pixels of a channel next to each other, the laned side up to 16 channels
// (the lanes) of a pixel. Channels last are blocks that lie `block` floats apart.
struct Form {
    bool to_lanes;
    std::int64_t images, channels, pixels;
    std::int64_t planar_image, planar_channel;
    std::int64_t laned_image, laned_block, laned_pixel;
    std::int64_t block, blocks;
    bool pads;  // the lanes of the last block that are no channels are there, and zeros
    std::int64_t strip, strips;  // pixels
};

// Pixels of a block that are moved together, at most. On the way to lanes the next block's lanes
// should come while the lines that they share are in the first cache; on the way back a channel
// should be written for as long as the cache holds.
constexpr std::int64_t kStripToLanes = 32, kStripFromLanes = 256;

// Fewer waste most of a tile.
constexpr std::int64_t kLeastPixels = 4;
// Waking another thread takes as long as moving this many.
constexpr std::int64_t kElementsPerThread = 768;

// A tile of pixels and lanes; `stored` of them are written on the way to lanes.
MIOCONV_AVX512_INLINE void to_lanes(
    const Form& form, int lanes, int stored, int pixels, const float* planar, float* laned) {
    const __mmask16 there = first_lanes(stored);
    __m512 v[kLanes];
    read_lines(planar, form.planar_channel, lanes, pixels, v);
#pragma GCC unroll 16
    for (int pixel = 0; pixel < kLanes; ++pixel) {
        if (pixel < pixels)
            _mm512_mask_storeu_ps(laned + pixel * form.laned_pixel, there, v[pixel]);
    }
}

MIOCONV_AVX512_INLINE void from_lanes(
    const Form& form, int lanes, int pixels, const float* laned, float* planar) {
    const __mmask16 there = first_lanes(lanes);
    __m512 v[kLanes];
#pragma GCC unroll 16
    for (int pixel = 0; pixel < kLanes; ++pixel) {
        v[pixel] = pixel < pixels ? _mm512_maskz_loadu_ps(there, laned + pixel * form.laned_pixel)
                                  : _mm512_setzero_ps();
    }
    write_lines(v, form.planar_channel, lanes, pixels, planar);
}

MIOCONV_AVX512 void move(
    const Form& form, int lanes, std::int64_t pixels, const float* from, float* to) {
    const int stored = form.pads ? static_cast<int>(form.block) : lanes;
    std::int64_t pixel = 0;
    // The numbers of a whole tile are constants, and its masks are gone.
    if (lanes == kLanes) {
        for (; pixel + kLanes <= pixels; pixel += kLanes) {
            if (form.to_lanes) {
                to_lanes(form, kLanes, kLanes, kLanes, from + pixel, to + pixel * form.laned_pixel);
            } else {
                from_lanes(form, kLanes, kLanes, from + pixel * form.laned_pixel, to + pixel);
            }
        }
    }
    for (; pixel < pixels; pixel += kLanes) {
        const int left = static_cast<int>(std::min<std::int64_t>(pixels - pixel, kLanes));
        if (form.to_lanes) {
            to_lanes(form, lanes, stored, left, from + pixel, to + pixel * form.laned_pixel);
        } else {
            from_lanes(form, lanes, left, from + pixel * form.laned_pixel, to + pixel);
        }
    }
}

class ActivationReorder final : public Routine {
public:
    ActivationReorder(const Form& form, int threads) : form_(form), threads_(threads) {}

    std::unique_ptr<RoutineRun> bind(const dnnl::primitive&) const override {
        return std::make_unique<Run>(form_, threads_);
    }

private:
    class Run final : public RoutineRun {
    public:
        Run(const Form& form, int threads) : form_(form), threads_(threads) {}

        void run(const void* const* operands, dnnl_stream_t) override {
            const auto* const from = static_cast<const float*>(operands[0]);
            auto* const to = static_cast<float*>(const_cast<void*>(operands[1]));
            const std::int64_t pieces = form_.images * form_.blocks * form_.strips;
            const auto parts = static_cast<int>(std::min<std::int64_t>(threads_, pieces));
#pragma omp parallel for num_threads(parts) schedule(static) if (parts > 1)
            for (int part = 0; part < parts; ++part) {
                const Range own = share_of(pieces, parts, part);
                for (std::int64_t piece = own.begin; piece < own.end; ++piece) {
                    move_piece(piece, from, to);
                }
            }
        }

    private:
        // A strip of a block's pixels. Neighbours in the laned memory come one after another.
        void move_piece(std::int64_t piece, const float* from, float* to) const {
            const bool blocks_last = form_.laned_block < form_.laned_pixel;
            const std::int64_t inner = blocks_last ? form_.blocks : form_.strips;
            const std::int64_t image = piece / (form_.blocks * form_.strips);
            const std::int64_t left = piece % (form_.blocks * form_.strips);
            const std::int64_t outer = left / inner, index = left % inner;
            const std::int64_t block = blocks_last ? index : outer;
            const std::int64_t first = (blocks_last ? outer : index) * form_.strip;
            const std::int64_t planar =
                image * form_.planar_image + block * form_.block * form_.planar_channel + first;
            const std::int64_t laned =
                image * form_.laned_image + block * form_.laned_block + first * form_.laned_pixel;
            move(
                form_,
                static_cast<int>(std::min(form_.channels - block * form_.block, form_.block)),
                std::min(form_.pixels - first, form_.strip),
                from + (form_.to_lanes ? planar : laned), to + (form_.to_lanes ? laned : planar));
        }

        const Form& form_;
        const int threads_;
    };

    const Form form_;
    const int threads_;
};

// The distance of two pixels that are neighbours, where all of them are equally far apart.
std::optional<std::int64_t> pixel_step(const dnnl::memory::desc& desc) {
    const auto dims = desc.get_dims(), strides = desc.get_strides();
    std::int64_t step = 0, next = 0;
    for (std::size_t i = dims.size(); i-- > 2;) {
        if (dims[i] == 1) continue;
        if (step == 0) {
            step = strides[i];
        } else if (strides[i] != next) {
            return std::nullopt;
        }
        next = strides[i] * dims[i];
    }
    return step;
}

}  // namespace

std::shared_ptr<const Routine> make_activation_reorder(
    const dnnl::memory::desc& from, const dnnl::memory::desc& to, int threads) {
    using dnnl::memory;
    const auto is_blocked = [](const memory::desc& desc) {
        return desc.get_format_kind() == memory::format_kind::blocked &&
               desc.get_data_type() == memory::data_type::f32;
    };
    if (!__builtin_cpu_supports("avx512f") || !is_blocked(from) || !is_blocked(to)) return nullptr;
    const auto dims = from.get_dims();
    if (dims.size() < 3 || to.get_dims() != dims || dims[1] == 1) return nullptr;

    const auto from_step = pixel_step(from), to_step = pixel_step(to);
    const auto is_planar = [&](const memory::desc& desc, const std::optional<std::int64_t>& step) {
        return desc.get_inner_nblks() == 0 && step == 1 && desc.get_strides()[1] != 1;
    };
    Form form{};
    form.to_lanes = is_planar(from, from_step);
    const memory::desc &planar = form.to_lanes ? from : to, &laned = form.to_lanes ? to : from;
    if (!is_planar(planar, form.to_lanes ? from_step : to_step)) return nullptr;
    const auto laned_step = form.to_lanes ? to_step : from_step;
    if (!laned_step) return nullptr;

    const auto near = planar.get_strides(), far = laned.get_strides();
    auto padded = laned.get_padded_dims();
    form.images = dims[0];
    form.channels = dims[1];
    form.pixels = 1;
    for (std::size_t i = 2; i < dims.size(); ++i) form.pixels *= dims[i];
    form.planar_image = near[0];
    form.planar_channel = near[1];
    form.laned_image = far[0];
    form.laned_pixel = *laned_step;
    if (laned.get_inner_nblks() == 0) {
        if (far[1] != 1 || padded != dims) return nullptr;
        form.block = form.laned_block = kLanes;
    } else {
        if (laned.get_inner_nblks() != 1 || laned.get_inner_idxs()[0] != 1) return nullptr;
        form.block = laned.get_inner_blks()[0];
        form.laned_block = far[1];
        form.pads = true;
        if (form.block > kLanes || padded[1] != divide_up(dims[1], form.block) * form.block) {
            return nullptr;
        }
        padded[1] = dims[1];
        if (padded != dims) return nullptr;
    }
    form.blocks = divide_up(form.channels, form.block);
    // Into blocks that the channels fill oneDNN transposes as we do.
    const bool fills = form.pads && form.channels % form.block == 0;
    if (form.pixels < kLeastPixels || (form.to_lanes && fills)) return nullptr;
    const std::int64_t elements = form.images * form.channels * form.pixels;
    threads = static_cast<int>(std::clamp<std::int64_t>(elements / kElementsPerThread, 1, threads));
    // Whole tiles, as many of them in each strip.
    const std::int64_t tiles = divide_up(form.pixels, kLanes);
    const std::int64_t longest = (form.to_lanes ? kStripToLanes : kStripFromLanes) / kLanes;
    const std::int64_t strips = divide_up(tiles, longest);
    const std::int64_t parts =
        fair_parts(form.images * form.blocks * strips, divide_up(tiles, strips), threads);
    form.strip = divide_up(tiles, strips * parts) * kLanes;
    form.strips = divide_up(form.pixels, form.strip);
    return std::make_shared<ActivationReorder>(form, threads);
}

#else

std::shared_ptr<const Routine> make_activation_reorder(
    const dnnl::memory::desc&, const dnnl::memory::desc&, int) {
    return nullptr;
}

#endif
}  // namespace mioconv::cpu
