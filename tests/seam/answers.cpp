// What a library behind the ABI answers: statuses, counts and sizes of the same calls, a line each.
//
//     answers LIBRARY [HIP RUNTIME]
//
// LIBRARY is MIOpen, the vendor's or one of our providers, which is its own HIP runtime. Needs a
// C++ compiler and include/mioconv/abi. Each section runs in a process of its own: one that ends by
// a signal is an answer too. Times, ids and the number of solutions are a library's own affair and
// not printed; whether there is one, and what holds for all of them, is.
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <initializer_list>
#include <utility>

#include "descriptors.hpp"
#include "problem.hpp"

using namespace seam;

namespace {

// ---- problems

const char* some(std::size_t count) { return count > 0 ? "some" : "none"; }

void say_problem(const Shape& shape, Way way) {
    const Problem problem(way, shape.x, shape.w, shape.y, shape.setting, shape.dtype);
    const std::string name = std::string(shape.name) + " " + kWays[way];
    // First of all, on a handle that has found nothing.
    say_status(name + ".run before find", problem.run(miopenConvolutionAlgoDirect, nullptr, 0));

    std::size_t count = 0;
    const auto counted = problem.count(&count);
    say(name + ".count", "%d %s", static_cast<int>(counted), some(count));
    std::vector<miopenConvSolution_t> solutions(std::max<std::size_t>(count, 1));
    const auto listed = problem.solutions(solutions);
    const bool sorted = std::is_sorted(
        solutions.begin(), solutions.end(),
        [](const auto& a, const auto& b) { return a.time < b.time; });
    const bool free = std::any_of(
        solutions.begin(), solutions.end(), [](const auto& s) { return s.workspace_size == 0; });
    say(name + ".list",
        "%d %s, no more than counted: %d, best first: %d, one without workspace: %d",
        static_cast<int>(listed), some(solutions.size()), solutions.size() <= count, sorted, free);
    bool sizes = true, runs = true, compiles = true;
    std::vector<int> without;  // what running one without its workspace answers
    for (const auto& solution : solutions) {
        std::size_t size = 0;
        sizes = sizes && problem.solution_workspace(solution.solution_id, &size) == 0 &&
                size == solution.workspace_size;
        compiles = compiles && problem.compile(solution.solution_id) == 0;
        const Memory space(size);
        runs = runs && problem.immediate(solution.solution_id, space.get, size) == 0;
        if (size == 0) continue;
        const int status = problem.immediate(solution.solution_id, nullptr, 0);
        if (std::find(without.begin(), without.end(), status) == without.end()) {
            without.push_back(status);
        }
    }
    say(name + ".each", "size: %d, compiles: %d, runs: %d", sizes, compiles, runs);
    // Where all of a library's solutions need none, there is nothing to be said.
    if (!without.empty()) say(name + ".each without workspace", "%s", list_of(without).c_str());

    std::vector<miopenConvAlgoPerf_t> found(8);
    const auto status = problem.find(found, nullptr, 0);
    std::size_t most = 0;
    for (const auto& one : found) most = std::max(most, one.memory);
    say(name + ".find without workspace", "%d %s of %zu bytes", static_cast<int>(status),
        some(found.size()), most);
    if (!found.empty()) {
        say_status(name + ".run what it found", problem.run(found[0].algo, nullptr, 0));
    }
    say_status(
        name + ".run what it did not find", problem.run(miopenConvolutionAlgoFFT, nullptr, 0));

    std::size_t size = 0;
    say_status(name + ".workspace", problem.workspace(&size));
    std::vector<miopenConvAlgoPerf_t> all(8);
    // Room for every solution: the answer above may leave some out.
    for (const auto& solution : solutions) size = std::max(size, solution.workspace_size);
    const Memory space(size);
    const auto searched = problem.find(all, space.get, size);
    say(name + ".find", "%d %s", static_cast<int>(searched), some(all.size()));
    bool ran = true;
    for (const auto& one : all) ran = ran && problem.run(one.algo, space.get, size) == 0;
    say(name + ".run all", "%d", ran);
}

void problems() {
    for (const Shape& shape : shapes()) {
        for (const Way way : {kForward, kData, kWeights}) say_problem(shape, way);
    }
}

// Wrong calls for the 3x3 problem.
void wrong_calls(Way way) {
    const Shape& s = shapes()[0];
    const Problem good(way, s.x, s.w, s.y, s.setting);
    std::size_t size = 7;
    for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{123456789}}) {
        const auto number = text("id %llu", static_cast<unsigned long long>(id));
        say_status(number + " workspace", good.solution_workspace(id, &size));
        say_status(number + " compile", good.compile(id));
    }
    std::size_t wanted = 0;
    good.workspace(&wanted);
    std::vector<miopenConvSolution_t> solutions(32);
    good.solutions(solutions);
    for (const auto& one : solutions) wanted = std::max(wanted, one.workspace_size);
    const Memory space(wanted);
    std::vector<miopenConvAlgoPerf_t> found(8);
    good.find(found, space.get, wanted);
    for (const int algorithm : {-1, 4, 6, 99}) {
        say_status(text("algorithm %d", algorithm), good.run(algorithm, space.get, wanted));
    }
    if (!found.empty()) {
        say_status("alpha 2", good.run(found[0].algo, space.get, wanted, 2, 0));
        say_status("beta 1", good.run(found[0].algo, space.get, wanted, 1, 1));
    }
    for (const auto& one : found) {
        if (one.memory == 0) continue;
        say_status("too little workspace", good.run(one.algo, space.get, one.memory - 1));
        break;
    }
    for (const int count : {0, -1}) {
        if (way != kForward) continue;  // one function for all three in every library
        int n = -7;
        miopenConvAlgoPerf_t none{};
        say_status(
            text("find %d", count),
            CALL(miopenFindConvolutionForwardAlgorithm)(
                good.handle, good.x.get, good.mx.get, good.w.get, good.mw.get, good.conv.get,
                good.y.get, good.my.get, count, &n, &none, space.get, wanted, false));
    }
    for (const auto dtype : {miopenInt32, miopenDouble}) {
        const Problem other(way, s.x, s.w, s.y, s.setting, dtype);
        const auto kind = text("type %d", static_cast<int>(dtype));
        std::size_t n = 0;
        say_status(kind + " count", other.count(&n));
        std::vector<miopenConvSolution_t> list(8);
        const auto status = other.solutions(list);
        say(kind + " list", "%d %s", static_cast<int>(status), some(list.size()));
    }
}

// In a process of its own: MIOpen may crash.
void run_unknown(Way way, std::uint64_t id) {
    const Shape& s = shapes()[0];
    say_status("run", Problem(way, s.x, s.w, s.y, s.setting).immediate(id, nullptr, 0));
}

struct WrongProblem {
    const char* name;
    std::vector<int> x, w, y;
    Setting setting;
    miopenDataType_t y_type;
};

const std::vector<WrongProblem>& wrong_problems() {
    static const std::vector<int> x{1, 3, 8, 8}, w{2, 3, 3, 3}, y{1, 2, 8, 8};
    static const std::vector<WrongProblem> all = {
        {"channels differ", {1, 4, 8, 8}, w, y, {1}, miopenFloat},
        {"y is larger", x, w, {1, 2, 9, 9}, {1}, miopenFloat},
        {"y has other channels", x, w, {1, 3, 8, 8}, {1}, miopenFloat},
        {"y has another batch", x, w, {2, 2, 8, 8}, {1}, miopenFloat},
        {"y has another type", x, w, y, {1}, miopenHalf},
        {"ranks differ", x, {2, 3, 3, 3, 3}, y, {1}, miopenFloat},
        {"no groups", x, w, y, {1, 1, 1, 0}, miopenFloat},
        {"minus one groups", x, w, y, {1, 1, 1, -1}, miopenFloat},
        {"groups do not divide", x, w, y, {1, 1, 1, 2}, miopenFloat},
        {"kernel too large", {1, 3, 2, 2}, {2, 3, 5, 5}, {1, 2, 1, 1}, {}, miopenFloat},
        {"six dimensions",
         {1, 3, 8, 8, 1, 1},
         {2, 3, 3, 3, 1, 1},
         {1, 2, 8, 8, 1, 1},
         {1},
         miopenFloat},
    };
    return all;
}

void say_wrong_problem(const WrongProblem& c, Way way) {
    const Problem bad(way, c.x, c.w, c.y, c.setting, miopenFloat, c.y_type);
    std::size_t n = 0;
    std::vector<miopenConvSolution_t> list(8);
    say_status("list", bad.solutions(list));
    say_status("count", bad.count(&n));
    say_status("workspace", bad.workspace(&n));
}

// ---- handles

void profiling() {
    const Shape& s = shapes()[0];
    const Problem problem(kForward, s.x, s.w, s.y, s.setting);
    std::vector<miopenConvAlgoPerf_t> found(1);
    problem.find(found, nullptr, 0);
    float ms = -1;
    say_status("on", CALL(miopenEnableProfiling)(problem.handle, true));
    if (!found.empty()) problem.run(found[0].algo, nullptr, 0);
    const auto got = CALL(miopenGetKernelTime)(problem.handle, &ms);
    say("time", "%d, not negative: %d", static_cast<int>(got), ms >= 0);
    say_status("off", CALL(miopenEnableProfiling)(problem.handle, false));
    say_status("time when off", CALL(miopenGetKernelTime)(problem.handle, &ms));
}

void version() {
    std::size_t major = 0, minor = 0, patch = 0;
    CALL(miopenGetVersion)(&major, &minor, &patch);
    say("miopen", "%zu.%zu.%zu", major, minor, patch);
}

void exports() {
    std::string missing;
#define MIOCONV_FUNCTION(library, name)                                                  \
    if (dlsym(opened_miopen, #name) == nullptr && dlsym(opened_hip, #name) == nullptr) { \
        if (std::strncmp(#name, "miopen", 6) == 0) missing += " " #name;                 \
    }
#include "mioconv/abi/client.def"
#undef MIOCONV_FUNCTION
    say("missing", "%s", missing.empty() ? "none" : missing.c_str());
}

// ---- programs of their own

struct Libraries {
    const char* miopen;
    const char* hip;
};

// Whether it could be asked.
bool in_a_process(
    const Libraries& libraries, const std::string& name, const std::function<void()>& body) {
    section = name;
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        open_libraries(libraries.miopen, libraries.hip);
        body();
        std::fflush(stdout);
        std::_Exit(0);  // what a library does at the process's end is not the question
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) say("end", "signal %d", WTERMSIG(status));
    return WIFSIGNALED(status) || WEXITSTATUS(status) == 0;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) {
        std::fprintf(stderr, "answers LIBRARY [HIP RUNTIME]\n");
        return 2;
    }
    const Libraries libraries{arguments[1], arguments[count > 2 ? 2 : 1]};
    std::vector<std::pair<std::string, std::function<void()>>> sections = {
        {"version", version},
        {"exports", exports},
        {"tensor types", tensor_types},
        {"tensor ranks", tensor_ranks},
        {"tensor strides", tensor_strides},
        {"tensor twins", tensor_twins},
        {"convolution settings", convolution_settings},
        {"convolution properties", convolution_properties},
        {"output sizes", output_sizes},
        {"problems", problems},
        {"profiling", profiling},
    };
    for (const Way way : {kForward, kData, kWeights}) {
        sections.emplace_back(std::string("wrong calls ") + kWays[way], [=] { wrong_calls(way); });
        for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{123456789}}) {
            sections.emplace_back(
                text("id %llu %s", static_cast<unsigned long long>(id), kWays[way]),
                [=] { run_unknown(way, id); });
        }
        for (const WrongProblem& wrong : wrong_problems()) {
            sections.emplace_back(std::string(wrong.name) + " " + kWays[way], [&wrong, way] {
                say_wrong_problem(wrong, way);
            });
        }
    }
    bool asked = true;
    for (const auto& [name, body] : sections) asked &= in_a_process(libraries, name, body);
    return asked ? 0 : 1;
}
