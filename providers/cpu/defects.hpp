// What is known to be wrong with oneDNN's implementations, by their names, beside the regions in
// which they were found right: each is mended here or not used.
#pragma once

#include <dnnl.hpp>
#include <string>

#include "problem.hpp"

namespace mioconv::cpu {

// Whether an implementation must not run this problem.
bool is_unusable(const std::string& implementation, const ConvProblem& problem);

// Whether it may point the stack pointer at memory of the heap while it runs: the kernel puts the
// frame of a signal's handler below that, over whatever lies there (oneDNN#4845, mended in 3.12).
bool moves_stack(const std::string& implementation);

// Whether it multiplies scratch memory that nobody wrote by zero, which may be a NaN (3.2).
bool reads_scratch_memory(const std::string& implementation);

// To be told of each primitive that is made. The code of brgconv with post-operations stays in
// memory for good (oneDNN#1757, mended in 3.4): 25 to 60 KB for each new problem, and for each new
// scale of a sum. Once there are 500 of them, `is_unusable` rules it out where something is fused.
void note_made(const dnnl::primitive_desc_base& primitive);

}  // namespace mioconv::cpu
