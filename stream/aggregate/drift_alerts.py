"""Alert rules about drift: what the detector finds, by model version and column. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from forebay.schemas.aggregates import Category, DriftLevel, Severity
from forebay.stream.aggregate.alert_state import (
    RuleAlert,
    RuleKey,
    RuleState,
    hash_identity,
    next_state,
    transition,
)
from forebay.stream.drift.findings import DriftFinding, FindingKind
from forebay.stream.drift.measures import Level

_EVERY: Final = "drift"


@dataclass(frozen=True, slots=True)
class DriftRule:
    """A rule about drift. Times in ms.

    metric: "drift" for every finding, "skew" for those since the first windows of a version, else a measure.
    model, version, column: None for each.
    level: the lowest level at which the alert fires. It resolves when the column is within its thresholds.
    """

    name: str
    metric: str
    model: str | None
    version: int | None
    column: str | None
    level: DriftLevel
    window_ms: int
    for_ms: int
    cool_down_ms: int
    severity: Severity

    def is_about(self, finding: DriftFinding) -> bool:
        """Return whether a finding is one of the rule's, whatever its level."""
        metrics = (_EVERY, "skew") if finding.kind is FindingKind.SKEW else (_EVERY,)
        return (
            self.metric in (*metrics, finding.measure.value)
            and self.model in (None, finding.model)
            and self.version in (None, finding.version)
            and self.column in (None, finding.column)
        )

    def is_reached(self, level: Level) -> bool:
        """Return whether a finding of this level fires."""
        return level is Level.ALARM or self.level is DriftLevel.WARN


@dataclass(frozen=True, slots=True)
class DriftAlert(RuleAlert[DriftRule]):
    """An alert about the drift of a column. finding: None if it is resolved."""

    key: RuleKey
    finding: DriftFinding | None

    def to_dict(self) -> dict[str, Any]:
        """Return the value of the record on `alerts`."""
        rule, finding, key = self.rule, self.finding, self.key
        if finding is None:
            message = f"{rule.name}: {key.model} v{key.version}, {key.detail}: resolved, within the thresholds"
        else:
            message = f"{rule.name}: {finding.level.value}, {finding.text}"
        value = 0.0 if finding is None else finding.value
        document = self._document(Category.DRIFT, message, model=key.model, value=value, threshold=0.0)
        document |= {
            "metric": rule.metric if finding is None else finding.measure.value,
            "direction": "above",
            "version": key.version,
            "column": key.detail,
        }
        if finding is not None:
            document["level"] = finding.level.value
        return document


class _Condition:
    """What is known now about a rule and a column. finding: the worst one; None without any."""

    def __init__(self, rule: DriftRule, finding: DriftFinding | None, now_ms: int) -> None:
        self._rule = rule
        self._finding = finding
        self._now_ms = now_ms

    def is_breached(self) -> bool:
        return self._finding is not None and self._rule.is_reached(self._finding.level)

    def is_recovered(self) -> bool:
        return self._finding is None

    def since(self) -> int:
        """Return the start of the first of the windows in a row."""
        assert self._finding is not None
        return self._finding.key.window_start - max(self._finding.windows - 1, 0) * self._rule.window_ms

    def held_ms(self, since: int) -> int:
        return self._now_ms - since


def step_drift(
    rules: Iterable[DriftRule],
    states: Mapping[RuleKey, RuleState],
    findings: Iterable[DriftFinding],
    *,
    known: frozenset[tuple[str, int]],
    now_ms: int,
) -> list[tuple[RuleKey, RuleState, DriftAlert | None]]:
    """Evaluate rules about drift. Return the state of each column that they are about, and the alert to publish if any.

    known: the model versions with records. An alert about another one stays, since nothing is known about it.
    """
    findings = list(findings)
    results = []
    for rule in rules:
        worst: dict[RuleKey, DriftFinding] = {}
        for finding in filter(rule.is_about, findings):
            key = RuleKey(rule.name, finding.model, finding.version, finding.column)
            if key not in worst or _rank(finding) > _rank(worst[key]):
                worst[key] = finding
        firing = {
            key
            for key, state in states.items()
            if key.rule == rule.name and state.alert_id is not None and (key.model, key.version) in known
        }
        for key in sorted({*worst, *firing}, key=lambda key: (key.model or "", key.version or 0, key.detail)):
            state, alert = _step(rule, key, states.get(key, RuleState()), finding=worst.get(key), now_ms=now_ms)
            results.append((key, state, alert))
    return results


def _rank(finding: DriftFinding) -> tuple[bool, int, float]:
    return finding.level is Level.ALARM, finding.windows, finding.value


def _step(
    rule: DriftRule, key: RuleKey, state: RuleState, *, finding: DriftFinding | None, now_ms: int
) -> tuple[RuleState, DriftAlert | None]:
    change = transition(rule, state, _Condition(rule, finding, now_ms), now_ms)
    if change is None:
        return state, None
    alert = DriftAlert(
        alert_id=state.alert_id or hash_identity(*key, change.since),
        status=change.status,
        rule=rule,
        key=key,
        finding=finding,
        since=change.since,
        at=now_ms,
    )
    return next_state(change, alert.alert_id, now_ms), alert
