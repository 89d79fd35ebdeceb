// What marks a definition as part of the exported ABI.
#pragma once

// Everything else is hidden: the libraries are compiled with -fvisibility=hidden and linked with a
// version script made from functions.def.
#define MIOCONV_EXPORT extern "C" __attribute__((visibility("default")))
