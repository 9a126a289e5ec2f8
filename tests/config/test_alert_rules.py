"""[[aggregate.alerts]]: what is taken, and what people are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from stream.config.load import load_settings
from stream.config.render import render_json, render_toml

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
"""


def load(tmp_path: Path, text: str) -> str:
    """What is said of a file with mistakes."""
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
    bad, slow = loaded.settings.aggregate.alerts
    assert (bad.name, bad.kind, bad.threshold, bad.resolve_below, bad.window_s) == (
        "bad events",
        "not_json",
        0.05,
        0.02,
        300,
    )
    assert (slow.category, slow.threshold, slow.severity) == ("performance", 0, "warning")
    assert loaded.origins["aggregate.alerts"] == f"{path}:4"
    path.write_text(render_toml(loaded))
    assert load_settings(path, {}).settings.aggregate == loaded.settings.aggregate
    assert json.loads(json.dumps(render_json(loaded)))["settings"]["aggregate"]["alerts"]["value"][1]["count"] == 0


def test_in_the_environment_they_are_json() -> None:
    environ = {"FOREBAY_AGGREGATE__ALERTS": '[{"name": "a", "count": 5}]'}
    (rule,) = load_settings(None, environ).settings.aggregate.alerts
    assert (rule.name, rule.threshold) == ("a", 5)
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"FOREBAY_AGGREGATE__ALERTS": "[{"})
    assert (
        "environment FOREBAY_AGGREGATE__ALERTS" in caught.value.problems[0] and "not JSON" in caught.value.problems[0]
    )


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("count = 1", "rule 1: name is missing"),
        ('name = "a"', "rule 1: must have either count or rate"),
        ('name = "a"\ncount = 1\nrate = 0.1', "rule 1: must have either count or rate"),
        ('name = "a"\nrate = 1.5', "rule 1: rate = 1.5 must be a number from 0 to below 1"),
        ('name = "a"\ncount = 1.5', "rule 1: count = 1.5 must be a whole number from 0"),
        ('name = "a"\ncount = 1\nwindow_s = 90', "rule 1: window_s = 90 must be a multiple of 60 from 60 to 86400"),
        ('name = "a"\ncount = 1\nseverity = "urgent"', 'severity = "urgent" must be "info", "warning", "critical"'),
        ('name = "a"\ncount = 1\nkind = "not_jsn"', "did you mean not_json?"),
        ('name = "a"\ncount = 1\nsevrity = "info"', "there is no key sevrity; did you mean severity?"),
        ('name = "a"\ncount = 1\nresolve_below = 2', "resolve_below = 2 must be at most the threshold, 1"),
        ('name = "a"\ncount = 1\n[[aggregate.alerts]]\nname = "a"\ncount = 2', '"a": the name is there twice'),
    ],
)
def test_a_wrong_rule_names_key_value_and_what_is_allowed(tmp_path: Path, rule: str, told: str) -> None:
    problem = load(tmp_path, f"[[aggregate.alerts]]\n{rule}\n")
    assert problem.startswith("aggregate.alerts = ") and told in problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[aggregate]\nalerts = "none"', "not JSON"),
        ("[aggregate]\nalerts = 5", "not a list of tables"),
        ("[aggregate]\nalerts = [5]", "rule 1: must be a table"),
        ('[aggregate]\nwebhook_url = "pager"', 'webhook_url = "pager"'),
        ("[aggregate]\nfinal_after_ms = 7200000", "must be at most aggregate.closed_after_ms (3600000)"),
        ('[aggregate]\ngroup_id = "forebay"', "must not be kafka.group_id"),
    ],
)
def test_other_mistakes(tmp_path: Path, text: str, told: str) -> None:
    assert told in load(tmp_path, text)
