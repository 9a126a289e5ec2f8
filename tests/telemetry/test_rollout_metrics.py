"""Metrics of rollouts: shares of the versions, revisions, loads and switches, with as many labels as versions in force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from forebay.schemas.rollouts import Action
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.rollouts.revision import Canary, Shadow
from forebay.stream.rollouts.rollout_status import RolloutStatus
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry import lane_metrics
from forebay.stream.telemetry.metric_store import MetricStore
from forebay.stream.telemetry.rollout_metrics import RolloutRecorder
from tests.rollouts.build import MODEL, configured

CANARY = replace(
    configured(3),
    number=12,
    action=Action.CANARY,
    canaries=(Canary(4, ((0, 500), (700, 1450))),),
    shadows=(Shadow(5, 0.1),),
)
LOADING = RolloutStatus(CANARY, 13, since_ms=0, loading=6, error="no such version", resident=(3, 4, 5))


def test_the_status_of_a_rollout_is_recorded() -> None:
    store = MetricStore()
    RolloutRecorder(store).record([LOADING])
    gauges = store.snapshot().gauges
    assert gauges[c.ROLLOUT_REVISION] == {(MODEL, "accepted"): 13, (MODEL, "applied"): 12}
    assert gauges[c.ROLLOUT_SHARE] == {
        (MODEL, "3", "stable"): 0.875,
        (MODEL, "4", "canary"): 0.125,
        (MODEL, "5", "shadow"): 0.1,
    }
    assert gauges[c.ROLLOUT_RESIDENT] == {(MODEL,): 3}
    assert (gauges[c.ROLLOUT_LOADING], gauges[c.ROLLOUT_BLOCKED]) == ({(MODEL,): 1}, {(MODEL,): 1})


def test_versions_that_are_no_longer_in_force_have_no_share() -> None:
    store = MetricStore()
    recorder = RolloutRecorder(store)
    recorder.record([LOADING])
    recorder.record([RolloutStatus(replace(configured(4), number=13), 13, since_ms=0, resident=(4,))])
    gauges = store.snapshot().gauges
    assert gauges[c.ROLLOUT_SHARE] == {(MODEL, "4", "stable"): 1}
    assert (gauges[c.ROLLOUT_LOADING], gauges[c.ROLLOUT_BLOCKED]) == ({(MODEL,): 0}, {(MODEL,): 0})


def test_the_events_and_the_agreement_of_shadows_are_recorded_while_they_run() -> None:
    store = MetricStore()
    recorder = RolloutRecorder(store)
    compared = {"rows": 400, "agreement": 0.9925, "dropped": {"load": 7, "deadline": 0}}
    starting: dict[str, Any] = {"rows": 0, "agreement": None, "dropped": {}}
    recorder.record([replace(LOADING, comparisons={5: compared, 6: starting})])
    snapshot = store.snapshot()
    assert snapshot.counters[c.SHADOW_EVENTS] == {
        (MODEL, "5", "compared"): 400,
        (MODEL, "5", "load"): 7,
        (MODEL, "5", "deadline"): 0,
        (MODEL, "6", "compared"): 0,
    }
    assert snapshot.gauges[c.SHADOW_AGREEMENT] == {(MODEL, "5"): 0.9925}
    recorder.record([LOADING])
    snapshot = store.snapshot()
    assert c.SHADOW_EVENTS not in snapshot.counters and c.SHADOW_AGREEMENT not in snapshot.gauges


def test_counters_begin_at_zero_and_count_by_author() -> None:
    store = MetricStore()
    recorder = RolloutRecorder(store)
    recorder.record([LOADING])
    assert set(store.snapshot().counters[c.ROLLOUT_REVISIONS].values()) == {0}
    for automatic in (True, True, False):
        recorder.on_accepted(replace(CANARY, action=Action.ROLLBACK, automatic=automatic))
    recorder.on_loaded(MODEL, 0.3)
    recorder.on_load_failed(MODEL)
    for _ in range(4):
        recorder.on_switched(MODEL)
    snapshot = store.snapshot()
    revisions = snapshot.counters[c.ROLLOUT_REVISIONS]
    assert {labels: count for labels, count in revisions.items() if count} == {
        (MODEL, "rollback", "automatic"): 2,
        (MODEL, "rollback", "person"): 1,
    }
    assert snapshot.counters[c.ROLLOUT_LOADS] == {(MODEL, "loaded"): 1, (MODEL, "failed"): 1}
    assert snapshot.counters[c.ROLLOUT_SWITCHES] == {(MODEL,): 4}
    assert snapshot.histograms[c.ROLLOUT_LOAD_DURATION][MODEL,].sum == 0.3


def test_the_values_of_a_removed_version_are_removed_and_no_others() -> None:
    store = MetricStore()
    old, new = ("m", "1"), ("m", "2")
    for labels in (old, new):
        store.add(c.EVENTS, 5, ("predicted", *labels))
        store.set(lane_metrics.LANE_IN_FLIGHT_EVENTS, 1, labels)
        store.observe(c.MODEL_DURATION, 0.1, labels)
    store.add(c.ROLLOUT_SWITCHES, 1, ("m",))
    store.remove({"model": "m", "version": str(ModelRef("m", 1).version)})
    snapshot = store.snapshot()
    assert set(snapshot.counters[c.EVENTS]) == {("predicted", *new)}
    assert set(snapshot.gauges[lane_metrics.LANE_IN_FLIGHT_EVENTS]) == {new}
    assert set(snapshot.histograms[c.MODEL_DURATION]) == {new}
    assert snapshot.counters[c.ROLLOUT_SWITCHES] == {("m",): 1}
