"""The topics that alert rules are evaluated on, each with its records and its rules. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from forebay.schemas.errors import DataError
from forebay.stream.aggregate.aggregate_reader import AggregateView
from forebay.stream.aggregate.alert_state import PublishableAlert, RuleKey, RuleState
from forebay.stream.aggregate.alerts import Rule, expand_rules, step
from forebay.stream.aggregate.delta import parse_measured_delta
from forebay.stream.aggregate.drift_alerts import DriftRule, step_drift
from forebay.stream.aggregate.metric_alerts import MetricRule, MetricSeries, step_metric, subjects_of
from forebay.stream.aggregate.performance_series import STEP_MS, PerformanceSeries
from forebay.stream.aggregate.quality_series import QualitySeries
from forebay.stream.core.records import Record
from forebay.stream.drift.detector import Detector
from forebay.stream.drift.measures import DriftThresholds
from forebay.stream.drift.wire import decode_drift

KEEP_QUIET_MS: Final = 3_600_000
"""A version or worker without records for longer than this is forgotten, together with its throughput."""

Results = Iterator[tuple[RuleKey, RuleState, PublishableAlert | None]]
"""The new state of each key, and the alert to publish if there is one."""


class AlertSource(Protocol):
    """Records of one topic, and the rules about them. Times in ms since the Unix epoch."""

    @property
    def topic(self) -> str: ...

    @property
    def rule_names(self) -> frozenset[str]:
        """The names of the rules; empty if there is nothing to evaluate."""

    def begin(self, now_ms: int) -> int:
        """Forget all records, and return the time from which they have to be read."""

    def add(self, record: Record) -> None:
        """Add a record. Never raises for data."""

    def evaluate(self, states: Mapping[RuleKey, RuleState], now_ms: int) -> Results:
        """Evaluate all rules. states: of all rules, by key."""


class FailureSource:
    """Rules about failures, on error-aggregates."""

    def __init__(self, rules: Sequence[Rule], topic: str) -> None:
        self.topic = topic
        self._rules = tuple(rules)
        self._view = AggregateView()
        self._horizon_ms = max((rule.horizon_ms for rule in self._rules), default=STEP_MS)

    @property
    def rule_names(self) -> frozenset[str]:
        """The names of the rules; empty if there is nothing to evaluate."""
        return frozenset(rule.name for rule in self._rules)

    def begin(self, now_ms: int) -> int:
        """Forget all records, and return the time from which they have to be read."""
        self._view = AggregateView()
        return now_ms - self._horizon_ms

    def add(self, record: Record) -> None:
        """Add a record. Never raises for data."""
        self._view.upsert(record.key, record.value)

    def evaluate(self, states: Mapping[RuleKey, RuleState], now_ms: int) -> Results:
        """Evaluate all rules. states: of all rules, by key."""
        self._view.forget(now_ms - self._horizon_ms)
        for key, rule in list(expand_rules(self._rules, states, self._view)):
            yield key, *step(rule, states.get(key, RuleState()), self._view, now_ms)


class PerformanceSource:
    """Rules about performance and resources, on outcome-deltas."""

    def __init__(self, rules: Sequence[MetricRule], topic: str) -> None:
        self.topic = topic
        self._rules = tuple(rules)
        self._series = PerformanceSeries()
        longest_ms = max((rule.window_ms + rule.for_ms for rule in self._rules), default=0)
        self._horizon_ms = longest_ms + KEEP_QUIET_MS

    @property
    def rule_names(self) -> frozenset[str]:
        """The names of the rules; empty if there is nothing to evaluate."""
        return frozenset(rule.name for rule in self._rules)

    def begin(self, now_ms: int) -> int:
        """Forget all records, and return the time from which they have to be read."""
        self._series = PerformanceSeries()
        return (now_ms - self._horizon_ms) // STEP_MS * STEP_MS

    def add(self, record: Record) -> None:
        """Add a record. Never raises for data."""
        measured = parse_measured_delta(record.value)
        if measured is not None:
            self._series.add(measured, record.timestamp)

    def evaluate(self, states: Mapping[RuleKey, RuleState], now_ms: int) -> Results:
        """Evaluate all rules. states: of all rules, by key."""
        self._series.forget(now_ms - self._horizon_ms)
        return _evaluate(self._rules, states, self._series, now_ms)


class QualitySource:
    """Rules about quality, on the topic of the evaluators.

    group: the consumer group of the evaluators. horizon_s: how long predictions wait for labels.
    """

    def __init__(self, rules: Sequence[MetricRule], topic: str, *, group: str, horizon_s: int, window_s: int) -> None:
        self.topic = topic
        self._rules = tuple(rules)
        self._group = group
        self._series = QualitySeries(group)
        longest_ms = max((rule.window_ms + rule.for_ms for rule in self._rules), default=0)
        self._keep_ms = longest_ms + (horizon_s + 3 * window_s) * 1000

    @property
    def rule_names(self) -> frozenset[str]:
        """The names of the rules; empty if there is nothing to evaluate."""
        return frozenset(rule.name for rule in self._rules)

    def begin(self, now_ms: int) -> int:
        """Forget all records, and return the time from which they have to be read."""
        self._series = QualitySeries(self._group)
        return now_ms - self._keep_ms

    def add(self, record: Record) -> None:
        """Add a record. Never raises for data."""
        self._series.read(record.value)

    def evaluate(self, states: Mapping[RuleKey, RuleState], now_ms: int) -> Results:
        """Evaluate all rules. states: of all rules, by key."""
        self._series.forget(self._keep_ms)
        return _evaluate(self._rules, states, self._series, now_ms)


class DriftSource:
    """Rules about drift, on the topic that workers write. window_s: length of the windows."""

    def __init__(self, rules: Sequence[DriftRule], topic: str, *, thresholds: DriftThresholds, window_s: int) -> None:
        self.topic = topic
        self._rules = tuple(rules)
        self._thresholds = thresholds
        self._detector = Detector(thresholds)
        longest_ms = max((rule.for_ms for rule in self._rules), default=0)
        self._horizon_ms = longest_ms + 4 * (thresholds.windows + 1) * window_s * 1000

    @property
    def rule_names(self) -> frozenset[str]:
        """The names of the rules; empty if there is nothing to evaluate."""
        return frozenset(rule.name for rule in self._rules)

    def begin(self, now_ms: int) -> int:
        """Forget all records, and return the time from which they have to be read."""
        since_ms = now_ms - self._horizon_ms
        self._detector = Detector(self._thresholds, complete_from_ms=since_ms)
        return since_ms

    def add(self, record: Record) -> None:
        """Add a record. Never raises for data."""
        try:
            self._detector.add(decode_drift(record.value))
        except DataError:
            return

    def evaluate(self, states: Mapping[RuleKey, RuleState], now_ms: int) -> Results:
        """Evaluate all rules. states: of all rules, by key."""
        findings = self._detector.advance(now_ms)
        known = frozenset((ref.name, ref.version) for ref in self._detector.versions())
        return iter(step_drift(self._rules, states, findings, known=known, now_ms=now_ms))


def _evaluate(
    rules: Sequence[MetricRule], states: Mapping[RuleKey, RuleState], series: MetricSeries, now_ms: int
) -> Results:
    for rule in rules:
        for subject in subjects_of(rule, states, series):
            key = subject.key(rule.name)
            yield key, *step_metric(rule, subject, states.get(key, RuleState()), series=series, now_ms=now_ms)
