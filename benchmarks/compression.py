"""Print what compression costs a worker, and what it saves, as a Markdown table.

    python -m benchmarks.compression --broker apache --events 100000

For each codec, the worker drains a topic whose batches have it, and writes its predictions with it. The CPU time is that of the
worker, per event, from the first to the last readable prediction: a median of rounds whose order alternates, so that the ratio
to no compression in the same round is the figure to look at on a busy machine. The sizes are those of the record batches in the
topics, per event, for JSON events with 32 random features and predictions of two classes.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import click
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.field import started_broker
from forebay.schemas.topics import CATALOGUE, FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.closed_loop import drain
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.setup import as_toml, bench_settings, save_bench_model, signature_of
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics

CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
CLOCK: Final = SystemClock()
_AT_LENGTH, _AFTER_LENGTH = 8, 12


class Run(NamedTuple):
    """One measurement. Sizes are bytes per event."""

    cpu_us: float
    input_bytes: float
    output_bytes: float


def batch_bytes(log: bytes) -> int:
    """Return the size of the complete batches in the bytes of a fetch."""
    position = 0
    while position + _AFTER_LENGTH <= len(log):
        length = int.from_bytes(log[position + _AT_LENGTH : position + _AFTER_LENGTH], "big")
        if position + _AFTER_LENGTH + length > len(log):
            break
        position += _AFTER_LENGTH + length
    return position


async def topic_bytes(options: Mapping[str, object], topic: str, *, num_partitions: int, records: int) -> int:
    """Return the size of a topic's record batches, which contain `records` records."""
    consumer: Any = AIOKafkaConsumer(**options, group_id=None, isolation_level="read_committed")
    await consumer.start()
    try:
        total, send = 0, consumer._fetcher._client.send

        async def counted(node_id: int, request: Any, **more: Any) -> Any:
            nonlocal total
            response = await send(node_id, request, **more)
            for _, partitions in getattr(response, "topics", ()):
                total += sum(batch_bytes(row[-1]) for row in partitions if isinstance(row[-1], bytes))
            return response

        consumer._fetcher._client.send = counted
        partitions = [TopicPartition(topic, number) for number in range(num_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while records > 0:
            polled = await consumer.getmany(timeout_ms=1000, max_records=10_000)
            records -= sum(map(len, polled.values()))
        return total
    finally:
        await consumer.stop()


async def measure(base: Settings, folder: Path, codec: str, events: int) -> Run:
    """Drain a topic with compressed events and write compressed predictions."""
    output = base.output.model_copy(update={"compression_type": codec})
    settings = bench_settings(
        base.model_copy(update={"output": output}),
        run_id=uuid.uuid4().hex[:8],
        embedded_servers=None,
        own_repository=folder / "models",
    )
    config = folder / "forebay.toml"
    config.write_text(as_toml(settings), encoding="utf-8")
    options, num_partitions = client_options(settings.kafka), settings.topics.partitions
    features, predictions = (topic_name(settings.topics.prefix, spec.name) for spec in (FEATURES, PREDICTIONS))
    await create_topics(settings)
    try:
        await preload_topic(
            options | {"compression_type": None if codec == "none" else codec},
            features,
            num_partitions=num_partitions,
            events=events,
            generator=EventGenerator(signature_of(settings.model)),
            timestamp_ms=CLOCK.wall_ms(),
        )
        reader = PredictionReader(options, predictions, num_partitions)
        environ = without_settings(os.environ)
        worker = WorkerProcess(config, folder / "log", environ=environ, clock=CLOCK, die_with_parent=True)
        await reader.start()
        worker.start()
        try:
            closed = await drain(worker, reader, events=events, clock=CLOCK)
        finally:
            await worker.stop()
            await reader.stop()
        sizes = [
            await topic_bytes(options, topic, num_partitions=num_partitions, records=events) / events
            for topic in (features, predictions)
        ]
    finally:
        await delete_topics(settings.kafka, [topic_name(settings.topics.prefix, spec.name) for spec in CATALOGUE])
    return Run(1e6 / closed.events_per_cpu_s, *sizes)


async def run(broker: str, server: str | None, events: int, rounds: int) -> None:
    """Measure all codecs in each round and print the table."""
    runs: dict[str, list[Run]] = {codec: [] for codec in CODECS}
    with tempfile.TemporaryDirectory(prefix="forebay-compression-") as name:
        folder = Path(name)
        async with started_broker(broker, server, folder) as (servers, description):
            save_bench_model(folder / "models", backend="onnx")
            base = load_settings(None, {}, {"kafka.bootstrap_servers": servers}).settings
            for number in range(rounds):
                for codec in CODECS if number % 2 == 0 else reversed(CODECS):
                    runs[codec].append(await measure(base, folder, codec, events))
    click.echo(f"{description}, {events:,} events, {rounds} rounds\n")
    click.echo("| codec | CPU, us per event | ratio to none | input, bytes per event | output, bytes per event |")
    click.echo("|---|---|---|---|---|")
    for codec, of_codec in runs.items():
        ratio = median(mine.cpu_us / none.cpu_us for mine, none in zip(of_codec, runs["none"], strict=True))
        cpu_us, sizes = median(one.cpu_us for one in of_codec), of_codec[0]
        click.echo(f"| {codec} | {cpu_us:.2f} | {ratio:.2f} | {sizes.input_bytes:.0f} | {sizes.output_bytes:.0f} |")


@click.command()
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="apache", show_default=True)
@click.option("--bootstrap-server", help="A running cluster instead.")
@click.option("--events", type=int, default=200_000, show_default=True)
@click.option("--rounds", type=int, default=3, show_default=True)
def main(broker: str, bootstrap_server: str | None, events: int, rounds: int) -> None:
    """Print what compression costs a worker, and what it saves."""
    asyncio.run(run(broker, bootstrap_server, events, rounds))


if __name__ == "__main__":
    main()
