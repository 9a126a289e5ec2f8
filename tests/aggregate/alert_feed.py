"""Feeds the rules about one topic with records, and collects their alerts, which all must have the documented format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson
from jsonschema import Draft202012Validator

from forebay.schemas.definitions import definitions
from forebay.stream.aggregate.alert_sources import AlertSource
from forebay.stream.aggregate.alert_state import PublishableAlert, RuleKey, RuleState, restore_states

VALIDATOR = Draft202012Validator(definitions()["alert"])


@dataclass(frozen=True)
class FedRecord:
    """A record of the topic, as far as the rules use it."""

    value: bytes | None
    timestamp: int = 0
    key: bytes | None = None
    offset: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class AlertFeed:
    """An evaluator without a cluster."""

    source: AlertSource
    states: dict[RuleKey, RuleState] = field(default_factory=dict)
    published: list[bytes] = field(default_factory=list)

    def add(self, values: Iterable[bytes], *, at_ms: int = 0) -> None:
        """Add records with this timestamp."""
        for value in values:
            self.source.add(FedRecord(value, at_ms))

    def look(self, now_ms: int) -> list[PublishableAlert]:
        """Return the alerts that are published at a time."""
        alerts = []
        for key, state, alert in self.source.evaluate(self.states, now_ms):
            if alert is not None:
                value = alert.to_record()[1]
                VALIDATOR.validate(orjson.loads(value))
                self.published.append(value)
                alerts.append(alert)
            self.states[key] = state
        assert restore_states(self.published) == {
            key: state for key, state in self.states.items() if state != RuleState()
        }, "another process would continue elsewhere"
        return alerts
