"""The tables of `forebay quality`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.stream.core.quantities import quantity
from forebay.stream.core.time_format import local_date_time, rfc3339
from forebay.stream.evaluate.quality_columns import COLUMNS, interval_text, number
from forebay.stream.quality.keys import Task
from forebay.stream.terminal.console import DIM, YELLOW, plain_table, visible

if TYPE_CHECKING:
    from forebay.stream.quality.estimate import Estimate
    from forebay.stream.quality.metrics import Metrics
    from forebay.stream.quality.report import QualityReport, SubjectReport
    from forebay.stream.quality.sums import QualitySums
    from forebay.stream.quality.view import Subject

ESTIMATED: Final = ("accuracy", "log_loss", "roc_auc")
"""Metrics whose estimate is shown beside them in the terminal, where there is one."""


def report_text(report: QualityReport) -> RenderableType:
    """Return a table of windows for each version, one of slices, and what is known about the labels."""
    parts: list[RenderableType] = []
    whole = [subject for subject in report.subjects if not subject.subject.slice]
    for subject in whole:
        parts += [_title(subject), _windows(subject), Text()]
    for title, slices in _slices(report.subjects).items():
        parts += [Text(visible(f"{title}, by slice"), style="bold"), _slice_table(slices), Text()]
    return Group(*parts, Text(_labels(report), DIM))


def nothing_text(report: QualityReport, *, newest_window: int | None, found: Collection[Subject]) -> Text:
    """Return the line to print if there is nothing to show.

    newest_window: start of the newest window of what was asked for, if it is older than the span.
    found: all that the topic has.
    """
    since = local_date_time(report.since_ms)
    if newest_window is not None:
        text = f"no windows since {since}; the newest one is older: give --since {rfc3339(newest_window)}"
    elif found:
        names = sorted({f"{subject.model} v{subject.version}" for subject in found})
        text = f"no predictions of this model and version were counted since {since}, only of {', '.join(names[:10])}"
    else:
        text = f"no quality was written since {since}: is `forebay evaluate` running, and do labels come?"
    return Text(visible(text), YELLOW)


def _title(subject: SubjectReport) -> Text:
    task = {Task.BINARY: "two classes", Task.CLASSES: f"{subject.total.num_classes} classes"}.get(
        subject.total.task, "regression"
    )
    return Text.assemble((visible(f"{subject.subject.model} v{subject.subject.version}"), "bold"), (f"  {task}", DIM))


def _windows(subject: SubjectReport) -> Table:
    titles = _titles(subject.total.task, estimates=True)
    table = plain_table(
        "window", "predictions", "with label", *titles, "state", right=("predictions", "with label", *titles)
    )
    for window in subject.windows:
        table.add_row(
            local_date_time(window.start)[:-3],
            *_counts(window.sums, window.metrics),
            *_values(window.metrics, window.estimate, estimates=True),
            "final" if window.final else "open",
        )
    if len(subject.windows) > 1:
        table.add_section()
        table.add_row(
            "all", *_counts(subject.total, subject.metrics), *_values(subject.metrics, None, estimates=True), ""
        )
    return table


def _slices(subjects: Sequence[SubjectReport]) -> dict[str, list[SubjectReport]]:
    found: dict[str, list[SubjectReport]] = {}
    for subject in subjects:
        if subject.subject.slice:
            found.setdefault(f"{subject.subject.model} v{subject.subject.version}", []).append(subject)
    return found


def _slice_table(slices: list[SubjectReport]) -> Table:
    titles = _titles(slices[0].total.task, estimates=False)
    table = plain_table("slice", "predictions", "with label", *titles, right=("predictions", "with label", *titles))
    for subject in sorted(slices, key=lambda one: (one.subject.slice.partition("=")[0], -one.total.predictions)):
        table.add_row(
            Text(visible(subject.subject.slice).replace("\n", "\\n")),
            *_counts(subject.total, subject.metrics),
            *_values(subject.metrics, None, estimates=False),
        )
    return table


def _titles(task: Task, *, estimates: bool) -> list[str]:
    titles: list[str] = []
    for title, name in COLUMNS[task]:
        titles.append(title)
        if estimates and _is_estimated(task, name):
            titles.append("≈")
    return titles


def _is_estimated(task: Task, name: str) -> bool:
    return (task is Task.BINARY and name in ESTIMATED) or (task is Task.CLASSES and name == "accuracy")


def _counts(sums: QualitySums, found: Metrics) -> tuple[str, str]:
    share = "" if found.matched_share is None else f" ({found.matched_share:.0%})"
    return f"{sums.predictions:,}", f"{found.matched:,}{share}"


def _values(found: Metrics, estimate: Estimate | None, *, estimates: bool) -> list[str]:
    values: list[str] = []
    for _, name in COLUMNS[found.task]:
        values.append(number(getattr(found, name)))
        if estimates and _is_estimated(found.task, name):
            values.append(interval_text(None if estimate is None else estimate.metrics.get(name)))
    return values


def _labels(report: QualityReport) -> str:
    labels = report.labels
    text = (
        f"{quantity(labels.labels, 'label')} since {local_date_time(report.since_ms)}: {labels.used:,} used, "
        f"{labels.repeated:,} repeated, {labels.corrected:,} corrected, {labels.refused:,} refused, "
        f"{labels.early:,} before their prediction"
    )
    if report.labels_until_ms is not None:
        text += f"; the labels of all partitions are known up to {local_date_time(report.labels_until_ms)}"
    return text
