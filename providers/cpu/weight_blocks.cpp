#include "weight_blocks.hpp"

#include <algorithm>
#include <utility>

#include "tile_transpose.hpp"

namespace mioconv::cpu {
#if defined(__x86_64__)
namespace {

// Rows are what is left of the weights without the channels of a block (the lanes) and the group:
// the other channel and the kernel's position. Rows that are neighbours in the plain layout, up to
// 16 of them, are a strip: a strip of 16 lanes is a matrix that is transposed in registers.
struct Strip {
    std::int64_t plain;  // offset of the first row
    int first, rows;     // into Form::blocked
};

struct Form {
    bool packs;  // from the plain layout to the blocked one, else back
    std::int64_t groups, plain_group, blocked_group;
    std::int64_t channels, plain_channel;                // lanes, and from one to the next
    std::int64_t block, blocks, plain_block, blocked_block;  // of lanes
    std::vector<Strip> strips;
    std::vector<std::int64_t> blocked;  // offset of each row in a block of the blocked layout
};

// In the mean. Shorter strips waste the transposition: oneDNN's reorder is as fast there.
constexpr int kLeastRows = 12;
constexpr std::int64_t kStripsPerTask = 32;

// Lanes that are no channels are padding: zeros.
MIOCONV_AVX512 void pack(
    const Form& form, const Strip& strip, int lanes, const float* plain, float* blocked) {
    const std::int64_t* const offsets = form.blocked.data() + strip.first;
    __m512 v[kLanes];
    read_lines(plain, form.plain_channel, lanes, strip.rows, v);
    if (strip.rows == kLanes) {
#pragma GCC unroll 16
        for (int row = 0; row < kLanes; ++row) _mm512_storeu_ps(blocked + offsets[row], v[row]);
        return;
    }
    for (int row = 0; row < strip.rows; ++row) _mm512_storeu_ps(blocked + offsets[row], v[row]);
}

MIOCONV_AVX512 void unpack(
    const Form& form, const Strip& strip, int lanes, const float* blocked, float* plain) {
    const std::int64_t* const offsets = form.blocked.data() + strip.first;
    __m512 v[kLanes];
#pragma GCC unroll 16
    for (int row = 0; row < kLanes; ++row) {
        v[row] = row < strip.rows ? _mm512_loadu_ps(blocked + offsets[row]) : _mm512_setzero_ps();
    }
    write_lines(v, form.plain_channel, lanes, strip.rows, plain);
}

class WeightReorder final : public Routine {
public:
    WeightReorder(Form form, int threads) : form_(std::move(form)), threads_(threads) {}

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
            const auto strips = static_cast<std::int64_t>(form_.strips.size());
            const std::int64_t parts = (strips + kStripsPerTask - 1) / kStripsPerTask;
            const std::int64_t tasks = form_.groups * form_.blocks * parts;
#pragma omp parallel for num_threads(threads_) schedule(static) if (threads_ > 1 && tasks > 1)
            for (std::int64_t task = 0; task < tasks; ++task) {
                const std::int64_t first = task % parts * kStripsPerTask;
                move(
                    task / parts / form_.blocks, task / parts % form_.blocks, first,
                    std::min(first + kStripsPerTask, strips), from, to);
            }
        }

    private:
        // Some strips of a block of a group's lanes.
        void move(
            std::int64_t group, std::int64_t block, std::int64_t first, std::int64_t end,
            const float* from, float* to) const {
            const std::int64_t plain = group * form_.plain_group + block * form_.plain_block;
            const std::int64_t blocked = group * form_.blocked_group + block * form_.blocked_block;
            for (std::int64_t i = first; i < end; ++i) {
                const Strip& strip = form_.strips[static_cast<std::size_t>(i)];
                for (std::int64_t lane = 0; lane < form_.block; lane += kLanes) {
                    const std::int64_t left = form_.channels - block * form_.block - lane;
                    const int lanes = static_cast<int>(std::clamp<std::int64_t>(left, 0, kLanes));
                    const std::int64_t p = plain + lane * form_.plain_channel + strip.plain;
                    if (form_.packs) {
                        pack(form_, strip, lanes, from + p, to + blocked + lane);
                    } else if (lanes > 0) {
                        unpack(form_, strip, lanes, from + blocked + lane, to + p);
                    }
                }
            }
        }

        const Form& form_;
        const int threads_;
    };

    const Form form_;
    const int threads_;
};

// Rows in the order of the plain layout, cut into strips.
void cut(std::vector<std::pair<std::int64_t, std::int64_t>> rows, Form& form) {
    std::sort(rows.begin(), rows.end());
    for (const auto& [plain, blocked] : rows) {
        const bool goes_on = !form.strips.empty() && form.strips.back().rows < kLanes &&
                             form.strips.back().plain + form.strips.back().rows == plain;
        if (!goes_on) form.strips.push_back({plain, static_cast<int>(form.blocked.size()), 0});
        form.strips.back().rows += 1;
        form.blocked.push_back(blocked);
    }
}

}  // namespace

std::shared_ptr<const Routine> make_weight_reorder(
    const dnnl::memory::desc& from, const dnnl::memory::desc& to, bool grouped, int threads) {
    Form form{};
    form.packs = from.get_inner_nblks() == 0;
    const dnnl::memory::desc &plain = form.packs ? from : to, &blocked = form.packs ? to : from;
    const int levels = blocked.get_inner_nblks();
    if (!__builtin_cpu_supports("avx512f") || plain.get_inner_nblks() != 0 || levels < 1 ||
        levels > 2 || plain.get_data_type() != dnnl::memory::data_type::f32 ||
        blocked.get_data_type() != dnnl::memory::data_type::f32) {
        return nullptr;
    }
    const auto dims = plain.get_dims(), padded = blocked.get_padded_dims();
    const auto near = plain.get_strides(), far = blocked.get_strides();
    const auto inner = blocked.get_inner_blks(), inner_dim = blocked.get_inner_idxs();
    const std::size_t out = grouped ? 1 : 0, in = out + 1;
    const auto lane = static_cast<std::size_t>(inner_dim[levels - 1]);
    if (lane != out && lane != in) return nullptr;
    const std::size_t other = out + in - lane;
    const bool two = levels == 2;
    if ((two && static_cast<std::size_t>(inner_dim[0]) != other) || padded[other] != dims[other] ||
        inner[levels - 1] % kLanes != 0) {
        return nullptr;
    }
    // Blocks of two dimensions of weights that have no others: oneDNN transposes them as we do.
    const bool dense =
        std::all_of(dims.begin() + in + 1, dims.end(), [](auto d) { return d == 1; });
    if (form.packs && two && dense) return nullptr;
    form.groups = grouped ? dims[0] : 1;
    form.plain_group = grouped ? near[0] : 0;
    form.blocked_group = grouped ? far[0] : 0;
    form.channels = dims[lane];
    form.plain_channel = near[lane];
    form.block = inner[levels - 1];
    form.blocks = padded[lane] / form.block;
    form.plain_block = form.block * near[lane];
    form.blocked_block = far[lane];

    std::vector<std::pair<std::int64_t, std::int64_t>> rows;
    for (std::int64_t i = 0; i < dims[other]; ++i) {
        const std::int64_t place =
            two ? i / inner[0] * far[other] + i % inner[0] * form.block : i * far[other];
        rows.emplace_back(i * near[other], place);
    }
    for (std::size_t d = in + 1; d < dims.size(); ++d) {
        const std::size_t count = rows.size();
        for (std::int64_t k = 1; k < dims[d]; ++k) {
            for (std::size_t i = 0; i < count; ++i) {
                rows.emplace_back(rows[i].first + k * near[d], rows[i].second + k * far[d]);
            }
        }
    }
    cut(std::move(rows), form);
    if (form.blocked.size() < kLeastRows * form.strips.size()) return nullptr;
    return std::make_shared<WeightReorder>(std::move(form), threads);
}

#else

std::shared_ptr<const Routine> make_weight_reorder(
    const dnnl::memory::desc&, const dnnl::memory::desc&, bool, int) {
    return nullptr;
}

#endif
}  // namespace mioconv::cpu
