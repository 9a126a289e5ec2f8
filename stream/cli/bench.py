"""`forebay bench`: measure throughput, latency and memory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.stream.bench.comparisons import Comparison

COMPARISONS = ("guarantees", "tracing", "nothing")
MIN_EVENTS = 100_000
MIN_MEMORY_EVENTS = 200_000
MIN_TIMED_EVENTS = 5_000
UNWIND_S = 60.0
"""Time limit for stopping the worker and deleting topics after Ctrl-C, in seconds."""


@click.command(
    name="bench",
    epilog=examples(
        ("forebay bench", "embedded broker, built-in model"),
        ("forebay bench --bootstrap-server localhost:9092", "your cluster, in separate topics"),
        ("forebay bench --memory-events 0 --rounds 5", "medians of five rounds"),
        ("forebay bench --compare tracing --memory-events 0 --rate 0 --rounds 5", "the cost of traces"),
        ("forebay bench --backend onnx", "the built-in model in ONNX Runtime"),
        ("forebay bench --configured-model -c forebay.toml", "your own model"),
        ("forebay bench --events 0 --memory-events 0 --rate 5000", "latency only, at another rate"),
        ("forebay bench --events 0 --memory-events 5000000 --rate 0", "memory only, over more events"),
        ("forebay bench --set batch.max_batch_size=128 --json", "another setting, with JSON output"),
        ("forebay bench --plot bench.png", "also draw the figures"),
    ),
)
@config_options
@click.option(
    "--bootstrap-server",
    metavar="HOST:PORT",
    help="Kafka cluster to use, with the configured security settings. [default: an embedded broker]",
)
@click.option("--configured-model", is_flag=True, help="Measure the configured model instead of the built-in one.")
@click.option(
    "--backend",
    type=click.Choice(["torch", "onnx"]),
    help="What runs the built-in model: torch, or ONNX Runtime. [default: torch]",
)
@click.option(
    "--compare",
    "comparison",
    type=click.Choice(COMPARISONS),
    default="guarantees",
    show_default=True,
    help="Compare exactly once with at least once, or traces of 1 % with none, or measure only the configuration.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of rounds. Variants are interleaved, and the table shows medians.",
)
@click.option(
    "--events",
    type=click.IntRange(min=0),
    default=400_000,
    show_default=True,
    metavar="N",
    help="Number of events in the closed-loop test; 0 skips it.",
)
@click.option(
    "--memory-events",
    type=click.IntRange(min=0),
    default=1_000_000,
    show_default=True,
    metavar="N",
    help="Number of events in the memory test; 0 skips it.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=1_000,
    show_default=True,
    metavar="N",
    help="Events per second in the open-loop test; 0 skips it.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=5),
    default=20,
    show_default=True,
    metavar="S",
    help="Seconds of the open-loop test, including 2 s of warm-up.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Draw the results into this file.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep the worker's configuration and log in this folder.",
)
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    configured_model: bool,
    backend: str | None,
    comparison: Comparison,
    rounds: int,
    events: int,
    memory_events: int,
    rate: float,
    seconds: float,
    plot: Path | None,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Measure the throughput (closed loop), memory and latency (open loop) of a worker.

    Starts a worker with its own topics and group, which are deleted at the end. The closed-loop test drains a topic that was
    filled beforehand. The memory test watches memory while events arrive with a short backlog. The open-loop test publishes
    at a fixed rate; a latency begins at the time at which the event was due and ends when a read_committed consumer has its
    prediction. Worker, broker and bench share the machine, so keep it otherwise idle.
    """
    if not (events or memory_events or rate):
        raise click.UsageError("--events 0, --memory-events 0 and --rate 0 leave nothing to measure")
    if configured_model and backend is not None:
        raise click.UsageError("--backend is of the built-in model; the configured model has its own")
    if plot is not None:
        # Imported before the work, since the package may be missing.
        import forebay.stream.bench.plot  # noqa: F401
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings
    for warning in _too_few(events, memory_events, rate * seconds):
        echo(f"warning: {warning}", err=True)

    import uuid

    from forebay.stream.bench.comparisons import comparison_variants
    from forebay.stream.bench.measure import Plan, measure_variants
    from forebay.stream.bench.report import to_dict, to_table
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.terminal.console import stdout_console

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its problems are reported as errors
    plan = Plan(
        settings=settings,
        embedded=bootstrap_server is None,
        own_model=not configured_model,
        backend=backend or "torch",
        events=events,
        memory_events=memory_events,
        rate=rate,
        seconds=seconds,
        run_id=uuid.uuid4().hex[:8],
        folder=keep,
    )
    with _progress(as_json) as progress, comparison_variants(settings, comparison) as variants:
        measuring = measure_variants(plan, variants, rounds=rounds, clock=SystemClock(), progress=progress)
        reports = run_async(measuring, unwind_s=UNWIND_S)
    if plot is not None:
        from forebay.stream.bench.plot import save_plot

        save_plot(reports, plot)
    if as_json:
        echo_json([to_dict(report) for report in reports])
    else:
        stdout_console().print(to_table(reports))
        if plot is not None:
            echo(f"wrote {plot}")


def _too_few(events: int, memory_events: int, timed: float) -> Iterator[str]:
    """Yield a warning for each test that is too small for meaningful results."""
    if 0 < events < MIN_EVENTS:
        yield (
            f"--events {events:,}: the worker drains them before it is warm, so the throughput is too low; "
            f"use {MIN_EVENTS:,} or more"
        )
    if 0 < memory_events < MIN_MEMORY_EVENTS:
        yield f"--memory-events {memory_events:,}: too few to see memory grow; use {MIN_MEMORY_EVENTS:,} or more"
    if 0 < timed < MIN_TIMED_EVENTS:
        yield (
            f"--rate and --seconds: {timed:,.0f} events are too few for a 99th percentile; "
            f"use {MIN_TIMED_EVENTS:,} or more"
        )


@contextlib.contextmanager
def _progress(as_json: bool) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Show progress bars on a terminal, and nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from forebay.stream.terminal.console import stderr_console

    console = stderr_console()
    if as_json or not console.is_terminal:
        yield lambda name, events: lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawing more often would take CPU time from the measurement.
    with Progress(*columns, console=console, refresh_per_second=4, transient=True) as bar:

        def begin(name: str, events: int) -> Callable[[int], None]:
            task = bar.add_task(name, total=events)
            return lambda done: bar.advance(task, done)

        yield begin
