"""Alert rules about metrics of quality, performance and resources. Pure.

A metric is measured over the rule's time span, which ends with a step: a minute for performance and resources, a window of
event time for quality. Only complete steps are judged. How a metric follows from the records is the matter of a `MetricSeries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from forebay.schemas.aggregates import WORKER_METRICS, AlertStatus, Category, Severity
from forebay.stream.aggregate.alert_state import (
    RuleAlert,
    RuleKey,
    RuleState,
    hash_identity,
    next_state,
    transition,
)


@dataclass(frozen=True, slots=True)
class MetricRule:
    """A rule about a metric. Times in ms.

    model, version, slice: None for each separately; a slice `name=*` stands for each value of that name.
    above: whether the alert fires above the threshold; otherwise below it.
    resolve_at: the value that a firing alert has to come back to.
    min_count: a metric of fewer rows or labels is not judged.
    """

    name: str
    category: Category
    metric: str
    model: str | None
    version: int | None
    slice: str | None
    above: bool
    threshold: float
    resolve_at: float
    min_count: int
    window_ms: int
    for_ms: int
    cool_down_ms: int
    severity: Severity

    def is_breached(self, value: float) -> bool:
        """Return whether a value is beyond the threshold."""
        return value > self.threshold if self.above else value < self.threshold

    def is_recovered(self, value: float) -> bool:
        """Return whether a value resolves a firing alert."""
        return value <= self.resolve_at if self.above else value >= self.resolve_at


class Subject(NamedTuple):
    """What a metric is measured of.

    model: None for a worker. version: None for all versions of the model together.
    detail: the slice or the worker; "" if there is none.
    """

    model: str | None
    version: int | None = None
    detail: str = ""

    def key(self, rule: str) -> RuleKey:
        """Return the key of a rule's state for this subject."""
        return RuleKey(rule, *self)


@dataclass(frozen=True, slots=True)
class Sample:
    """A measured value. count: the rows or labels that it is measured on. events: all events of the time span."""

    value: float
    count: int
    events: int


class MetricSeries(Protocol):
    """The values of metrics over time, from the records that were read."""

    @property
    def step_ms(self) -> int:
        """The length of a step."""

    def subjects(self, rule: MetricRule) -> Iterable[Subject]:
        """Return what the rule applies to, as far as there are records about it."""

    def last_step(self, rule: MetricRule, subject: Subject, now_ms: int) -> int | None:
        """Return the start of the newest step to judge; None if there is none."""

    def sample(self, rule: MetricRule, subject: Subject, start: int) -> Sample | None:
        """Return the metric over the time span that ends with the step; None if there is too little to measure."""

    def oldest(self, subject: Subject) -> int | None:
        """Return the start of the oldest step with records."""

    def is_over(self, subject: Subject) -> bool:
        """Return whether an alert resolves if there is nothing to measure. Otherwise it stays until there is."""

    def held_ms(self, since: int, last_step: int, now_ms: int) -> int:
        """Return how long a condition that began at `since` has held."""


@dataclass(frozen=True, slots=True)
class MetricAlert(RuleAlert[MetricRule]):
    """An alert about a metric."""

    subject: Subject
    sample: Sample | None

    def to_dict(self) -> dict[str, Any]:
        """Return the value of the record on `alerts`."""
        rule, subject, sample = self.rule, self.subject, self.sample
        document = self._document(
            rule.category,
            self._message(),
            model=subject.model,
            value=0.0 if sample is None else sample.value,
            threshold=rule.threshold,
            count=0 if sample is None else sample.count,
            events=0 if sample is None else sample.events,
        )
        document |= {"metric": rule.metric, "direction": "above" if rule.above else "below"}
        if subject.version is not None:
            document["version"] = subject.version
        if subject.detail:
            document["worker" if rule.metric in WORKER_METRICS else "slice"] = subject.detail
        return document

    def _message(self) -> str:
        rule, subject, sample = self.rule, self.subject, self.sample
        value = f"{rule.metric} {'unknown' if sample is None else format(sample.value, '.4g')}"
        if self.status is AlertStatus.FIRING:
            state = f"{value} {'>' if rule.above else '<'} {rule.threshold:g}"
        else:
            state = f"resolved, {'no more data' if sample is None else value}"
        whose = subject.detail if subject.model is None else subject.model
        if subject.version is not None:
            whose += f" v{subject.version}"
        if subject.model is not None and subject.detail:
            whose += f", {subject.detail}"
        basis = ""
        if sample is not None and subject.model is not None:
            of = f"{sample.count:,} labels" if rule.category is Category.QUALITY else f"{sample.count:,} events"
            basis = f" ({of} in {rule.window_ms // 1000} s)"
        return f"{rule.name}: {whose}: {state}{basis}"


class _Steps:
    """What is known about a rule and a subject at a time."""

    def __init__(self, rule: MetricRule, subject: Subject, series: MetricSeries, now_ms: int) -> None:
        self._rule = rule
        self._subject = subject
        self._series = series
        self._now_ms = now_ms
        self._last = series.last_step(rule, subject, now_ms)
        self.sample = None if self._last is None else series.sample(rule, subject, self._last)

    def is_breached(self) -> bool:
        return self.sample is not None and self._rule.is_breached(self.sample.value)

    def is_recovered(self) -> bool:
        if self.sample is None:
            return self._series.is_over(self._subject)
        return self._rule.is_recovered(self.sample.value)

    def since(self) -> int:
        """Return the start of the run of breached steps that ends with the last one; not before the oldest record."""
        assert self._last is not None
        start, oldest = self._last, self._series.oldest(self._subject)
        while oldest is not None and start > oldest:
            sample = self._series.sample(self._rule, self._subject, start - self._series.step_ms)
            if sample is None or not self._rule.is_breached(sample.value):
                break
            start -= self._series.step_ms
        return start

    def held_ms(self, since: int) -> int:
        assert self._last is not None
        return self._series.held_ms(since, self._last, self._now_ms)


def step_metric(
    rule: MetricRule, subject: Subject, state: RuleState, *, series: MetricSeries, now_ms: int
) -> tuple[RuleState, MetricAlert | None]:
    """Evaluate a rule for one subject. Return its new state, and the alert to publish if there is one."""
    steps = _Steps(rule, subject, series, now_ms)
    change = transition(rule, state, steps, now_ms)
    if change is None:
        return state, None
    identity = (rule.name, rule.category.value, rule.metric, *subject, change.since)
    alert = MetricAlert(
        alert_id=state.alert_id or hash_identity(*identity),
        status=change.status,
        rule=rule,
        subject=subject,
        sample=steps.sample,
        since=change.since,
        at=now_ms,
    )
    return next_state(change, alert.alert_id, now_ms), alert


def subjects_of(rule: MetricRule, states: Mapping[RuleKey, RuleState], series: MetricSeries) -> list[Subject]:
    """Return what a rule applies to: what there are records about, and what an alert fires for."""
    firing = {
        Subject(key.model, key.version, key.detail)
        for key, state in states.items()
        if key.rule == rule.name and state.alert_id is not None
    }
    every = {*series.subjects(rule), *firing}
    return sorted(every, key=lambda subject: (subject.model or "", subject.version or 0, subject.detail))
