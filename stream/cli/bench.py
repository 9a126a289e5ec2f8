"""`forebay bench`: measure throughput, latency and memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from forebay.stream.cli.bench_progress import show_progress
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import ConfigSource, config_options, json_option
from forebay.stream.cli.output import echo, echo_json

if TYPE_CHECKING:
    from forebay.stream.bench.comparisons import Comparison
    from forebay.stream.bench.measure import Plan

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
        ("forebay bench --advise --rate 50000", "what 50,000 events/s need, by this machine"),
        ("forebay bench --advise --rate 50000 --p99-ms 100 --configured-model", "for your own model and latency"),
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
    help="Events per second in the open-loop test; 0 skips it. With --advise: the rate to size for.",
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
@click.option(
    "--advise",
    is_flag=True,
    help="Measure one worker for about half a minute and print what --rate needs: processes, partitions, memory, devices.",
)
@click.option("--p99-ms", type=click.FloatRange(min=0.1), metavar="MS", help="With --advise: the latency to size for.")
@click.option(
    "--event-bytes",
    type=click.FloatRange(min=1),
    metavar="N",
    help="With --advise: bytes of an event with its key. [default: of the measured events]",
)
@click.option(
    "--headroom",
    type=click.FloatRange(0.05, 1),
    metavar="SHARE",
    help="With --advise: share of the measured capacity to use at the peak. [default: 0.6]",
)
@click.option(
    "--open-windows",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --advise: windows that are open at the same time, in all workers.",
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
    advise: bool,
    p99_ms: float | None,
    event_bytes: float | None,
    headroom: float | None,
    open_windows: int | None,
    as_json: bool,
) -> None:
    """Measure the throughput (closed loop), memory and latency (open loop) of a worker.

    Starts a worker with its own topics and group, which are deleted at the end. The closed-loop test drains a topic that was
    filled beforehand. The memory test watches memory while events arrive with a short backlog. The open-loop test publishes
    at a fixed rate; a latency begins at the time at which the event was due and ends when a read_committed consumer has its
    prediction. Worker, broker and bench share the machine, so keep it otherwise idle.

    With --advise, it measures the CPU time by size of the micro-batches, the memory and the latency of one worker instead, and
    prints how many processes and partitions a wished rate needs, with the arithmetic and values for the Helm chart.
    """
    wished = {"p99_ms": p99_ms, "event_bytes": event_bytes, "headroom": headroom, "open_windows": open_windows}
    _check_options(advise, wished, is_nothing=not (events or memory_events or rate))
    if configured_model and backend is not None:
        raise click.UsageError("--backend is of the built-in model; the configured model has its own")
    if plot is not None:
        # Imported before the work, since the package may be missing.
        import forebay.stream.bench.plot  # noqa: F401
    settings = source.load({"kafka.bootstrap_servers": bootstrap_server}).settings

    import uuid

    from forebay.stream.bench.measure import Plan

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
    if advise:
        from forebay.stream.cli.bench_advise import print_advice

        print_advice(plan, wished, as_json=as_json)
    else:
        _print_report(plan, comparison, rounds=rounds, plot=plot, as_json=as_json)


def _check_options(advise: bool, wished: Mapping[str, object], *, is_nothing: bool) -> None:
    """Raise UsageError for options that do not go together. wished: the options of --advise; None if not given."""
    if not advise and (given := [name for name, value in wished.items() if value is not None]):
        raise click.UsageError(f"--{given[0].replace('_', '-')} is an option of --advise")
    is_default = click.get_current_context().get_parameter_source("rate") is ParameterSource.DEFAULT
    if advise and is_default:
        raise click.UsageError("--advise needs --rate, the events per second to size for")
    if is_nothing:
        raise click.UsageError("--events 0, --memory-events 0 and --rate 0 leave nothing to measure")


def _print_report(plan: Plan, comparison: Comparison, *, rounds: int, plot: Path | None, as_json: bool) -> None:
    """Measure all variants and print the report."""
    for warning in _too_few(plan.events, plan.memory_events, plan.rate * plan.seconds):
        echo(f"warning: {warning}", err=True)

    from forebay.stream.bench.comparisons import comparison_variants
    from forebay.stream.bench.measure import measure_variants
    from forebay.stream.bench.report import to_dict, to_table
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.terminal.console import stdout_console

    with show_progress(as_json) as progress, comparison_variants(plan.settings, comparison) as variants:
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
