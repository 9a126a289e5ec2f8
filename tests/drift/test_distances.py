"""Distances between distributions over bins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from forebay.stream.drift.distances import (
    FLOOR,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    psi_bias,
    share_lower_bound,
    share_upper_bound,
)


def test_psi_of_two_bins_by_hand() -> None:
    # (0.7 - 0.5) ln(0.7 / 0.5) + (0.3 - 0.5) ln(0.3 / 0.5) = 0.2 * 0.33647 + 0.2 * 0.51083
    assert psi(np.array([0.5, 0.5]), np.array([70, 30])) == pytest.approx(0.169460, abs=1e-6)


def test_psi_is_symmetric_and_zero_for_equal_shares() -> None:
    p, q = np.array([1, 2, 7]), np.array([3, 3, 4])
    assert psi(p, q) == pytest.approx(psi(q, p))
    assert psi(p, 10 * p) == 0


def test_psi_counts_an_empty_bin_as_the_floor() -> None:
    expected = (0.5 - FLOOR) * math.log(0.5 / FLOOR) + 0.5 * math.log(2)
    assert psi(np.array([0.5, 0.5]), np.array([0, 8])) == pytest.approx(expected)


def test_the_bias_of_psi_is_what_samples_of_one_distribution_give() -> None:
    rng = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    values = [psi(rng.multinomial(2_000, shares), rng.multinomial(1_000, shares)) for _ in range(400)]
    assert np.mean(values) == pytest.approx(psi_bias(10, 2_000, 1_000), rel=0.06)


def test_jensen_shannon_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        p, q = rng.integers(0, 50, 12), rng.integers(0, 50, 12)
        assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-12)
    assert jensen_shannon(np.array([1, 0]), np.array([0, 1])) == 1


def test_kolmogorov_smirnov_agrees_with_scipy_on_the_numbers_of_the_bins() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        p, q = rng.integers(1, 50, 12), rng.integers(1, 50, 12)
        statistic = ks_2samp(np.repeat(np.arange(12), p), np.repeat(np.arange(12), q)).statistic
        assert kolmogorov_smirnov(p, q) == pytest.approx(statistic)


def test_bounds_of_a_share_solve_the_equation_of_wilson() -> None:
    for bound in (share_lower_bound(30, 200, 2.0), share_upper_bound(30, 200, 2.0)):
        assert abs(0.15 - bound) == pytest.approx(2.0 * math.sqrt(bound * (1 - bound) / 200))
    assert (share_lower_bound(0, 50, 4.0), share_upper_bound(50, 50, 4.0)) == pytest.approx((0.0, 1.0))
    assert (share_lower_bound(0, 0, 4.0), share_upper_bound(0, 0, 4.0)) == (0.0, 1.0)


def test_bounds_of_a_share_are_within_0_and_1_for_any_counts() -> None:
    for bound in (share_lower_bound, share_upper_bound):
        assert [0 <= bound(count, 1_000, 4.0) <= 1 for count in (-5, 0, 1_000, 5_000)] == [True] * 4
