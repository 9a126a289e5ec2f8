"""The line through the durations of model calls and commits."""

from __future__ import annotations

import pytest

from forebay.stream.objective.line_fit import LineFit


def test_a_line_is_found_from_samples_of_several_sizes() -> None:
    fit = LineFit(decay_s=2.0)
    for number in range(50):
        rows = 10 * (1 + number % 7)
        fit.add(rows, 0.005 + 0.0001 * rows, now_s=0.01 * number)
    assert fit.intercept == pytest.approx(0.005)
    assert fit.slope == pytest.approx(0.0001)
    assert fit.at(1000) == pytest.approx(0.105)


def test_without_several_sizes_the_slope_keeps_its_last_value() -> None:
    fit = LineFit(decay_s=0.1)
    for rows in (10, 100):
        fit.add(rows, 0.001 * rows, now_s=0.0)
    for number in range(50):
        fit.add(50, 0.08, now_s=0.1 * number)
    assert fit.slope == pytest.approx(0.001, rel=0.1)
    assert fit.at(50) == pytest.approx(0.08)


def test_what_changes_is_followed() -> None:
    fit = LineFit(decay_s=2.0)
    for factor, begin_s in ((1, 0.0), (3, 10.0)):
        for number in range(100):
            rows = 10 * (1 + number % 5)
            fit.add(rows, factor * (0.005 + 0.0001 * rows), now_s=begin_s + 0.04 * number)
    assert fit.at(30) == pytest.approx(3 * 0.008, rel=0.02)


def test_neither_of_the_two_is_negative() -> None:
    falling, steep = LineFit(decay_s=2.0), LineFit(decay_s=2.0)
    for rows, falls_s, rises_s in ((10, 0.02, 0.001), (100, 0.01, 0.1)):
        falling.add(rows, falls_s, now_s=0.0)
        steep.add(rows, rises_s, now_s=0.0)
    assert falling.slope == 0 and falling.intercept == pytest.approx(0.015)
    assert steep.intercept >= 0 and steep.slope > 0
    assert not LineFit(decay_s=1.0).is_known
