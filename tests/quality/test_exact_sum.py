"""Exact sums of floating-point numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.errors import DataError
from forebay.stream.quality.exact_sum import ExactSum

NUMBERS = st.floats(min_value=-1e300, max_value=1e300)


def summed(values: list[float], sign: int = 1) -> ExactSum:
    total = ExactSum()
    total.add(np.array(values, dtype=np.float64), sign)
    return total


@given(st.lists(NUMBERS, max_size=40), st.lists(NUMBERS, max_size=40))
def test_the_sum_is_the_one_of_fractions(first: list[float], second: list[float]) -> None:
    total = summed(first)
    total.merge(summed(second, sign=-1))
    expected = sum(map(Fraction, first), Fraction()) - sum(map(Fraction, second), Fraction())
    assert float(total) == float(expected)
    assert bool(total) == (expected != 0)
    assert ExactSum.read(total.to_text(), "here") == total


def test_the_text_is_a_hexadecimal_number() -> None:
    assert summed([0.75, 0.5]).to_text() == "0x5p-2"
    assert float.fromhex(summed([1.5, -4.0]).to_text()) == -2.5
    assert summed([]).to_text() == "0x0p0"


def test_small_terms_are_not_lost() -> None:
    assert float(summed([1e100, 1.0, -1e100])) == 1.0
    assert float(summed([math.ulp(0.0), 1.0, -1.0])) == math.ulp(0.0)


@pytest.mark.parametrize("text", ["", "1.5", "0x1.8p1", "0x1p9999", "0xgp1", "0x1p-1075"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="here: "):
        ExactSum.read(text, "here")
