"""Finding and opening the libraries behind a provider.

`catalogue` is data: names, folders, variables. `search` has one function a search step. `load`
tries what they yield, in order, and fills the core's table of function pointers; `elf` keeps files
from the dynamic loader that it would take although they are broken.
"""
