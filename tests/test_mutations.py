"""The faults of `make mutate` are still faults of the sources as they are."""

from __future__ import annotations

import pytest

from mutation.__main__ import ROOT, mutated
from mutation.mutations import MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_its_text_is_there_once(mutation) -> None:  # type: ignore[no-untyped-def]
    text = (ROOT / mutation.file).read_text()
    assert mutated(text, mutation) != text


def test_names_differ() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(names) == len(set(names))
