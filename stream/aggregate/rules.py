"""Conversion of the configured alert rules to those that are evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from forebay.schemas.aggregates import Category
from forebay.schemas.topics import DRIFT, QUALITY, topic_name
from forebay.stream.aggregate.alert_sources import (
    AlertSource,
    DriftSource,
    FailureSource,
    PerformanceSource,
    QualitySource,
)
from forebay.stream.aggregate.alerts import Rule
from forebay.stream.aggregate.drift_alerts import DriftRule
from forebay.stream.aggregate.metric_alerts import MetricRule
from forebay.stream.config.alert_rule import AlertRule
from forebay.stream.config.evaluator_group import evaluator_group
from forebay.stream.config.sections import Settings
from forebay.stream.drift.measures import DriftThresholds


def build_rules(configured: Iterable[AlertRule]) -> tuple[Rule, ...]:
    """Return the rules about failures, with times in ms."""
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
        if rule.metric is None
    )


def build_metric_rules(configured: Iterable[AlertRule], *categories: Category) -> tuple[MetricRule, ...]:
    """Return the rules about metrics of these categories, with times in ms."""
    return tuple(
        _metric_rule(rule, rule.metric)
        for rule in configured
        if rule.metric is not None and rule.category in categories
    )


def build_drift_rules(configured: Iterable[AlertRule], *, window_s: int) -> tuple[DriftRule, ...]:
    """Return the rules about drift, with times in ms. window_s: length of the windows of drift."""
    return tuple(
        DriftRule(
            name=rule.name,
            metric=rule.metric,
            model=rule.model,
            version=rule.version,
            column=rule.column,
            level=rule.level,
            window_ms=window_s * 1000,
            for_ms=rule.for_s * 1000,
            cool_down_ms=rule.cool_down_s * 1000,
            severity=rule.severity,
        )
        for rule in configured
        if rule.metric is not None and rule.category is Category.DRIFT
    )


def build_metric_sources(settings: Settings, *, deltas: str) -> Sequence[AlertSource]:
    """Return the sources of rules about metrics, without those that have no rules. deltas: the topic of outcome deltas."""
    rules, prefix = settings.aggregate.alerts, settings.topics.prefix
    evaluate, drift = settings.evaluate, settings.drift
    sources: list[AlertSource] = [
        PerformanceSource(build_metric_rules(rules, Category.PERFORMANCE, Category.RESOURCE), deltas),
        QualitySource(
            build_metric_rules(rules, Category.QUALITY),
            topic_name(prefix, QUALITY.name),
            group=evaluator_group(settings),
            horizon_s=evaluate.horizon_s,
            window_s=evaluate.window_s,
        ),
        DriftSource(
            build_drift_rules(rules, window_s=drift.window_s),
            topic_name(prefix, DRIFT.name),
            thresholds=DriftThresholds(drift.warn, drift.alarm, drift.windows, drift.min_rows),
            window_s=drift.window_s,
        ),
    ]
    return [source for source in sources if source.rule_names]


def build_failure_source(settings: Settings, *, aggregates: str) -> FailureSource:
    """Return the source of rules about failures. aggregates: the topic of error aggregates."""
    return FailureSource(build_rules(settings.aggregate.alerts), aggregates)


def _metric_rule(rule: AlertRule, metric: str) -> MetricRule:
    above = rule.above is not None
    resolve_at = rule.resolve_below if above else rule.resolve_above
    return MetricRule(
        name=rule.name,
        category=rule.category,
        metric=metric,
        model=rule.model,
        version=rule.version,
        slice=rule.slice,
        above=above,
        threshold=rule.threshold,
        resolve_at=rule.threshold if resolve_at is None else resolve_at,
        min_count=rule.min_matched if rule.category is Category.QUALITY else rule.min_events,
        window_ms=rule.window_s * 1000,
        for_ms=rule.for_s * 1000,
        cool_down_ms=rule.cool_down_s * 1000,
        severity=rule.severity,
    )
