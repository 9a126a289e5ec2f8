"""The report of the benchmark: medians of the rounds, and ratios of two variants by round."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from rich.console import Console

from forebay.stream.bench.closed_loop import ClosedLoop
from forebay.stream.bench.commit_timings import commit_steps
from forebay.stream.bench.open_loop import OpenLoop
from forebay.stream.bench.report import BenchReport, to_dict, to_table
from forebay.stream.bench.stats import Latency
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from forebay.stream.telemetry.commit_timings import CommitTimings
from forebay.stream.telemetry.log_setup import JsonFormatter

COMMIT_STEPS = {name: {"p50_ms": 1.5, "p99_ms": 9.0} for name in ("begin", "deliveries", "positions", "end")}


def report(variant: str, events_per_s: float, *, p50_ms: float = 20, steps: bool = True) -> BenchReport:
    opened = OpenLoop(
        rate=1000,
        events=5,
        duplicates=0,
        latency=Latency(count=5, p50_ms=p50_ms, p95_ms=40, p99_ms=50, max_ms=60),
        commit=Latency(count=5, p50_ms=7, p95_ms=8, p99_ms=9, max_ms=9),
        late_send_ms=1.0,
        cpu_share=0.25,
        latencies_ms=(10.0, 20.0, 60.0),
    )
    closed = ClosedLoop(1000, 1000 / events_per_s, 0.5)
    return BenchReport(
        broker="broker",
        model="model",
        closed_loop=closed,
        memory=None,
        open_loop=opened,
        configuration={},
        machine={},
        commit_steps=COMMIT_STEPS if steps else None,
        variant=variant,
    )


def printed(*reports: BenchReport) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(to_table(reports))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if name in line)
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_two_variants_show_medians_and_the_median_of_the_ratios() -> None:
    ours = [report("exactly once", speed, p50_ms=p50) for speed, p50 in ((80, 20), (90, 22), (400, 90))]
    theirs = [report("at least once", speed, p50_ms=10, steps=False) for speed in (100, 100, 500)]
    text = printed(*ours, *theirs)
    assert "medians of 3" in text
    assert row(text, "throughput, events/s") == ["90", "100", "0.80"]
    assert row(text, "latency, p50") == ["22.0", "10.0", "2.20"]
    assert row(text, "commit: positions") == ["1.5 (9.0)", "", ""]
    assert "memory" not in text and "duplicates" not in text


def test_a_single_variant_has_no_ratio() -> None:
    text = printed(report("exactly once", 80))
    assert "ratio" not in text and "medians" not in text
    assert row(text, "throughput, events/s") == ["80"]


def test_the_report_as_json() -> None:
    said = to_dict(report("exactly once", 80))
    assert said["commit_steps"] == COMMIT_STEPS and "latencies_ms" not in str(said)


def test_commit_steps_are_read_from_the_workers_log(tmp_path: Path) -> None:
    timings = CommitTimings()
    for number in range(1, 101):
        began_at_s = 10.0, 15.0, 15.001, 15.001 + 0.002 * number
        ended_at_s = began_at_s[-1] + 0.003, began_at_s[-1] + 0.007
        timings.on_committed([], Ledger(), CommitTimes(*began_at_s, *ended_at_s))
    figures = timings.summary()
    assert figures == {
        "begin": {"p50_ms": 1.0, "p99_ms": 1.0},
        "deliveries": {"p50_ms": 100.0, "p99_ms": 198.0},
        "positions": {"p50_ms": 3.0, "p99_ms": 3.0},
        "end": {"p50_ms": 4.0, "p99_ms": 4.0},
    }
    record = logging.LogRecord("forebay.worker", logging.INFO, "", 0, "the last commits took …", (), None)
    record.figures = figures
    log = tmp_path / "worker.log"
    log.write_text(f"a library's warning\n{JsonFormatter().format(record)}\n100 events committed = …\n[1]\n")
    assert commit_steps(log) == figures
    log.write_text('{"message": "no figures"}\n')
    assert commit_steps(log) is None
