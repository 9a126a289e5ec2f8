"""What the pairs on `shadow-predictions` say."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from forebay.stream.rollouts.shadow_prediction import EventSource, PredictedSide, ShadowPair
from forebay.stream.rollouts.shadow_report import ShadowReport, Versions


def side(
    version: int, values: Sequence[float] | None, *, index: int | None = None, ms: float = 1.0, cpu_ms: float = 0.0
) -> PredictedSide:
    failure = "model_error" if values is None else None
    return PredictedSide(
        version,
        prediction=None if values is None else list(values),
        confidence=None,
        class_index=index,
        label=None,
        failure=failure,
        latency_ms=ms,
        rows=4,
        cpu_ms=cpu_ms,
    )


def pair(
    offset: int, primary: PredictedSide, shadow: PredictedSide, *, partition: int = 0, timestamp: int = 1_000
) -> ShadowPair:
    source = EventSource("features", partition, offset, timestamp + offset)
    return ShadowPair(f"e{offset}", "fraud", revision=1, source=source, primary=primary, shadow=shadow)


def binary(
    offset: int, primary: float, shadow: float, *, versions: tuple[int, int] = (1, 2), partition: int = 0
) -> ShadowPair:
    sides = (
        side(version, [value], index=int(value >= 0.5))
        for version, value in zip(versions, (primary, shadow), strict=True)
    )
    return pair(offset, *sides, partition=partition)


def test_versions_are_compared_separately() -> None:
    report = ShadowReport(num_largest=10)
    report.add([binary(0, 0.1, 0.2), binary(1, 0.4, 0.7), binary(2, 0.9, 0.9, versions=(3, 2))])
    first, second = report.to_list()
    assert (first["primary"], first["shadow"], first["events"]) == (1, 2, 2)
    assert (first["agreement"]["agreed"], first["agreement"]["disagreed"]) == (1, 1)
    assert (first["first"], first["last"]) == (1_000, 1_001)
    assert (second["primary"], second["events"], second["largest_differences"]) == (3, 1, [])
    json.dumps(report.to_list())


def test_the_largest_differences_come_first_and_name_the_event() -> None:
    report = ShadowReport(num_largest=3)
    for start in (0, 50):  # in two polls
        report.add([binary(offset, 0.0, (offset * 37 % 100) / 100) for offset in range(start, start + 50)])
    found = report.versions[Versions(1, 2)].largest()
    assert [difference.size for difference in found] == [pytest.approx(value) for value in (0.99, 0.98, 0.97)]
    described = report.to_list()[0]["largest_differences"][0]
    assert described["id"] == f"e{described['offset']}"
    assert described["offset"] * 37 % 100 == 99
    assert (described["topic"], described["partition"], described["shadow"]["prediction"]) == ("features", 0, [0.99])


def test_of_equal_differences_the_earlier_events_are_kept() -> None:
    report = ShadowReport(num_largest=2)
    report.add([binary(offset, 0.0, 0.25) for offset in range(5)])
    assert [found.pair.source.offset for found in report.versions[Versions(1, 2)].largest()] == [0, 1]


def test_repetitions_are_left_out() -> None:
    report = ShadowReport(num_largest=2)
    report.add([binary(offset, 0.1, 0.1) for offset in (0, 1, 2)])
    report.add([binary(offset, 0.1, 0.1) for offset in (1, 2, 3)])
    report.add([binary(1, 0.1, 0.1, partition=1)])
    found = report.versions[Versions(1, 2)]
    assert (found.comparison.events, found.repeated) == (5, 2)


def test_failures_of_either_side_are_counted() -> None:
    report = ShadowReport(num_largest=2)
    good, bad = side(1, [0.2, 0.8], index=1), side(2, None)
    report.add([pair(0, good, bad), pair(1, side(1, None), side(2, [0.5, 0.5], index=0)), pair(2, side(1, None), bad)])
    document = report.to_list()[0]
    assert document["failures"] == {"primary_only": 1, "shadow_only": 1, "both": 1}
    assert (document["events"], document["differences"]["compared"], document["agreement"]["share"]) == (3, 0, None)


def test_versions_with_different_outputs_differ_if_their_classes_do() -> None:
    report = ShadowReport(num_largest=2)
    report.add(
        [
            pair(offset, side(1, [0.2, 0.8], index=1), side(2, [0.1, 0.2, 0.7], index=index))
            for offset, index in enumerate((1, 2))
        ]
    )
    document = report.to_list()[0]
    assert (document["agreement"]["agreed"], document["differences"]["incomparable"]) == (1, 2)
    assert [(found["offset"], found["difference"]) for found in document["largest_differences"]] == [(1, None)]


def test_regression_is_compared_by_value() -> None:
    report = ShadowReport(num_largest=2)
    report.add([pair(0, side(1, [10.0], ms=1.0), side(2, [12.5], ms=3.0))])
    document = report.to_list()[0]
    assert (document["differences"]["mean"], document["differences"]["max"]) == (2.5, 2.5)
    assert document["latency"]["time_ratio"] == pytest.approx(3.0)
    report = ShadowReport(num_largest=2)
    report.add([pair(0, side(1, [10.0], ms=1.0, cpu_ms=1.0), side(2, [12.5], ms=3.0, cpu_ms=2.0))])
    assert report.to_list()[0]["latency"]["time_ratio"] == pytest.approx(2.0)
