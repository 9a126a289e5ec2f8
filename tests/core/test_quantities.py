"""Singular and plural in messages."""

from __future__ import annotations

import pytest

from forebay.stream.core.quantities import quantity


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (12_000, "12,000 events")]
)
def test_only_one_is_singular(number: int, text: str) -> None:
    assert quantity(number, "event") == text
