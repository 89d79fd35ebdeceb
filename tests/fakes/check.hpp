// What the programs of this folder that test headers have in common: one case a run, named by the
// argument; what does not hold is printed, and makes the exit status 1.
#pragma once

#include <cstdio>
#include <functional>
#include <map>
#include <string>

inline bool failed = false;

inline void check(bool holds, const char* what, int line) {
    if (holds) return;
    std::printf("line %d: %s\n", line, what);
    failed = true;
}
#define CHECK(what) check(what, #what, __LINE__)

inline int run_case(const std::map<std::string, std::function<void()>>& cases, const char* name) {
    cases.at(name)();
    return failed;
}
