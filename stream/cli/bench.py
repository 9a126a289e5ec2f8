"""`forebay bench`: how fast, how late, how costly."""

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
"""How long stopping the worker and deleting topics may take after Ctrl-C, in seconds."""


@click.command(
    name="bench",
    epilog=examples(
        ("forebay bench", "on a broker of its own, with a model of its own"),
        ("forebay bench --bootstrap-server localhost:9092", "on your cluster, in topics of its own"),
        ("forebay bench --memory-events 0 --rounds 5", "exactly once over at least once, by medians"),
        ("forebay bench --compare tracing --memory-events 0 --rate 0 --rounds 5", "what traces cost"),
        ("forebay bench --configured-model -c forebay.toml", "with your model"),
        ("forebay bench --events 0 --memory-events 0 --rate 5000", "only latency, at another rate"),
        ("forebay bench --events 0 --memory-events 5000000 --rate 0", "only memory, for longer"),
        ("forebay bench --set batch.max_batch_size=128 --json", "another setting, for a script"),
        ("forebay bench --plot bench.png", "with a picture"),
    ),
)
@config_options
@click.option(
    "--bootstrap-server",
    metavar="HOST:PORT",
    help="A running Kafka, with the security settings of the configuration. [default: an embedded broker]",
)
@click.option("--configured-model", is_flag=True, help="Measure the model of the configuration, not the bench's own.")
@click.option(
    "--compare",
    "comparison",
    type=click.Choice(COMPARISONS),
    default="guarantees",
    show_default=True,
    help="Exactly once beside at least once; traces of 1 % beside none; or the configuration alone.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of rounds; variants are interleaved, and the table has the medians.",
)
@click.option(
    "--events",
    type=click.IntRange(min=0),
    default=400_000,
    show_default=True,
    metavar="N",
    help="Events to drain in the closed-loop test; 0 skips it.",
)
@click.option(
    "--memory-events",
    type=click.IntRange(min=0),
    default=1_000_000,
    show_default=True,
    metavar="N",
    help="Further events over which memory is measured; 0 skips it.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=1_000,
    show_default=True,
    metavar="N",
    help="Events a second in the open-loop test; 0 skips it.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=5),
    default=20,
    show_default=True,
    metavar="S",
    help="Duration of the open-loop test; the first 2 s are a warm-up.",
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png", help="Draw the figures.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep the worker's configuration and log there.",
)
@json_option
def command(
    source: ConfigSource,
    bootstrap_server: str | None,
    configured_model: bool,
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
    """Measure a worker: throughput (closed loop), memory, latency (open loop); exactly once beside at least once.

    It starts a worker of its own, in its own topics and group, which are deleted at the end. The first part drains a topic
    that was filled beforehand; then memory is watched while events come in with a short backlog; the last part publishes at
    a fixed rate and takes each latency from the time when the event was meant to be sent until a read_committed consumer
    has its prediction. Worker, broker and bench share the machine: keep it quiet otherwise.
    """
    if not (events or memory_events or rate):
        raise click.UsageError("--events 0, --memory-events 0 and --rate 0 leave nothing to measure")
    if plot is not None:
        # Before the work and not after it: the package may be missing.
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

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it comes as an error
    plan = Plan(
        settings=settings,
        embedded=bootstrap_server is None,
        own_model=not configured_model,
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
            echo(f"drawn: {plot}")


def _too_few(events: int, memory_events: int, timed: float) -> Iterator[str]:
    """Say which parts are too small for figures that mean something."""
    if 0 < events < MIN_EVENTS:
        yield (
            f"--events {events:,} are drained before the worker is warm, and the throughput is too low; "
            f"{MIN_EVENTS:,} or more are needed"
        )
    if 0 < memory_events < MIN_MEMORY_EVENTS:
        yield f"--memory-events {memory_events:,} are too few to see memory grow; {MIN_MEMORY_EVENTS:,} or more are needed"
    if 0 < timed < MIN_TIMED_EVENTS:
        yield (
            f"--rate times --seconds makes {timed:,.0f} events, too few for a 99th percentile; "
            f"{MIN_TIMED_EVENTS:,} or more are needed"
        )


@contextlib.contextmanager
def _progress(as_json: bool) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Progress bars on a terminal; nothing where nobody looks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from forebay.stream.terminal.console import stderr_console

    console = stderr_console()
    if as_json or not console.is_terminal:
        yield lambda name, events: lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Four times a second: drawing more often would take time from what is measured.
    with Progress(*columns, console=console, refresh_per_second=4, transient=True) as bar:

        def begin(name: str, events: int) -> Callable[[int], None]:
            task = bar.add_task(name, total=events)
            return lambda done: bar.advance(task, done)

        yield begin
