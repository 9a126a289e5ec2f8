"""The demo for people: the live table, and the report at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forebay.schemas.failures import Outcome
from forebay.stream.core import time_format
from forebay.stream.demo.ledger import CODES, Ledger
from forebay.stream.demo.report import Report, latency
from forebay.stream.terminal.console import DIM, GREEN, RED, YELLOW

# What the live latency is taken over, in seconds.
_WINDOW_S = 1.0


@dataclass(frozen=True, slots=True)
class LiveStats:
    """The state at one moment, as the live table shows it. rate: outcomes a second over the latest second."""

    sent: int
    outcomes: dict[Outcome, int]
    rate: float
    p50_ms: float | None
    p99_ms: float | None


def live_stats(ledger: Ledger, now_s: float) -> LiveStats:
    """Look at the ledger; costs the worker little, a few times a second."""
    recent_N = ledger.readable_s_N > now_s - _WINDOW_S  # NaN compares as false
    waited = latency(ledger.due_s_N[recent_N], ledger.readable_s_N[recent_N])
    return LiveStats(
        sent=ledger.num_sent,
        outcomes={outcome: ledger.num(outcome) for outcome in CODES},
        rate=float(np.count_nonzero(recent_N)) / _WINDOW_S,
        p50_ms=None if waited is None else waited.p50,
        p99_ms=None if waited is None else waited.p99,
    )


def live_table(seen: LiveStats, total: int) -> RenderableType:
    """What is going on now."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=DIM)
    for name in ("published", *(outcome.value for outcome in CODES), "in flight", "events/s", "p50", "p99"):
        table.add_column(name, justify="right", min_width=6, no_wrap=True)
    in_flight = seen.sent - sum(seen.outcomes.values())
    table.add_row(
        f"{seen.sent:,}",
        *(f"{count:,}" for count in seen.outcomes.values()),
        f"{in_flight:,}",
        f"{seen.rate:,.0f}",
        time_format.latency(seen.p50_ms),
        time_format.latency(seen.p99_ms),
    )
    width = 40
    filled = width * min(seen.sent, total) // max(total, 1)
    bar = Text.assemble(("━" * filled, GREEN), ("━" * (width - filled), DIM), f"  {seen.sent / max(total, 1):.0%}")
    return Group(bar, table)


def report_text(report: Report) -> RenderableType:
    """The report at the end."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("Events", report.conservation())
    exact = Text("✓ every event has exactly one outcome", GREEN)
    table.add_row("", exact if report.exact else Text("✗ not every event has exactly one outcome", RED))
    for what, count, ids in (
        ("without an outcome", report.missing, report.missing_ids),
        ("with more than one outcome", report.duplicated, report.duplicated_ids),
        ("outcomes of no published event", report.unexpected, report.unexpected_ids),
    ):
        if count:
            more = " …" if count > len(ids) else ""
            table.add_row("", Text(f"{count:,} {what}: {', '.join(ids)}{more}", RED))
    table.add_row("Throughput", f"{report.throughput:,.0f} events/s, over {report.seconds:.1f} s")
    if report.latency_ms is not None:
        waited = report.latency_ms
        p50, p95, p99 = map(time_format.latency, (waited.p50, waited.p95, waited.p99))
        table.add_row(
            "Latency",
            f"publish → readable: p50 {p50}, p95 {p95}, p99 {p99}",
        )
    if report.quality is not None:
        table.add_row("Predictions", _quality_table(report))
    if report.errors:
        table.add_row("Errors", _errors_table(report))
    if report.aggregator is not None:
        counted = report.aggregator.line()
        same = Text(f"✓ counts the same: {counted}", GREEN)
        table.add_row("Aggregator", same if report.aggregator.equal else Text(f"✗ counts otherwise: {counted}", RED))
    return table


def _quality_table(report: Report) -> RenderableType:
    found = report.quality
    assert found is not None
    table = Table(box=None, padding=(0, 3, 0, 0), header_style=DIM)
    table.add_column("")
    for name in ("accuracy", "ROC AUC", "log loss"):
        table.add_column(name, justify="right")
    auc = "–" if found.roc_auc is None else f"{found.roc_auc:.3f}"
    table.add_row("model", f"{found.accuracy:.1%}", auc, f"{found.log_loss:.3f}")
    table.add_row("base rate", f"{found.base_accuracy:.1%}", "0.500", f"{found.base_log_loss:.3f}", style=DIM)
    told = f"{found.rows:,} predicted flights arrived, {found.base_rate:.1%} of them late"
    return Group(Text(told), table)


def _errors_table(report: Report) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(style=YELLOW)
    table.add_column()
    for error in report.errors:
        table.add_row(f"{error.count:,}", error.kind, Text(error.example))
    return table
