"""Metrics of a worker with several models: each value counts for its own model, and once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, MicroBatch, TopicPartition
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import EventExemplar, Exemplar, MetricStore
from forebay.stream.telemetry.metrics_observer import MetricsRecorder
from tests.core.build import JULY, MODEL, P0, P1, FakeRecord, ManualClock, chunk, finish

OTHER = ModelRef("other", 7)
M1, O7 = ("m", "1"), ("other", "7")
TIMES = CommitTimes(began=1.0, emit=1.5, begin=1.75, deliveries=2.0, positions=2.5, end=3.0)


def recorder(store: MetricStore) -> MetricsRecorder:
    def exemplar_of(batch: MicroBatch, value: float) -> Exemplar:
        return Exemplar(value, trace_id=batch.seq + 1, span_id=batch.seq + 1, at_s=0.0)

    return MetricsRecorder(
        store, models=[MODEL, OTHER], transactional=True, clock=ManualClock(), exemplar_of=exemplar_of
    )


def result(seq: int, model: ModelRef, offsets: list[int], partition: TopicPartition = P0) -> BatchResult:
    return finish(MicroBatch(seq, (chunk(offsets, partition=partition, model=model),), "size", opened_s=100.0))


def test_a_poll_that_feeds_several_models_is_decoded_once() -> None:
    store = MetricStore()
    metrics = recorder(store)
    nothing = replace(chunk([9], model=OTHER), records=[], num_records=0, num_bytes=0)
    chunks = [chunk([1, 4, 5]), chunk([2, 6], model=OTHER), chunk([7], partition=P1), replace(nothing, partition=P1)]
    metrics.on_polled(chunks, received_s=100.0, decoded_s=100.6)
    decode = store.snapshot().histograms[c.DECODE_DURATION]
    assert decode[M1].sum == pytest.approx(0.4) and decode[O7].sum == pytest.approx(0.2), "by the number of records"
    assert (decode[M1].count, decode[O7].count) == (1, 1)
    assert store.snapshot().counters[c.RECEIVED_EVENTS] == {("features",): 6}
    assert metrics.last_read_ms == {P0: JULY + 6, P1: JULY + 7}, "the last record of a partition, for whatever model"


def test_a_last_record_without_a_timestamp_hides_those_of_other_models() -> None:
    store = MetricStore()
    metrics = recorder(store)
    without = replace(chunk([5], model=OTHER), records=[FakeRecord(5, b"x", -1)])
    metrics.on_polled([chunk([3]), without], received_s=1.0, decoded_s=1.5)
    assert metrics.last_read_ms == {}


def test_each_batch_counts_for_its_own_model() -> None:
    store = MetricStore()
    metrics = recorder(store)
    for one in (result(0, MODEL, [1, 2]), result(0, OTHER, [3]), result(1, OTHER, [4])):
        metrics.on_batch_closed(one.batch)
        metrics.on_result(replace(one, started_s=100.5))
    snapshot = store.snapshot()
    assert snapshot.counters[c.BATCHES] == {("size", *M1): 1, ("size", *O7): 2}
    assert snapshot.histograms[c.BATCH_SIZE][M1].sum == 2
    for metric in (c.QUEUE_DURATION, c.PREPARE_DURATION, c.MODEL_DURATION):
        counts = {labels: state.count for labels, state in snapshot.histograms[metric].items()}
        assert counts == {M1: 1, O7: 2}


def test_a_commit_counts_the_outcomes_of_each_model() -> None:
    store = MetricStore()
    metrics, ledger = recorder(store), Ledger()
    ledger.of(MODEL).add_predictions(P0, np.array([JULY - 1000, JULY - 2000]))
    ledger.of(OTHER).add_predictions(P0, np.array([JULY - 4000]))
    ledger.of(OTHER).add_failure(P1, FailureKind.MODEL_ERROR, JULY - 8000, event_id="a", message="bad")
    batches = [result(4, MODEL, [1, 2]), result(8, OTHER, [3]), result(9, OTHER, [4], P1)]
    sampled = [
        EventExemplar(model, JULY - 1500, Exemplar(0.0, number, number, 0.0))
        for number, model in enumerate((MODEL, OTHER), 70)
    ]
    metrics.on_committed(batches, ledger, TIMES, sampled)
    snapshot = store.snapshot()
    assert {labels: count for labels, count in snapshot.counters[c.EVENTS].items() if count} == {
        ("predicted", *M1): 2,
        ("predicted", *O7): 1,
        ("failed", *O7): 1,
    }
    assert snapshot.counters[c.ERRORS] == {("model_error", "model", *O7): 1}
    latency = snapshot.histograms[c.EVENT_LATENCY]
    assert (latency[M1].sum, latency[O7].sum) == (3.0, 12.0)
    for labels, trace_id in ((M1, 70), (O7, 71)):
        (exemplar,) = latency[labels].exemplars.values()
        assert (exemplar.trace_id, exemplar.value) == (trace_id, 1.5)


def test_a_commit_has_one_duration_for_each_of_its_models_and_counts_once() -> None:
    store = MetricStore()
    batches = [result(4, MODEL, [1]), result(8, OTHER, [3]), result(9, OTHER, [4], P1)]
    recorder(store).on_committed(batches, Ledger(), TIMES, ())
    snapshot = store.snapshot()
    assert snapshot.counters[c.COMMITS]["committed",] == 1
    assert {state.count for state in snapshot.histograms[c.COMMIT_STEP_DURATION].values()} == {1}
    for labels, seq in ((M1, 4), (O7, 8)):
        duration = snapshot.histograms[c.COMMIT_DURATION][labels]
        assert (duration.count, duration.sum) == (1, 2.0)
        (exemplar,) = duration.exemplars.values()
        assert exemplar.trace_id == seq + 1, "the first micro-batch of the model"


def test_every_outcome_of_every_model_begins_at_zero() -> None:
    store = MetricStore()
    recorder(store)
    counters = store.snapshot().counters
    assert set(counters[c.EVENTS].values()) | set(counters[c.WINDOWS].values()) == {0}
    assert {labels[1:] for labels in (*counters[c.EVENTS], *counters[c.WINDOWS])} == {M1, O7}
