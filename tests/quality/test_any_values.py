"""Records with any JSON value in any place are refused, or what they add up to can be reported."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console

from forebay.stream.cli.quality_render import report_text
from forebay.stream.evaluate.quality_page import quality_page
from forebay.stream.quality.exact_sum import ExactSum
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.report import quality_report
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.view import QualityView
from forebay.stream.quality.wire import LabelCounts, LabelProgress, QualityParts, encode_parts
from forebay.stream.telemetry.metric_store import MetricStore
from forebay.stream.telemetry.quality_metrics import QualityRecorder
from tests.json_values import changed_documents
from tests.quality.samples import classes, of_task

HOUR = 3_600_000
KEY = QualityKey("m", 1, 500_000 * HOUR)


def document_of(sums: QualitySums) -> dict[str, Any]:
    progress = LabelProgress(horizon_ms=HOUR, until_ms={0: KEY.window_start})
    parts = QualityParts(sums=sums, labels=LabelCounts(labels=3), progress=progress)
    found: dict[str, Any] = orjson.loads(encode_parts(KEY, parts, window_s=3600, group="g", worker="w")[1])
    return found


def report_everything(view: QualityView) -> None:
    report = quality_report(view, since_ms=KEY.window_start - HOUR, random=None)
    orjson.dumps(report.to_dict(), option=orjson.OPT_NON_STR_KEYS)
    QualityRecorder(MetricStore(), span_ms=HOUR).record(view)
    view.is_final(KEY.window_start)


@pytest.mark.parametrize("task", ["binary", "classes", "regression"])
def test_a_record_with_any_value_in_any_place_is_refused_or_can_be_reported(task: str) -> None:
    small = document_of((classes(9, 0, 3) if task == "classes" else of_task(task, 9, 0)).sums())
    for value in changed_documents(small):
        view = QualityView(group="g")
        for each in (value, orjson.dumps(small | {"window_start": KEY.window_start - HOUR})):
            view.read(each)
        report_everything(view)


@pytest.mark.parametrize("task", ["binary", "classes", "many_classes", "regression"])
def test_sums_that_contradict_each_other_or_are_negative_have_a_report_on_every_page(task: str) -> None:
    sample = of_task(task, 300, 0)
    view = QualityView(group="g")
    sums = QualitySums(sample.task, sample.num_classes)
    sample.add_to(sums, sign=-1)
    view.read(orjson.dumps(document_of(sums)))
    for count in (-900, 300, 900):
        document = document_of(sample.sums())
        document["sums"]["matched"] = count
        view.read(orjson.dumps(document))
        report_everything(view)
        report = quality_report(view, since_ms=0, random=np.random.default_rng(0))
        Console(file=io.StringIO()).print(report_text(report))
        quality_page(report)


def test_a_share_of_contradicting_counts_is_not_defined() -> None:
    sums = of_task("binary", 30, 0).sums()
    sums.matched = 50
    assert metrics(sums).matched_share is None
    assert sums.classification is not None
    sums.classification.calibration[:] = 0
    assert (metrics(sums).accuracy, metrics(sums).log_loss) == (None, None)


def test_errors_of_contradicting_sums_are_not_defined() -> None:
    sums = of_task("regression", 30, 0).sums()
    assert sums.regression is not None
    sums.regression.squared_error = ExactSum(-5)
    measured = metrics(sums)
    assert (measured.root_mean_squared_error, measured.r2) == (None, None)
    assert measured.mean_absolute_error is not None


def test_an_error_far_beyond_the_spread_of_the_values_has_no_r2() -> None:
    sums = QualitySums(Task.REGRESSION, 0)
    scores = np.full((2, 1), 1e30, np.float32)
    sums.add_pairs(scores, np.full(2, -1), np.array([1e-160, 2e-160]), np.zeros(2))
    assert metrics(sums).r2 is None
