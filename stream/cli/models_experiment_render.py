"""The tables of `forebay models experiment`."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.stream.core.quantities import quantity
from forebay.stream.core.time_format import local_date_time
from forebay.stream.experiments.confidence_sequence import MIN_BLOCKS
from forebay.stream.experiments.experiment import ArmResult, Outcome, Result
from forebay.stream.terminal.console import DIM, GREEN, RED, YELLOW, plain_table, visible

if TYPE_CHECKING:
    from forebay.stream.experiments.report import Comparison, ExperimentView

NOTHING = "–"

_COLOURS = {Outcome.BETTER: GREEN, Outcome.NO_DIFFERENCE: GREEN, Outcome.WORSE: RED}


def experiment_text(model: str, view: ExperimentView, comparisons: list[Comparison]) -> RenderableType:
    """Return both versions of each comparison, the difference, and the verdict."""
    span = f"{model}: windows from {local_date_time(view.first_ms)} to {local_date_time(view.last_ms)}"
    parts: list[RenderableType] = [Text(visible(span), DIM)]
    for comparison in comparisons:
        parts += [Text(), *comparison_text(comparison)]
    return Group(*parts)


def nothing_text(model: str, view: ExperimentView, *, since_ms: int) -> Text:
    """Return the line to print if there is nothing to compare."""
    since = local_date_time(since_ms)
    if len(view.arms) == 1:
        (version,) = view.arms
        text = f"only version {version} of {model} has predictions since {since}: there is nothing to compare it with"
    elif view.earlier_windows:
        text = f"no window of {model} began since {since}, but earlier ones did: wait, or give --since, such as 7d"
    elif view.other_models:
        text = f"no quality of {model} since {since}, only of {', '.join(sorted(view.other_models))}"
    else:
        text = f"no quality of {model} since {since}: is `forebay evaluate` running, and do labels come?"
    return Text(visible(text))


def comparison_text(comparison: Comparison) -> list[RenderableType]:
    """Return the lines of one comparison."""
    versions, result = comparison.versions, comparison.result
    kind = "shadow " if comparison.paired else "version "
    title = f"{kind}{versions.version} against version {versions.against}, by {result.metric.title}"
    table = plain_table(
        "version",
        "events with a label",
        "of its predictions",
        "blocks of keys",
        result.metric.title,
        right=("events with a label", "of its predictions", "blocks of keys", result.metric.title),
    )
    for version, arm in ((versions.against, result.control), (versions.version, result.treatment)):
        table.add_row(f"v{version}", *_arm(arm, paired=comparison.paired))
    return [Text(title, style="bold"), table, _facts(comparison), *_warnings(comparison)]


def _arm(arm: ArmResult, *, paired: bool) -> list[str]:
    share = NOTHING if paired or not arm.predictions else f"{arm.events / arm.predictions:.1%}"
    return [f"{arm.events:,}", share, f"{arm.num_blocks:,}", NOTHING if arm.value is None else f"{arm.value:.5g}"]


def _facts(comparison: Comparison) -> Table:
    result = comparison.result
    table = Table.grid(padding=(0, 2))
    known = result.to_dict()["low"] is not None
    interval = f" ({result.interval.low:+.4g} to {result.interval.high:+.4g})" if known else ""
    rows: list[tuple[str, Text]] = []
    if result.outcome is not Outcome.NO_DATA:
        confidence = f", {1 - result.plan.alpha:.4g} confidence at all times" if known else ""
        rows.append(("difference", Text(f"{result.difference:+.4g}{interval}{confidence}")))
        rows.append(("matters from", Text(f"{result.effect:.3g} ({result.plan.min_effect:.3g} of the value)")))
    if comparison.right is not None and result.outcome is not Outcome.NO_DATA:
        right, versions = comparison.right, comparison.versions
        counts = f"only v{versions.against}: {right.only_served:,}, only v{versions.version}: {right.only_shadow:,}"
        rows.append(("right", Text(f"{counts}, both: {right.both:,}, neither: {right.neither:,}")))
    rows.append(("verdict", Text(verdict_text(comparison), _COLOURS.get(result.outcome, YELLOW))))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value)
    return table


def verdict_text(comparison: Comparison) -> str:
    """Return the verdict in words, with what is still needed."""
    result, version = comparison.result, comparison.versions.version
    match result.outcome:
        case Outcome.BETTER:
            return f"version {version} is better"
        case Outcome.WORSE:
            return f"version {version} is worse"
        case Outcome.NO_DIFFERENCE:
            return f"there is no difference larger than {result.effect:.3g}"
        case Outcome.NO_DATA:
            return f"no data: {_missing(comparison)} has no labels yet"
    words = f"inconclusive; needs at least {_needed(comparison)}"
    if result.treatment.num_blocks < MIN_BLOCKS or result.control.num_blocks < MIN_BLOCKS:
        words += f", in {MIN_BLOCKS} blocks of keys"
    return words


def _needed(comparison: Comparison) -> str:
    result: Result = comparison.result
    if result.events_needed is None:
        return "a million times as many events: the difference is too close to the limit"
    events = f"{quantity(result.events_needed, 'more event')} of version {comparison.versions.version} with a label"
    if comparison.time_needed_ms is None:
        return events
    return f"{events}, about {_about(comparison.time_needed_ms)} at this rate"


def _about(span_ms: int) -> str:
    for size_ms, unit in ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute")):
        if span_ms >= 2 * size_ms:
            return quantity(ceil(span_ms / size_ms), unit)
    return quantity(ceil(span_ms / 1000), "second")


def _missing(comparison: Comparison) -> str:
    versions = comparison.versions
    return f"version {versions.against if comparison.result.control.value is None else versions.version}"


def _warnings(comparison: Comparison) -> list[Text]:
    found = []
    keys, labels, versions = comparison.keys, comparison.labels, comparison.versions
    if keys is not None and keys.is_wrong:
        found.append(
            f"warning: version {versions.version} got {keys.found:.2%} of the keys instead of {keys.expected:.2%}: the "
            "versions predict different events, so do not trust the difference"
        )
    if labels is not None and labels.is_wrong:
        found.append(
            f"warning: labels are not missing at random: {labels.found:.1%} of the predictions of version "
            f"{versions.version} have one, and {labels.expected:.1%} of version {versions.against}"
        )
    return [Text(text, YELLOW) for text in found]
