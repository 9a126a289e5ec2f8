"""Sums of the metrics of several processes, compared with one store that has recorded everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.supervisor.metric_merging import GaugeRule, add_ended, merge, rule_of
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import Exemplar, MetricStore, Snapshot
from forebay.stream.telemetry.prometheus import render_page
from forebay.stream.telemetry.snapshot_wire import decode_snapshot, encode_snapshot

MODEL = ("flights", "3")
WHOLE = st.integers(0, 1 << 20)
"""Whole numbers, so that sums of floating-point numbers do not depend on their order."""

additions = st.tuples(st.sampled_from(["predicted", "rejected"]), WHOLE)
durations = st.lists(st.integers(0, 20), max_size=5)
recordings = st.tuples(st.lists(additions, max_size=6), durations)


def record(store: MetricStore, recording: tuple[list[tuple[str, int]], list[int]]) -> None:
    outcomes, values = recording
    for outcome, count in outcomes:
        store.add(c.EVENTS, count, (outcome, *MODEL))
    store.observe_many(c.MODEL_DURATION, np.array(values, dtype=np.float64), MODEL)


def as_plain(snapshot: Snapshot) -> Any:
    """Return counters and histograms in a form that can be compared."""
    return (
        {metric.name: dict(values) for metric, values in snapshot.counters.items()},
        {
            (metric.name, labels): (state.counts.tolist(), state.sum, state.min, state.max)
            for metric, states in snapshot.histograms.items()
            for labels, state in states.items()
        },
    )


@given(st.lists(recordings, min_size=1, max_size=5), st.integers(0, 5))
def test_counters_and_histograms_are_those_of_one_process_that_did_everything(
    work: list[tuple[list[tuple[str, int]], list[int]]], num_ended: int
) -> None:
    whole, ended = MetricStore(), None
    running: dict[str, Snapshot] = {}
    for number, recording in enumerate(work):
        own = MetricStore()
        for store in (own, whole):
            record(store, recording)
        if number < num_ended:
            ended = add_ended(ended, own.snapshot())
        else:
            running[str(number)] = decode_snapshot(encode_snapshot(own.snapshot()))
    assert as_plain(merge(running, ended)) == as_plain(whole.snapshot())


@given(st.lists(recordings, min_size=2, max_size=4))
def test_no_counter_decreases_when_processes_end_and_start_again(
    work: list[tuple[list[tuple[str, int]], list[int]]],
) -> None:
    ended: Snapshot | None = None
    shown: dict[Any, float] = {}
    for recording in work:
        store = MetricStore()
        for current in (Snapshot({}, {}, {}), store.snapshot()):
            merged = merge({"0": current}, ended)
            assert all(merged.counters[c.EVENTS][labels] >= value for labels, value in shown.items())
        record(store, recording)
        shown = dict(merge({"0": store.snapshot()}, ended).counters.get(c.EVENTS, {}))
        ended = add_ended(ended, store.snapshot())


def gauges(**values: float) -> Snapshot:
    store = MetricStore()
    for name, value in values.items():
        gauge = getattr(c, name)
        store.set(gauge, value, tuple(f"of {label}" for label in gauge.labels))
    return store.snapshot()


@pytest.mark.parametrize(
    ("name", "merged"),
    [
        ("IN_FLIGHT_EVENTS", {(): 5.0}),
        ("CONSUMER_LAG_RECORDS", {("of topic", "of partition"): 3.0}),
        ("ROLLOUT_REVISION", {("of model", "of state"): 2.0}),
        ("PROCESS_MEMORY", {("0",): 2.0, ("1",): 3.0}),
    ],
)
def test_a_gauge_is_merged_by_its_rule(name: str, merged: dict[tuple[str, ...], float]) -> None:
    snapshots = {"0": gauges(**{name: 2.0}), "1": gauges(**{name: 3.0})}
    assert merge(snapshots).gauges == {getattr(c, name): merged}


def test_a_gauge_without_a_rule_is_labelled_by_process() -> None:
    assert rule_of(c.SHADOW_AGREEMENT) is GaugeRule.BY_PROCESS
    page, _ = render_page(merge({"0": gauges(PROCESS_MEMORY=7.0)}), accept="")
    assert b'forebay_process_memory_bytes{process="0"} 7.0\n' in page


def test_the_gauges_of_an_ended_process_are_gone() -> None:
    assert merge({}, add_ended(None, gauges(IN_FLIGHT_EVENTS=4.0))).gauges == {}


def test_the_newest_exemplar_stays() -> None:
    def store_with(at_s: float) -> MetricStore:
        store = MetricStore()
        store.observe(c.MODEL_DURATION, 1.5, MODEL, exemplar=Exemplar(1.5, (1 << 127) + 1, 1 << 63, at_s))
        return store

    merged = merge(
        {str(at_s): decode_snapshot(encode_snapshot(store_with(at_s).snapshot())) for at_s in (2.0, 3.0, 1.0)}
    )
    (exemplar,) = merged.histograms[c.MODEL_DURATION][MODEL].exemplars.values()
    assert exemplar == Exemplar(1.5, (1 << 127) + 1, 1 << 63, 3.0)


def test_a_histogram_without_values_survives_the_wire() -> None:
    store = MetricStore()
    store.observe(c.MODEL_DURATION, 1.0, MODEL)
    (state,) = store.snapshot().histograms[c.MODEL_DURATION].values()
    state.counts[:] = 0
    empty = Snapshot({}, {}, {c.MODEL_DURATION: {MODEL: state}})
    (decoded,) = decode_snapshot(encode_snapshot(empty)).histograms[c.MODEL_DURATION].values()
    assert (decoded.count, decoded.min, decoded.max) == (0, float("inf"), float("-inf"))
