"""Measure what a backlog of class low costs a topic of class high.

    python -m benchmarks.priorities
    python -m benchmarks.priorities --broker apache --rounds 3

Events arrive on one topic at 500 per second, and their latency is measured until a read_committed reader has the prediction.
Three workers take turns: one has nothing else to do; one starts with a backlog of 500,000 events of class low on another topic,
while the measured topic is of class high; one has the same backlog without priorities. The model is large enough for the
backlog to last longer than the measurement, which is checked. All topics have five partitions; the measured events use the
first one and the backlog the others, so that their predictions are apart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.field import started_broker
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ForebayError
from forebay.schemas.topics import topic_name
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.open_loop import OpenLoop, publish_and_time
from forebay.stream.bench.preload import BATCH_BYTES, BATCH_EVENTS, build_batch
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.setup import MODEL_NAME
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

CLOCK: Final = SystemClock()
RATE: Final = 500.0
NUM_PARTITIONS: Final = 5
FIRST_NUMBER: Final = 100_000_000
"""The number of the first measured event. Those of the backlog are smaller."""
WARM_UP_S: Final = 1.0
NUM_FEATURES: Final = 32
ALONE, WITH_PRIORITIES, WITHOUT = "alone", "backlog, with priorities", "backlog, without priorities"
SIGNATURE: Final = Signature(
    tuple(Feature(f"f{number}") for number in range(NUM_FEATURES)), (NUM_FEATURES,), "multiclass", 2
)


def save_model(repository: Path, width: int) -> None:
    """Save an untrained MLP with two layers of this width."""
    net = build_net("mlp", {"input_dim": NUM_FEATURES, "hidden_dims": [width, width], "output_dim": 2})
    note = "untrained, for benchmarks only"
    save_artefact(repository, MODEL_NAME, net, signature=SIGNATURE, created_at=datetime.now(UTC), note=note)


def write_config(folder: Path, bootstrap: str, *, run: str, priorities: bool) -> Path:
    """Write the configuration of one worker, with topics of its own."""
    config = folder / f"{run}.toml"
    section = '[priorities]\nhigh_topics = ["alarms"]\nlow_topics = ["backfill"]\n' if priorities else ""
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{bootstrap}"\ngroup_id = "{run}"\n'
        f'[topics]\nprefix = "{run}-"\npartitions = {NUM_PARTITIONS}\nreplication_factor = 1\n'
        f'[input]\ntopics = ["alarms", "backfill"]\n[model]\nname = "{MODEL_NAME}"\ndevice = "cpu"\n'
        f'repository = "{folder / "models"}"\n[batch]\nmax_batch_size = 512\n[admin]\nport = 0\n{section}'
    )
    return config


async def fill(settings: Settings, events: int) -> None:
    """Write the backlog to all partitions but the first."""
    generator, topic = EventGenerator(SIGNATURE), topic_name(settings.topics.prefix, "backfill")
    producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all", max_batch_size=BATCH_BYTES)
    await producer.start()
    try:
        number = turn = 0
        deliveries = []
        while number < events:
            batch, count = build_batch(
                producer,
                generator,
                first=number,
                count=min(BATCH_EVENTS, events - number),
                timestamp_ms=CLOCK.wall_ms(),
            )
            place = 1 + turn % (NUM_PARTITIONS - 1)
            deliveries.append(await producer.send_batch(batch, topic, partition=place))
            number, turn = number + count, turn + 1
        await asyncio.gather(*deliveries)
    finally:
        await producer.stop()


async def remaining(settings: Settings) -> int:
    """Return how many events of the backlog are not committed."""
    topic = topic_name(settings.topics.prefix, "backfill")
    places = [TopicPartition(topic, number) for number in range(NUM_PARTITIONS)]
    async with AIOKafkaConsumer(
        **client_options(settings.kafka), group_id=settings.kafka.group_id, enable_auto_commit=False
    ) as consumer:
        ends: Mapping[Any, int] = await consumer.end_offsets(places)
        committed = [await consumer.committed(place) or 0 for place in places]
        return sum(ends.values()) - sum(committed)


async def measure(
    folder: Path, bootstrap: str, variant: str, *, run: str, backlog: int, seconds: float
) -> tuple[OpenLoop, int]:
    """Run one worker. Return the latencies and what was left of the backlog at the end."""
    config = write_config(folder, bootstrap, run=run, priorities=variant != WITHOUT)
    settings = load_settings(config, {}).settings
    await create_topics(settings)
    if variant != ALONE:
        await fill(settings, backlog)
    process = WorkerProcess(
        config, folder / f"{run}.log", environ=without_settings(os.environ), clock=CLOCK, die_with_parent=False
    )
    process.start()
    predictions = topic_name(settings.topics.prefix, "predictions")
    reader = PredictionReader(client_options(settings.kafka), predictions, 1)
    try:
        await process.wait_ready()
        await reader.start()
        loop = await publish_and_time(
            process,
            reader,
            client_options(settings.kafka),
            topic_name(settings.topics.prefix, "alarms"),
            num_partitions=1,
            generator=EventGenerator(SIGNATURE),
            rate=RATE,
            events=int(seconds * RATE),
            first_number=FIRST_NUMBER,
            clock=CLOCK,
            warm_up_s=WARM_UP_S,
        )
        return loop, await remaining(settings)
    finally:
        await reader.stop()
        await process.stop()


async def measure_all(*, broker: str, rounds: int, backlog: int, seconds: float, width: int) -> dict[str, Any]:
    """Run all workers in turn, and return the medians of their percentiles."""
    runs: dict[str, list[tuple[OpenLoop, int]]] = {ALONE: [], WITH_PRIORITIES: [], WITHOUT: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder / "models", width)
        async with started_broker(broker, None, folder) as (bootstrap, description):
            for number in range(rounds):
                for variant, of_variant in runs.items():
                    run = f"{variant.replace(', ', '-').replace(' ', '-')}-{number}"
                    of_variant.append(
                        await measure(folder, bootstrap, variant, run=run, backlog=backlog, seconds=seconds)
                    )
    figures = {
        variant: {
            "p50_ms": median(loop.latency.p50_ms for loop, _ in of_variant),
            "p99_ms": median(loop.latency.p99_ms for loop, _ in of_variant),
            "p99_ms_rounds": [loop.latency.p99_ms for loop, _ in of_variant],
            "backlog_left": min(left for _, left in of_variant),
        }
        for variant, of_variant in runs.items()
    }
    return {"broker": description, "rate": RATE, "backlog": backlog, "width": width, "variants": figures}


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(min=1), default=3)
@click.option("--backlog", type=click.IntRange(min=1), default=500_000, help="Events of class low.")
@click.option("--seconds", type=click.FloatRange(min=2), default=5.0, help="Duration of one measurement.")
@click.option("--width", type=click.IntRange(min=1), default=1024, help="Width of the model's two layers.")
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rounds: int, backlog: int, seconds: float, width: int, broker: str, as_json: bool) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        report = asyncio.run(measure_all(broker=broker, rounds=rounds, backlog=backlog, seconds=seconds, width=width))
    except ForebayError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(
        f"{report['broker']} · {RATE:g} events/s · backlog {backlog:,} · MLP {width}-{width} · median of {rounds}"
    )
    for variant, found in report["variants"].items():
        left = "" if variant == ALONE else f", {found['backlog_left']:,} of the backlog left at the end"
        click.echo(f"{variant:<28} p50 {found['p50_ms']:8.1f} ms, p99 {found['p99_ms']:8.1f} ms{left}")
    if any(found["backlog_left"] == 0 for variant, found in report["variants"].items() if variant != ALONE):
        click.echo("the backlog ended before the measurement: take a wider model or a longer backlog", err=True)


if __name__ == "__main__":
    main()
