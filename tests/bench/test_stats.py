"""Summaries, ratios, and the growth of memory."""

from __future__ import annotations

import math
import random

import pytest

from forebay.stream.bench.stats import growth_mib_per_million, mean_ratio, pairwise_ratios, summarise

MIB = 1 << 20


def test_latencies_are_summarised_in_any_order() -> None:
    latencies_ms = [float(value) for value in range(1, 1001)]
    random.Random(1).shuffle(latencies_ms)
    said = summarise(latencies_ms)
    assert (said.count, said.p50_ms, said.p95_ms, said.p99_ms, said.max_ms) == (1000, 500, 950, 990, 1000)


def test_ratios_compare_the_same_round() -> None:
    # A slow second round slows both: the ratio of medians would be 200 / 40 = 5, too.
    assert pairwise_ratios([200, 90, 210], [50, 30, 42]) == [4, 3, 5]


def test_the_lower_bound_of_a_mean_ratio_uses_students_t() -> None:
    # Logarithms -0.1 and 0.1: mean 0, standard error 0.1, and t = 6.314 with one degree of freedom.
    result = mean_ratio([math.exp(-0.1), math.exp(0.1)])
    assert result.mean == pytest.approx(1)
    assert result.lower_95 == pytest.approx(math.exp(-0.6314))


def test_the_lower_bound_approaches_the_mean_with_more_rounds() -> None:
    lower = [mean_ratio([0.9, 1.0, 1.1] * times).lower_95 for times in (1, 3, 7, 30)]
    assert lower == sorted(lower)  # type: ignore[type-var]
    assert mean_ratio([0.5] * 10).lower_95 == pytest.approx(0.5)
    assert mean_ratio([0.5]).lower_95 is None


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [1.0, 2.0]), ([1.0], [0.0])])
def test_invalid_ratios_are_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError):
        pairwise_ratios(ours, theirs)


def test_steady_memory_growth_is_measured() -> None:
    samples = [(events, 300 * MIB + 4 * MIB * events // 1_000_000) for events in range(0, 2_000_000, 10_000)]
    assert growth_mib_per_million(samples) == pytest.approx(4, rel=1e-6)


def test_growth_before_200_000_events_does_not_count() -> None:
    samples = [(events, (100 if events < 200_000 else 300) * MIB) for events in range(0, 1_000_000, 10_000)]
    assert growth_mib_per_million(samples) == 0


def test_a_single_peak_is_not_growth() -> None:
    samples = [(events, 300 * MIB) for events in range(200_000, 1_000_000, 10_000)]
    samples[-1] = (990_000, 900 * MIB)
    assert growth_mib_per_million(samples) == 0


def test_shrinking_memory_has_a_negative_growth() -> None:
    samples = [(events, 300 * MIB - events) for events in range(200_000, 1_200_000, 10_000)]
    growth = growth_mib_per_million(samples)
    assert growth is not None and growth < 0


def test_too_few_settled_samples_have_no_growth() -> None:
    assert growth_mib_per_million([]) is None
    assert growth_mib_per_million([(events, MIB) for events in range(0, 200_000, 1_000)]) is None
    assert growth_mib_per_million([(200_000 + step, MIB) for step in range(7)]) is None
    assert growth_mib_per_million([(200_000, MIB)] * 20) is None
