"""Alerts about latency, throughput and resources, from the outcome deltas of several workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forebay.schemas.failures import Outcome, Stage
from forebay.stream.aggregate.alert_sources import KEEP_QUIET_MS, PerformanceSource
from forebay.stream.aggregate.rules import build_metric_rules
from forebay.stream.config.alert_rule import AlertRule
from forebay.stream.output.ledger import Delta, DeltaKey, encode_delta
from forebay.stream.rollouts.performance import LatencyHistogram, Performance, ProcessUsage
from tests.aggregate.alert_feed import AlertFeed
from tests.aggregate.build import MINUTE, START, at


def feed(metric: str, **keys: Any) -> AlertFeed:
    category = "resource" if metric.startswith(("worker_", "model_c", "model_g", "model_m")) else "performance"
    rule = AlertRule(name="r", category=category, metric=metric, **({"window_s": 120} | keys))
    source = PerformanceSource(build_metric_rules([rule], rule.category), "outcome-deltas")
    source.begin(START)
    return AlertFeed(source)


def delta(
    performance: Performance | None = None, *, count: int = 60, version: int = 1, model: str = "m", worker: str = "w"
) -> bytes:
    key = DeltaKey(START, Outcome.PREDICTED, Stage.EMIT, "predicted", model, version)
    return encode_delta(key, Delta(count=count, first_seen=0, last_seen=0), worker=worker, performance=performance)[1]


def calls(latency_s: float, rows: int = 60, **values: Any) -> Performance:
    histogram = LatencyHistogram.of(np.array([latency_s]), np.array([rows]))
    return Performance(rows=rows, calls=1, latency=histogram, model_time=histogram, **values)


def test_a_slow_version_fires_with_its_name_and_resolves() -> None:
    alerts = feed("latency_p99_ms", above=100, resolve_below=80, min_events=50)
    for minute, latency_s in enumerate([0.01, 0.2, 0.2, 0.01, 0.01, 0.01]):
        alerts.add([delta(calls(latency_s)), delta(calls(0.01), version=2)], at_ms=at(minute + 0.5))
    assert alerts.look(at(1.9)) == [], "the minute is not over"
    (fired,) = alerts.look(at(2.1))
    document = fired.to_dict()
    assert (document["model"], document["version"], document["since"], document["count"]) == ("m", 1, at(1), 120)
    assert document["value"] == pytest.approx(200, rel=0.1)
    assert (
        document["message"].startswith("r: m v1: latency_p99_ms 2")
        and "> 100 (120 events in 120 s)" in document["message"]
    )
    assert alerts.look(at(4.1)) == []
    (resolved,) = alerts.look(at(5.1))
    assert (resolved.alert_id, resolved.status.value) == (fired.alert_id, "resolved")


def test_few_events_are_not_judged_and_silence_resolves() -> None:
    alerts = feed("latency_mean_ms", above=100, min_events=100)
    alerts.add([delta(calls(0.3))], at_ms=at(0.5))
    assert alerts.look(at(1.1)) == []
    alerts.add([delta(calls(0.5))], at_ms=at(1.5))
    (fired,) = alerts.look(at(2.1))
    assert fired.to_dict()["value"] == pytest.approx(400, rel=0.05)
    (resolved,) = alerts.look(at(9.1))
    assert "no more data" in resolved.to_dict()["message"]


def test_throughput_is_that_of_all_versions_of_a_model() -> None:
    alerts = feed("throughput", below=1, resolve_above=1.5, for_s=120)
    alerts.add([delta(count=100), delta(count=100, version=2), delta(count=10, model="quiet")], at_ms=at(0.5))
    alerts.add([delta(count=100, version=2), delta(count=200, model="quiet")], at_ms=at(1.5))
    assert alerts.look(at(2.1)) == []
    (fired,) = alerts.look(at(4.1))
    assert (fired.to_dict()["model"], fired.to_dict()["value"], fired.to_dict()["direction"]) == ("m", 0.0, "below")
    assert "version" not in fired.to_dict()
    (quiet,) = alerts.look(at(5.1))
    assert quiet.to_dict()["model"] == "quiet"
    alerts.add([delta(count=200)], at_ms=at(5.5))
    assert [alert.status.value for alert in alerts.look(at(6.1))] == ["resolved"]


def test_a_named_model_without_any_event_has_no_throughput() -> None:
    alerts = feed("throughput", below=1, model="gone")
    (fired,) = alerts.look(at(3.1))
    assert fired.to_dict()["model"] == "gone"
    assert alerts.look(at(4.1)) == []


def test_a_model_that_has_just_begun_to_predict_is_not_slow() -> None:
    alerts = feed("throughput", below=1)
    alerts.add([delta(count=10)], at_ms=at(2.5))
    assert alerts.look(at(2.6)) == []
    assert alerts.look(at(3.1)) == [], "the first time span has not passed"
    assert len(alerts.look(at(4.1))) == 1


def test_a_model_that_was_taken_away_is_forgotten() -> None:
    alerts = feed("throughput", below=1)
    alerts.add([delta(count=200)], at_ms=at(0.5))
    assert alerts.look(START + KEEP_QUIET_MS + 4 * MINUTE) == []


@pytest.mark.parametrize(
    ("metric", "threshold", "found"),
    [("worker_cpu_cores", 0.5, 0.9), ("worker_memory_mb", 900, 1000), ("worker_gpu_memory_mb", 100, 200)],
)
def test_resources_of_a_worker_are_those_of_the_process(metric: str, threshold: float, found: float) -> None:
    alerts = feed(metric, above=threshold)
    for second in range(0, 120, 10):
        heavy = ProcessUsage(9.0, 1_000_000_000, 200_000_000)
        light = ProcessUsage(1.0, 50_000_000, None)
        parts = [delta(calls(0.1, process=heavy), worker="a"), delta(calls(0.1, process=light), worker="b")]
        alerts.add([*parts, delta(calls(0.1), worker="a", model="other")], at_ms=START + second * 1000)
    (fired,) = alerts.look(at(2.1))
    document = fired.to_dict()
    assert (document["worker"], document["model"]) == ("a", None)
    assert document["value"] == pytest.approx(found)
    assert document["message"] == f"r: a: {metric} {found:g} > {threshold:g}"


@pytest.mark.parametrize(
    ("metric", "threshold", "found"),
    [("model_cpu_cores", 0.5, 1.0), ("model_gpus", 0.1, 0.5), ("model_memory_mb", 10, 20)],
)
def test_resources_of_a_version_are_those_of_its_calls(metric: str, threshold: float, found: float) -> None:
    alerts = feed(metric, above=threshold)
    for minute in range(2):
        heavy = calls(0.1, cpu_s=30.0, gpu_s=15.0, memory_bytes=20_000_000)
        parts = [delta(heavy, worker="a"), delta(heavy, worker="b"), delta(calls(0.1), version=2)]
        alerts.add(parts, at_ms=at(minute + 0.5))
    (fired,) = alerts.look(at(2.1))
    assert (fired.to_dict()["version"], fired.to_dict()["value"]) == (1, pytest.approx(found))


def test_two_processes_give_an_alert_the_same_id() -> None:
    ids = []
    for first_look in (2.1, 3.1):
        alerts = feed("latency_p99_ms", above=100)
        for minute in range(4):
            alerts.add([delta(calls(0.2))], at_ms=at(minute + 0.5))
        ids.append([alert.alert_id for alert in alerts.look(at(first_look))])
    assert ids[0] == ids[1]


def test_other_records_are_ignored() -> None:
    alerts = feed("latency_p99_ms", above=100)
    alerts.add([b"", b"{}", b"[1]", delta().replace(b'"version":1', b'"version":0')], at_ms=at(0.5))
    assert alerts.look(at(2.1)) == []
