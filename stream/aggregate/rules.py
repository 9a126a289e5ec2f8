"""From the rules of the configuration to those of the state machines."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.stream.aggregate.alerts import Rule
from forebay.stream.config.alert_rule import AlertRule


def build_rules(configured: Iterable[AlertRule]) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            name=one.name,
            category=one.category,
            kind=one.kind,
            model=one.model,
            by_rate=one.rate is not None,
            threshold=one.threshold,
            resolve_below=one.threshold if one.resolve_below is None else one.resolve_below,
            min_events=one.min_events,
            window_ms=one.window_s * 1000,
            for_ms=one.for_s * 1000,
            cool_down_ms=one.cool_down_s * 1000,
            severity=one.severity,
        )
        for one in configured
    )
