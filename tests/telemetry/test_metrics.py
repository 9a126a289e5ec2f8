"""The metric store, what observer calls record in it, the lag, and the Prometheus page."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from forebay.schemas.failures import FailureKind
from forebay.stream.core.errors import CommitRefused, CommitTimeout
from forebay.stream.core.records import MicroBatch, PartitionLag
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.lag import LagMeter
from forebay.stream.telemetry.metric_store import EventExemplar, Exemplar, MetricStore, Snapshot
from forebay.stream.telemetry.metrics_doc import render_metrics
from forebay.stream.telemetry.metrics_observer import MetricsRecorder
from forebay.stream.telemetry.prometheus import render_page
from tests.core.build import JULY, MODEL, P0, P1, FakeRecord, ManualClock, chunk, finish

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
M1 = ("m", "1")


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=200))
def test_many_values_at_once_equal_single_values(values: list[float]) -> None:
    at_once, one_by_one = MetricStore(), MetricStore()
    at_once.observe_many(c.EVENT_LATENCY, np.array(values), M1)
    for value in values:
        one_by_one.observe(c.EVENT_LATENCY, value, M1)
    state, other = (store.snapshot().histograms[c.EVENT_LATENCY][M1] for store in (at_once, one_by_one))
    assert state.counts.tolist() == other.counts.tolist()
    assert state.count == len(values)
    assert (state.min, state.max) == (min(values), max(values))
    assert state.sum == pytest.approx(sum(values))
    for bound, below in zip(c.EVENT_LATENCY.bounds, np.cumsum(state.counts).tolist(), strict=False):
        assert below == sum(value <= bound for value in values)


def test_the_number_of_labels_must_match_the_metric() -> None:
    store = MetricStore()
    with pytest.raises(ValueError, match="labels"):
        store.add(c.EVENTS, 1, ("predicted",))
    with pytest.raises(ValueError, match="labels"):
        store.observe(c.BATCH_SIZE, 1.0)


def test_replacing_a_gauge_removes_other_labels() -> None:
    store = MetricStore()
    store.replace(c.CONSUMER_LAG_RECORDS, {("t", "0"): 5, ("t", "1"): 6})
    store.replace(c.CONSUMER_LAG_RECORDS, {("t", "1"): 7})
    assert store.snapshot().gauges[c.CONSUMER_LAG_RECORDS] == {("t", "1"): 7}


# ---- the recorder


def recorder(store: MetricStore, clock: ManualClock) -> MetricsRecorder:
    return MetricsRecorder(
        store, models=[MODEL], transactional=True, clock=clock, exemplar_of=lambda batch, value: None
    )


def test_the_metrics_of_one_batch() -> None:
    store, clock = MetricStore(), ManualClock()
    metrics = recorder(store, clock)
    chunks = [chunk([5, 6, 7], rejected=[7], size=10), chunk([1], partition=P1, size=4)]
    metrics.on_polled(chunks, received_s=100.0, decoded_s=100.5)
    batch = MicroBatch(0, tuple(chunks), "size", opened_s=100.0)
    metrics.on_batch_closed(batch)
    metrics.on_result(finish(batch))
    ledger = Ledger()
    ledger.of(MODEL).add_predictions(P0, np.array([JULY - 2000, JULY - 60_000]))
    ledger.of(MODEL).add_predictions(P1, np.array([JULY + 5000]))
    ledger.of(MODEL).add_failure(P0, FailureKind.NOT_JSON, JULY - 500, event_id=None, message="bad")
    metrics.on_committed(
        [finish(batch)],
        ledger,
        CommitTimes(began=1.0, emit=1.5, begin=1.75, deliveries=2.0, positions=2.5, end=3.0),
        (),
    )
    snapshot = store.snapshot()
    assert snapshot.counters[c.RECEIVED_EVENTS] == {("features",): 4}
    assert snapshot.counters[c.RECEIVED_BYTES] == {("features",): 34}
    outcomes = {labels[0]: count for labels, count in snapshot.counters[c.EVENTS].items()}
    assert outcomes == {"predicted": 3, "rejected": 1, "failed": 0, "accepted": 0, "late": 0}
    assert set(snapshot.counters[c.WINDOWS].values()) == {0}
    assert snapshot.counters[c.ERRORS] == {("not_json", "decode", *M1): 1}
    assert snapshot.counters[c.BATCHES] == {("size", *M1): 1}
    assert snapshot.histograms[c.BATCH_SIZE][M1].sum == 4
    assert snapshot.histograms[c.DECODE_DURATION][M1].sum == 0.5
    latency = snapshot.histograms[c.EVENT_LATENCY][M1]
    assert (latency.count, latency.min, latency.max) == (4, 0.0, 60.0)  # the latency of a timestamp in the future is 0
    assert latency.sum == pytest.approx(62.5)
    steps = {step: state.sum for (step,), state in snapshot.histograms[c.COMMIT_STEP_DURATION].items()}
    assert steps == {"emit": 0.5, "begin": 0.25, "deliveries": 0.25, "positions": 0.5, "end": 0.5}
    assert snapshot.histograms[c.COMMIT_DURATION][M1].sum == 2.0
    assert metrics.last_read_ms == {P0: JULY + 7, P1: JULY + 1}


def test_records_without_a_timestamp_have_no_latency_and_no_lag() -> None:
    store = MetricStore()
    metrics = recorder(store, ManualClock())
    polled = replace(chunk([5]), records=[FakeRecord(5, b"x", -1)])
    metrics.on_polled([polled], received_s=1.0, decoded_s=1.5)
    ledger = Ledger()
    ledger.of(MODEL).add_predictions(P0, np.array([-1, JULY]))
    result = finish(MicroBatch(0, (polled,), "size", 0.0))
    metrics.on_committed([result], ledger, CommitTimes(*range(6)), [EventExemplar(MODEL, -1, Exemplar(0.0, 1, 2, 0.0))])
    latency = store.snapshot().histograms[c.EVENT_LATENCY][M1]
    assert (latency.count, latency.max) == (1, 0.0) and not latency.exemplars
    assert metrics.last_read_ms == {}


def test_windows_and_events_are_counted_separately() -> None:
    store = MetricStore()
    metrics = recorder(store, ManualClock())
    ledger = Ledger()
    ledger.of(MODEL).add_accepted(P0, np.array([JULY, JULY + 1]))
    ledger.of(MODEL).add_failure(P0, FailureKind.LATE, JULY, event_id=None, message="late")
    ledger.of(MODEL).add_window_predictions(P0, 5, JULY)
    ledger.of(MODEL).add_window_failure(P0, FailureKind.MODEL_ERROR, JULY, window_id="w", message="bad")
    metrics.on_committed([finish(MicroBatch(0, (chunk([1]),), "size", 0.0))], ledger, CommitTimes(*range(6)), ())
    snapshot = store.snapshot()
    assert {labels[0]: count for labels, count in snapshot.counters[c.EVENTS].items() if count} == {
        "accepted": 2,
        "late": 1,
    }
    assert {labels[0]: count for labels, count in snapshot.counters[c.WINDOWS].items()} == {
        "window_predicted": 5,
        "window_failed": 1,
    }
    assert snapshot.histograms[c.EVENT_LATENCY][M1].count == 3


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (CommitRefused("over"), "refused"),
        (CommitTimeout("late"), "timeout"),
        (asyncio.CancelledError(), "given_up"),
        (RuntimeError("else"), "failed"),
    ],
)
def test_failed_commits_are_counted_by_result(error: BaseException, result: str) -> None:
    store = MetricStore()
    recorder(store, ManualClock()).on_commit_failed(error)
    counters = store.snapshot().counters
    assert {labels: count for labels, count in counters[c.COMMITS].items() if count} == {(result,): 1}
    assert {labels: count for labels, count in counters[c.TRANSACTION_ABORTS].items() if count} == {(result,): 1}


# ---- lag


def test_lag_in_seconds_is_bounded_by_known_times() -> None:
    meter = LagMeter()

    def seconds(position: int, end: int, now_s: int, last_read_s: int | None = None) -> float:
        read = {} if last_read_s is None else {P0: last_read_s * 1000}
        lag = meter.measure({P0: PartitionLag(position, end)}, read, now_ms=now_s * 1000)[P0]
        assert lag.records == end - position
        return lag.seconds

    assert seconds(5, 9, now_s=1000) == 0  # nothing is known except that the partition was not seen before
    assert seconds(5, 9, now_s=1010) == 10
    assert seconds(7, 9, now_s=1020, last_read_s=1005) == 15  # after the last record that was read
    assert seconds(9, 9, now_s=5000, last_read_s=1015) == 0
    assert seconds(9, 12, now_s=5002, last_read_s=1015) == 2  # after the time at which nothing was left to read
    assert seconds(10, 12, now_s=5003, last_read_s=5001) == 2


def test_lag_is_never_negative_and_forgets_revoked_partitions() -> None:
    meter = LagMeter()
    assert meter.measure({P0: PartitionLag(10, 8)}, {}, now_ms=1)[P0] == (0, 0.0)
    assert meter.measure({P1: PartitionLag(0, 5)}, {}, now_ms=1000)[P1] == (5, 0.0)
    assert meter.measure({P0: PartitionLag(0, 5)}, {}, now_ms=90_000) == {P0: (5, 0.0)}


# ---- the page


def full_store() -> MetricStore:
    """Return a store with a value for every metric."""
    store = MetricStore()
    for metric in c.METRICS:
        labels = tuple(f'{label} "x"\n' for label in metric.labels)
        if isinstance(metric, c.Counter):
            store.add(metric, 3, labels)
        elif isinstance(metric, c.Gauge):
            store.set(metric, 2.5, labels)
        else:
            store.observe(metric, 0.3, labels, exemplar=Exemplar(0.3, 0xAB, 0xCD, 1_700_000_000.5))
            store.observe(metric, 1e9, labels)
    return store


def test_both_parsers_of_prometheus_read_the_page() -> None:
    snapshot = full_store().snapshot()
    for accept, parse, kind in (
        (OPENMETRICS, parse_openmetrics, "application/openmetrics-text; version=1.0.0"),
        ("text/plain;version=0.0.4", parse_text, "text/plain; version=0.0.4"),
        ("", parse_text, "text/plain"),
    ):
        page, content_type = render_page(snapshot, accept=accept)
        assert content_type.startswith(kind)
        samples = {
            sample.name: sample
            for family in parse(page.decode())
            for sample in family.samples
            if "le" not in sample.labels
        }
        for metric in c.METRICS:
            name = f"{metric.family}_count" if isinstance(metric, c.Histogram) else metric.prometheus_name
            assert samples[name].value == {"counter": 3, "gauge": 2.5, "histogram": 2}[metric.type]
            assert samples[name].labels == {label: f'{label} "x"\n' for label in metric.labels}


def test_openmetrics_has_exemplars() -> None:
    page, _ = render_page(full_store().snapshot(), accept=OPENMETRICS)
    (family,) = [
        family for family in parse_openmetrics(page.decode()) if family.name == "forebay_event_latency_seconds"
    ]
    exemplars = {sample.labels["le"]: sample.exemplar for sample in family.samples if sample.exemplar}
    assert list(exemplars) == ["0.5"]
    assert exemplars["0.5"].labels == {"trace_id": f"{0xAB:032x}", "span_id": f"{0xCD:016x}"}
    assert (exemplars["0.5"].value, float(exemplars["0.5"].timestamp)) == (0.3, 1_700_000_000.5)


@pytest.mark.parametrize("version", ["x", "1.x", "2.0.x", "1..0", "", "\udcff", "1.0.0\udcff", "9" * 5000, "1.0.0-rc1"])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_a_version_that_is_not_a_number_gets_the_older_text_format(kind: str, version: str) -> None:
    page, content_type = render_page(full_store().snapshot(), accept=f"{kind}; version={version}, */*;q=0.1")
    assert content_type.startswith("text/plain; version=0.0.4") and content_type.isascii()
    assert list(parse_text(page.decode()))


def test_an_empty_store_is_an_empty_page() -> None:
    page, _ = render_page(Snapshot({}, {}, {}), accept=OPENMETRICS)
    assert page == b"# EOF\n"


# ---- the catalogue


def test_prometheus_names_follow_its_mapping_of_opentelemetry_names() -> None:
    names = [metric.prometheus_name for metric in c.METRICS]
    assert len(set(names)) == len(names) == len({metric.name for metric in c.METRICS})
    assert c.CONSUMER_LAG.prometheus_name == "forebay_consumer_lag_seconds"
    assert c.EVENTS.prometheus_name == "forebay_events_total"
    assert c.PROCESS_CPU.prometheus_name == "forebay_process_cpu_seconds_total"
    assert c.GPU_UTILIZATION.prometheus_name == "forebay_gpu_utilization_ratio"
    assert all(metric.name.startswith("forebay.") for metric in c.METRICS)
    assert all(list(m.bounds) == sorted(m.bounds) for m in c.METRICS if isinstance(m, c.Histogram))


def test_docs_metrics_md_is_generated_from_the_catalogue() -> None:
    path = Path(__file__).parents[2] / "docs/metrics.md"
    assert path.read_text() == render_metrics(), "python -m forebay.stream.telemetry.metrics_doc > docs/metrics.md"


def test_latency_throughput_and_errors_carry_model_and_version() -> None:
    for metric in (c.EVENTS, c.ERRORS, c.EVENT_LATENCY, c.MODEL_DURATION, c.QUEUE_DURATION, c.BATCH_SIZE):
        assert {"model", "version"} <= set(metric.labels)
