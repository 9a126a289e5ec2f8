"""The confidence sequence: against ville, and by properties."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pytest
import ville

from forebay.stream.experiments.confidence_sequence import (
    Estimate,
    best_rho,
    boundary,
    e_value,
    estimate,
    interval,
    planned_information,
)


@pytest.mark.parametrize("alpha", [0.05, 0.001])
@pytest.mark.parametrize("information", [0.3, 50.0, 1e6])
def test_boundary_and_rho_are_those_of_ville(information: float, alpha: float) -> None:
    rho = best_rho(information, alpha)
    assert rho == pytest.approx(ville.best_rho(information, alpha), rel=1e-3)
    for factor in (0.01, 1.0, 100.0):
        expected = float(ville.normal_mixture(information * factor, alpha, rho))
        assert boundary(information * factor, alpha, rho) == pytest.approx(expected, rel=1e-12)


def test_the_interval_is_that_of_ville_for_independent_blocks() -> None:
    values = np.random.default_rng(5).exponential(1.0, 1000)
    sequence = ville.AsymptoticCS(alpha=0.05, t_opt=500).update(values)
    # ville counts time in observations, this module in 1 / variance: rho differs by the variance of one observation.
    found = Estimate(float(values.mean()), float(values.var(ddof=1)) / 1000, 1000)
    rho = best_rho(500, 0.05) / values.var(ddof=1)
    assert interval(found, alpha=0.05, rho=rho) == pytest.approx(sequence.interval(), rel=1e-3)


def test_the_estimate_is_the_mean_of_the_means_of_blocks() -> None:
    found = estimate(np.array([6.0, 0.0, 1.0, 4.0]), np.array([3, 0, 1, 2]))
    assert found.num_blocks == 3
    assert found.mean == pytest.approx((2 + 1 + 2) / 3)
    assert found.variance == pytest.approx(np.var([2, 1, 2], ddof=1) / 3 + ((5 / 3 - 1) / 3) ** 2)


def test_blocks_that_are_all_equal_are_not_certain() -> None:
    found = estimate(np.ones(1000), np.ones(1000, np.int64), spread=1.0)
    assert found.variance == pytest.approx(1e-6)
    assert not estimate(np.ones(1000), np.ones(1000, np.int64)).is_enough


def test_nothing_is_known_with_few_blocks() -> None:
    assert interval(Estimate(1.0, 1e-9, 99), alpha=0.05, rho=1.0) == (-inf, inf)
    assert e_value(Estimate(1.0, 1e-9, 99), rho=1.0) == 1.0


def test_the_interval_excludes_zero_where_the_evidence_reaches_one_over_alpha() -> None:
    rho, alpha, variance = 30.0, 0.01, 1 / 55
    edge = boundary(55.0, alpha, rho) / 55.0
    for factor, excluded in ((0.999, False), (1.001, True)):
        found = Estimate(edge * factor, variance, 500)
        assert interval(found, alpha=alpha, rho=rho).excludes(0.0) is excluded
        assert (log(e_value(found, rho=rho)) >= -log(alpha)) is excluded


def test_evidence_has_an_expected_value_of_at_most_one() -> None:
    scores = np.random.default_rng(2).normal(0, 1 / np.sqrt(40), 20_000)
    values = [e_value(Estimate(float(score), 1 / 40, 500), rho=20.0) for score in scores]
    assert np.mean(values) == pytest.approx(1.0, abs=0.05)


def test_the_planned_information_finds_the_effect_in_half_of_all_cases() -> None:
    information = planned_information(0.2, 0.05)
    found = Estimate(0.2, 1 / information, 500)
    assert interval(found, alpha=0.05, rho=best_rho(information, 0.05)).low == pytest.approx(0.0, abs=1e-9)


def test_brownian_motions_stay_within_the_boundary() -> None:
    generator = np.random.default_rng(11)
    steps = np.cumsum(generator.normal(size=(2000, 400)), axis=1)
    rho = best_rho(100, 0.05)
    limits = np.array([boundary(time, 0.05, rho) for time in range(1, 401)])
    left = (np.abs(steps) > limits).any(axis=1).mean()
    # With looks at all times, a Brownian motion leaves it with probability 0.05, by time 400 with less.
    assert 0.01 < left < 0.05
