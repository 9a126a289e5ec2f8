"""Alerts about rollouts that went back by themselves. Pure: revisions in, alerts out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import orjson

from forebay.schemas.aggregates import ALERT_FORMAT, AlertStatus, Category, Severity
from forebay.stream.rollouts.checks import Check
from forebay.stream.rollouts.revision import Action, Revision
from forebay.stream.rollouts.revision_log import RevisionLog

RULE: Final = "rollout-went-back"
"""The name of the rule in these alerts. It is not configured: automatic rollbacks always raise an alert."""

_OF_WORKERS: Final = "non_finite"
"""The check in the evidence of a worker that ended a canary because of outputs that are not finite."""

_CATEGORIES: Final[Mapping[str, Category]] = MappingProxyType(
    {
        Check.NOT_FINITE.value: Category.QUALITY,
        _OF_WORKERS: Category.QUALITY,
        Check.LATENCY.value: Category.PERFORMANCE,
        Check.COST.value: Category.RESOURCE,
    }
)
_MEASURES: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType(
    {
        Check.NOT_FINITE.value: ("count", "not_finite", "limit"),
        _OF_WORKERS: ("count", "non_finite", "limit"),
        Check.FAILURES.value: ("rate", "rate", "limit"),
        Check.LATENCY.value: ("seconds", "found_s", "limit_s"),
        Check.COST.value: ("seconds", "cpu_s", "limit_s"),
    }
)
"""By check: the measure, and where the evidence has its value and limit."""


@dataclass(frozen=True, slots=True)
class RolloutAlert:
    """An alert that a rollout went back (firing), or that someone changed it afterwards (resolved).

    revision: the automatic revision that went back.
    resolved_by: the revision that followed it.
    at: ms since the Unix epoch.
    """

    revision: Revision
    resolved_by: Revision | None
    at: int

    @property
    def alert_id(self) -> str:
        """The id, which depends only on the revision, so that every process gives it the same."""
        identity = f"{RULE}|{self.revision.model}|{self.revision.number}|{self.revision.id}"
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    @property
    def status(self) -> AlertStatus:
        return AlertStatus.FIRING if self.resolved_by is None else AlertStatus.RESOLVED

    @property
    def message(self) -> str:
        """A summary in one line."""
        revision, following = self.revision, self.resolved_by
        if following is not None:
            what = f"resolved by {following.action.value} (revision {following.number}, by {following.author})"
        else:
            what = f"version {revision.stable} serves again: {revision.reason}"
        return f"{RULE}: model {revision.model}, revision {revision.number} by {revision.author}: {what}"

    def to_dict(self) -> dict[str, Any]:
        """Return the value of the record on `alerts`."""
        revision, evidence = self.revision, self.revision.evidence
        check = str(evidence.get("check"))
        measure, value, threshold = _MEASURES.get(check, ("count", "", ""))
        return {
            "format": ALERT_FORMAT,
            "alert_id": self.alert_id,
            "status": self.status.value,
            "rule": RULE,
            "severity": Severity.CRITICAL.value,
            "category": _CATEGORIES.get(check, Category.ERROR).value,
            "kind": None,
            "model": revision.model,
            "measure": measure,
            "value": _number(evidence.get(value, 1)),
            "threshold": _number(evidence.get(threshold, 0)),
            "of": "events",
            "count": int(_number(evidence.get("failures", evidence.get("not_finite", 0)))),
            "events": int(_number(evidence.get("events", evidence.get("rows", 0)))),
            "window_ms": max(round(_number(evidence.get("window_s", 0)) * 1000), 1),
            "since": revision.created_ms,
            "at": self.at,
            "message": self.message,
        }

    def to_record(self) -> tuple[bytes, bytes]:
        """Return the key and value of the record on `alerts`."""
        return self.alert_id.encode(), orjson.dumps(self.to_dict())


class RolloutAlerts:
    """Finds the alerts that were not published yet.

    published: values of the records on `alerts`; other values are ignored.
    """

    def __init__(self, published: Iterable[bytes | None]) -> None:
        self._published: set[tuple[str, str]] = set()
        for value in published:
            try:
                alert = orjson.loads(value or b"")
                if alert["format"] == ALERT_FORMAT and alert["rule"] == RULE:
                    self._published.add((alert["alert_id"], alert["status"]))
            except (LookupError, TypeError, ValueError):
                continue

    def due(self, log: RevisionLog, *, now_ms: int, since_ms: int) -> list[RolloutAlert]:
        """Return the alerts to publish now. since_ms: earlier revisions, ms since the Unix epoch, raise none."""
        alerts: list[RolloutAlert] = []
        for model in log.models():
            accepted = [entry.revision for entry in log.history(model) if entry.accepted]
            for revision, following in zip(accepted, [*accepted[1:], None], strict=True):
                if not went_back_alone(revision) or revision.created_ms < since_ms:
                    continue
                alert = RolloutAlert(revision, following, now_ms)
                firing = (alert.alert_id, AlertStatus.FIRING.value)
                # An alert that was not published needs no end.
                if (alert.alert_id, alert.status.value) not in self._published and (
                    following is None or firing in self._published
                ):
                    alerts.append(alert)
        return alerts

    def on_published(self, alert: RolloutAlert) -> None:
        """Record that an alert was published."""
        self._published.add((alert.alert_id, alert.status.value))


def went_back_alone(revision: Revision) -> bool:
    """Return whether a revision ended a version without a person."""
    return revision.automatic and revision.action in (Action.ABORT, Action.ROLLBACK)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and value >= 0 else 0.0
