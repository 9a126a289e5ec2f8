"""Alert rules as state machines. Pure: takes what was measured and the time, gives what is to be told.

Time goes in steps of a minute, the length of a window. A step is breached when the threshold is passed over the rule's window
that ends with it. Whether a rule's condition has held for long enough follows from the aggregates alone; only what was told
already, firing or resolved, is state, and that is read back from the topic alerts. So a successor goes on where another ended,
and whoever tells an alert gives it the same id. A rule that names no model is one for each model: a small one that fails
altogether does not drown in the events of a large one, and its alert says which it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import orjson

from forebay.schemas.aggregates import ALERT_FORMAT, CATEGORY_KINDS, AlertStatus, Category, Severity
from forebay.schemas.failures import FailureKind
from forebay.stream.aggregate.aggregate_reader import AggregateView, Measurement

STEP_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Times in ms. threshold, resolve_below: a count or, with by_rate, a share. kind: None for all of the category; model: None
    for each one by itself (see `expand_rules`)."""

    name: str
    category: Category
    kind: FailureKind | None
    model: str | None
    by_rate: bool
    threshold: float
    resolve_below: float
    min_events: int
    window_ms: int
    for_ms: int
    cool_down_ms: int
    severity: Severity

    @property
    def kinds(self) -> frozenset[str]:
        chosen = CATEGORY_KINDS[self.category] if self.kind is None else (self.kind,)
        return frozenset(kind.value for kind in chosen)

    @property
    def horizon_ms(self) -> int:
        """How far back it looks."""
        return self.window_ms + self.for_ms + 3 * STEP_MS


class RuleKey(NamedTuple):
    """What has a state of its own. model: None only in alerts of earlier versions, which were about all of them."""

    rule: str
    model: str | None


@dataclass(frozen=True, slots=True)
class RuleState:
    """What was told last. alert_id: of the alert that fires now; resolved_at: ms since the epoch, when the last was over."""

    alert_id: str | None = None
    since: int = 0
    resolved_at: int | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """What is to be told of one rule and model."""

    alert_id: str
    status: AlertStatus
    rule: Rule
    measured: Measurement
    value: float
    since: int
    at: int

    def to_dict(self) -> dict[str, Any]:
        rule = self.rule
        return {
            "format": ALERT_FORMAT,
            "alert_id": self.alert_id,
            "status": self.status.value,
            "rule": rule.name,
            "severity": rule.severity.value,
            "category": rule.category.value,
            "kind": None if rule.kind is None else rule.kind.value,
            "model": rule.model,
            "measure": "rate" if rule.by_rate else "count",
            "value": self.value,
            "threshold": rule.threshold,
            "of": self.measured.unit,
            "count": self.measured.count,
            "events": self.measured.events,
            "window_ms": rule.window_ms,
            "since": self.since,
            "at": self.at,
            "message": self._message(),
        }

    def to_record(self) -> tuple[bytes, bytes]:
        """Key and value for the topic."""
        return self.alert_id.encode(), orjson.dumps(self.to_dict())

    def _message(self) -> str:
        rule, measured = self.rule, self.measured
        what = f"{'rate' if rule.by_rate else 'count'} {self.value:.4g}"
        told = f"{what} > {rule.threshold:g}" if self.status is AlertStatus.FIRING else f"resolved, {what}"
        about = rule.kind.value if rule.kind else f"category {rule.category.value}"
        model = f", {rule.model}" if rule.model else ""
        return (
            f"{rule.name}: {told} ({measured.count:,} of {measured.events:,} {measured.unit} in {rule.window_ms // 1000} s, "
            f"{about}{model})"
        )


def expand_rules(
    rules: Iterable[Rule], states: Mapping[RuleKey, RuleState], view: AggregateView
) -> Iterator[tuple[RuleKey, Rule]]:
    """Each rule, and where it names no model, one for each that has events to be seen, or an alert that is not over yet."""
    models = view.models()
    for rule in rules:
        if rule.model is not None:
            yield RuleKey(rule.name, rule.model), rule
            continue
        firing = {key.model for key, state in states.items() if key.rule == rule.name and state.alert_id is not None}
        for model in sorted(models | firing, key=lambda model: model or ""):
            yield RuleKey(rule.name, model), replace(rule, model=model)


def step(rule: Rule, state: RuleState, view: AggregateView, now_ms: int) -> tuple[RuleState, Alert | None]:
    """One look at a rule, of one model, at the time `now_ms`."""
    current = now_ms // STEP_MS * STEP_MS
    # The minute that has just begun has seen little: it can raise an alert, but only with the one before it end one.
    steps = (current, current - STEP_MS)
    if state.alert_id is not None:
        if any(_value(rule, at, view)[1] > rule.resolve_below for at in steps):
            return state, None
        measured, value = _value(rule, steps[1], view)
        alert = Alert(
            alert_id=state.alert_id,
            status=AlertStatus.RESOLVED,
            rule=rule,
            measured=measured,
            value=value,
            since=state.since,
            at=now_ms,
        )
        return RuleState(resolved_at=now_ms), alert
    breached = [at for at in steps if _breached(rule, at, view)]
    if not breached:
        return state, None
    if state.resolved_at is not None and now_ms - state.resolved_at < rule.cool_down_ms:
        return state, None
    since = _since(rule, breached[-1], view)
    if now_ms - since < rule.for_ms:
        return state, None
    measured, value = _value(rule, breached[0], view)
    alert = Alert(
        alert_id=alert_id(rule, since),
        status=AlertStatus.FIRING,
        rule=rule,
        measured=measured,
        value=value,
        since=since,
        at=now_ms,
    )
    return RuleState(alert.alert_id, since), alert


def alert_id(rule: Rule, since: int) -> str:
    """The same for the same rule, model and beginning, whoever tells it."""
    about = f"{rule.name}|{rule.category.value}|{rule.kind or ''}|{rule.model or ''}|{since}"
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def restore_states(alerts: Iterable[bytes | None]) -> dict[RuleKey, RuleState]:
    """From the values of the topic alerts in their order."""
    states: dict[RuleKey, RuleState] = {}
    for value in alerts:
        try:
            said = orjson.loads(value or b"")
            if said["format"] != ALERT_FORMAT:
                continue
            key = RuleKey(said["rule"], said["model"])
            if said["status"] == AlertStatus.FIRING:
                states[key] = RuleState(said["alert_id"], said["since"])
            else:
                states[key] = RuleState(resolved_at=said["at"])
        except (LookupError, TypeError, ValueError):
            continue
    return states


def _value(rule: Rule, at: int, view: AggregateView) -> tuple[Measurement, float]:
    """The worse of the two ledgers, and its value: by rate for a rule of a rate, by count for a rule of a count."""

    def value(measured: Measurement) -> float:
        return measured.rate if rule.by_rate else float(measured.count)

    ledgers = view.measure(at + STEP_MS - rule.window_ms, at + STEP_MS, rule.kinds, rule.model)
    # A single window that failed must not hide the rate of many events.
    large_enough = [one for one in ledgers if one.events >= rule.min_events]
    worst = max(large_enough if rule.by_rate and large_enough else ledgers, key=value)
    return worst, value(worst)


def _breached(rule: Rule, at: int, view: AggregateView) -> bool:
    measured, value = _value(rule, at, view)
    return value > rule.threshold and (not rule.by_rate or measured.events >= rule.min_events)


def _since(rule: Rule, at: int, view: AggregateView) -> int:
    """Where the run of breached steps begins that `at` is in; no further back than there is something to see."""
    oldest = view.oldest
    while oldest is not None and at > oldest and _breached(rule, at - STEP_MS, view):
        at -= STEP_MS
    return at
