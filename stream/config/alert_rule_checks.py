"""Which keys an alert rule needs and may have, by what it is about: failures, or a metric of its category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple

from forebay.schemas.aggregates import CATEGORY_METRICS, WORKER_METRICS, Category

_OF_FAILURES: Final = ("kind", "count", "rate")
_OF_METRICS: Final = ("above", "below", "resolve_above", "version", "min_matched", "slice", "column", "level")
_OF_CATEGORY: Final[Mapping[str, Category]] = {
    "min_matched": Category.QUALITY,
    "slice": Category.QUALITY,
    "column": Category.DRIFT,
    "level": Category.DRIFT,
}
_OF_THRESHOLD: Final = ("above", "below", "resolve_above", "resolve_below")


class KeyFault(NamedTuple):
    """A key of a rule that is missing, or that does not fit the others. key: None for the rule as a whole."""

    key: str | None
    verdict: str


class RuleKeys(NamedTuple):
    """The keys of a rule that depend on each other. given: the names of all keys that do not have their default value."""

    category: Category
    metric: str | None
    given: frozenset[str]
    above: float | None
    below: float | None
    resolve_above: float | None
    resolve_below: float | None


def first_fault(rule: RuleKeys) -> KeyFault | None:
    """Return the first key that is wrong; None if all fit."""
    return next(_faults(rule), None)


def _faults(rule: RuleKeys) -> Iterator[KeyFault]:
    if rule.metric is None:
        yield from _faults_of_failures(rule)
    else:
        yield from _faults_of_metric(rule, rule.metric)


def _faults_of_failures(rule: RuleKeys) -> Iterator[KeyFault]:
    if rule.category is Category.DRIFT:
        yield KeyFault("metric", f"is missing; it must be {', '.join(CATEGORY_METRICS[Category.DRIFT])}")
    for name in _OF_METRICS:
        if name in rule.given:
            yield KeyFault(name, "can only be set in a rule with metric")
    if ("count" in rule.given) == ("rate" in rule.given):
        hint = ", or a metric" if CATEGORY_METRICS[rule.category] else ""
        yield KeyFault(None, f"must have either count or rate{hint}")


def _faults_of_metric(rule: RuleKeys, metric: str) -> Iterator[KeyFault]:
    yield from _faults_of_name(rule.category, metric)
    for name in _OF_FAILURES:
        if name in rule.given:
            yield KeyFault(name, "cannot be set in a rule with metric; it is for rules about failures")
    for name, category in _OF_CATEGORY.items():
        if name in rule.given and rule.category is not category:
            yield KeyFault(name, f'can only be set in rules of category "{category.value}"')
    if rule.category is not Category.PERFORMANCE and "min_events" in rule.given:
        hint = "; set min_matched" if rule.category is Category.QUALITY else ""
        yield KeyFault("min_events", f'cannot be set in rules of category "{rule.category.value}"{hint}')
    if metric in WORKER_METRICS:
        for name in ("model", "version"):
            if name in rule.given:
                yield KeyFault(name, f"cannot be set for {metric}, which is about a whole worker; remove it")
    if "version" in rule.given and "model" not in rule.given:
        yield KeyFault("model", "is missing; a version needs the name of its model")
    if rule.category is Category.DRIFT:
        yield from _faults_of_drift(rule)
    else:
        yield from _faults_of_threshold(rule)


def _faults_of_name(category: Category, metric: str) -> Iterator[KeyFault]:
    own = CATEGORY_METRICS[category]
    if metric in own:
        return
    other = next((other for other, metrics in CATEGORY_METRICS.items() if metric in metrics), None)
    if other is not None:
        yield KeyFault("metric", f'belongs to category "{other.value}", and the rule has category "{category.value}"')
    every = own or [name for metrics in CATEGORY_METRICS.values() for name in metrics]
    near = get_close_matches(metric, every, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    of = f' for category "{category.value}"' if own else ""
    yield KeyFault("metric", f"must be one of {', '.join(every)}{of}{hint}")


def _faults_of_drift(rule: RuleKeys) -> Iterator[KeyFault]:
    for name in _OF_THRESHOLD:
        if name in rule.given:
            yield KeyFault(name, 'cannot be set in rules of category "drift"; set level, and the thresholds in [drift]')
    if "window_s" in rule.given:
        yield KeyFault("window_s", 'cannot be set in rules of category "drift"; set drift.window_s')


def _faults_of_threshold(rule: RuleKeys) -> Iterator[KeyFault]:
    above, below = rule.above, rule.below
    if (above is None) == (below is None):
        yield KeyFault(None, "must have either above or below, the threshold of its metric")
    if above is not None and rule.resolve_above is not None:
        yield KeyFault("resolve_above", "can only be set together with below; with above, set resolve_below")
    if below is not None and rule.resolve_below is not None:
        yield KeyFault("resolve_below", "can only be set together with above; with below, set resolve_above")
    if above is not None and rule.resolve_below is not None and rule.resolve_below > above:
        yield KeyFault("resolve_below", f"must be at most the threshold, above = {above:g}")
    if below is not None and rule.resolve_above is not None and rule.resolve_above < below:
        yield KeyFault("resolve_above", f"must be at least the threshold, below = {below:g}")
