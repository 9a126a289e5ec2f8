"""What `forebay bench` says: as a table for people, as JSON for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rich.table import Table

from stream.bench.closed_loop import ClosedLoop
from stream.bench.open_loop import OpenLoop
from stream.bench.soak import Memory


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The measurements of one worker with one configuration; each may have been left out."""

    broker: str
    model: str
    closed_loop: ClosedLoop | None
    memory: Memory | None
    open_loop: OpenLoop | None
    configuration: Mapping[str, object]
    machine: Mapping[str, object]


def to_dict(report: BenchReport) -> dict[str, object]:
    """For JSON; without the single latencies."""
    closed, opened = report.closed_loop, report.open_loop
    said: dict[str, object] = {"broker": report.broker, "model": report.model, "closed_loop": None, "open_loop": None}
    said["memory"] = None if report.memory is None else asdict(report.memory)
    if closed is not None:
        said["closed_loop"] = {
            **asdict(closed),
            "events_per_s": closed.events_per_s,
            "events_per_cpu_s": closed.events_per_cpu_s,
        }
    if opened is not None:
        said["open_loop"] = {key: value for key, value in asdict(opened).items() if key != "latencies_ms"}
    return {**said, "configuration": dict(report.configuration), "machine": dict(report.machine)}


def to_table(report: BenchReport) -> Table:
    """For people."""
    table = Table(title=f"forebay bench · {report.model} · {report.broker}", title_justify="left", show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", style="dim")
    if (closed := report.closed_loop) is not None:
        table.add_row("throughput", f"{closed.events_per_s:,.0f} events/s", "a filled topic drained")
        table.add_row("", f"{closed.events_per_cpu_s:,.0f} events/CPU-s", "the worker process alone")
        table.add_row("", f"{closed.events:,} in {closed.seconds:.2f} s", "first to last readable", end_section=True)
    if (memory := report.memory) is not None:
        growth = memory.growth_mib_per_million
        told = "too few events" if growth is None else f"{growth:+.2f} MiB"
        table.add_row("memory", f"{memory.rss_mib:,.0f} MiB", f"resident, after {memory.events:,} events")
        table.add_row("", told, "more per million events", end_section=True)
    if (opened := report.open_loop) is not None:
        latency = opened.latency
        table.add_row(
            f"latency at {opened.rate:,.0f}/s",
            f"p50 {latency.p50_ms:.1f} ms",
            "intended send time to readable",
        )
        table.add_row("", f"p95 {latency.p95_ms:.1f} ms", "")
        table.add_row("", f"p99 {latency.p99_ms:.1f} ms", "")
        table.add_row("", f"max {latency.max_ms:.1f} ms", f"of {latency.count:,} events, after a warm-up")
        table.add_row("", f"{opened.late_send_ms:.1f} ms", "the sender was late, at most")
        table.add_row("", f"{opened.cpu_share:.0%} of a core", "the worker's CPU at this rate")
        if opened.duplicates:
            table.add_row("", f"{opened.duplicates:,}", "duplicates (at least once)")
    return table
