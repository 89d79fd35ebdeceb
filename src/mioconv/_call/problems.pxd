# Work on problems that have no tensors.

from libcpp.memory cimport shared_ptr

from mioconv._check.flags cimport Options
from mioconv._native.native cimport Choice, ConvolutionParams, Device, Entry, Solution

cdef Entry* choose_ahead(
    object problem, Options* options, bint packed_weights, shared_ptr[Entry]* held, Choice* choice,
    Solution* before, Solution* chosen) except NULL
cdef int require_layout(
    object problem, const Device& device, const ConvolutionParams* params) except -1
