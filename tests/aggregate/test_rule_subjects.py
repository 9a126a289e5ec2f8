"""Alert rules that can never fire."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.stream.aggregate.rule_subjects import rules_without_subject
from forebay.stream.config.alert_rule import AlertRule
from forebay.stream.config.sections import AggregateSection, DriftSection, EvaluateSection, ModelSection, Settings

WORSE = {"category": "quality", "metric": "accuracy", "below": 0.8}
DRIFTED = {"category": "drift", "metric": "drift"}
COLUMNS = {"delays": ["distance", "origin", "late", "class"]}


def problems(rule: dict[str, Any], columns: dict[str, list[str]] | None = None, *, enabled: bool = True) -> list[str]:
    settings = Settings(
        model=ModelSection(name="delays"),
        evaluate=EvaluateSection(enabled=enabled, slices=("origin", "carrier")),
        drift=DriftSection(enabled=enabled, ignored_columns=("month",)),
        aggregate=AggregateSection(alerts=(AlertRule(name="r", **rule),)),
    )
    return list(rules_without_subject(settings, COLUMNS if columns is None else columns))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"count": 3}, None),
        ({"count": 3, "model": "delay"}, "no model delay is served; did you mean delays?"),
        (WORSE, None),
        ({**WORSE, "slice": "carrier=*"}, None),
        ({**WORSE, "slice": "carier=UA"}, "slice carier is not in evaluate.slices; did you mean carrier?"),
        ({**WORSE, "slice": "month=1"}, "slice month is not in evaluate.slices; there are origin, carrier"),
        (DRIFTED, None),
        ({**DRIFTED, "column": "origin", "model": "delays"}, None),
        ({**DRIFTED, "column": "class"}, None),
        ({**DRIFTED, "column": "distanze"}, "column distanze is not counted for delays; did you mean distance?"),
        ({**DRIFTED, "column": "month"}, "column month is in drift.ignored_columns"),
    ],
)
def test_a_rule_about_something_that_there_is_not_is_named(rule: dict[str, Any], problem: str | None) -> None:
    assert problems(rule) == ([] if problem is None else [f"r: {problem}"])


def test_columns_are_not_judged_if_no_manifest_can_be_read() -> None:
    assert problems({**DRIFTED, "column": "distanze"}, {}) == []


def test_what_is_not_measured_is_named() -> None:
    assert problems(WORSE, enabled=False) == ["r: evaluate.enabled is false, so the quality is not measured"]
    assert problems(DRIFTED, enabled=False) == ["r: drift.enabled is false, so nothing is counted"]
