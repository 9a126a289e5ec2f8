"""The demo's output on a terminal: the live table, and the report at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.schemas.failures import Outcome
from forebay.stream.core import time_format
from forebay.stream.demo.evaluated import EvaluatedVersion
from forebay.stream.demo.ledger import CODES, Ledger
from forebay.stream.demo.report import Report, latency
from forebay.stream.terminal.console import DIM, GREEN, RED, YELLOW

# The time span of the live rate and latency, in seconds.
_LIVE_SPAN_S = 1.0


@dataclass(frozen=True, slots=True)
class LiveStats:
    """The figures of the live table. rate: outcomes per second, over the latest second."""

    sent: int
    outcomes: dict[Outcome, int]
    rate: float
    p50_ms: float | None
    p99_ms: float | None
    evaluated: tuple[EvaluatedVersion, ...] = ()


def live_stats(ledger: Ledger, now_s: float) -> LiveStats:
    """Return the current figures. Cheap enough to be called a few times a second beside a worker."""
    recent_N = ledger.readable_s_N > now_s - _LIVE_SPAN_S  # NaN compares as false
    recent = latency(ledger.due_s_N[recent_N], ledger.readable_s_N[recent_N])
    return LiveStats(
        sent=ledger.num_sent,
        outcomes={outcome: ledger.num_with(outcome) for outcome in CODES},
        rate=float(np.count_nonzero(recent_N)) / _LIVE_SPAN_S,
        p50_ms=None if recent is None else recent.p50,
        p99_ms=None if recent is None else recent.p99,
        evaluated=ledger.evaluated,
    )


def live_table(stats: LiveStats, total: int) -> RenderableType:
    """Return the progress bar and the live table. total: number of events to replay."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=DIM)
    for name in ("published", *(outcome.value for outcome in CODES), "in flight", "events/s", "p50", "p99"):
        table.add_column(name, justify="right", min_width=6, no_wrap=True)
    in_flight = stats.sent - sum(stats.outcomes.values())
    table.add_row(
        f"{stats.sent:,}",
        *(f"{count:,}" for count in stats.outcomes.values()),
        f"{in_flight:,}",
        f"{stats.rate:,.0f}",
        time_format.latency(stats.p50_ms),
        time_format.latency(stats.p99_ms),
    )
    width = 40
    filled = width * min(stats.sent, total) // max(total, 1)
    bar = Text.assemble(("━" * filled, GREEN), ("━" * (width - filled), DIM), f"  {stats.sent / max(total, 1):.0%}")
    return Group(bar, table, *(Text(f"evaluator  {version.line()}", DIM) for version in stats.evaluated))


def report_text(report: Report) -> RenderableType:
    """Return the report as text."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("Events", report.conservation())
    exact = Text("✓ every event has exactly one outcome", GREEN)
    table.add_row("", exact if report.exact else Text("✗ not every event has exactly one outcome", RED))
    for problem, count, ids in (
        ("without an outcome", report.missing, report.missing_ids),
        ("with more than one outcome", report.duplicated, report.duplicated_ids),
        ("outcomes of no published event", report.unexpected, report.unexpected_ids),
    ):
        if count:
            more = " …" if count > len(ids) else ""
            table.add_row("", Text(f"{count:,} {problem}: {', '.join(ids)}{more}", RED))
    table.add_row("Throughput", f"{report.throughput:,.0f} events/s over {report.seconds:.1f} s")
    if report.latency_ms is not None:
        percentiles = report.latency_ms
        p50, p95, p99 = map(time_format.latency, (percentiles.p50, percentiles.p95, percentiles.p99))
        table.add_row("Latency", f"from publish to readable: p50 {p50}, p95 {p95}, p99 {p99}")
    if report.quality is not None:
        table.add_row("Predictions", _quality_table(report))
    for number, version in enumerate(report.evaluated):
        mark, style = ("✓", GREEN) if report.evaluated_equal else ("✗", RED)
        table.add_row("" if number else "Evaluator", Text(f"{mark} {version.line()}", style))
    if report.errors:
        table.add_row("Errors", _errors_table(report))
    if report.aggregator is not None:
        counts = report.aggregator.line()
        same = Text(f"✓ same counts: {counts}", GREEN)
        table.add_row("Aggregator", same if report.aggregator.equal else Text(f"✗ different counts: {counts}", RED))
    return table


def _quality_table(report: Report) -> RenderableType:
    quality = report.quality
    assert quality is not None
    table = Table(box=None, padding=(0, 3, 0, 0), header_style=DIM)
    table.add_column("")
    for name in ("accuracy", "ROC AUC", "log loss"):
        table.add_column(name, justify="right")
    auc = "–" if quality.roc_auc is None else f"{quality.roc_auc:.3f}"
    table.add_row("model", f"{quality.accuracy:.1%}", auc, f"{quality.log_loss:.3f}")
    table.add_row("base rate", f"{quality.base_accuracy:.1%}", "0.500", f"{quality.base_log_loss:.3f}", style=DIM)
    arrivals = f"{quality.rows:,} flights with a prediction arrived, {quality.base_rate:.1%} of them late"
    return Group(Text(arrivals), table)


def _errors_table(report: Report) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(style=YELLOW)
    table.add_column()
    for error in report.errors:
        table.add_row(f"{error.count:,}", error.kind, Text(error.example))
    return table
