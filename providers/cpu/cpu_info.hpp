// Names for this machine's CPU and instruction set.
#pragma once

#include <string>

namespace mioconv::cpu {

std::string cpu_model();             // the brand string, e.g. "AMD EPYC 9354"
const char* instruction_set();       // the best that oneDNN uses, e.g. "avx512_core_bf16"

}  // namespace mioconv::cpu
