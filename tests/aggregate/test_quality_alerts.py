"""Alerts about quality, from the records of evaluators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forebay.schemas import aggregates
from forebay.stream.aggregate.alert_sources import QualitySource
from forebay.stream.aggregate.rules import build_metric_rules
from forebay.stream.config.alert_rule import AlertRule
from forebay.stream.quality.estimate import Estimate, estimate
from forebay.stream.quality.keys import QualityKey, Task
from forebay.stream.quality.metrics import Metrics
from forebay.stream.quality.sums import QualitySums
from forebay.stream.quality.wire import LabelProgress, QualityParts, encode_parts
from tests.aggregate.alert_feed import AlertFeed
from tests.quality.samples import binary

HOUR = 3_600_000
START = 500_000 * HOUR
NOW = START + 1_000 * HOUR


def feed(metric: str, **keys: Any) -> AlertFeed:
    rule = AlertRule(name="r", category="quality", metric=metric, **({"window_s": 3600, "min_matched": 100} | keys))
    source = QualitySource(
        build_metric_rules([rule], rule.category), "quality", group="g", horizon_s=7200, window_s=3600
    )
    source.begin(NOW)
    return AlertFeed(source)


def record(
    hour: int,
    *,
    right: int,
    wrong: int = 0,
    open_predictions: int = 0,
    version: int = 1,
    slice_name: str = "",
    labels_until: int | None = None,
) -> bytes:
    """Return a record with predictions of class 1 at 0.8. labels_until: the hour up to which labels have been read."""
    sums = QualitySums(Task.BINARY, 2)

    def columns(count: int) -> tuple[Any, Any]:
        return np.full((count, 1), 0.8, np.float32), np.ones(count, np.int64)

    sums.add_predictions(*columns(right + wrong + open_predictions))
    for count, actual in ((right, 1.0), (wrong, 0.0)):
        sums.add_pairs(*columns(count), np.full(count, actual), np.full(count, 1_800_000))
    progress = None
    if labels_until is not None:
        progress = LabelProgress(horizon_ms=2 * HOUR, until_ms={0: START + labels_until * HOUR})
    key = QualityKey("m", version, START + hour * HOUR, slice_name)
    return encode_parts(key, QualityParts(sums=sums, progress=progress), window_s=3600, group="g", worker="e")[1]


def test_a_worse_version_fires_and_resolves_by_event_time() -> None:
    alerts = feed("accuracy", below=0.8, resolve_above=0.9)
    alerts.add([record(0, right=95, wrong=5), record(1, right=40, wrong=50), record(1, right=500, version=2)])
    assert alerts.look(NOW) == [], "90 labels are too few"
    alerts.add([record(1, right=5, wrong=5)])
    (fired,) = alerts.look(NOW)
    document = fired.to_dict()
    assert (document["model"], document["version"], document["since"]) == ("m", 1, START + HOUR)
    assert (document["value"], document["count"], document["events"]) == (0.45, 100, 100)
    assert document["message"] == "r: m v1: accuracy 0.45 < 0.8 (100 labels in 3600 s)"
    alerts.add([record(2, right=85, wrong=15)])
    assert alerts.look(NOW) == [], "above the threshold, but below the level that resolves"
    alerts.add([record(3, right=99, wrong=1)])
    (resolved,) = alerts.look(NOW)
    assert (resolved.status.value, resolved.alert_id) == ("resolved", fired.alert_id)


def test_labels_that_come_later_change_the_windows_judged() -> None:
    alerts = feed("accuracy", below=0.8)
    alerts.add([record(0, right=0, wrong=120)])
    assert [alert.status.value for alert in alerts.look(NOW)] == ["firing"]
    alerts.add([record(0, right=1000)])
    assert [alert.status.value for alert in alerts.look(NOW)] == ["resolved"]


def test_the_condition_must_hold_for_several_windows() -> None:
    alerts = feed("log_loss", above=0.5, for_s=7200)
    alerts.add([record(0, right=100), record(1, right=10, wrong=90)])
    assert alerts.look(NOW) == []
    alerts.add([record(2, right=10, wrong=90)])
    (fired,) = alerts.look(NOW)
    assert fired.to_dict()["since"] == START + HOUR


def test_a_time_span_is_rounded_up_to_whole_windows() -> None:
    alerts = feed("accuracy", below=0.8, window_s=5400)
    alerts.add([record(0, right=30, wrong=20), record(1, right=20, wrong=30)])
    (fired,) = alerts.look(NOW)
    assert (fired.to_dict()["value"], fired.to_dict()["count"]) == (0.5, 100)


@pytest.mark.parametrize(
    ("slice_name", "found"),
    [(None, []), ("carrier=UA", ["carrier=UA"]), ("carrier=*", ["carrier=AA", "carrier=UA"]), ("dest=*", ["dest=x"])],
)
def test_slices_are_judged_separately(slice_name: str | None, found: list[str]) -> None:
    alerts = feed("accuracy", below=0.8, **({} if slice_name is None else {"slice": slice_name}))
    bad = ("carrier=UA", "carrier=AA", "dest=x")
    alerts.add([record(0, right=900, wrong=100), record(0, right=200, slice_name="carrier=DL")])
    alerts.add([record(0, right=20, wrong=80, slice_name=name) for name in bad])
    assert [alert.to_dict()["slice"] for alert in alerts.look(NOW)] == found


def test_the_matched_share_is_judged_when_no_label_can_come_any_more() -> None:
    alerts = feed("matched_share", below=0.9)
    alerts.add([record(0, right=100, open_predictions=100), record(1, right=5, open_predictions=195)])
    alerts.add([record(2, right=0, open_predictions=100, labels_until=3)])
    assert alerts.look(NOW) == []
    alerts.add([record(3, right=0, open_predictions=100, labels_until=4)])
    (fired,) = alerts.look(NOW)
    assert (fired.to_dict()["value"], fired.to_dict()["since"]) == (0.5, START)


def test_the_delay_of_labels_is_in_seconds() -> None:
    alerts = feed("label_delay_p90_s", above=600)
    alerts.add([record(0, right=100)])
    (fired,) = alerts.look(NOW)
    assert fired.to_dict()["value"] == pytest.approx(1800, rel=0.05)


def test_an_estimate_fires_before_the_labels_come() -> None:
    alerts = feed("estimated_accuracy", below=0.7)
    known, shown = binary(2000, 1), binary(2000, 2, spread=0.3)
    for hour, sums in ((0, known.sums()), (1, QualitySums(Task.BINARY, 2))):
        if hour:
            sums.add_predictions(shown.scores_BO, shown.classes_B)
        parts = QualityParts(sums=sums)
        alerts.add(
            [encode_parts(QualityKey("m", 1, START + hour * HOUR), parts, window_s=3600, group="g", worker="e")[1]]
        )
    (fired,) = alerts.look(NOW)
    truth = float((shown.classes_B == shown.actual_B).mean())
    assert fired.to_dict()["value"] == pytest.approx(truth, abs=0.03)
    assert fired.to_dict()["events"] == 2000


def test_an_alert_of_a_version_without_predictions_resolves() -> None:
    alerts = feed("accuracy", below=0.8)
    alerts.add([record(0, right=10, wrong=190)])
    assert len(alerts.look(NOW)) == 1
    alerts.add([record(5, right=200, version=2)])
    assert alerts.look(NOW) == []
    alerts.add([record(50, right=200, version=2)])
    (resolved,) = alerts.look(NOW)
    assert "resolved, no more data" in resolved.to_dict()["message"]


def test_other_records_are_ignored() -> None:
    alerts = feed("accuracy", below=0.8)
    alerts.add([b"", b"{}", b"not JSON"])
    assert alerts.look(NOW) == []


def test_the_metrics_of_rules_are_those_of_the_reports() -> None:
    fields = set(Metrics.__dataclass_fields__)
    assert fields >= {*aggregates.CLASS_METRICS, *aggregates.VALUE_METRICS}
    sample = binary(2000, 1)
    found = estimate(sample.sums(), sample.sums(), random=np.random.default_rng(0))
    assert isinstance(found, Estimate)
    assert {f"estimated_{name}" for name in found.metrics} == set(aggregates.ESTIMATES)
