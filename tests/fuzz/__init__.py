"""A fuzz of every solution that a library lists, against sums in float64, in guarded memory.

`python -m tests.fuzz --help` has the options; `python -m tests.fuzz.regions` makes from its records
the regions of problems in which a provider offers what its library lists.
"""

import sys
from pathlib import Path

# As pytest is told in pyproject.toml.
sys.path.insert(0, str(Path(__file__).parents[1]))
