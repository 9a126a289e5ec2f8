"""The state machine of every alert: it fires, it resolves, and the topic `alerts` is its only memory. Pure.

Whether a condition holds, and since when, follows from the records that were read. The only state is which alerts were
published, firing or resolved, and it is read from the topic `alerts`. So another process continues where this one stopped, and
every process gives an alert the same id.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import orjson

from forebay.schemas.aggregates import ALERT_FORMAT, AlertStatus, Category, Severity


class RuleKey(NamedTuple):
    """The key of a rule's state: the rule, and what it applies to.

    model: None in alerts about a worker, and in those of earlier versions, which covered all models together.
    version: None if the rule applies to all versions together.
    detail: the slice, column or worker; "" if there is none.
    """

    rule: str
    model: str | None
    version: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RuleState:
    """The last alert that was published for a key. Times in ms since the Unix epoch.

    alert_id: id of the firing alert, or None.
    since: when the firing alert began.
    resolved_at: when the last alert was resolved.
    """

    alert_id: str | None = None
    since: int = 0
    resolved_at: int | None = None


class PublishableAlert(Protocol):
    """An alert, whatever its rule measures."""

    @property
    def alert_id(self) -> str: ...

    @property
    def status(self) -> AlertStatus: ...

    @property
    def severity(self) -> Severity: ...

    def to_dict(self) -> dict[str, Any]: ...

    def to_record(self) -> tuple[bytes, bytes]: ...


class AlertingRule(Protocol):
    """What the record of every alert says of its rule."""

    @property
    def name(self) -> str: ...

    @property
    def severity(self) -> Severity: ...

    @property
    def window_ms(self) -> int: ...


R = TypeVar("R", bound=AlertingRule)


class Timed(Protocol):
    """The part of a rule that says how long its condition has to hold, and to rest afterwards. In ms."""

    @property
    def for_ms(self) -> int: ...

    @property
    def cool_down_ms(self) -> int: ...


class Condition(Protocol):
    """What is known now about a rule's condition."""

    def is_breached(self) -> bool:
        """Return whether the threshold is exceeded."""

    def is_recovered(self) -> bool:
        """Return whether a firing alert is to be resolved."""

    def since(self) -> int:
        """Return when the threshold was first exceeded without a pause, in ms since the Unix epoch."""

    def held_ms(self, since: int) -> int:
        """Return how long the condition has held since then, in ms."""


class Transition(NamedTuple):
    """A change of an alert's status. since: when the condition began, ms since the Unix epoch."""

    status: AlertStatus
    since: int


def transition(rule: Timed, state: RuleState, condition: Condition, now_ms: int) -> Transition | None:
    """Return the change of status that is due; None if there is none."""
    if state.alert_id is not None:
        return Transition(AlertStatus.RESOLVED, state.since) if condition.is_recovered() else None
    if not condition.is_breached():
        return None
    if state.resolved_at is not None and now_ms - state.resolved_at < rule.cool_down_ms:
        return None
    since = condition.since()
    return None if condition.held_ms(since) < rule.for_ms else Transition(AlertStatus.FIRING, since)


def next_state(change: Transition, alert_id: str, now_ms: int) -> RuleState:
    """Return the state after a change of status."""
    if change.status is AlertStatus.FIRING:
        return RuleState(alert_id, change.since)
    return RuleState(resolved_at=now_ms)


def hash_identity(*parts: object) -> str:
    """Return the id of an alert with this identity, the same in every process."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def restore_states(alerts: Iterable[bytes | None]) -> dict[RuleKey, RuleState]:
    """Return the state of each rule. alerts: values of the records on `alerts`, in order; other values are ignored."""
    states: dict[RuleKey, RuleState] = {}
    for value in alerts:
        try:
            alert = orjson.loads(value or b"")
            if alert["format"] != ALERT_FORMAT:
                continue
            detail = alert.get("slice") or alert.get("column") or alert.get("worker") or ""
            key = RuleKey(alert["rule"], alert["model"], alert.get("version"), detail)
            if alert["status"] == AlertStatus.FIRING:
                states[key] = RuleState(alert["alert_id"], alert["since"])
            else:
                states[key] = RuleState(resolved_at=alert["at"])
        except (LookupError, TypeError, ValueError):
            continue
    return states


@dataclass(frozen=True, slots=True)
class RuleAlert(ABC, Generic[R]):
    """An alert of a configured rule. since, at: ms since the Unix epoch."""

    alert_id: str
    status: AlertStatus
    rule: R
    since: int
    at: int

    @property
    def severity(self) -> Severity:
        """The severity of the rule."""
        return self.rule.severity

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the value of the record on `alerts`."""

    def to_record(self) -> tuple[bytes, bytes]:
        """Return the key and value of the record on `alerts`."""
        return self.alert_id.encode(), orjson.dumps(self.to_dict())

    def _document(
        self,
        category: Category,
        message: str,
        *,
        model: str | None,
        value: float,
        threshold: float,
        kind: str | None = None,
        measure: str = "metric",
        of: str = "events",
        count: int = 0,
        events: int = 0,
    ) -> dict[str, Any]:
        """Return the fields that all alerts have."""
        return {
            "format": ALERT_FORMAT,
            "alert_id": self.alert_id,
            "status": self.status.value,
            "rule": self.rule.name,
            "severity": self.severity.value,
            "category": category.value,
            "kind": kind,
            "model": model,
            "measure": measure,
            "value": value,
            "threshold": threshold,
            "of": of,
            "count": count,
            "events": events,
            "window_ms": self.rule.window_ms,
            "since": self.since,
            "at": self.at,
            "message": message,
        }
