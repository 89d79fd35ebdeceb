#include "copies.hpp"

#include <algorithm>

#include "common/strides.hpp"
#include "copies_source.hpp"

namespace mioconv::cuda {
namespace {

constexpr unsigned kThreads = 256;

std::int64_t bytes_of(miopenDataType_t dtype) noexcept { return dtype == miopenFloat ? 4 : 2; }

bool is_packed(int rank, const Dims& dims, const Dims& strides, bool channels_last) {
    const Dims wanted = provider::packed_strides(rank, dims, channels_last);
    for (int i = 0; i < rank; ++i) {
        if (dims[i] > 1 && strides[i] != wanted[i]) return false;
    }
    return true;
}

// The most elements, of `bytes` each, that one access may have.
int widest(std::int64_t alignment, std::int64_t length, std::int64_t bytes) {
    std::int64_t width = 16 / bytes;
    while (width > 1 && (length % width != 0 || alignment % (width * bytes) != 0)) width /= 2;
    return static_cast<int>(width);
}

// One side is so short that tiles would be half empty, or their last ones: a block takes all of it.
// 0 where that does not fit a block.
template <class Job>
int make_short(
    std::int64_t batch, std::int64_t rows, std::int64_t columns, std::int64_t bytes,
    std::int64_t out_alignment, std::int64_t in_alignment, Job& job) {
    const bool gathers = columns < rows;  // from runs of columns
    const std::int64_t longs = std::max(rows, columns), shorts = std::min(rows, columns);
    const std::int64_t most = 16384 / bytes;
    std::int64_t depth = 64;
    while (depth > 8 && (depth + 2) * shorts > most) depth /= 2;
    if ((depth + 2) * shorts > most || longs < depth) return 0;
    const std::int64_t pieces = (longs + depth - 1) / depth;
    if (longs > INT32_MAX || pieces > INT32_MAX / batch) return 0;
    // depth is a multiple of 8: what divides the whole divides every piece.
    int strips = widest(gathers ? out_alignment : in_alignment, longs, bytes);
    int slab = widest(gathers ? in_alignment : out_alignment, longs * shorts, bytes);
    // What pays to tell apart.
    const int full = static_cast<int>(16 / bytes);
    if (slab < full || strips < full / 2) {
        slab = strips = std::min(slab, strips) >= full / 2 ? full / 2 : 1;
    }
    job.size[0] = longs;
    job.size[1] = shorts;
    job.size[2] = depth;
    job.size[3] = pieces;
    job.blocks = static_cast<std::uint32_t>(pieces * batch);
    return (gathers ? 200 : 300) + 10 * slab + strips;
}

// [batch][rows][columns] to [batch][columns][rows].
template <class Job>
int make_transpose(
    std::int64_t batch, std::int64_t rows, std::int64_t columns, std::int64_t bytes,
    std::int64_t out_alignment, std::int64_t in_alignment, Job& job) {
    constexpr std::int64_t kTile = 64, kNarrow = 8, kShort = 256;
    const std::int64_t shorter = std::min(rows, columns);
    if (shorter >= 2 && (shorter < kTile || (shorter < kShort && shorter % kTile != 0))) {
        const int kind = make_short(batch, rows, columns, bytes, out_alignment, in_alignment, job);
        if (kind != 0) return kind;
    }
    if (shorter < kNarrow) return 0;
    const std::int64_t tiles_r = (rows + kTile - 1) / kTile,
                       tiles_c = (columns + kTile - 1) / kTile;
    if (rows > INT32_MAX || columns > INT32_MAX || tiles_r * tiles_c > INT32_MAX / batch) return 0;
    job.size[0] = rows;
    job.size[1] = columns;
    job.size[2] = tiles_r;
    job.size[3] = tiles_c;
    job.blocks = static_cast<std::uint32_t>(tiles_r * tiles_c * batch);
    return 100 + 10 * widest(in_alignment, columns, bytes) + widest(out_alignment, rows, bytes);
}

// Each thread goes on until the end: more blocks than this only wait.
std::uint32_t blocks_for(std::int64_t threads) noexcept {
    constexpr std::int64_t kMost = 1 << 16;
    return static_cast<std::uint32_t>(
        std::clamp<std::int64_t>((threads + kThreads - 1) / kThreads, 1, kMost));
}

// Dense planes of which some pixels are taken, to packed ones of these.
template <class Job>
int make_gather(const Copy& copy, std::int64_t out_alignment, Job& job) {
    const Dims& dims = copy.dims;
    const Dims& in = copy.strides;
    const bool second = is_packed(copy.rank, dims, copy.out_strides, false);
    const bool last = is_packed(copy.rank, dims, copy.out_strides, true);
    const std::int64_t pixels = dims[2] * dims[3], planes = dims[0] * dims[1];
    const bool dense = dims[0] == 1 || in[0] == dims[1] * in[1];
    if (!dense || (!second && !last) || pixels > INT32_MAX || dims[1] > INT32_MAX) return 0;
    const std::int64_t sizes[] = {second ? planes : dims[1], pixels, dims[3], in[2], in[3], in[1]};
    std::copy(std::begin(sizes), std::end(sizes), job.size);
    const std::int64_t bytes = bytes_of(copy.dtype);
    if (second) {
        const int at_once = std::min(widest(out_alignment, pixels, bytes), 4);
        job.blocks = blocks_for(planes * (pixels / at_once));
        return 500 + at_once;
    }
    const std::int64_t tiles = (dims[1] + 63) / 64 * ((pixels + 63) / 64);
    if (tiles > INT32_MAX / dims[0]) return 0;
    job.blocks = static_cast<std::uint32_t>(tiles * dims[0]);
    return 600 + widest(out_alignment, dims[1], bytes);
}

std::int64_t pixels_of(const Copy& copy) noexcept {
    std::int64_t pixels = 1;
    for (int i = 2; i < copy.rank; ++i) pixels *= copy.dims[i];
    return pixels;
}

std::size_t out_bytes(const Copy& copy, int from) noexcept {
    std::int64_t bytes = bytes_of(copy.dtype);
    for (int i = from; i < copy.rank; ++i) bytes *= copy.out_dims[i];
    return static_cast<std::size_t>(bytes);
}

}  // namespace

int Copies::make_job(const Copy& copy, std::int64_t out, std::int64_t in, Job& job) {
    const Dims& dims = copy.dims;
    const std::int64_t pixels = pixels_of(copy), bytes = bytes_of(copy.dtype);
    const bool second = is_packed(copy.rank, dims, copy.strides, false);
    const bool last = is_packed(copy.rank, dims, copy.strides, true);
    if (copy.out_dims != dims) {
        if (!second && !last) return 0;
        const std::int64_t step = 16 / bytes;
        const std::int64_t at_once = copy.out_dims[1] % step == 0 ? step : step / 2;
        const std::int64_t vectors = copy.out_dims[1] / at_once;
        // The kernel steps through an image by one stride.
        const std::int64_t sizes[] = {
            dims[0], pixels, dims[1], vectors, second ? pixels : 1, second ? 1 : dims[1]};
        std::copy(std::begin(sizes), std::end(sizes), job.size);
        job.blocks = blocks_for(dims[0] * pixels * vectors);
        return static_cast<int>(400 + at_once);
    }
    if (second && is_packed(copy.rank, dims, copy.out_strides, true)) {
        return make_transpose(dims[0], dims[1], pixels, bytes, out, in, job);
    }
    if (last && is_packed(copy.rank, dims, copy.out_strides, false)) {
        return make_transpose(dims[0], pixels, dims[1], bytes, out, in, job);
    }
    return !second && !last && copy.rank == 4 ? make_gather(copy, out, job) : 0;
}

Copies::Copies(
    const std::vector<Copy>& copies, std::int64_t out_alignment, std::int64_t in_alignment)
    : copies_(copies) {
    for (std::size_t i = 0; i < copies.size(); ++i) {
        const Copy& copy = copies[i];
        Job job{};
        const int kind = make_job(copy, out_alignment, in_alignment, job);
        if (copy.out_dims != copy.dims) {
            // What the kernel leaves: images that are not there, or everything.
            const std::size_t image = out_bytes(copy, 1);
            const auto images = static_cast<std::size_t>(kind != 0 ? copy.dims[0] : 0);
            const std::size_t size = out_bytes(copy, 0) - images * image;
            if (size > 0) clears_.push_back({i, images * image, size});
        }
        if (kind == 0) {
            others_.push_back(i);
            continue;
        }
        auto room = std::find_if(batches_.begin(), batches_.end(), [&](const Batch& batch) {
            return batch.count < kMostJobs && batch.blocks <= INT32_MAX - job.blocks &&
                   copies[batch.which[0]].dtype == copy.dtype;
        });
        if (room == batches_.end()) room = batches_.emplace(batches_.end());
        room->jobs.job[room->count] = job;
        room->which[room->count] = i;
        room->kind[room->count++] = kind;
        room->blocks += job.blocks;
    }
    static const Source source{"mioconv_copies.cu", {kCopiesSource}};
    for (Batch& batch : batches_) {
        std::vector<std::string> options = {
            "-DITEM=" + std::to_string(bytes_of(copies[batch.which[0]].dtype))};
        for (std::size_t k = 0; k < kMostJobs; ++k) {
            options.push_back("-DKIND" + std::to_string(k) + "=" + std::to_string(batch.kind[k]));
        }
        batch.function = find_kernel(source, "copies", options);
    }
}

void Copies::run(void* const* out, const void* const* in, cudaStream_t stream) const {
    for (const Clear& clear : clears_) {
        check(runtime().cudaMemsetAsync(
            static_cast<char*>(out[clear.which]) + clear.offset, 0, clear.bytes, stream));
    }
    for (const std::size_t i : others_) {
        const Copy& copy = copies_[i];
        map_elements(
            copy.rank, copy.dims, {copy.dtype, out[i], copy.out_strides},
            {copy.dtype, in[i], copy.strides}, Map::copy, 0, stream);
    }
    for (const Batch& batch : batches_) {
        Jobs jobs = batch.jobs;
        for (std::size_t k = 0; k < batch.count; ++k) {
            jobs.job[k].in = in[batch.which[k]];
            jobs.job[k].out = out[batch.which[k]];
        }
        void* parameters[] = {&jobs};
        launch(batch.function, dim3(batch.blocks), dim3(kThreads), 0, stream, parameters);
    }
}

void copy_layout(int rank, const Dims& dims, const View& out, const View& in, cudaStream_t stream) {
    const auto alignment = [](const void* pointer) {
        const auto bits = reinterpret_cast<std::uintptr_t>(pointer) | 16;
        return static_cast<std::int64_t>(bits & (~bits + 1));
    };
    const Copies copies(
        {{rank, in.dtype, dims, out.strides, dims, in.strides}}, alignment(out.data),
        alignment(in.data));
    void* const to = const_cast<void*>(out.data);
    copies.run(&to, &in.data, stream);
}

}  // namespace mioconv::cuda
