from typing import Final

# Operators, by number.
FORWARD: Final[int]
BACKWARD_INPUT: Final[int]
BACKWARD_WEIGHT: Final[int]
TRANSPOSED_FORWARD: Final[int]
TRANSPOSED_BACKWARD_INPUT: Final[int]
TRANSPOSED_BACKWARD_WEIGHT: Final[int]
DEPTHWISE: Final[object]  # in the place of groups: one for each channel of x
