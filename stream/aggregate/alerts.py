"""Alert rules about failures. Pure: takes the aggregates and the time, returns the alerts to publish.

Time advances in steps of a minute, the length of a bucket. A step is breached if the value over the rule's window that ends
with the step exceeds the threshold. Whether the condition has held for long enough follows from the aggregates alone (see
`alert_state`). A rule without a model applies to each model separately:
a small model that fails completely is not hidden by the events of a large one, and its alert names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from forebay.schemas.aggregates import CATEGORY_KINDS, AlertStatus, Category, Severity
from forebay.schemas.failures import FailureKind
from forebay.stream.aggregate.aggregate_reader import AggregateView, Measurement
from forebay.stream.aggregate.alert_state import (
    RuleAlert,
    RuleKey,
    RuleState,
    hash_identity,
    next_state,
    transition,
)

STEP_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule. Times in ms.

    kind: failure kind, or None for all kinds of the category.
    model: model name, or None for each model separately (see `expand_rules`).
    threshold, resolve_below: a count or, if by_rate, a share.
    """

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
        """The failure kinds that the rule counts."""
        kinds = CATEGORY_KINDS[self.category] if self.kind is None else (self.kind,)
        return frozenset(kind.value for kind in kinds)

    @property
    def horizon_ms(self) -> int:
        """How much of the past the rule needs."""
        return self.window_ms + self.for_ms + 3 * STEP_MS


@dataclass(frozen=True, slots=True)
class Alert(RuleAlert[Rule]):
    """An alert to publish, for one rule and model."""

    measurement: Measurement
    value: float

    def to_dict(self) -> dict[str, Any]:
        """Return the value of the record on `alerts`."""
        rule, measurement = self.rule, self.measurement
        return self._document(
            rule.category,
            self._message(),
            model=rule.model,
            value=self.value,
            threshold=rule.threshold,
            kind=None if rule.kind is None else rule.kind.value,
            measure="rate" if rule.by_rate else "count",
            of=measurement.unit,
            count=measurement.count,
            events=measurement.events,
        )

    def _message(self) -> str:
        rule, measurement = self.rule, self.measurement
        value = f"{'rate' if rule.by_rate else 'count'} {self.value:.4g}"
        state = f"{value} > {rule.threshold:g}" if self.status is AlertStatus.FIRING else f"resolved, {value}"
        kinds = rule.kind.value if rule.kind else f"category {rule.category.value}"
        model = f", {rule.model}" if rule.model else ""
        return (
            f"{rule.name}: {state} ({measurement.count:,} of {measurement.events:,} {measurement.unit} "
            f"in {rule.window_ms // 1000} s, {kinds}{model})"
        )


def expand_rules(
    rules: Iterable[Rule], states: Mapping[RuleKey, RuleState], view: AggregateView
) -> Iterator[tuple[RuleKey, Rule]]:
    """Yield each rule with its key; a rule without a model once for each model that has events or a firing alert."""
    models = view.models()
    for rule in rules:
        if rule.model is not None:
            yield RuleKey(rule.name, rule.model), rule
            continue
        firing = {key.model for key, state in states.items() if key.rule == rule.name and state.alert_id is not None}
        for model in sorted(models | firing, key=lambda model: model or ""):
            yield RuleKey(rule.name, model), replace(rule, model=model)


class _Steps:
    """What is known about a rule and a model at a time, in steps of a minute."""

    def __init__(self, rule: Rule, view: AggregateView, now_ms: int) -> None:
        self._rule = rule
        self._view = view
        self._now_ms = now_ms
        current = now_ms // STEP_MS * STEP_MS
        # The current minute is incomplete: it can raise an alert, but resolving one also needs the minute before it.
        self._steps = (current, current - STEP_MS)

    def is_breached(self) -> bool:
        return bool(self._breached)

    def is_recovered(self) -> bool:
        return all(_value(self._rule, start, self._view)[1] <= self._rule.resolve_below for start in self._steps)

    def since(self) -> int:
        return _since(self._rule, self._breached[-1], self._view)

    def held_ms(self, since: int) -> int:
        return self._now_ms - since

    def value(self, status: AlertStatus) -> tuple[Measurement, float]:
        """Return what an alert of this status reports."""
        start = self._breached[0] if status is AlertStatus.FIRING else self._steps[1]
        return _value(self._rule, start, self._view)

    @property
    def _breached(self) -> list[int]:
        return [start for start in self._steps if _breached(self._rule, start, self._view)]


def step(rule: Rule, state: RuleState, view: AggregateView, now_ms: int) -> tuple[RuleState, Alert | None]:
    """Evaluate a rule for one model at the time `now_ms`. Return its new state, and the alert to publish if there is one."""
    steps = _Steps(rule, view, now_ms)
    change = transition(rule, state, steps, now_ms)
    if change is None:
        return state, None
    measurement, value = steps.value(change.status)
    alert = Alert(
        alert_id=state.alert_id or alert_id(rule, change.since),
        status=change.status,
        rule=rule,
        measurement=measurement,
        value=value,
        since=change.since,
        at=now_ms,
    )
    return next_state(change, alert.alert_id, now_ms), alert


def alert_id(rule: Rule, since: int) -> str:
    """Return the id of an alert. It depends only on the rule, the model and the start, not on the process."""
    return hash_identity(rule.name, rule.category.value, rule.kind or "", rule.model or "", since)


def _value(rule: Rule, start: int, view: AggregateView) -> tuple[Measurement, float]:
    """Return the worse of the two ledgers at the step that begins at `start`, and its rate or count as the rule compares it."""

    def value(measurement: Measurement) -> float:
        return measurement.rate if rule.by_rate else float(measurement.count)

    end = start + STEP_MS
    ledgers = view.measure(end - rule.window_ms, end, rule.kinds, rule.model)
    # A single window that failed must not hide the rate of many events.
    large_enough = [ledger for ledger in ledgers if ledger.events >= rule.min_events]
    worst = max(large_enough if rule.by_rate and large_enough else ledgers, key=value)
    return worst, value(worst)


def _breached(rule: Rule, start: int, view: AggregateView) -> bool:
    measurement, value = _value(rule, start, view)
    return value > rule.threshold and (not rule.by_rate or measurement.events >= rule.min_events)


def _since(rule: Rule, start: int, view: AggregateView) -> int:
    """Return the start of the run of breached steps that ends with `start`; not before the oldest aggregate."""
    oldest = view.oldest
    while oldest is not None and start > oldest and _breached(rule, start - STEP_MS, view):
        start -= STEP_MS
    return start
