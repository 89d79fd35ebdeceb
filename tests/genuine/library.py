"""What only the genuine library itself can say, asked by its exported C++ symbols."""

from __future__ import annotations

import ctypes

import mioconv


def solver_name(id: int) -> str | None:
    """MIOpen's own name of a solver; None where this release has none of this id."""
    path = mioconv.providers()["rocm"].paths["MIOpen"]
    library = ctypes.CDLL(path)
    make = library["_ZN6miopen6solver2IdC1Em"]
    make.argtypes, make.restype = [ctypes.c_void_p, ctypes.c_uint64], None
    to_string = library["_ZNK6miopen6solver2Id8ToStringB5cxx11Ev"]
    to_string.argtypes, to_string.restype = [ctypes.c_void_p, ctypes.c_void_p], ctypes.c_void_p
    made = ctypes.create_string_buffer(64)  # miopen::solver::Id: the number, and whether it is one
    make(made, id)
    if not made.raw[8]:
        return None
    text = (ctypes.c_size_t * 4)()  # std::string: where, how long, and room for short ones
    to_string(text, made)
    return ctypes.string_at(text[0], text[1]).decode()
