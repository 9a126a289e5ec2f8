"""The exact test of McNemar, against SciPy's binomial test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from forebay.models.compression.paired_tests import binomial_p_value, mcnemar


@pytest.mark.parametrize(("smaller", "total"), [(0, 0), (0, 1), (0, 5), (3, 10), (5, 10), (40, 120), (9_000, 20_000)])
def test_the_p_value_is_that_of_scipy(smaller: int, total: int) -> None:
    expected = 1.0 if total == 0 else float(binomtest(smaller, total, 0.5).pvalue)
    assert binomial_p_value(smaller, total) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_only_rows_on_which_the_models_differ_count() -> None:
    first = np.array([True] * 50 + [False] * 10 + [True, False])
    second = np.array([True] * 50 + [True] * 10 + [False, True])
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (1, 11)
    assert found.second_is_better and not mcnemar(second, first).second_is_better
    assert mcnemar(first, first).p_value == 1.0
