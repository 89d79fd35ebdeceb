# Looking at results before they are believed.

from libcpp cimport bool as cbool
from libcpp.string cimport string

from mioconv._check.flags cimport Options
from mioconv._native.native cimport HandleLease, Operands, Plan, Solution, Status

cdef bint is_due(const Plan* plan, const Solution* solution, const Options* options) noexcept nogil
cdef Status inspect_run(
    Plan* plan, HandleLease* lease, const Operands* operands, const Solution* solution,
    const Options* options, cbool* ran, cbool* wrong) except *
cdef int set_aside(Plan* plan, const Solution* solution, const string& fault) except -1
cdef int warn_of(Plan* plan, str what, const string& fault) except -1
cdef int passes_on_pattern(
    Plan* plan, HandleLease* lease, const Solution* solution, const Options* options) except -1
