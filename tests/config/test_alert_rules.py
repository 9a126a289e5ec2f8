"""[[aggregate.alerts]]: accepted rules, and errors in rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.load import load_settings
from forebay.stream.config.render import render_json, render_toml

GOOD = """\
[aggregate]
closed_after_ms = 7200000

[[aggregate.alerts]]
name = "bad events"
kind = "not_json"
rate = 0.05
resolve_below = 0.02
severity = "critical"

[[aggregate.alerts]]
name = "slow"
category = "performance"
count = 0

[[aggregate.alerts]]
name = "worse"
category = "quality"
metric = "log_loss"
above = 0.4
resolve_below = 0.3
model = "delays"
version = 3
slice = "carrier=*"
min_matched = 500

[[aggregate.alerts]]
name = "drifted"
category = "drift"
metric = "drift"
level = "warn"
column = "dep_delay"
"""


def load(tmp_path: Path, text: str) -> str:
    """Load a file with mistakes and return the error message."""
    path = tmp_path / "forebay.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    (problem,) = caught.value.problems
    return problem


def test_rules_are_read_shown_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "forebay.toml"
    path.write_text(GOOD)
    loaded = load_settings(path, {})
    bad, slow, worse, drifted = loaded.settings.aggregate.alerts
    assert (bad.name, bad.kind, bad.threshold, bad.resolve_below, bad.window_s) == (
        "bad events",
        "not_json",
        0.05,
        0.02,
        300,
    )
    assert (slow.category, slow.threshold, slow.severity) == ("performance", 0, "warning")
    assert (worse.threshold, worse.slice, worse.min_matched, worse.version) == (0.4, "carrier=*", 500, 3)
    assert (drifted.metric, drifted.level, drifted.column) == ("drift", "warn", "dep_delay")
    assert loaded.origins["aggregate.alerts"] == f"{path}:4"
    path.write_text(render_toml(loaded))
    assert load_settings(path, {}).settings.aggregate == loaded.settings.aggregate
    assert json.loads(json.dumps(render_json(loaded)))["settings"]["aggregate"]["alerts"]["value"][1]["count"] == 0


def test_rules_in_the_environment_are_json() -> None:
    environ = {"FOREBAY_AGGREGATE__ALERTS": '[{"name": "a", "count": 5}]'}
    (rule,) = load_settings(None, environ).settings.aggregate.alerts
    assert (rule.name, rule.threshold) == ("a", 5)
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"FOREBAY_AGGREGATE__ALERTS": "[{"})
    assert (
        "environment FOREBAY_AGGREGATE__ALERTS" in caught.value.problems[0] and "not JSON" in caught.value.problems[0]
    )


@pytest.mark.parametrize(
    ("rule", "line", "report"),
    [
        ("count = 1", 3, "rule 1, name ({}): is missing; it must be a string of 1 to 100 characters"),
        ('name = "a"', 3, 'rule "a" ({}): must have either count or rate'),
        ('name = "a"\ncount = 1\nrate = 0.1', 3, 'rule "a" ({}): must have either count or rate'),
        ('name = "a"\nrate = 1.5', 5, 'rule "a", rate = 1.5 ({}): must be a number of at least 0 and below 1'),
        ('name = "a"\ncount = 1.5', 5, 'rule "a", count = 1.5 ({}): must be a whole number of at least 0'),
        ("name = 5\ncount = 1", 4, "rule 1, name = 5 ({}): must be a string of 1 to 100 characters"),
        (
            'name = "a"\ncount = 1\n\nwindow_s = 90 # seconds',
            7,
            'rule "a", window_s = 90 ({}): must be a multiple of 60 from 60 to 86400',
        ),
        (
            'name = "a"\ncount = 1\nseverity = "urgent"',
            6,
            'rule "a", severity = "urgent" ({}): must be "info", "warning", "critical"',
        ),
        (
            'name = "a"\nkind = "not_jsn"\ncount = 1',
            5,
            'rule "a", kind = "not_jsn" ({}): must be a kind of failure, as `forebay dlq stats` shows them; did you mean '
            "not_json?",
        ),
        (
            'name = "a"\ncount = 1\nsevrity = "info"',
            6,
            'rule "a", sevrity ({}): unknown key; did you mean severity?',
        ),
        (
            'name = "a"\ncount = 1\nresolve_below = 2',
            6,
            'rule "a", resolve_below = 2 ({}): must be at least 0 and at most the threshold, 1',
        ),
        (
            'name = "a"\ncategory = "drift"\ncount = 1',
            3,
            'rule "a", metric ({}): is missing; it must be drift, skew, psi, psi_recent, missing, unseen, out_of_range',
        ),
        (
            'name = "a"\ncategory = "quality"\nmetric = "acuracy"\nbelow = 0.9',
            6,
            'rule "a", metric = "acuracy" ({}): must be one of accuracy, precision, recall, f1, log_loss, brier, '
            "roc_auc, calibration_error, mean_absolute_error, root_mean_squared_error, r2, bias, matched_share, "
            "label_delay_p50_s, label_delay_p90_s, estimated_accuracy, estimated_precision, estimated_recall, estimated_f1, "
            'estimated_log_loss, estimated_brier, estimated_roc_auc for category "quality"; did you mean accuracy?',
        ),
        (
            'name = "a"\nmetric = "latency_p99_ms"\nabove = 5',
            5,
            'rule "a", metric = "latency_p99_ms" ({}): belongs to category "performance", and the rule has category "error"',
        ),
        (
            'name = "a"\ncategory = "quality"\nmetric = "roc_auc"',
            3,
            'rule "a" ({}): must have either above or below, the threshold of its metric',
        ),
        (
            'name = "a"\ncategory = "quality"\nmetric = "roc_auc"\nbelow = 0.9\ncount = 3',
            8,
            'rule "a", count = 3 ({}): cannot be set in a rule with metric; it is for rules about failures',
        ),
        ('name = "a"\ncount = 3\nabove = 1', 6, 'rule "a", above = 1 ({}): can only be set in a rule with metric'),
        (
            'name = "a"\ncategory = "performance"\nmetric = "throughput"\nbelow = 9\nslice = "x=1"',
            8,
            'rule "a", slice = "x=1" ({}): can only be set in rules of category "quality"',
        ),
        (
            'name = "a"\ncategory = "quality"\nmetric = "roc_auc"\nbelow = 0.9\nresolve_below = 0.8',
            8,
            'rule "a", resolve_below = 0.8 ({}): can only be set together with above; with below, set resolve_above',
        ),
        (
            'name = "a"\ncategory = "quality"\nmetric = "roc_auc"\nbelow = 0.9\nresolve_above = 0.8',
            8,
            'rule "a", resolve_above = 0.8 ({}): must be at least the threshold, below = 0.9',
        ),
        (
            'name = "a"\ncategory = "quality"\nmetric = "roc_auc"\nbelow = 0.9\nmin_events = 8',
            8,
            'rule "a", min_events = 8 ({}): cannot be set in rules of category "quality"; set min_matched',
        ),
        (
            'name = "a"\ncategory = "quality"\nmetric = "roc_auc"\nbelow = 0.9\nslice = "carrier"',
            8,
            'rule "a", slice = "carrier" ({}): must be text such as carrier=UA, or carrier=* for each value',
        ),
        (
            'name = "a"\ncategory = "drift"\nmetric = "drift"\nabove = 0.3',
            7,
            'rule "a", above = 0.3 ({}): cannot be set in rules of category "drift"; set level, and the thresholds in [drift]',
        ),
        (
            'name = "a"\ncategory = "resource"\nmetric = "worker_memory_mb"\nabove = 900\nmodel = "m"',
            8,
            'rule "a", model = "m" ({}): cannot be set for worker_memory_mb, which is about a whole worker; remove it',
        ),
        (
            'name = "a"\ncategory = "quality"\nmetric = "roc_auc"\nbelow = 0.9\nversion = 2',
            3,
            'rule "a", model ({}): is missing; a version needs the name of its model',
        ),
        (
            'name = "a"\ncount = 1\n[[aggregate.alerts]]\nname = "a"\ncount = 2',
            7,
            'rule "a" ({}): another rule has the same name',
        ),
    ],
)
def test_an_error_in_a_rule_shows_name_key_line_and_allowed_values(
    tmp_path: Path, rule: str, line: int, report: str
) -> None:
    problem = load(tmp_path, f"[aggregate]\nclosed_after_ms = 7200000\n[[aggregate.alerts]]\n{rule}\n")
    assert problem == f"aggregate.alerts, {report.format(f'{tmp_path}/forebay.toml:{line}')}"


def test_each_error_in_the_rules_is_reported_separately(tmp_path: Path) -> None:
    path = tmp_path / "forebay.toml"
    path.write_text(GOOD + '[[aggregate.alerts]]\nname = "c"\npaint = "red"\nfor_s = -1\nrate = 0.1\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert [problem.partition(" (")[0] for problem in caught.value.problems] == [
        'aggregate.alerts, rule "c", for_s = -1',
        'aggregate.alerts, rule "c", paint',
    ]
    assert f"{path}:36" in caught.value.problems[0] and f"{path}:35" in caught.value.problems[1]
    assert "the keys are name, category, kind, model" in caught.value.problems[1]


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (
            '[aggregate]\nalerts = [{name = "a", count = 1, for_s = -1}]',
            "forebay.toml:2): must be a whole number from 0 to 86400",
        ),
        ("[aggregate]\nalerts = [5]", "rule 1 ("),
    ],
)
def test_errors_in_inline_rules_show_their_line(tmp_path: Path, text: str, report: str) -> None:
    assert report in load(tmp_path, text)


def test_an_error_in_rules_from_the_environment_shows_the_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"FOREBAY_AGGREGATE__ALERTS": '[{"name": "a", "count": -5}]'})
    assert caught.value.problems == (
        'aggregate.alerts, rule "a", count = -5 (environment FOREBAY_AGGREGATE__ALERTS): must be a whole number of at least 0',
    )


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ('[aggregate]\nalerts = "none"', "not JSON"),
        ("[aggregate]\nalerts = 5", "not a list of tables"),
        ("[aggregate]\nalerts = [5]", "must be a table"),
        ('[aggregate]\nwebhook_url = "pager"', 'webhook_url = "********"'),
        ("[aggregate]\nfinal_after_ms = 7200000", "must be at most aggregate.closed_after_ms (3600000)"),
        ('[aggregate]\ngroup_id = "forebay"', "must differ from kafka.group_id"),
    ],
)
def test_other_errors(tmp_path: Path, text: str, report: str) -> None:
    assert report in load(tmp_path, text)
