"""What `forebay bench` says: as a table for people, as JSON for scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from rich.table import Table

from stream.bench.closed_loop import ClosedLoop
from stream.bench.open_loop import OpenLoop
from stream.bench.soak import Memory
from stream.bench.stats import pairwise_ratios


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The measurements of one worker with one configuration; each may have been left out.

    commit_steps: median and p99 of each step of its last commits, in ms; None where it told none.
    """

    broker: str
    model: str
    closed_loop: ClosedLoop | None
    memory: Memory | None
    open_loop: OpenLoop | None
    configuration: Mapping[str, object]
    machine: Mapping[str, object]
    commit_steps: Mapping[str, Mapping[str, float]] | None = None

    @property
    def guarantee(self) -> str:
        return str(self.configuration["processing_guarantee"])


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
    said["commit_steps"] = report.commit_steps
    return {**said, "configuration": dict(report.configuration), "machine": dict(report.machine)}


def to_table(reports: Sequence[BenchReport]) -> Table:
    """For people: a column for each guarantee, the medians of its rounds, and where there are two the first over the second."""
    by_guarantee: dict[str, list[BenchReport]] = {}
    for report in reports:
        by_guarantee.setdefault(report.guarantee, []).append(report)
    first = reports[0]
    rounds = len(reports) // len(by_guarantee)
    table = Table(
        title=f"forebay bench · {first.model} · {first.broker}" + (f" · medians of {rounds}" if rounds > 1 else ""),
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for guarantee in by_guarantee:
        table.add_column(guarantee.replace("_", " "), justify="right", no_wrap=True)
    if len(by_guarantee) == 2:
        table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("", style="dim")
    for row in ROWS:
        columns = [[row.value(report) for report in rounds] for rounds in by_guarantee.values()]
        _add_row(table, row, [[value for value in column if value is not None] for column in columns])
    return table


def _add_row(table: Table, row: Row, columns: Sequence[Sequence[float]]) -> None:
    if not any(columns):
        return
    cells = [row.form.format(median(column)) if column else "" for column in columns]
    if len(columns) == 2:
        ratio = row.ratio and all(columns)
        cells.append(f"{median(pairwise_ratios(*columns)):.2f}" if ratio else "")
    table.add_row(row.name, *cells, row.told)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. value: from a report, None where it was not measured; ratio: whether one is of interest."""

    name: str
    value: Callable[[BenchReport], float | None]
    form: str
    told: str
    ratio: bool = False


def _closed(value: Callable[[ClosedLoop], float]) -> Callable[[BenchReport], float | None]:
    return lambda report: None if report.closed_loop is None else value(report.closed_loop)


def _open(value: Callable[[OpenLoop], float | None]) -> Callable[[BenchReport], float | None]:
    return lambda report: None if report.open_loop is None else value(report.open_loop)


def _memory(value: Callable[[Memory], float | None]) -> Callable[[BenchReport], float | None]:
    return lambda report: None if report.memory is None else value(report.memory)


def _step(name: str, figure: str) -> Callable[[BenchReport], float | None]:
    return lambda report: None if not (report.commit_steps and report.open_loop) else report.commit_steps[name][figure]


ROWS: Final = (
    Row("throughput", _closed(lambda loop: loop.events_per_s), "{:,.0f} events/s", "a filled topic drained", True),
    Row("", _closed(lambda loop: loop.events_per_cpu_s), "{:,.0f} events/CPU-s", "the worker process alone", True),
    Row("", _closed(lambda loop: loop.seconds), "{:.2f} s", "first to last readable"),
    Row("memory", _memory(lambda memory: memory.rss_mib), "{:,.0f} MiB", "resident, after all events of that part"),
    Row("", _memory(lambda memory: memory.growth_mib_per_million), "{:+.2f} MiB", "more per million events"),
    Row("latency", _open(lambda loop: loop.rate), "at {:,.0f} events/s", "intended send time to readable"),
    Row("", _open(lambda loop: loop.latency.p50_ms), "p50 {:.1f} ms", "", True),
    Row("", _open(lambda loop: loop.latency.p95_ms), "p95 {:.1f} ms", ""),
    Row("", _open(lambda loop: loop.latency.p99_ms), "p99 {:.1f} ms", "", True),
    Row("", _open(lambda loop: loop.latency.max_ms), "max {:.1f} ms", "after a warm-up"),
    Row("of it, from sending on", _open(lambda loop: loop.commit.p50_ms), "p50 {:.0f} ms", "deliveries to readable"),
    Row("", _open(lambda loop: loop.commit.p99_ms), "p99 {:.0f} ms", ""),
    *(
        Row(f"  {name}", _step(name, figure), f"{figure[:3]} {{:.1f}} ms", told if figure == "p50_ms" else "")
        for name, told in (
            ("begin", "a step of the last commits"),
            ("deliveries", "until the brokers have all outputs"),
            ("positions", "until the group has the positions"),
            ("end", "until the transaction is ended"),
        )
        for figure in ("p50_ms", "p99_ms")
    ),
    Row("sender", _open(lambda loop: loop.late_send_ms), "{:.1f} ms", "it was late, at most"),
    Row("worker", _open(lambda loop: loop.cpu_share), "{:.0%} of a core", "its CPU at this rate", True),
    Row("duplicates", _open(lambda loop: loop.duplicates or None), "{:,}", "only at least once may have any"),
)
