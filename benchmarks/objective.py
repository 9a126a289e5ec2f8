"""Compare a worker with an objective on latency with workers with fixed settings, at several loads.

    python -m benchmarks.objective --broker apache
    python -m benchmarks.objective --broker apache --minutes 20

All workers serve the same net, wide enough that it limits the worker and not the machine, exactly once. The capacity is
measured first, by draining a filled topic. Then each round sends events at 10, 50 and 90 % of it to one worker after the
other, in rotating order. A latency is that from the time at which the event was due until a `read_committed` reader has its
prediction.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.field import started_broker
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ForebayError
from forebay.schemas.topics import topic_name
from forebay.stream.bench.closed_loop import drain
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.host_info import describe_host
from forebay.stream.bench.open_loop import OpenLoop, publish_and_time
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.setup import MODEL_NAME, NUM_FEATURES
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

CLOCK: Final = SystemClock()
STEERED: Final = "objective"
FIXED: Final[Mapping[str, str]] = {
    "no wait": "[batch]\nmax_queue_delay_ms = 0",
    "2 ms, the default": "",
    "10 ms": "[batch]\nmax_queue_delay_ms = 10",
    "40 ms": "[batch]\nmax_queue_delay_ms = 40",
}
LOADS: Final = (0.1, 0.5, 0.9)
WARM_UP_S: Final = 3.0
WINDOW_S: Final = 10
SIGNATURE: Final = Signature(
    tuple(Feature(f"f{number}") for number in range(NUM_FEATURES)), (NUM_FEATURES,), "multiclass", 2
)


@dataclass(slots=True)
class Subject:
    """A worker that is measured. sent: number of events that it got."""

    name: str
    settings: Settings
    process: WorkerProcess
    reader: PredictionReader
    sent: int = 0
    runs: dict[float, list[OpenLoop]] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        return topic_name(self.settings.topics.prefix, "features")

    async def capacity(self, events: int) -> float:
        """Return the events per second with which a filled topic is drained."""
        options, partitions = client_options(self.settings.kafka), self.settings.topics.partitions
        draining = asyncio.create_task(drain(self.process, self.reader, events=events, clock=CLOCK))
        await preload_topic(
            options,
            self.topic,
            num_partitions=partitions,
            events=events,
            generator=EventGenerator(SIGNATURE),
            timestamp_ms=CLOCK.wall_ms(),
        )
        self.sent += events
        return (await draining).events_per_s

    async def run(self, rate: float, seconds: float, *, warm_up_s: float = WARM_UP_S) -> OpenLoop:
        """Send events at a rate."""
        events = int(rate * seconds)
        first, self.sent = self.sent, self.sent + events
        return await publish_and_time(
            self.process,
            self.reader,
            client_options(self.settings.kafka),
            self.topic,
            num_partitions=self.settings.topics.partitions,
            generator=EventGenerator(SIGNATURE),
            rate=rate,
            events=events,
            first_number=first,
            clock=CLOCK,
            warm_up_s=warm_up_s,
        )


def save_model(repository: Path, hidden: int) -> None:
    """Save an untrained MLP with two wide layers: a row takes about a tenth of a millisecond or more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_net("mlp", {"input_dim": NUM_FEATURES, "hidden_dims": [hidden, hidden], "output_dim": 2})
    note = "untrained, for benchmarks only; its predictions mean nothing"
    save_artefact(repository, MODEL_NAME, net, signature=SIGNATURE, created_at=datetime.now(UTC), note=note)


@asynccontextmanager
async def subject(name: str, lines: str, *, number: int, bootstrap: str, folder: Path) -> AsyncIterator[Subject]:
    """Start a worker with topics of its own, and stop it at the end. lines: its part of the configuration."""
    config = folder / f"{number}.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{bootstrap}"\ngroup_id = "objective-{number}"\n'
        f'[topics]\nprefix = "objective-{number}-"\nreplication_factor = 1\n'
        f'[model]\nname = "{MODEL_NAME}"\nrepository = "{folder / "models"}"\n[admin]\nport = 0\n{lines}\n'
    )
    settings = load_settings(config, {}).settings
    await create_topics(settings)
    environ = without_settings(os.environ)
    process = WorkerProcess(config, folder / f"{number}.log", environ=environ, clock=CLOCK, die_with_parent=True)
    process.start()
    predictions = topic_name(settings.topics.prefix, "predictions")
    reader = PredictionReader(client_options(settings.kafka), predictions, settings.topics.partitions)
    try:
        await process.wait_ready()
        await reader.start()
        yield Subject(name, settings, process, reader)
    finally:
        await reader.stop()
        await process.stop()


def windows_met(latencies_ms: Sequence[float], rate: float, objective_ms: float) -> float:
    """Return the share of ten-second windows whose 99th percentile meets the objective."""
    size = max(1, int(rate * WINDOW_S))
    windows = [latencies_ms[start : start + size] for start in range(0, max(1, len(latencies_ms) - size + 1), size)]
    return float(np.mean([np.percentile(window, 99) <= objective_ms for window in windows]))


def recovery_s(latencies_ms: Sequence[float], rate: float, objective_ms: float) -> float:
    """Return the end of the last second, from the first event on, whose 99th percentile is above the objective."""
    size = max(1, int(rate))
    ends = [
        start / rate + 1
        for start in range(0, len(latencies_ms) - size + 1, size)
        if np.percentile(latencies_ms[start : start + size], 99) > objective_ms
    ]
    return max(ends, default=0.0)


async def measure(
    broker: str,
    bootstrap_server: str | None,
    *,
    objective_ms: int,
    rounds: int,
    seconds: float,
    minutes: float,
    hidden: int,
) -> dict[str, object]:
    """Measure everything and return the figures."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-objective-")))
        save_model(folder / "models", hidden)
        bootstrap, description = await stack.enter_async_context(started_broker(broker, bootstrap_server, folder))
        variants = {STEERED: f"[objective]\np99_ms = {objective_ms}", **FIXED}
        subjects = [
            await stack.enter_async_context(subject(name, lines, number=number, bootstrap=bootstrap, folder=folder))
            for number, (name, lines) in enumerate(variants.items())
        ]
        steered, default = subjects[0], subjects[2]
        capacity = await default.capacity(20_000)
        click.echo(f"{description}: capacity {capacity:,.0f} events/s", err=True)
        for number in range(rounds):
            for load in LOADS:
                for each in [*subjects[number % len(subjects) :], *subjects[: number % len(subjects)]]:
                    each.runs.setdefault(load, []).append(await each.run(load * capacity, seconds))
                    click.echo(f"{load:.0%} {each.name}: p99 {each.runs[load][-1].latency.p99_ms:.1f} ms", err=True)
        await steered.run(0.1 * capacity, 5)
        step = await steered.run(0.9 * capacity, 12, warm_up_s=0.0)
        figures: dict[str, object] = {
            "broker": description,
            "objective_ms": objective_ms,
            "capacity": round(capacity),
            "loads": {f"{load:.0%}": loads_of(subjects, load) for load in LOADS},
            "step 10 to 90 %: seconds until it is met": recovery_s(step.latencies_ms, step.rate, objective_ms),
            "machine": describe_host(),
        }
        if minutes:
            long = await steered.run(0.5 * capacity, 60 * minutes)
            figures["share of 10 s windows that meet it"] = windows_met(long.latencies_ms, long.rate, objective_ms)
        return figures


def loads_of(subjects: Sequence[Subject], load: float) -> dict[str, object]:
    """Return the medians of all workers at a load, and the ratio of the first to the best of the others."""
    p99_ms = {each.name: median(run.latency.p99_ms for run in each.runs[load]) for each in subjects}
    best = min((name for name in p99_ms if name != STEERED), key=p99_ms.__getitem__)
    return {
        "p99_ms": {name: round(value, 1) for name, value in p99_ms.items()},
        "cpu_share": {each.name: round(median(run.cpu_share for run in each.runs[load]), 3) for each in subjects},
        "best": best,
        "ratio": round(p99_ms[STEERED] / p99_ms[best], 3),
    }


def to_table(figures: Mapping[str, object]) -> Table:
    loads = figures["loads"]
    assert isinstance(loads, dict)
    table = Table(title=f"p99 in ms (CPU share), capacity {figures['capacity']:,} events/s", title_justify="left")
    table.add_column("worker")
    for load in loads:
        table.add_column(load, justify="right")
    for name in next(iter(loads.values()))["p99_ms"]:
        table.add_row(name, *(f"{at['p99_ms'][name]:.1f} ({at['cpu_share'][name]:.2f})" for at in loads.values()))
    table.add_row("objective ÷ best", *(f"{at['ratio']:.2f}" for at in loads.values()))
    return table


@click.command()
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
@click.option("--bootstrap-server", metavar="HOST:PORT", help="Use this running Kafka instead.")
@click.option("--objective", "objective_ms", default=150, show_default=True, help="The objective, in ms.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the workers are interleaved.")
@click.option("--seconds", default=9.0, show_default=True, help="Duration of each run, with 3 s of warm-up.")
@click.option("--minutes", default=0.0, show_default=True, help="Then send half of the capacity for this long.")
@click.option("--hidden", default=2048, show_default=True, help="Width of the net.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    broker: str,
    bootstrap_server: str | None,
    *,
    objective_ms: int,
    rounds: int,
    seconds: float,
    minutes: float,
    hidden: int,
    as_json: bool,
) -> None:
    """Compare a worker with an objective on latency with workers with fixed settings."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        figures = asyncio.run(
            measure(
                broker,
                bootstrap_server,
                objective_ms=objective_ms,
                rounds=rounds,
                seconds=seconds,
                minutes=minutes,
                hidden=hidden,
            )
        )
    except ForebayError as error:
        sys.exit(str(error))
    if as_json:
        click.echo(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    Console(width=None if sys.stdout.isatty() else 120).print(to_table(figures))
    click.echo(
        json.dumps({key: value for key, value in figures.items() if key != "loads"}, indent=2, ensure_ascii=False)
    )


if __name__ == "__main__":
    main()
