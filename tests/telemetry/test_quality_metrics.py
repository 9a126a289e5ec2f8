"""Metrics of the quality of models."""

from __future__ import annotations

import pytest

from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.view import QualityView
from forebay.stream.quality.wire import QualityParts, encode_parts
from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import MetricStore
from forebay.stream.telemetry.quality_metrics import QualityRecorder
from tests.quality.samples import Sample, binary, regression

HOUR = 3_600_000
START = 500_000 * HOUR


def add(view: QualityView, sample: Sample, model: str, hour: int, *, slice_name: str = "") -> None:
    key = QualityKey(model, 3, START + hour * HOUR, slice_name)
    view.read(encode_parts(key, QualityParts(sums=sample.sums()), window_s=3600, group="g", worker="w")[1])


def test_the_last_windows_are_recorded_together() -> None:
    view, store = QualityView(group="g"), MetricStore()
    for hour in range(4):
        add(view, binary(500, hour), "late", hour)
    add(view, regression(50, 1), "minutes", 3)
    add(view, binary(50, 1), "late", 3, slice_name="origin=JFK")
    view.read(b"")
    QualityRecorder(store, span_ms=HOUR).record(view)
    gauges = store.snapshot().gauges
    total = view.total("late", 3, since_ms=START + 2 * HOUR)
    assert total is not None
    found = metrics(total)
    assert gauges[c.QUALITY_PREDICTIONS] == {("late", "3"): 1000, ("minutes", "3"): 50}
    assert gauges[c.QUALITY_MATCHED] == {("late", "3"): 1.0, ("minutes", "3"): 1.0}
    values = gauges[c.QUALITY_VALUE]
    assert values["late", "3", "accuracy"] == found.accuracy
    assert values["late", "3", "roc_auc"] == found.roc_auc
    assert {name for model, _, name in values if model == "minutes"} == {
        *("mean_absolute_error", "root_mean_squared_error", "r2", "bias")
    }
    assert found.delay_ms_quantiles is not None
    assert gauges[c.QUALITY_LABEL_DELAY]["late", "3", "0.9"] == found.delay_ms_quantiles[0.9] / 1000
    truth = metrics(view.windows("late", 3)[START + 2 * HOUR]).accuracy
    assert gauges[c.QUALITY_ESTIMATE]["late", "3", "accuracy"] == pytest.approx(truth, abs=0.06)
    assert store.snapshot().counters[c.QUALITY_REJECTED] == {(): 1}


def test_a_version_that_is_gone_is_no_longer_recorded() -> None:
    view, store = QualityView(group="g"), MetricStore()
    recorder = QualityRecorder(store, span_ms=HOUR)
    recorder.record(view)
    assert store.snapshot().gauges == {}
    add(view, binary(500, 1), "late", 0)
    recorder.record(view)
    assert set(store.snapshot().gauges[c.QUALITY_PREDICTIONS]) == {("late", "3")}
    add(view, binary(500, 1), "other", 9)
    view.forget(START + 9 * HOUR)
    recorder.record(view)
    assert set(store.snapshot().gauges[c.QUALITY_PREDICTIONS]) == {("other", "3")}
