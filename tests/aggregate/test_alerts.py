"""Alert rules: when they fire, when they are resolved, and that each alert is published once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from forebay.schemas.aggregates import AlertStatus, Category, Severity
from forebay.schemas.definitions import definitions
from forebay.schemas.failures import FailureKind
from forebay.stream.aggregate.aggregate_reader import AggregateView
from forebay.stream.aggregate.alert_state import RuleKey, RuleState, restore_states
from forebay.stream.aggregate.alerts import Alert, Rule, expand_rules, step
from forebay.stream.aggregate.delta import CellKey
from forebay.stream.aggregate.state import PartitionState
from tests.aggregate.build import MINUTE, MODEL_ERROR, NOT_JSON, PREDICTED, TIMING, at, delta

COUNT = Rule(
    name="many",
    category=Category.ERROR,
    kind=None,
    model=None,
    by_rate=False,
    threshold=10,
    resolve_below=10,
    min_events=1,
    window_ms=2 * MINUTE,
    for_ms=0,
    cool_down_ms=0,
    severity=Severity.WARNING,
)
RATE = replace(COUNT, name="share", by_rate=True, threshold=0.1, resolve_below=0.05, min_events=20)


class Feed:
    """Counts by minute, as the aggregator publishes them."""

    def __init__(self) -> None:
        self.view = AggregateView()
        self._state = PartitionState(0)
        self._offset = 0

    def add(self, minute: int, failed: int = 0, predicted: int = 0, **changes: Any) -> Feed:
        for cell, count in ((changes.pop("cell", NOT_JSON), failed), (PREDICTED, predicted)):
            if count:
                self._state.apply(self._offset, at(minute), delta(minute, cell, count, **changes))
                self._offset += 1
        for key, value in self._state.take_updates(None, TIMING):
            assert self.view.upsert(key, value)
        return self


def look(rule: Rule, feed: Feed, minutes: list[float], state: RuleState | None = None) -> list[Alert]:
    state, alerts = state or RuleState(), []
    for minute in minutes:
        state, alert = step(rule, state, feed.view, at(minute))
        if alert is not None:
            alerts.append(alert)
    return alerts


def test_a_count_fires_within_its_minute_and_resolves_after_the_window() -> None:
    feed = Feed().add(0, 6).add(1, 5)
    fired, resolved = look(COUNT, feed, [0.5, 0.9, 1.1, 1.5, 2.5, 3.01, 4, 5])
    assert (fired.status, fired.value, fired.since, fired.at) == (AlertStatus.FIRING, 11, at(1), at(1.1))
    assert (resolved.status, resolved.at) == (AlertStatus.RESOLVED, at(3.01))
    assert fired.alert_id == resolved.alert_id


def test_the_threshold_itself_does_not_fire() -> None:
    assert look(COUNT, Feed().add(0, 10), [0.5, 1.5]) == []


def test_a_rate_needs_enough_events_and_has_hysteresis() -> None:
    few = Feed().add(0, 5, 14)
    assert look(RATE, few, [0.5, 1.5]) == []
    feed = Feed().add(0, 3, 17).add(1, 0, 20).add(2, 0, 10)
    alerts = look(RATE, feed, [0.5, 1.5])
    assert [alert.value for alert in alerts] == [0.15], (
        "0.075 is below the threshold, but above the level that resolves the alert"
    )
    assert [alert.status.value for alert in look(RATE, feed, [0.5, 1.5, 2.5, 3.5])] == ["firing", "resolved"]


WINDOW_FAILED = CellKey("window_failed", "model", "model_error")


def test_events_and_windows_are_two_ledgers_and_the_worse_one_counts() -> None:
    feed = Feed().add(0, 1, cell=WINDOW_FAILED).add(0, 11, 9)
    (fired,) = look(COUNT, feed, [0.5])
    assert fired.value == 11 and "(11 of 20 events in 120 s" in fired.to_dict()["message"]
    # One window of one has failed: too few for a rate, and no reason to keep quiet about the events.
    (fired,) = look(RATE, feed, [0.5])
    assert fired.value == 0.55 and fired.measurement.unit == "events"
    (fired,) = look(COUNT, Feed().add(0, 30, cell=WINDOW_FAILED).add(0, 9), [0.5])
    assert (
        fired.value == 30
        and fired.to_dict()["of"] == "windows"
        and "(30 of 30 windows in 120 s" in fired.to_dict()["message"]
    )


def test_the_condition_must_hold_for_the_duration_of_the_rule() -> None:
    rule = replace(COUNT, window_ms=MINUTE, for_ms=2 * MINUTE)
    broken = Feed().add(0, 20).add(2, 20).add(3, 20)
    assert look(rule, broken, [0.9, 1.9, 2.9, 3.9]) == []
    (fired,) = look(rule, Feed().add(0, 20).add(1, 20).add(2, 20), [0.9, 1.9, 2.5])
    assert (fired.since, fired.at) == (at(0), at(2.5))


def test_a_resolved_alert_does_not_fire_during_the_cool_down() -> None:
    rule = replace(COUNT, window_ms=MINUTE, cool_down_ms=5 * MINUTE)
    feed = Feed().add(0, 20).add(4, 20).add(9, 20)
    alerts = look(rule, feed, [0.5, 2.5, 4.5, 9.5])
    assert [(alert.status.value, alert.at) for alert in alerts] == [
        ("firing", at(0.5)),
        ("resolved", at(2.5)),
        ("firing", at(9.5)),
    ]


@pytest.mark.parametrize(
    ("changes", "fires"),
    [
        ({"kind": FailureKind.NOT_JSON}, True),
        ({"kind": FailureKind.TOO_LARGE}, False),
        ({"model": "m"}, True),
        ({"model": "n"}, False),
        ({"category": Category.PERFORMANCE}, False),
        ({"category": Category.PERFORMANCE, "kind": FailureKind.NOT_JSON}, True),
    ],
)
def test_a_rule_counts_only_its_kinds_and_its_model(changes: dict[str, Any], fires: bool) -> None:
    assert bool(look(replace(COUNT, **changes), Feed().add(0, 20), [0.5])) is fires


def test_a_category_covers_its_kinds() -> None:
    rule = replace(COUNT, category=Category.QUALITY)
    assert not look(rule, Feed().add(0, 20, cell=MODEL_ERROR), [0.5])
    assert look(rule, Feed().add(0, 20, cell=MODEL_ERROR._replace(kind="output_not_finite")), [0.5])


def test_a_new_evaluator_reads_the_published_alerts_from_the_topic() -> None:
    feed = Feed().add(0, 20)
    (fired,) = look(COUNT, feed, [0.5])
    values = [fired.to_record()[1], b"{", None, b'{"format":9}']
    states = restore_states(values)
    assert look(COUNT, feed, [0.7], states[RuleKey("many", None)]) == []
    (resolved,) = look(COUNT, feed, [5], states[RuleKey("many", None)])
    assert resolved.alert_id == fired.alert_id
    after = restore_states([*values, resolved.to_record()[1]])
    assert after == {RuleKey("many", None): RuleState(resolved_at=at(5))}


def test_every_evaluator_gives_an_alert_the_same_id() -> None:
    feed = Feed().add(0, 20).add(1, 20)
    ids = {look(COUNT, feed, [minute])[0].alert_id for minute in (0.1, 0.9, 1.2, 2.4)}
    assert len(ids) == 1
    assert look(replace(COUNT, name="other"), feed, [0.5])[0].alert_id not in ids


def look_at_models(
    rules: list[Rule], feed: Feed, minutes: list[float], states: dict[RuleKey, RuleState] | None = None
) -> list[Alert]:
    """Evaluate the rules as the alert evaluator does."""
    states, alerts = {} if states is None else states, []
    for minute in minutes:
        for key, rule in list(expand_rules(rules, states, feed.view)):
            states[key], alert = step(rule, states.get(key, RuleState()), feed.view, at(minute))
            if alert is not None:
                alerts.append(alert)
    return alerts


def test_a_rule_without_a_model_applies_to_each_model() -> None:
    # Over both models the share is 0.07: only by itself does the small one pass the threshold.
    feed = Feed().add(0, 50, 950, model="large").add(0, 25, 5, model="small").add(3, 200, 800, model="large")
    alerts = look_at_models([RATE], feed, [0.5, 1.5, 3.5, 9])
    assert [(alert.rule.model, alert.status.value, alert.at) for alert in alerts] == [
        ("small", "firing", at(0.5)),
        ("large", "firing", at(3.5)),
        ("small", "resolved", at(3.5)),
        ("large", "resolved", at(9)),
    ]
    large, small = alerts[1], alerts[0]
    assert {alerts[3].alert_id, alerts[2].alert_id} == {
        large.alert_id,
        small.alert_id,
    } and large.alert_id != small.alert_id
    assert small.to_dict()["model"] == "small" and "category error, small" in small.to_dict()["message"]


def test_a_new_evaluator_resolves_the_alert_of_a_model_without_events() -> None:
    feed = Feed().add(0, 20, model="a").add(0, 20, model="b")
    fired = look_at_models([COUNT], feed, [0.5])
    states = restore_states([alert.to_record()[1] for alert in fired])
    assert look_at_models([COUNT], feed, [0.7], states) == []
    feed.view.forget(at(1))
    resolved = look_at_models([COUNT], feed, [50], states)
    assert [alert.alert_id for alert in resolved] == [alert.alert_id for alert in fired]
    # Every evaluator gives the same ids, in whatever order the models appear.
    other = Feed().add(0, 20, model="b").add(0, 20, model="a")
    assert [alert.alert_id for alert in look_at_models([COUNT], other, [0.9])] == [one.alert_id for one in fired]


def test_an_alert_of_an_earlier_version_for_all_models_is_resolved_and_not_raised_again() -> None:
    """In an earlier version, a rule without a model covered all models together."""
    feed = Feed().add(0, 20, model="a")
    (old,) = look(COUNT, feed, [0.5])
    assert old.rule.model is None
    states = restore_states([old.to_record()[1]])
    alerts = look_at_models([COUNT], feed, [0.7, 5, 6], states)
    assert [(alert.rule.model, alert.status.value) for alert in alerts] == [
        ("a", "firing"),
        (None, "resolved"),
        ("a", "resolved"),
    ]


def test_alerts_match_their_schema_and_have_a_message_of_one_line() -> None:
    rule = replace(RATE, kind=FailureKind.NOT_JSON, model="m")
    fired, resolved = look(rule, Feed().add(0, 30, 70), [0.5, 9])
    for alert in (fired, resolved):
        key, value = alert.to_record()
        assert list(Draft202012Validator(definitions()["alert"]).iter_errors(orjson.loads(value))) == []
        assert key.decode() == alert.alert_id
    assert fired.to_dict()["message"] == "share: rate 0.3 > 0.1 (30 of 100 events in 120 s, not_json, m)"
    assert resolved.to_dict()["message"] == "share: resolved, rate 0 (0 of 0 events in 120 s, not_json, m)"


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=12),
    st.lists(st.integers(0, 100), max_size=60),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_firing_and_resolved_always_alternate(
    minutes: list[tuple[int, int]], looks: list[int], for_minutes: int, cool_down: int
) -> None:
    feed = Feed()
    for minute, (failed, predicted) in enumerate(minutes):
        feed.add(minute, failed, predicted)
    for rule in (COUNT, RATE):
        rule = replace(rule, for_ms=for_minutes * MINUTE, cool_down_ms=cool_down * MINUTE)
        alerts = look(rule, feed, sorted(one / 5 for one in looks))
        assert [alert.status for alert in alerts] == ([AlertStatus.FIRING, AlertStatus.RESOLVED] * 30)[: len(alerts)]
        for fired, resolved in zip(alerts[::2], alerts[1::2], strict=False):
            assert fired.alert_id == resolved.alert_id and fired.since <= fired.at <= resolved.at
        for resolved, fired in zip(alerts[1::2], alerts[2::2], strict=False):
            assert fired.at - resolved.at >= rule.cool_down_ms


def test_the_highest_revision_of_a_key_is_kept_and_old_buckets_are_forgotten() -> None:
    state = PartitionState(0)
    state.apply(0, at(0), delta(count=1))
    old = state.take_updates(None, TIMING)
    state.apply(1, at(0), delta(count=1))
    new = state.take_updates(None, TIMING)
    view = AggregateView()
    for key, value in [*new, *old]:
        view.upsert(key, value)
    assert [found.count for found in view] == [2]
    assert not view.upsert(b"k", b"{}") and not view.upsert(None, new[0][1])
    view.forget(at(1))
    assert list(view) == [] and view.oldest is None
