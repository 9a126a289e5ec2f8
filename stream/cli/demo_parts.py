"""`forebay demo model` and `forebay demo flights`: the demo's model and events for your own cluster."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.interrupts import run_async, unwind_on_signal
from forebay.stream.cli.options import ConfigSource, bootstrap_option, config_options
from forebay.stream.cli.output import echo
from forebay.stream.core.quantities import quantity

if TYPE_CHECKING:
    from rich.console import Console

    from forebay.stream.demo.flights import FlightData
    from forebay.stream.demo.train import DemoModel

DEFAULT_FLIGHTS_RATE: Final = 200.0


def demo_model(data: FlightData, repository: Path, retrain: bool, console: Console) -> DemoModel:
    """Return the model in `repository`. Trains it first, with a progress bar on a terminal, if it is missing or `retrain`."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from forebay.stream.demo.train import cached_model, train_model

    model = None if retrain else cached_model(repository)
    if model is None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with (
            unwind_on_signal(),
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
        ):
            task = bar.add_task("", total=1.0)
            model = train_model(
                data,
                repository,
                created_at=datetime.now(UTC),
                progress=lambda what, fraction: bar.update(task, description=what, completed=fraction),
            )
    how = "from an earlier run" if model.was_cached else "trained on January to June"
    console.print(f"✓ model {how}, validation ROC AUC {model.metrics.get('roc_auc', float('nan')):.3f}: {repository}")
    return model


@click.command(
    name="model",
    epilog=examples(
        ("forebay demo model models", "then: forebay run --set model.name=flights-late"),
        ("forebay demo model /models --retrain", "add another version"),
    ),
)
@click.argument("repository", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER")
@click.option("--retrain", is_flag=True, help="Train the model again, as a new version.")
def model_command(repository: Path, retrain: bool) -> None:
    """Train the demo's model.

    Writes the model flights-late to the model repository FOLDER, unless it already contains the model.
    """
    from forebay.stream.demo.flights import FlightData
    from forebay.stream.terminal.console import stderr_console

    demo_model(FlightData.find(), repository, retrain, stderr_console())


@click.command(
    name="flights",
    epilog=examples(
        ("forebay demo flights --repeat", "publish until Ctrl-C"),
        ("forebay demo flights --limit 10000 --rate 0", "10,000, as fast as possible"),
        ("forebay demo flights --bootstrap-server kafka:9092", "to another cluster"),
    ),
)
@config_options
@bootstrap_option
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=DEFAULT_FLIGHTS_RATE,
    show_default=True,
    metavar="N",
    help="Events per second; 0: as fast as possible.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after this many events.")
@click.option(
    "--repeat", is_flag=True, help="Start again after December, without end. Ids then end with the number of the round."
)
def flights_command(
    source: ConfigSource, bootstrap_server: str | None, rate: float, limit: int | None, repeat: bool
) -> None:
    """Publish events for the demo's model.

    Publishes the flights from July to December 2013 to the first topic of input.topics.
    """
    # The client's log repeats the errors reported here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from forebay.schemas.topics import topic_name
    from forebay.stream.demo.flights import FlightData

    settings = source.with_broker(bootstrap_server).load().settings
    topic = topic_name(settings.topics.prefix, settings.input.topics[0])
    data = FlightData.find()

    async def run() -> int:
        from forebay.stream.core.clock import SystemClock
        from forebay.stream.demo.feed import feed
        from forebay.stream.kafka.client import client_options
        from forebay.stream.publish.publisher import Publisher

        publisher = Publisher(client_options(settings.kafka), topic)
        await publisher.start()
        try:
            echo(f"publishing flights to {topic}" + (f" at {rate:g} a second" if rate else ""), err=True)
            await feed(data, publisher, rate=rate or None, limit=limit, repeat=repeat, clock=SystemClock())
            await publisher.flush()
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            await publisher.flush()
        finally:
            await publisher.stop()
        return publisher.num_delivered

    echo(f"published {quantity(run_async(run()), 'event')} to {topic}")
