"""Dashboards and alert rules: what they name exists, and each alert fires when it should and only then."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from forebay.stream.telemetry.catalogue import METRICS, Histogram
from tests.needed import needed
from tests.telemetry.promtool import find_promtool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm/files/alerts/forebay.rules.yaml"
RULE_TESTS = Path(__file__).with_name("forebay.rules.test.yaml")
DASHBOARDS = sorted((ROOT / "helm/files/dashboards").glob("*.json"))

# Labels and series that Prometheus adds to everything that it scrapes.
SCRAPED = {"job", "instance"}


def exported_series() -> dict[str, set[str]]:
    """Return the labels of every series that a worker exports."""
    series: dict[str, set[str]] = {}
    for metric in METRICS:
        labels = {*metric.labels, *SCRAPED}
        if isinstance(metric, Histogram):
            series |= {f"{metric.family}_{part}": labels for part in ("count", "sum")}
            series[f"{metric.family}_bucket"] = labels | {"le"}
        else:
            series[metric.prometheus_name] = labels
    return series


def selectors(expression: Any) -> Iterator[tuple[str, set[str]]]:
    """Yield every metric of an expression, with the labels that it matches."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression.name, {matcher.name for matcher in expression.matchers.matchers}
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from selectors(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from selectors(argument)


def unknown_names(expression: str) -> list[str]:
    """Return the metrics and labels of an expression that no worker exports. Grafana variables are replaced."""
    plain = expression.replace("$__rate_interval", "5m").replace("$__interval", "5m")
    series, unknown, labels = exported_series(), [], set[str]()
    for name, matched in selectors(promql_parser.parse(plain)):
        if name not in series:
            unknown.append(name)
            continue
        labels |= series[name]
        unknown += [f"{name}{{{label}}}" for label in matched - series[name]]
    for group in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)", plain):
        unknown += [f"by {label}" for label in re.split(r"[ ,]+", group.strip()) if label and label not in labels]
    return unknown


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions_of(dashboard: Path) -> Iterator[str]:
    document = json.loads(dashboard.read_text())
    for panel in document["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            call = re.fullmatch(r"label_values\((.+), \w+\)", variable["definition"])
            assert call is not None
            yield call[1]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_uses_existing_metrics_and_has_annotations(rule: dict[str, Any]) -> None:
    assert unknown_names(rule["expr"]) == []
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_uses_existing_metrics(dashboard: Path) -> None:
    expressions = list(expressions_of(dashboard))
    assert len(expressions) > 10
    assert {expression: unknown for expression in expressions if (unknown := unknown_names(expression))} == {}


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {name for path in DASHBOARDS for text in expressions_of(path) for name, _ in selectors_of_text(text)}
    unseen = {metric.name for metric in METRICS if not any(name.startswith(metric.family) for name in shown)}
    assert unseen == {"forebay.process.start_time"}


def selectors_of_text(text: str) -> list[tuple[str, set[str]]]:
    return list(selectors(promql_parser.parse(text.replace("$__rate_interval", "5m"))))


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("forebay_readyy == 0", ["forebay_readyy"]),
        ('rate(forebay_events_total{outcom="x"}[5m])', ["forebay_events_total{outcom}"]),
        ("sum by (job, modell) (forebay_events_total)", ["by modell"]),
        ("1 - (forebay_ready / forebay_unready)", ["forebay_unready"]),
        ("max_over_time(forebay_lost[1m:])", ["forebay_lost"]),
    ],
)
def test_unknown_metrics_and_labels_are_found(expression: str, unknown: list[str]) -> None:
    assert unknown_names(expression) == unknown


def test_every_alert_is_tested_for_firing() -> None:
    tests = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules()}


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    promtool = needed(lambda: find_promtool(os.environ))
    for path in (RULES, RULE_TESTS):
        shutil.copy(path, tmp_path)
    command = [promtool, "test", "rules", RULE_TESTS.name]
    check = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert check.returncode == 0, check.stdout + check.stderr
