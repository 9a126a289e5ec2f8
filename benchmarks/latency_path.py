"""Print how long the events of an open loop take from step to step, as a Markdown table.

    python -m benchmarks.latency_path --broker apache --rate 1000 --seconds 20

An event passes these steps:

    sent        from when it was due until the client took it: the delay of this benchmark's sender
    acked       until the broker had confirmed it; the worker may have read it before
    polled      until the worker's poll returned it: the fetch, and the time for which the pipeline was busy
    decoded     until its poll was decoded
    closed      until its micro-batch was closed
    started     until the model's thread took the micro-batch
    predicted   until the model had returned
    began       until its commit began: it waits for the previous one
    emit        until the commit's records were built
    begin       until the transaction had the partitions
    deliveries  until the brokers had confirmed the predictions
    positions   until the group had the positions
    end         until the transaction had ended
    fetched     until a response with its prediction had reached the reader, a read_committed consumer
    read        until the reader had it

Times are means, medians and 99th percentiles in ms over all events after a warm-up; only means add up. `polled` counts from
`sent`, since a confirmation and a fetch compete; where a commit's step ends after the prediction was fetched, as at least once,
`fetched` counts from `deliveries`. Publisher, reader, worker and broker share the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.field import started_broker
from benchmarks.path_worker import COLUMNS
from forebay.schemas.topics import CATALOGUE, FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.events import EventGenerator, number_of
from forebay.stream.bench.setup import as_toml, bench_settings, save_bench_model, signature_of
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.process import tied_to_parent
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.kafka.patches.fetch_pacing import pace_fetches
from forebay.stream.publish.pacer import Pacer
from forebay.stream.telemetry.process_usage import ProcessMeter

GUARANTEES: Final = ("exactly_once", "at_least_once")
_LEAD_S: Final = 0.2
_WAIT_S: Final = 30.0

Times = npt.NDArray[np.float64]


class RecordingWorker(WorkerProcess):
    """A worker that records something about itself.

    file: the file for it.
    module: the program that runs the worker; it takes the file and the arguments of `forebay run`.
    """

    def __init__(self, config: Path, file: Path, *, module: str = "benchmarks.path_worker", **options: Any) -> None:
        super().__init__(config, config.with_name("worker.log"), clock=SystemClock(), die_with_parent=True, **options)
        self._file = file
        self._module = module

    def start(self) -> None:
        """Start the process without waiting until it is ready."""
        command = [sys.executable, "-m", self._module, str(self._file), "-c", str(self._config)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                tied_to_parent(command, os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
                start_new_session=True,
            )


class Loop:
    """An open loop of events, and the times at which each was due, sent, confirmed, fetched by the reader and read."""

    def __init__(self, settings: Settings, *, rate: float, events: int) -> None:
        self._settings = settings
        self._options = client_options(settings.kafka)
        self._num_partitions = settings.topics.partitions
        self._rate = rate
        self.events = events
        self.due, self.sent, self.acked, self.fetched, self.read = (np.full(events, np.nan) for _ in range(5))
        self._missing = events

    async def run(self) -> None:
        """Publish all events and read all predictions. Raises TimeoutError if some do not arrive."""
        topic = topic_name(self._settings.topics.prefix, PREDICTIONS.name)
        consumer = AIOKafkaConsumer(**self._options, group_id=None, isolation_level="read_committed")
        producer = AIOKafkaProducer(**self._options, acks="all")
        await consumer.start()
        await producer.start()
        try:
            pace_fetches(consumer, 0.001)
            arrivals = _record_arrivals(consumer)
            partitions = [TopicPartition(topic, number) for number in range(self._num_partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            gc.collect()
            gc.freeze()
            async with asyncio.timeout(self.events / self._rate + _WAIT_S), asyncio.TaskGroup() as group:
                group.create_task(self._read(consumer, arrivals))
                group.create_task(self._publish(producer))
        finally:
            await producer.stop()
            await consumer.stop()

    async def _publish(self, producer: Any) -> None:
        topic = topic_name(self._settings.topics.prefix, FEATURES.name)
        generator = EventGenerator(signature_of(self._settings.model))
        pacer = Pacer(self._rate, time.monotonic() + _LEAD_S)
        number, last = 0, {}
        while number < self.events:
            wait_s = pacer.wait_s(time.monotonic(), number)
            if wait_s:
                await asyncio.sleep(wait_s)
            partition = number % self._num_partitions
            value = generator.value(number, int(time.time() * 1000))
            future = await producer.send(topic, value, generator.key(number), partition=partition)
            self.due[number], self.sent[number] = pacer.due_s(number), time.monotonic()
            future.add_done_callback(lambda _, number=number: self.acked.__setitem__(number, time.monotonic()))
            last[partition] = future
            number += 1
        await asyncio.gather(*last.values())

    async def _read(self, consumer: Any, arrivals: dict[Any, float]) -> None:
        while self._missing:
            polled = await consumer.getmany(timeout_ms=100, max_records=2000)
            now_s = time.monotonic()
            for partition, records in polled.items():
                for record in records:
                    number = number_of(record.value)
                    if np.isnan(self.read[number]):
                        self.fetched[number], self.read[number] = arrivals[partition], now_s
                        self._missing -= 1


def _record_arrivals(consumer: Any) -> dict[Any, float]:
    """Return the time of the last fetch response of each partition, which the consumer keeps up to date."""
    arrivals: dict[Any, float] = {}
    fetcher = consumer._fetcher
    send = fetcher._client.send

    async def timed_send(node_id: int, request: Any, **options: Any) -> Any:
        response = await send(node_id, request, **options)
        now_s = time.monotonic()
        for topic, partitions in getattr(response, "topics", ()):
            for partition, *_, records in partitions:
                if isinstance(records, bytes) and records:
                    arrivals[TopicPartition(topic, partition)] = now_s
        return response

    fetcher._client.send = timed_send
    return arrivals


def steps_of(loop: Loop, worker_times: Times, *, warm_up: int) -> dict[str, Times]:
    """Return the durations of each step, in ms, by event. worker_times: the rows of the worker's file (`COLUMNS`)."""
    num_partitions = loop._num_partitions
    at: dict[str, Times] = {}
    numbers = (worker_times[:, 1] * num_partitions + worker_times[:, 0]).astype(int)
    for column, name in enumerate(COLUMNS[2:], start=2):
        values = np.full(loop.events, np.nan)
        values[numbers] = worker_times[:, column]
        at[name] = values
    steps = {"sent": loop.sent - loop.due, "acked": loop.acked - loop.sent, "polled": at["polled"] - loop.sent}
    names = COLUMNS[2:]
    for before, name in pairwise(names):
        steps[name] = at[name] - at[before]
    is_early = loop.fetched < at["end"]
    steps["fetched"] = loop.fetched - np.where(is_early, at["deliveries"], at["end"])
    steps["read"] = loop.read - loop.fetched
    steps["all"] = loop.read - loop.due
    return {name: values[warm_up:] * 1000 for name, values in steps.items()}


async def measure(
    settings: Settings, folder: Path, *, rate: float, events: int, warm_up: int
) -> tuple[dict[str, Times], float]:
    """Return the durations of each step by event, and the CPU microseconds of the worker per event."""
    config, times = folder / "forebay.toml", folder / "times.npy"
    config.write_text(as_toml(settings), encoding="utf-8")
    names = [topic_name(settings.topics.prefix, spec.name) for spec in CATALOGUE]
    await create_topics(settings)
    worker = RecordingWorker(config, times, environ=without_settings(os.environ))
    worker.start()
    try:
        await worker.wait_ready()
        loop = Loop(settings, rate=rate, events=events)
        meter = ProcessMeter(worker.pid)
        before = meter.usage()
        await loop.run()
        after = meter.usage()
    finally:
        await worker.stop()
        await delete_topics(settings.kafka, names)
    assert before is not None and after is not None
    return steps_of(loop, np.load(times), warm_up=warm_up), (after.cpu_s - before.cpu_s) / events * 1e6


@contextlib.asynccontextmanager
async def _settings(
    broker: str, server: str | None, options: dict[str, str]
) -> AsyncIterator[tuple[Settings, Path, str]]:
    with tempfile.TemporaryDirectory(prefix="forebay-path-") as name:
        folder = Path(name)
        async with started_broker(broker, server, folder) as (servers, description):
            save_bench_model(folder / "models", backend="onnx")
            base = load_settings(None, {}, {"kafka.bootstrap_servers": servers, **options}).settings
            yield base, folder, description


async def run(
    broker: str,
    server: str | None,
    guarantees: tuple[str, ...],
    *,
    rate: float,
    seconds: float,
    options: dict[str, str],
) -> None:
    """Measure each guarantee once and print its table."""
    async with _settings(broker, server, options) as (base, folder, description):
        click.echo(f"{description}, {rate:,.0f} events/s")
        for guarantee in guarantees:
            delivery = base.delivery.model_copy(update={"processing_guarantee": guarantee})
            settings = bench_settings(
                base.model_copy(update={"delivery": delivery}),
                run_id=uuid.uuid4().hex[:8],
                embedded_servers=None,
                own_repository=folder / "models",
            )
            steps, cpu_us = await measure(
                settings, folder, rate=rate, events=round(rate * seconds), warm_up=round(rate * min(3.0, seconds / 3))
            )
            click.echo(f"\n{guarantee}, {cpu_us:.0f} us of the worker's CPU per event\n")
            click.echo("| step | mean | p50 | p99 |\n|---|---|---|---|")
            for name, values in steps.items():
                p50, p99 = np.nanpercentile(values, [50, 99])
                click.echo(f"| {name} | {np.nanmean(values):.2f} | {p50:.2f} | {p99:.2f} |")


@click.command()
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="apache", show_default=True)
@click.option("--bootstrap-server", help="A running cluster instead.")
@click.option("--guarantee", "guarantees", type=click.Choice(GUARANTEES), multiple=True, default=GUARANTEES)
@click.option("--rate", type=float, default=1000.0, show_default=True, help="Events per second.")
@click.option("--seconds", type=float, default=20.0, show_default=True)
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="A setting of the worker.")
def main(
    broker: str,
    bootstrap_server: str | None,
    guarantees: tuple[str, ...],
    rate: float,
    seconds: float,
    options: tuple[str, ...],
) -> None:
    """Print how long the events of an open loop take from step to step."""
    pairs = dict(option.split("=", 1) for option in options)
    asyncio.run(run(broker, bootstrap_server, guarantees, rate=rate, seconds=seconds, options=pairs))


if __name__ == "__main__":
    main()
