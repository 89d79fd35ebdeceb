#include "solution.hpp"

#include <algorithm>
#include <cmath>
#include <exception>

#include "common/solution_names.hpp"
#include "compiling.hpp"
#include "depthwise.hpp"
#include "error.hpp"
#include "matmul.hpp"

namespace mioconv::cuda {
namespace {

namespace fe = cudnn_frontend;
using provider::Admission;
using provider::Direction;
using provider::HipError;
using provider::Region;
using provider::Struck;

#include "cuda_regions_data.inc"

// Of each layout, in a first list.
constexpr std::size_t kFirst = 3;
// What no workspace is worth.
constexpr std::int64_t kLargestWorkspace = std::int64_t{1} << 30;

bool has(const std::vector<cudnnBackendNumericalNote_t>& notes, cudnnBackendNumericalNote_t note) {
    return std::find(notes.begin(), notes.end(), note) != notes.end();
}

miopenConvAlgorithm_t algorithm_of(const fe::ExecutionPlan_v8& plan) {
    const auto& notes = plan.getAllNumericNotes();
    if (has(notes, CUDNN_NUMERICAL_NOTE_FFT)) return miopenConvolutionAlgoFFT;
    if (has(notes, CUDNN_NUMERICAL_NOTE_WINOGRAD)) return miopenConvolutionAlgoWinograd;
    if (has(notes, CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) return miopenConvolutionAlgoImplicitGEMM;
    return miopenConvolutionAlgoDirect;
}

const char* direction_name(const ConvProblem& problem) {
    switch (problem.direction) {
        case Direction::forward: return "fwd";
        case Direction::backward_data: return "bwd";
        default: return "wrw";
    }
}

// One tap, nothing skipped or padded, and rows of pixels that are multiples of 16 bytes.
bool is_product(const ConvProblem& problem, const Layout& layout) {
    std::int64_t pixels = 1;
    for (int i = 0; i < problem.rank - 2; ++i) {
        if (problem.wei[2 + i] != 1 || problem.padding[i] != 0) return false;
        if (problem.stride[i] != 1 && !layout.gathers) return false;
        pixels *= problem.dst[2 + i];
    }
    return problem.groups == 1 && pixels % 8 == 0;
}

// A rough time, which only has to put layouts in order: cuDNN orders the configurations of one, and
// tells no times. An H100's rates; other GPUs have others in about the same proportion.
float estimate_ms(const ConvProblem& problem, const Layout& layout, std::size_t rank) {
    const bool half = problem.dtype != miopenFloat;
    const bool tensor_cores = half || problem.strict_math == 0;
    const double flops_per_ms = half ? 4e11 : tensor_cores ? 2e11 : 3e10;
    constexpr double kBytesPerMs = 2e9, kCopyMs = 0.003;
    double bytes = 0;
    for (const Dims& dims : layout.dims) {
        double count = half ? 2 : 4;
        for (int i = 0; i < problem.rank; ++i) count *= static_cast<double>(dims[i]);
        bytes += count;
    }
    const double channels = static_cast<double>(layout.dims[0][1] * layout.dims[2][1]);
    const double flops =
        provider::flops(problem) * channels / static_cast<double>(problem.src[1] * problem.dst[1]);
    double ms = std::max(flops / flops_per_ms, bytes / kBytesPerMs) + 0.005;
    // Engines that cannot load 16 bytes of channels at once.
    const std::int64_t step =
        layout.strategy == Strategy::half_padded ? (half ? 4 : 2) : (half ? 8 : 4);
    if (tensor_cores && problem.groups == 1 &&
        (layout.dims[0][1] % step != 0 || layout.dims[2][1] % step != 0)) {
        ms *= 4;
    }
    // With the channels second, tensor cores are fed by copies of cuDNN's own, but for matrix
    // products whose rows of pixels they can load.
    const bool last = layout.strides[0][1] == 1 || layout.strides[2][1] == 1;
    if (tensor_cores && !last && !is_product(problem, layout)) ms *= 2;
    if (!tensor_cores && last) ms *= 1.3;
    ms += static_cast<double>(layout.moved_bytes) / kBytesPerMs +
          kCopyMs * static_cast<double>(layout.staged.size());
    return static_cast<float>(ms * (1 + 0.03 * static_cast<double>(rank)));
}

}  // namespace

Solution::Solution(
    const Layout& layout, std::uint64_t id, fe::ExecutionPlan_v8 plan, provider::Basis basis)
    : id_(id),
      layout_(layout),
      basis_(std::move(basis)),
      plan_(std::move(plan)),
      descriptor_(plan_->get_raw_desc()),
      algorithm_(algorithm_of(*plan_)) {
    const auto own = static_cast<std::size_t>(std::max<std::int64_t>(plan_->getWorkspaceSize(), 0));
    workspace_ = own + layout_.staged_bytes;
    if (workspace_ > 0) workspace_ += kAlignment;
    for (const auto note : plan_->getAllBehaviorNotes()) {
        compiled_at_run_time_ =
            compiled_at_run_time_ || note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
    }
}

Solution::Solution(const Layout& layout, std::uint64_t id, std::shared_ptr<const OwnKernel> own)
    : id_(id), layout_(layout), basis_{"own"}, own_(std::move(own)), algorithm_(own_->algorithm()) {
    workspace_ = own_->workspace();
    if (workspace_ > 0) workspace_ += kAlignment;
}

// nullptr where it is listed already.
ProblemEntry::Candidate* ProblemEntry::add(const std::string& name, std::size_t layout) {
    const std::uint64_t id = provider::register_solution_name(
        std::string(direction_name(problem_)) + ":" + name + "|" +
        name_of(layouts_[layout].strategy));
    if (std::any_of(candidates_.begin(), candidates_.end(), [&](const Candidate& other) {
            return other.id == id;
        })) {
        return nullptr;
    }
    Candidate candidate{};
    candidate.id = id;
    candidate.layout = layout;
    candidates_.push_back(std::move(candidate));
    return &candidates_.back();
}

// cuDNN is given the tensors of a layout, which may have more channels or fewer pixels.
provider::Basis ProblemEntry::basis_of(const std::string& engine, const Layout& layout) const {
    ConvProblem given = problem_;
    given.src = layout.dims[static_cast<int>(Role::src)];
    given.wei = layout.dims[static_cast<int>(Role::wei)];
    given.dst = layout.dims[static_cast<int>(Role::dst)];
    if (layout.gathers) given.stride.fill(1);
    const bool last = layout.strides[0][1] == 1 || layout.strides[2][1] == 1;
    return {
        engine, last ? provider::Form::channels_last : provider::Form::packed,
        provider::classes_of(given, 0)};
}

void ProblemEntry::add(std::size_t layout, cudnnBackendHeurMode_t mode) {
    if (graphs_[layout] == nullptr) return;
    const std::string architecture = architecture_of(problem_.place);
    std::size_t rank = 0;
    for (auto& configuration : graphs_[layout]->configurations(mode)) {
        // What another mode adds comes after what the first one named.
        const std::size_t place = mode == CUDNN_HEUR_MODE_A ? rank : rank + 20;
        ++rank;
        provider::Basis basis = basis_of(configuration.engine, layouts_[layout]);
        if (!provider::admits_all() &&
            provider::admission(kRegions, basis, architecture, problem_) == Admission::refused) {
            continue;
        }
        Candidate* const candidate = add(configuration.name, layout);
        if (candidate == nullptr) continue;
        candidate->configuration = std::move(configuration);
        candidate->basis = std::move(basis);
        candidate->estimate_ms = estimate_ms(problem_, layouts_[layout], place);
    }
}

void ProblemEntry::add_own(std::size_t layout) {
    if (layouts_[layout].strategy != Strategy::as_is) return;
    for (const auto& candidates : {matmul_candidates(problem_), depthwise_candidates(problem_)}) {
        for (const OwnCandidate& own : candidates) {
            if (Candidate* const candidate = add(own.name, layout)) {
                candidate->make_own = own.make;
                candidate->estimate_ms = own.estimate_ms;
            }
        }
    }
}

void ProblemEntry::list(Extent extent) {
    if (layouts_.empty()) {
        layouts_ = layouts_of(problem_);
        for (const Layout& layout : layouts_) {
            std::unique_ptr<Graph> graph;
            try {
                graph = std::make_unique<Graph>(problem_, layout);
            } catch (fe::cudnnException& failure) {
                if (to_miopen(failure.getCudnnStatus()) == miopenStatusAllocFailed) throw;
            }
            graphs_.push_back(std::move(graph));
        }
    }
    if (!listed_first_) {
        for (std::size_t i = 0; i < layouts_.size(); ++i) {
            add_own(i);
            add(i, CUDNN_HEUR_MODE_A);
        }
        listed_first_ = true;
    }
    if (extent == Extent::all && !listed_all_) {
        for (std::size_t i = 0; i < layouts_.size(); ++i) {
            add(i, CUDNN_HEUR_MODE_B);
            add(i, CUDNN_HEUR_MODE_FALLBACK);
        }
        listed_all_ = true;
    }
}

// nullptr where it wants too much.
SolutionPtr ProblemEntry::make(Candidate& candidate) {
    const Layout& layout = layouts_[candidate.layout];
    if (candidate.make_own) {
        return std::make_shared<const Solution>(layout, candidate.id, candidate.make_own());
    }
    auto plan = graphs_[candidate.layout]->plan(candidate.configuration);
    if (plan.getWorkspaceSize() > kLargestWorkspace) return nullptr;
    return std::make_shared<const Solution>(layout, candidate.id, std::move(plan), candidate.basis);
}

const SolutionPtr& ProblemEntry::compile(Candidate& candidate) {
    if (!candidate.tried) {
        candidate.tried = true;
        try {
            candidate.solution = make(candidate);
        } catch (fe::cudnnException& failure) {
            // The heuristics propose what the engine then refuses; that is no error.
            if (to_miopen(failure.getCudnnStatus()) == miopenStatusAllocFailed) {
                candidate.tried = false;
                throw;
            }
        } catch (const HipError& failure) {
            // No memory to load a kernel of ours: there may be some later.
            if (failure.error() == hipErrorOutOfMemory) candidate.tried = false;
            throw;
        }
    }
    return candidate.solution;
}

std::vector<Ranked> ProblemEntry::ranked(Extent extent) {
    std::lock_guard lock(mutex_);
    if (searched_) extent = Extent::all;
    list(extent);
    std::vector<std::size_t> compiled(layouts_.size(), 0);
    std::exception_ptr out_of_memory;
    // Whether there is a solution. What there is no memory for is no reason to list nothing.
    const auto compiles = [&](Candidate& candidate) {
        try {
            return compile(candidate) != nullptr;
        } catch (const HipError& failure) {
            if (failure.error() != hipErrorOutOfMemory) throw;
            out_of_memory = std::current_exception();
            return false;
        }
    };
    const auto work = [&] {
        bool own = false;
        for (Candidate& candidate : candidates_) {
            if (candidate.make_own) {  // the best of them is enough at first
                if (candidate.tried || !own || extent == Extent::all) compiles(candidate);
                own = true;
                continue;
            }
            const std::size_t most = extent == Extent::all ? SIZE_MAX : kFirst;
            if (candidate.tried) {
                compiled[candidate.layout] += candidate.solution != nullptr;
            } else if (compiled[candidate.layout] < most) {
                compiled[candidate.layout] += compiles(candidate);
            }
        }
    };
    work();
    if (std::all_of(compiled.begin(), compiled.end(), [](std::size_t n) { return n == 0; }) &&
        extent == Extent::first) {
        // The heuristics' best are all refused: the fallbacks are there for this.
        list(Extent::all);
        std::fill(compiled.begin(), compiled.end(), 0);
        work();
    }
    if (extent == Extent::all) searched_ = true;
    std::vector<Ranked> ranked;
    for (const Candidate& candidate : candidates_) {
        if (candidate.solution == nullptr) continue;
        const bool measured = candidate.measured_ms >= 0;
        ranked.push_back(
            {candidate.solution, measured ? candidate.measured_ms : candidate.estimate_ms});
    }
    if (ranked.empty() && out_of_memory) std::rethrow_exception(out_of_memory);
    std::stable_sort(
        ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) { return a.ms < b.ms; });
    return ranked;
}

SolutionPtr ProblemEntry::find(std::uint64_t id) {
    std::lock_guard lock(mutex_);
    for (const Extent extent : {Extent::first, Extent::all}) {
        list(extent);
        for (Candidate& candidate : candidates_) {
            if (candidate.id == id) return compile(candidate);
        }
    }
    return nullptr;
}

void ProblemEntry::set_measured(std::uint64_t id, float ms) {
    std::lock_guard lock(mutex_);
    for (Candidate& candidate : candidates_) {
        if (candidate.id == id) candidate.measured_ms = ms;
    }
}

void ProblemEntry::remove(std::uint64_t id) {
    std::lock_guard lock(mutex_);
    for (Candidate& candidate : candidates_) {
        if (candidate.id == id) candidate.solution.reset();
    }
}

namespace {

// A process that meets ever new shapes must not grow for ever. Forgetting all is crude and rare;
// entries in use live on with their users.
constexpr std::size_t kMaxProblems = 4096;

struct Database {
    std::mutex mutex;
    std::size_t capacity = kMaxProblems;
    std::unordered_map<ConvProblem, std::shared_ptr<ProblemEntry>, provider::ConvProblemHash>
        entries;
};

Database& database() {
    static auto* const instance = new Database;
    return *instance;
}

}  // namespace

void set_capacity(std::size_t problems) {
    Database& all = database();
    std::lock_guard lock(all.mutex);
    all.capacity = std::max<std::size_t>(problems, 1);
    if (all.entries.size() > all.capacity) all.entries.clear();
}

void trim(std::size_t problems) {
    Database& all = database();
    std::lock_guard lock(all.mutex);
    if (all.entries.size() > problems) all.entries.clear();
}

bool is_fuzzed_here() { return provider::is_fuzzed(kRegions, architecture_of(current_device())); }

std::shared_ptr<ProblemEntry> lookup(const ConvProblem& problem) {
    Database& all = database();
    std::lock_guard lock(all.mutex);
    const auto found = all.entries.find(problem);
    if (found != all.entries.end()) return found->second;
    if (all.entries.size() >= all.capacity) all.entries.clear();
    return all.entries.emplace(problem, std::make_shared<ProblemEntry>(problem)).first->second;
}

}  // namespace mioconv::cuda
