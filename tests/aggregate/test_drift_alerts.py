"""Alerts about drift, from the counts of workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forebay.stream.aggregate.alert_sources import DriftSource
from forebay.stream.aggregate.rules import build_drift_rules
from forebay.stream.config.alert_rule import AlertRule
from forebay.stream.drift.measures import DriftThresholds
from forebay.stream.drift.wire import encode_drift
from tests.aggregate.alert_feed import AlertFeed
from tests.drift.build import WINDOW_MS, CountingWorker, bins_of, end_of, key_of, signature_of

THRESHOLDS = DriftThresholds()
WINDOW_S = WINDOW_MS // 1000


class DriftingModel:
    """A model with two numbers, whose first one drifts, and the rules about it."""

    def __init__(self, **keys: Any) -> None:
        self.random = np.random.default_rng(0)
        self.worker = CountingWorker(bins_of(signature_of(2), self.rows(0, 20_000)))
        rules = build_drift_rules([AlertRule(name="r", category="drift", **keys)], window_s=WINDOW_S)
        source = DriftSource(rules, "drift", thresholds=THRESHOLDS, window_s=WINDOW_S)
        source.begin(end_of(90))
        self.alerts = AlertFeed(source)
        self.window = 100

    def rows(self, shift: float, count: int = 3_000) -> Any:
        rows = self.random.standard_normal((count, 2)).astype(np.float32)
        rows[:, 0] += np.float32(shift)
        return rows

    def run(self, windows: int, shift: float) -> list[dict[str, Any]]:
        """Return the alerts after further windows."""
        found = []
        for _ in range(windows):
            record = self.worker.record(key_of(self.window), self.rows(shift))
            value = encode_drift(record.counts, worker=record.worker, number=record.number)[1]
            self.alerts.add([value])
            found += self.alerts.look(end_of(self.window))
            self.window += 1
        return [alert.to_dict() for alert in found]


def test_a_column_that_drifts_fires_with_its_name_and_resolves() -> None:
    model = DriftingModel(metric="drift")
    assert model.run(5, 0) == []
    (fired,) = model.run(4, 1)
    assert (fired["model"], fired["version"], fired["column"]) == ("flights", 1, "x0")
    assert (fired["level"], fired["status"], fired["category"]) == ("alarm", "firing", "drift")
    assert fired["since"] == key_of(105).window_start
    assert "feature x0" in fired["message"]
    (resolved,) = model.run(4, 0)
    assert (resolved["status"], resolved["alert_id"]) == ("resolved", fired["alert_id"])


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"metric": "psi"}, 1),
        ({"metric": "missing"}, 0),
        ({"metric": "skew"}, 0),
        ({"metric": "drift", "column": "x1"}, 0),
        ({"metric": "drift", "model": "flights", "version": 1}, 1),
        ({"metric": "drift", "model": "flights", "version": 2}, 0),
        ({"metric": "drift", "for_s": 3600}, 0),
    ],
)
def test_a_rule_can_be_about_some_findings(keys: dict[str, Any], count: int) -> None:
    model = DriftingModel(**keys)
    model.run(5, 0)
    assert len(model.run(4, 1)) == count


def test_a_unit_error_of_a_new_version_is_skew() -> None:
    (fired,) = DriftingModel(metric="skew").run(2, 30)
    assert fired["column"] == "x0"
    assert "since the first windows of the version" in fired["message"]


def test_a_version_without_rows_resolves_its_alerts() -> None:
    model = DriftingModel(metric="drift")
    model.run(5, 0)
    assert len(model.run(4, 1)) == 1
    (resolved,) = model.alerts.look(end_of(model.window + 20))
    assert resolved.status.value == "resolved"
