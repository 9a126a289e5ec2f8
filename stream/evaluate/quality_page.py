"""The page of `forebay quality --html` and of evaluators: without scripts, images or fonts from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from forebay.models.training.charts import line_chart
from forebay.stream.core.time_format import local_date_time
from forebay.stream.evaluate.quality_columns import COLUMNS, NOTHING, interval_text, number
from forebay.stream.quality.class_sums import ClassSums
from forebay.stream.quality.curves import reliability_curve, roc_curve
from forebay.stream.quality.metrics import Metrics
from forebay.stream.quality.report import QualityReport, SubjectReport, WindowReport
from forebay.stream.terminal.console import visible

_MAX_MATRIX: Final = 20
_MAIN: Final = {"regression": ("mean_absolute_error", "mean absolute error")}
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1f2328; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #d0d7de; }
table { border-collapse: collapse; margin: .5rem 0; } th, td { padding: .2rem .7rem; border: 1px solid #d0d7de; }
td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; } th { background: #f6f8fa; text-align: left; }
.scroll { overflow-x: auto; } .note { color: #57606a; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; } figcaption { font-weight: 600; }
svg { width: 34rem; max-width: 100%; } svg text { font-size: 11px; fill: #57606a; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3; } th { background: #161b22; }
  th, td, h2 { border-color: #30363d; } svg text { fill: #9198a1; } }
"""
_NOTE: Final = (
    "≈ marks an estimate with its 95 % interval: from the scores of all predictions of the window and the labels of earlier "
    "windows. It does not see that the relation of features and label has changed. A window is final when no label can change "
    "it any more."
)


class ServedPage(NamedTuple):
    """A page from a server, whose policy allows no inline style. refresh_s: after how long a browser loads it again."""

    stylesheet: str
    refresh_s: int


def quality_page(report: QualityReport, *, served: ServedPage | None = None) -> str:
    """Return the page. Every name and value is escaped. served: how an evaluator serves it; None for a file."""
    sections = [part for subject in report.subjects for part in _subject(subject)]
    if not sections:
        sections = ["<p>No quality was written in this time.</p>"]
    if served is None:
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        head = f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style>'
    else:
        head = f'<link rel="stylesheet" href="{served.stylesheet}"><meta http-equiv="refresh" content="{served.refresh_s}">'
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Quality of models</title>{head}</head>\n<body>\n<h1>Quality of models</h1>\n"
        f"<p>Since {local_date_time(report.since_ms)}.</p>\n"
        + "\n".join(sections)
        + f'\n<p class="note">{_NOTE}</p>\n</body></html>\n'
    )


def _subject(subject: SubjectReport) -> Iterator[str]:
    model, version, part = subject.subject
    name = f"{model} v{version}" + (f", {part}" if part else "")
    yield f"<h2>{_text(name)}</h2>"
    yield _window_table(subject)
    yield _over_time(subject)
    sums = subject.total.classification
    if sums is not None:
        yield from _plots(sums)
        yield _confusion(subject.metrics)
    else:
        yield _quantile_table(subject.metrics)


def _window_table(subject: SubjectReport) -> str:
    columns = COLUMNS[subject.total.task]
    estimated = {name for window in subject.windows if window.estimate for name in window.estimate.metrics}
    titles: list[str] = []
    for title, name in columns:
        titles += [title, "≈"] if name in estimated else [title]
    rows = [_window_row(window, [name for _, name in columns], estimated) for window in subject.windows]
    return _table(("window", "predictions", "with label", *titles, "state"), rows)


def _window_row(window: WindowReport, names: Sequence[str], estimated: set[str]) -> list[str]:
    share = "" if window.metrics.matched_share is None else f" ({window.metrics.matched_share:.0%})"
    row = [local_date_time(window.start), f"{window.sums.predictions:,}", f"{window.metrics.matched:,}{share}"]
    for name in names:
        row.append(number(getattr(window.metrics, name)))
        if name in estimated:
            row.append(interval_text(None if window.estimate is None else window.estimate.metrics.get(name)))
    return [*row, "final" if window.final else "open"]


def _over_time(subject: SubjectReport) -> str:
    if len(subject.windows) < 2:
        return ""
    name, title = _MAIN.get(subject.total.task.value, ("accuracy", "accuracy"))
    first = subject.windows[0].start
    truth, estimate = [], []
    for window in subject.windows:
        hours = (window.start - first) / 3_600_000
        if (value := getattr(window.metrics, name)) is not None:
            truth.append((hours, value))
        if window.estimate is not None and name in window.estimate.metrics:
            estimate.append((hours, window.estimate.metrics[name].value))
    lines = {label: points for label, points in (("by labels", truth), ("estimate", estimate)) if points}
    return line_chart(
        f"{title.capitalize()} by window", lines, x_label=f"hours since {local_date_time(first)}", y_label=title
    )


def _plots(sums: ClassSums) -> Iterator[str]:
    of = "class 1" if sums.is_binary else "the predicted class"
    if points := reliability_curve(sums):
        yield line_chart(
            f"Reliability: share of {of} by its probability",
            {"observed": points},
            x_label="mean probability",
            y_label="observed share",
            diagonal=True,
        )
    if points := roc_curve(sums):
        yield line_chart(
            "ROC curve", {"model": points}, x_label="false positive rate", y_label="true positive rate", diagonal=True
        )


def _confusion(metrics: Metrics) -> str:
    if metrics.confusion is None or len(metrics.confusion) > _MAX_MATRIX:
        return ""
    classes = range(len(metrics.confusion))
    rows = [[f"class {index}", *(f"{count:,}" for count in row)] for index, row in enumerate(metrics.confusion)]
    return _table(("actual \\ predicted", *(f"class {index}" for index in classes)), rows)


def _quantile_table(metrics: Metrics) -> str:
    quantiles = metrics.error_quantiles
    if quantiles is None:
        return ""
    row = ["prediction − actual value", *(number(value) for value in quantiles.values())]
    return _table(("error", *(f"{share:.0%}" for share in quantiles)), [row])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{_text(title)}</th>" for title in head)
    lines = "".join(
        f"<tr><th>{_text(row[0])}</th>{''.join(f'<td>{_text(cell or NOTHING)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{titles}</tr>{lines}</table></div>'


def _text(text: str) -> str:
    return escape(visible(text))
