"""Every operator through the genuine library, compared with float64."""

from __future__ import annotations

from rocm.test_numbers import (  # noqa: F401
    test_channels_last,
    test_layouts,
    test_no_batch_and_empty_batch,
    test_operators,
    test_same_with_an_even_kernel,
    test_what_miopen_cannot_copy,
    test_z_is_out,
)
