"""`forebay demo`: run everything on this machine, with real events."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.demo_parts import demo_model, flights_command, model_command
from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.options import json_option
from forebay.stream.cli.output import echo_json
from forebay.stream.cli.subcommands import SubcommandGroup

if TYPE_CHECKING:
    from rich.console import Console

    from forebay.stream.demo.flights import FlightData
    from forebay.stream.demo.ledger import Ledger
    from forebay.stream.demo.run import DemoOptions, DemoResult
    from forebay.stream.demo.train import DemoModel

DEFAULT_EVENTS: Final = 50_000
# The flights of July to December.
MAX_EVENTS: Final = 170_618
DEFAULT_RATE: Final = 3000.0
UNWIND_S: Final = 60.0
"""Time limit for stopping broker and worker and deleting topics after Ctrl-C, in seconds."""


@click.group(
    name="demo",
    cls=SubcommandGroup,
    invoke_without_command=True,
    epilog=examples(
        ("forebay demo", "takes half a minute"),
        ("forebay demo --events 1000 --rate 100", "fewer events, slowly"),
        ("forebay demo --rate 0", "as fast as possible"),
        ("forebay demo --keep", "leave everything running"),
        ("forebay demo --bootstrap-server localhost:9092", "use your Kafka"),
        ("forebay demo --json | jq .latency_ms", "a part of the report"),
        ("forebay demo model models", "only train the model"),
        ("forebay demo flights --repeat", "only publish the events"),
    ),
)
@click.option(
    "--events",
    type=click.IntRange(min=1, max=MAX_EVENTS),
    default=DEFAULT_EVENTS,
    show_default=True,
    metavar="N",
    help="Number of flights to replay.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=DEFAULT_RATE,
    show_default=True,
    metavar="N",
    help="Events per second; 0: as fast as possible.",
)
@click.option("--bootstrap-server", metavar="HOST:PORT", help="Use this Kafka cluster instead of the embedded broker.")
@click.option("--keep", is_flag=True, help="Leave all processes running, and print how to use and stop them.")
@click.option("--retrain", is_flag=True, help="Train the model even if it is cached.")
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="FOREBAY_DEMO_CACHE",
    show_envvar=True,
    metavar="FOLDER",
    help="Folder for the trained model. [default: the user's cache folder]",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    events: int,
    rate: float,
    bootstrap_server: str | None,
    keep: bool,
    retrain: bool,
    cache_dir: Path | None,
    as_json: bool,
) -> int:
    """Train a model that predicts late arrivals, replay real flights through a worker, and verify the outcomes.

    Starts an embedded broker (for evaluation, not for production), a worker, an aggregator and an evaluator in separate
    processes. Publishes the flights that left New York from July to December 2013, and when each has arrived whether it was
    late. Consumes the predictions as any client would, and prints a report.

    The exit status is 0 only if every event has exactly one outcome and the counts of the aggregator and the evaluator agree.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    # The client's log repeats the errors reported here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from forebay.stream.demo.cache import cache_folder
    from forebay.stream.demo.flights import FlightData
    from forebay.stream.demo.run import DemoOptions
    from forebay.stream.kafka.cluster.advertised_listeners import require_reachable
    from forebay.stream.terminal.console import stderr_console

    console = stderr_console()
    console.quiet = as_json
    if bootstrap_server is not None:
        # Checked before a model is trained in vain.
        run_async(require_reachable({"bootstrap_servers": bootstrap_server}))
    data = FlightData.find()
    folder = cache_dir or cache_folder(sys.platform, os.environ, Path.home())
    model = _model(data, folder, retrain, console)
    options = DemoOptions(events, rate or None, bootstrap_server, keep)
    done = run_async(_run(options, data, model, console), unwind_s=UNWIND_S)
    if as_json:
        echo_json(_as_json(done, model, keep))
    else:
        _print_report(done, keep)
    return 0 if done.report.passed else 1


command.add_command(model_command)
command.add_command(flights_command)


def _model(data: FlightData, folder: Path, retrain: bool, console: Console) -> DemoModel:
    from forebay.stream.demo.train import recipe_digest

    return demo_model(data, folder / recipe_digest(data.size_bytes), retrain, console)


async def _run(options: DemoOptions, data: FlightData, model: DemoModel, console: Console) -> DemoResult:
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.demo.run import run_demo

    with _live(options.events, console) as show:
        return await run_demo(
            options,
            data,
            model,
            environ=os.environ,
            clock=SystemClock(),
            say=lambda line: console.print(f"✓ {line}", markup=False),
            show=show,
        )


@contextmanager
def _live(total: int, console: Console) -> Iterator[Callable[[Ledger], None]]:
    """Show a live table on a terminal, and nothing elsewhere."""
    from rich.live import Live

    from forebay.stream.core.clock import SystemClock
    from forebay.stream.demo.render import live_stats, live_table

    if not console.is_terminal or console.quiet:
        yield lambda ledger: None
        return
    clock = SystemClock()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda ledger: live.update(live_table(live_stats(ledger, clock.monotonic_s()), total), refresh=True)


def _as_json(done: DemoResult, model: DemoModel, keep: bool) -> dict[str, object]:
    deployment = done.deployment
    running: dict[str, object] | None = None
    if keep:
        running = {
            "config": str(deployment.config),
            "bootstrap_servers": deployment.settings.kafka.bootstrap_servers,
            "worker_pid": deployment.worker_pid,
            "evaluator_pid": deployment.evaluator_pid,
            "broker_pid": deployment.broker_pid,
            "page": deployment.page,
        }
    return {
        **done.report.to_dict(),
        "model": {"repository": str(model.repository), "version": model.version, "cached": model.was_cached},
        "running": running,
    }


def _print_report(done: DemoResult, keep: bool) -> None:
    from forebay.stream.demo.next_steps import next_steps, next_steps_after_stop, path_hint
    from forebay.stream.demo.render import report_text
    from forebay.stream.terminal.console import stdout_console

    console = stdout_console()
    console.print()
    console.print(report_text(done.report))
    console.print()
    lines = next_steps(done.deployment) if keep else next_steps_after_stop()
    for line in lines + path_hint(Path(sys.executable), os.environ.get("PATH", "")):
        console.print(line, markup=False)
