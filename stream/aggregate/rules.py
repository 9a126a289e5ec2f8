"""Conversion of the configured alert rules to those that are evaluated."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.stream.aggregate.alerts import Rule
from forebay.stream.config.alert_rule import AlertRule


def build_rules(configured: Iterable[AlertRule]) -> tuple[Rule, ...]:
    """Return the rules to evaluate, with times in ms."""
    return tuple(
        Rule(
            name=rule.name,
            category=rule.category,
            kind=rule.kind,
            model=rule.model,
            by_rate=rule.rate is not None,
            threshold=rule.threshold,
            resolve_below=rule.threshold if rule.resolve_below is None else rule.resolve_below,
            min_events=rule.min_events,
            window_ms=rule.window_s * 1000,
            for_ms=rule.for_s * 1000,
            cool_down_ms=rule.cool_down_s * 1000,
            severity=rule.severity,
        )
        for rule in configured
    )
