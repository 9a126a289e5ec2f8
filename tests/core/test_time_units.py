"""Units by magnitude."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.time_units import guess_unit, whole_milliseconds
from tests.core.build import JULY


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (JULY, ""),
        (JULY // 1000, ": it looks like seconds (2013-07-01)"),
        (JULY * 1000, ": it looks like microseconds (2013-07-01)"),
        (JULY * 1_000_000, ": it looks like nanoseconds (2013-07-01)"),
        (0, ""),
        (1, ""),
        (-JULY, ""),
        (10**100, ""),
        (99_999_999, ""),
        (100_000_000, ": it looks like seconds (1973-03-03)"),
        (10**11 - 1, ": it looks like seconds (5138-11-16)"),
        (10**11, ""),
        (10**20 - 1, ": it looks like nanoseconds (5138-11-16)"),
        (10**20, ""),
    ],
)
def test_guessed_units(value: int, unit: str) -> None:
    assert guess_unit(value) == unit


@given(st.timedeltas())
def test_a_span_is_rounded_exactly(span: timedelta) -> None:
    assert whole_milliseconds(span) == round(Fraction(span // timedelta(microseconds=1), 1000))
