"""The report of `forebay bench`: a table for people, JSON for scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from rich.table import Table

from forebay.stream.bench.closed_loop import ClosedLoop
from forebay.stream.bench.open_loop import OpenLoop
from forebay.stream.bench.soak import Memory
from forebay.stream.bench.stats import pairwise_ratios


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The measurements of one worker with one configuration; None for a test that was skipped.

    variant: name of the variant (see `bench.comparisons`).
    commit_steps: median and p99 of each step of the last commits, in ms; None if the worker did not log them.
    """

    broker: str
    model: str
    closed_loop: ClosedLoop | None
    memory: Memory | None
    open_loop: OpenLoop | None
    configuration: Mapping[str, object]
    machine: Mapping[str, object]
    commit_steps: Mapping[str, Mapping[str, float]] | None = None
    variant: str = ""


def to_dict(report: BenchReport) -> dict[str, object]:
    """Return the report as JSON values, without the individual latencies."""
    closed, opened = report.closed_loop, report.open_loop
    document: dict[str, object] = {
        "variant": report.variant,
        "broker": report.broker,
        "model": report.model,
        "closed_loop": None,
        "open_loop": None,
    }
    document["memory"] = None if report.memory is None else asdict(report.memory)
    if closed is not None:
        document["closed_loop"] = {
            **asdict(closed),
            "events_per_s": closed.events_per_s,
            "events_per_cpu_s": closed.events_per_cpu_s,
        }
    if opened is not None:
        document["open_loop"] = {key: value for key, value in asdict(opened).items() if key != "latencies_ms"}
    document["commit_steps"] = report.commit_steps
    return {**document, "configuration": dict(report.configuration), "machine": dict(report.machine)}


CAPTION: Final = """throughput: draining a filled topic, from the first to the last readable prediction; events/CPU-s: CPU time
of the worker only. latency: from the intended send time until a read_committed consumer has read the prediction; after sending:
its part after the worker sent the prediction. commit: the steps of the last commits."""


def to_table(reports: Sequence[BenchReport]) -> Table:
    """Return a table with a column for each variant, with the medians of its rounds, and for two variants their ratio."""
    by_variant: dict[str, list[BenchReport]] = {}
    for report in reports:
        by_variant.setdefault(report.variant, []).append(report)
    first, num_rounds = reports[0], len(reports) // len(by_variant)
    table = Table(
        title=f"{first.model} · {first.broker}" + (f" · medians of {num_rounds}" if num_rounds > 1 else ""),
        title_justify="left",
        caption=CAPTION,
        caption_justify="left",
    )
    table.add_column("")
    for variant in by_variant:
        table.add_column(variant, justify="right", no_wrap=True)
    if len(by_variant) == 2:
        table.add_column("ratio", justify="right", no_wrap=True)
    for row in ROWS:
        columns = [[row.values(report) for report in rounds] for rounds in by_variant.values()]
        _add_row(table, row, [[values for values in column if values] for column in columns])
    return table


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    values: returns the values of a report; an empty tuple if they were not measured.
    form: format of the values.
    ratio: whether the ratio of the variants is of interest.
    """

    name: str
    values: Callable[[BenchReport], tuple[float, ...]]
    form: str
    ratio: bool = False


def _add_row(table: Table, row: Row, columns: Sequence[Sequence[tuple[float, ...]]]) -> None:
    if not any(columns):
        return
    cells = [row.form.format(*map(median, zip(*column, strict=True))) if column else "" for column in columns]
    if len(columns) == 2:
        ours, theirs = ([values[0] for values in column] for column in columns)
        cells.append(f"{median(pairwise_ratios(ours, theirs)):.2f}" if row.ratio and all(columns) else "")
    table.add_row(row.name, *cells)


def _closed(value: Callable[[ClosedLoop], float]) -> Callable[[BenchReport], tuple[float, ...]]:
    return lambda report: () if report.closed_loop is None else (value(report.closed_loop),)


def _open(value: Callable[[OpenLoop], tuple[float, ...]]) -> Callable[[BenchReport], tuple[float, ...]]:
    return lambda report: () if report.open_loop is None else value(report.open_loop)


def _memory(value: Callable[[Memory], float | None]) -> Callable[[BenchReport], tuple[float, ...]]:
    def values(report: BenchReport) -> tuple[float, ...]:
        memory = None if report.memory is None else value(report.memory)
        return () if memory is None else (memory,)

    return values


def _step(name: str) -> Callable[[BenchReport], tuple[float, ...]]:
    def values(report: BenchReport) -> tuple[float, ...]:
        if not (report.commit_steps and report.open_loop):
            return ()
        step = report.commit_steps[name]
        return (step["p50_ms"], step["p99_ms"])

    return values


ROWS: Final = (
    Row("throughput, events/s", _closed(lambda loop: loop.events_per_s), "{:,.0f}", ratio=True),
    Row("throughput, events/CPU-s", _closed(lambda loop: loop.events_per_cpu_s), "{:,.0f}", ratio=True),
    Row("memory, resident, MiB", _memory(lambda memory: memory.rss_mib), "{:,.0f}"),
    Row("memory, growth per million events, MiB", _memory(lambda memory: memory.growth_mib_per_million), "{:+.2f}"),
    Row("at events/s", _open(lambda loop: (loop.rate,)), "{:,.0f}"),
    Row("latency, p50, ms", _open(lambda loop: (loop.latency.p50_ms,)), "{:.1f}", ratio=True),
    Row("latency, p95, ms", _open(lambda loop: (loop.latency.p95_ms,)), "{:.1f}", ratio=True),
    Row("latency, p99, ms", _open(lambda loop: (loop.latency.p99_ms,)), "{:.1f}", ratio=True),
    Row("latency, max, ms", _open(lambda loop: (loop.latency.max_ms,)), "{:.1f}"),
    Row(
        "  after sending, p50 (p99), ms",
        _open(lambda loop: (loop.commit.p50_ms, loop.commit.p99_ms)),
        "{:.1f} ({:.1f})",
    ),
    Row("  commit: begin, p50 (p99), ms", _step("begin"), "{:.1f} ({:.1f})"),
    Row("  commit: deliveries", _step("deliveries"), "{:.1f} ({:.1f})"),
    Row("  commit: positions", _step("positions"), "{:.1f} ({:.1f})"),
    Row("  commit: end of the transaction", _step("end"), "{:.1f} ({:.1f})"),
    Row("worker CPU, share of a core", _open(lambda loop: (loop.cpu_share,)), "{:.0%}", ratio=True),
    Row("longest delay of the sender, ms", _open(lambda loop: (loop.late_send_ms,)), "{:.1f}"),
    Row("duplicates", _open(lambda loop: (loop.duplicates,) if loop.duplicates else ()), "{:,.0f}"),
)
