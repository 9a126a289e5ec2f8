"""Quality records added up, and the report on them."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.metrics import metrics
from forebay.stream.quality.report import quality_report
from forebay.stream.quality.view import QualityView, Subject
from forebay.stream.quality.wire import LabelCounts, LabelProgress, QualityParts, encode_parts
from tests.quality.samples import Sample, binary, classes

HOUR = 3_600_000
START = 500_000 * HOUR


def record(version: int, hour: int, parts: QualityParts, slice_name: str = "", *, group: str = "g") -> bytes:
    key = QualityKey("churn", version, START + hour * HOUR, slice_name)
    return encode_parts(key, parts, window_s=3600, group=group, worker="w")[1]


def of(sample: Sample) -> QualityParts:
    return QualityParts(sums=sample.sums())


def labelled_view(hours: int = 3) -> QualityView:
    view = QualityView(group="g")
    for hour in range(hours):
        view.read(record(1, hour, of(binary(400, hour))))
    return view


def test_records_of_one_key_add_up() -> None:
    view = QualityView(group="g")
    sample = binary(300, 1)
    for part in np.array_split(np.arange(300), 4):
        view.read(record(1, 0, of(sample.rows(part))))
    (sums,) = view.windows("churn", 1).values()
    assert sums.to_dict() == sample.sums().to_dict()
    assert (view.records, view.rejected) == (4, 0)


def test_records_of_other_groups_are_left_out_and_named() -> None:
    view, sums = QualityView(group="g"), binary(300, 1).sums()
    parts = QualityParts(sums=sums, labels=LabelCounts(labels=300), progress=LabelProgress(horizon_ms=1))
    for group in ("g", "again", "g-evaluate"):
        view.read(record(1, 0, parts, group=group))
    (shown,) = view.windows("churn", 1).values()
    assert (shown.to_dict(), view.labels().labels) == (sums.to_dict(), 300)
    assert view.other_groups == {"again", "g-evaluate"}


def test_records_are_kept_apart_by_window_version_and_slice() -> None:
    view = labelled_view(2)
    view.read(record(2, 0, of(binary(7, 9))))
    view.read(record(1, 0, of(binary(5, 9)), "country=DE"))
    assert view.subjects() == [Subject("churn", 1), Subject("churn", 1, "country=DE"), Subject("churn", 2)]
    assert list(view.windows("churn", 1)) == [START, START + HOUR]
    assert list(view.windows("churn", 1, since_ms=START + HOUR)) == [START + HOUR]
    total = view.total("churn", 1)
    assert total is not None
    assert total.predictions == 800
    assert view.total("churn", 3) is None
    assert view.newest_window() == START + HOUR


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_of_predictions_with_different_numbers_of_classes_most_are_shown(order: tuple[int, ...]) -> None:
    records = [
        record(1, 0, of(classes(5, 3))),
        record(1, 0, of(binary(300, 1))),
        record(1, 1, of(binary(200, 2))),
        record(1, 2, of(classes(7, 4))),
    ]
    view = QualityView(group="g")
    for index in order:
        view.read(records[index])
    total = view.total("churn", 1)
    assert total is not None and (total.num_classes, total.predictions) == (2, 500)
    assert list(view.windows("churn", 1)) == [START, START + HOUR] and view.newest_window() == START + HOUR
    assert (view.unlike, view.rejected) == (12, 0)


def test_only_wanted_subjects_are_kept() -> None:
    view = QualityView(group="g", wanted=lambda subject: subject.version == 2)
    view.read(record(1, 0, of(binary(7, 9))))
    view.read(record(2, 0, of(binary(7, 9))))
    assert view.subjects() == [Subject("churn", 2)]


@pytest.mark.parametrize(
    ("key", "is_parsed"),
    [
        (b"churn|1|0|", True),
        (b"churn|1|0|country=DE", False),
        (b"churn|1|0|country=a|b", False),
        (b"churn|0|0|", True),
        (b"|0|0|", True),
        (b"churn|x|0|a", True),
        (b"churn|" + b"1" * 5000 + b"|0|a", True),
        (b"\xff", True),
        (b"", True),
        (None, True),
    ],
)
def test_what_is_not_wanted_is_not_parsed(key: bytes | None, is_parsed: bool) -> None:
    view = QualityView(group="g", wanted=lambda subject: not subject.slice)
    view.read(b"not a record", key=key)
    assert view.rejected == is_parsed


def test_a_record_that_cannot_be_added_is_counted_with_its_reason() -> None:
    view = labelled_view(1)
    view.read(b"{}")
    view.read(record(1, 0, of(classes(5, 1))).replace(b'"classes"', b'"binary"'))
    assert (view.records, view.rejected) == (1, 2)
    assert "num_classes is 4; expected 2 for task binary" in view.last_error


def test_a_window_is_final_when_the_labels_of_all_partitions_are_beyond_its_horizon() -> None:
    view = labelled_view(1)
    assert not view.is_final(START)
    end = START + HOUR
    for until_ms, final in (({0: end + 5000, 1: end + 900}, False), ({1: end + 1000}, False), ({1: end + 1001}, True)):
        view.read(record(0, 1, QualityParts(progress=LabelProgress(horizon_ms=1000, until_ms=until_ms))))
        assert view.is_final(START) == final
    assert not view.is_final(START + HOUR)


def test_a_window_is_not_final_while_a_partition_with_predictions_has_no_label() -> None:
    view = labelled_view(1)
    late = START + 10 * HOUR
    for progress in (
        LabelProgress(horizon_ms=HOUR, until_ms={0: late}, unlabelled=[1, 2]),
        LabelProgress(horizon_ms=HOUR, until_ms={0: late, 1: late}, unlabelled=[2]),
        LabelProgress(horizon_ms=HOUR, until_ms={0: late}, unlabelled=[1]),
    ):
        view.read(record(0, 0, QualityParts(progress=progress)))
        assert not view.is_final(START)
        assert quality_report(view, since_ms=START, random=None).labels_until_ms is None
    view.read(record(0, 0, QualityParts(progress=LabelProgress(horizon_ms=HOUR, until_ms={2: late}))))
    assert view.is_final(START)
    assert quality_report(view, since_ms=START, random=None).labels_until_ms == late


def test_counts_of_labels_add_up_by_model() -> None:
    view = QualityView(group="g")
    for hour in range(3):
        view.read(record(0, hour, QualityParts(labels=LabelCounts(labels=10, used=8))))
    assert view.labels("churn") == view.labels() == LabelCounts(labels=30, used=24)
    assert view.labels("churn", since_ms=START + 2 * HOUR) == LabelCounts(labels=10, used=8)
    assert view.labels("other").is_empty


def test_old_windows_are_forgotten() -> None:
    view = labelled_view(3)
    view.read(record(2, 0, of(binary(3, 1))))
    view.read(record(0, 0, QualityParts(labels=LabelCounts(labels=10))))
    view.forget(START + HOUR)
    assert view.subjects() == [Subject("churn", 1)]
    assert list(view.windows("churn", 1)) == [START + HOUR, START + 2 * HOUR]
    assert view.labels().is_empty


def test_the_report_has_the_truth_and_the_estimate_of_each_window() -> None:
    view = labelled_view(2)
    unlabelled = binary(400, 5).sums()
    sample = binary(400, 5)
    sample.add_to(unlabelled, sign=-1)
    view.read(record(1, 2, QualityParts(sums=unlabelled)))
    report = quality_report(view, since_ms=START + HOUR, random=np.random.default_rng(1))
    (subject,) = report.subjects
    first, second = subject.windows
    assert (first.start, second.end) == (START + HOUR, START + 3 * HOUR)
    assert first.metrics == metrics(binary(400, 1).sums())
    assert first.estimate is not None
    assert first.estimate.labelled == 400
    assert (second.metrics.matched, second.metrics.accuracy) == (0, None)
    assert second.estimate is not None
    assert second.estimate.labelled == 800
    assert second.estimate.metrics["accuracy"].value == pytest.approx(metrics(sample.sums()).accuracy, abs=0.1)
    document = report.to_dict()
    assert document["quality"][0]["total"]["predictions"] == 800
    assert document["quality"][0]["windows"][1]["estimate"]["labelled"] == 800
