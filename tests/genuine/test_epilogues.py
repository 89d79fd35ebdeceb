"""What follows a convolution, through the genuine library: the tests are the stand-in's."""

from __future__ import annotations

from rocm.test_epilogues import *  # noqa: F403
