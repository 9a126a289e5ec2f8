"""Alert rules about something that the configuration or the models do not have, so that they can never fire. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from forebay.schemas.aggregates import Category
from forebay.stream.config.alert_rule import AlertRule
from forebay.stream.config.sections import Settings


def rules_without_subject(settings: Settings, columns: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield what is wrong with each rule that can never fire.

    columns: by model, the columns that are counted for drift, if they are known.
    """
    served = [one.model.name for one in settings.models_to_serve()]
    for rule in settings.aggregate.alerts:
        for problem in _problems(rule, settings, served, columns):
            yield f"{rule.name}: {problem}"


def _problems(
    rule: AlertRule, settings: Settings, served: Collection[str], columns: Mapping[str, Collection[str]]
) -> Iterator[str]:
    if rule.model is not None and rule.model not in served:
        yield f"no model {rule.model} is served{_hint(rule.model, served)}"
    if rule.metric is None:
        return
    if rule.category is Category.QUALITY:
        if not settings.evaluate.enabled:
            yield "evaluate.enabled is false, so the quality is not measured"
        elif rule.slice is not None and (name := rule.slice.partition("=")[0]) not in settings.evaluate.slices:
            yield f"slice {name} is not in evaluate.slices{_hint(name, settings.evaluate.slices)}"
    if rule.category is Category.DRIFT:
        if not settings.drift.enabled:
            yield "drift.enabled is false, so nothing is counted"
        elif rule.column in settings.drift.ignored_columns:
            yield f"column {rule.column} is in drift.ignored_columns"
        elif rule.column is not None:
            yield from _unknown_column(rule, rule.column, columns)


def _unknown_column(rule: AlertRule, column: str, columns: Mapping[str, Collection[str]]) -> Iterator[str]:
    about = [rule.model] if rule.model is not None else list(columns)
    known = [columns[model] for model in about if model in columns]
    if known and not any(column in names for names in known):
        every = sorted({name for names in known for name in names})
        yield f"column {column} is not counted for {', '.join(about)}{_hint(column, every)}"


def _hint(name: str, others: Collection[str]) -> str:
    near = get_close_matches(name, others, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    names = list(others)
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"; there are {shown}" if names else "; there are none"
