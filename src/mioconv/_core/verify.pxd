# Looking at results before they are believed.

from libcpp cimport bool as cbool
from libcpp.string cimport string

from mioconv._check.flags cimport Options
from mioconv._native.native cimport Entry, HandleLease, Operands, Solution, Status

cdef bint is_due(
    const Entry* entry, const Solution* solution, const Options* options) noexcept nogil
cdef Status inspect_run(
    Entry* entry, HandleLease* lease, const Operands* operands, const Solution* solution,
    const Options* options, cbool* ran, cbool* wrong) except *
cdef int set_aside(Entry* entry, const Solution* solution, const string& fault) except -1
cdef int warn_of(Entry* entry, str what, const string& fault) except -1
cdef int passes_on_pattern(
    Entry* entry, HandleLease* lease, const Solution* solution, const Options* options) except -1
