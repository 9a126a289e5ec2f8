"""Run a worker under a steady load for a long time, and judge whether its memory and latency stay flat and its counts exact.

    python -m benchmarks.soak --broker apache --minutes 30 --load 0.4
    python -m benchmarks.soak --broker apache --minutes 30 --rate 20000 --windows

First the rate is measured at which the worker drains a topic, then it gets this share of it (--load), or a fixed --rate.
Every ten seconds memory, open files, threads, objects of the garbage collector, lag and latencies are sampled. A latency is
that of a batch of a few events, from when it is published until a read_committed reader has the last of its predictions. At
the end every event must have exactly one prediction, in order.

With --windows, the worker has three models: one for single events, one for tumbling windows of ten seconds, and one for
sessions of 1,000 keys. The events name them in turn. Old segments of the topics are deleted, so a soak needs about 3 GB of
disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import psutil
from aiokafka import AIOKafkaProducer
from rich.console import Console

from benchmarks.field import started_broker
from benchmarks.growth.model_files import net_name, save_net, save_windows_model, windows_name
from benchmarks.latency_path import RecordingWorker
from benchmarks.soak_load import PredictionOrder, SteadyLoad, producer_options
from benchmarks.soak_verdict import Sample, judge, to_document, to_lines
from forebay.models.artefacts.artefact import read_version
from forebay.schemas.errors import ForebayError
from forebay.schemas.topics import CATALOGUE, FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.events import AlternatingEvents, EventGenerator, Events
from forebay.stream.bench.host_info import describe_host
from forebay.stream.bench.live_worker import LiveWorker
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.config.toml_text import toml_value
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.percentile import percentile
from forebay.stream.embedded.worker_process import without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics

CLOCK: Final = SystemClock()
NUM_FEATURES: Final = 32
SMALL_DISK: Final = {
    "log.segment.bytes": str(64 << 20),
    "log.retention.bytes": str(256 << 20),
    "log.retention.check.interval.ms": "15000",
    "log.segment.delete.delay.ms": "5000",
}
LAST_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. rate: events per second; None for `load` times the rate at which a topic of `events` is drained."""

    minutes: float
    load: float
    rate: float | None
    windows: bool
    partitions: int
    events: int
    interval_s: float
    warm_up_s: float


def config_of(plan: Plan, *, servers: str, repository: Path, run_id: str) -> str:
    """Return the configuration file of the worker."""
    text = (
        f'[kafka]\nbootstrap_servers = {toml_value(servers)}\ngroup_id = "soak-{run_id}"\n'
        f'[topics]\nprefix = "soak-{run_id}-"\npartitions = {plan.partitions}\n'
        f'[admin]\nport = 0\n[log]\nlevel = "info"\nformat = "json"\n[model]\nrepository = {toml_value(repository)}\n'
    )
    if not plan.windows:
        return text + f"name = {toml_value(net_name(NUM_FEATURES))}\n"
    single, tumbling, sessions = map(toml_value, model_names(plan))
    return (
        f"{text}[[models]]\nname = {single}\n"
        f'[[models]]\nname = {tumbling}\n[models.window]\nkind = "tumbling"\nsize_ms = 10000\n'
        f'[[models]]\nname = {sessions}\n[models.window]\nkind = "session"\ngap_ms = 2000\nmax_session_ms = 20000\n'
    )


def model_names(plan: Plan) -> list[str]:
    """Return the names of the models, in the order in which events name them."""
    if not plan.windows:
        return [net_name(NUM_FEATURES)]
    return [net_name(NUM_FEATURES), windows_name(NUM_FEATURES, 0), windows_name(NUM_FEATURES, 1)]


def events_of(plan: Plan, repository: Path) -> Events:
    """Return the generator of events."""
    names = model_names(plan)
    signature = read_version(repository, names[0]).manifest.signature
    if len(names) == 1:
        return EventGenerator(signature)
    return AlternatingEvents([EventGenerator(signature, model=name) for name in names])


class Soak:
    """A running worker, its load, and what was sampled of it. objects: the file of `soak_worker`."""

    def __init__(
        self, plan: Plan, worker: LiveWorker, load: SteadyLoad, order: PredictionOrder, *, objects: Path
    ) -> None:
        self._plan = plan
        self._worker = worker
        self._load = load
        self._order = order
        self._objects = objects
        self._process = psutil.Process(worker.process.pid)
        self.samples: list[Sample] = []
        self.window_predictions = 0
        self.reading = True

    async def read(self, reader: PredictionReader) -> None:
        """Read and check predictions until `reading` is false."""
        while self.reading:
            for records in await reader.poll(timeout_s=0.1, max_records=20_000):
                now_s, partition, before = CLOCK.monotonic_s(), records[0].partition, self._order.read
                for record in records:
                    self._order.add(partition, record.value)
                self.window_predictions += len(records) - (self._order.read - before)
                self._load.readable(partition, now_s)

    async def sample(self, elapsed_s: float) -> Sample:
        """Take a sample."""
        status, usage = await self._worker.status(), self._worker.usage()
        latencies, self._load.latencies_ms = sorted(self._load.latencies_ms), []
        models = status["models"]
        sample = Sample(
            at_s=elapsed_s,
            rss_mib=usage.rss_bytes / (1 << 20),
            own_mib=usage.own_bytes / (1 << 20),
            cpu_s=usage.cpu_s,
            open_files=self._process.num_fds(),
            threads=self._process.num_threads(),
            objects=self._num_objects(),
            lag=status["lag"],
            in_flight=status["in_flight"]["events"],
            open_windows=sum(model["window"].get("open_windows", 0) for model in models),
            p50_ms=percentile(latencies, 50) if latencies else None,
            p99_ms=percentile(latencies, 99) if latencies else None,
            events=sum(self._load.sent),
        )
        self.samples.append(sample)
        return sample

    def _num_objects(self) -> int | None:
        lines = self._objects.read_text().splitlines() if self._objects.exists() else []
        return int(json.loads(lines[-1])["objects"]) if lines else None

    async def sample_often(self, began_s: float, report: Callable[[Sample], None]) -> None:
        """Take a sample every interval, until it is cancelled."""
        while True:
            await asyncio.sleep(self._plan.interval_s)
            report(await self.sample(CLOCK.monotonic_s() - began_s))

    async def finish(self) -> dict[str, int]:
        """Wait until every event has its outcome and every prediction has been read, and return the counts."""
        await self._load.flush()
        sent, deadline_s = sum(self._load.sent), CLOCK.monotonic_s() + LAST_S
        expected = self._order.expected(self._load.sent)
        while True:
            counts = await self._worker.counts()
            complete = counts.events >= sent and self._order.read >= expected
            if (complete and self.window_predictions >= counts.windows) or CLOCK.monotonic_s() > deadline_s:
                break
            await asyncio.sleep(0.2)
        return {
            "published events": sent,
            "outcomes of events": counts.events,
            "predictions of single events, expected": expected,
            "predictions of single events, read": self._order.read,
            "windows with an outcome": counts.windows,
            "predictions of windows, read": self.window_predictions,
        }


def is_exact(counts: dict[str, int], order: PredictionOrder) -> bool:
    """Whether every event has one outcome and every prediction was read once, in order."""
    published, outcomes, expected, read, windows, of_windows = counts.values()
    return not order.fault and published == outcomes and expected == read and windows == of_windows


@contextlib.asynccontextmanager
async def started(plan: Plan, servers: str, folder: Path) -> AsyncIterator[tuple[Settings, LiveWorker, Path]]:
    """Create the topics and start the worker. Yield its settings, the worker, and the file of its objects."""
    run_id = uuid.uuid4().hex[:8]
    save_net(folder / "models", NUM_FEATURES)
    save_windows_model(folder / "models", NUM_FEATURES, copies=2)
    config, objects = folder / "forebay.toml", folder / "objects.jsonl"
    text = config_of(plan, servers=servers, repository=folder / "models", run_id=run_id)
    config.write_text(text, encoding="utf-8")
    settings = load_settings(config, {}).settings
    await create_topics(settings)
    process = RecordingWorker(config, objects, module="benchmarks.soak_worker", environ=without_settings(os.environ))
    process.start()
    try:
        worker = LiveWorker(process, CLOCK)
        await worker.attach()
        yield settings, worker, objects
    finally:
        await process.stop()
        await delete_topics(settings.kafka, [topic_name(settings.topics.prefix, spec.name) for spec in CATALOGUE])


async def soak(
    plan: Plan, servers: str, folder: Path, *, say: Callable[[str], None], report: Callable[[Sample], None]
) -> tuple[list[Sample], dict[str, int], PredictionOrder, float]:
    """Run the soak. Return the samples, the counts, the check of the predictions and the rate. Raises ForebayError."""
    async with started(plan, servers, folder) as (settings, worker, objects), contextlib.AsyncExitStack() as stack:
        options = client_options(settings.kafka)
        order = PredictionOrder(plan.partitions, len(model_names(plan)))
        producer = AIOKafkaProducer(**producer_options(options))
        await producer.start()
        stack.push_async_callback(producer.stop)
        topic = topic_name(settings.topics.prefix, FEATURES.name)
        load = SteadyLoad(producer, topic, events_of(plan, folder / "models"), order, clock=CLOCK)
        rate = plan.rate
        if rate is None:
            await worker.pause()
            await load.publish(plan.events // plan.partitions)
            await load.flush()
            drained = await worker.drain(sum(load.sent))
            rate = plan.load * drained.events_per_s
            say(f"drained at {drained.events_per_s:,.0f} events/s")
        say(f"{rate:,.0f} events/s for {plan.minutes:g} minutes")
        reader = PredictionReader(options, topic_name(settings.topics.prefix, PREDICTIONS.name), plan.partitions)
        await reader.start()
        stack.push_async_callback(reader.stop)
        running = Soak(plan, worker, load, order, objects=objects)
        reading = asyncio.create_task(running.read(reader))
        gc.collect()
        gc.freeze()
        sampling = asyncio.create_task(running.sample_often(CLOCK.monotonic_s(), report))
        try:

            def check(_elapsed_s: float) -> None:
                for task in (reading, sampling):
                    if task.done():
                        task.result()

            await load.run(rate, plan.minutes * 60, check)
            sampling.cancel()
            counts = await running.finish()
        finally:
            sampling.cancel()
            running.reading = False
            await asyncio.wait({reading, sampling})
        return running.samples, counts, order, rate


async def run(
    plan: Plan,
    broker: str,
    server: str | None,
    *,
    say: Callable[[str], None],
    report: Callable[[Sample], None],
) -> tuple[str, list[Sample], dict[str, int], PredictionOrder, float]:
    """Run the soak on a broker of its own or on a running one."""
    with tempfile.TemporaryDirectory(prefix="forebay-soak-") as name:
        folder = Path(name)
        async with started_broker(broker, server, folder, SMALL_DISK) as (servers, description):
            return description, *await soak(plan, servers, folder, say=say, report=report)


@click.command(help=__doc__.partition("\n")[0] if __doc__ else None)
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="apache", show_default=True)
@click.option("--bootstrap-server", metavar="HOST:PORT", help="Use this running Kafka instead.")
@click.option("--minutes", type=click.FloatRange(min=0.1), default=30, show_default=True)
@click.option(
    "--load", type=click.FloatRange(0.01, 1), default=0.4, show_default=True, help="Share of the rate of draining."
)
@click.option("--rate", type=click.FloatRange(min=1), help="Events per second, instead of --load.")
@click.option("--windows", is_flag=True, help="Three models: one of single events, two of windows.")
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=10, show_default=True, help="Seconds between samples."
)
@click.option(
    "--warm-up", type=click.FloatRange(min=0), default=180, show_default=True, help="Seconds before the verdict."
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json", help="Save the samples."
)
def main(
    broker: str,
    bootstrap_server: str | None,
    minutes: float,
    load: float,
    rate: float | None,
    windows: bool,
    partitions: int,
    interval: float,
    warm_up: float,
    output: Path | None,
) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(stderr=True, highlight=False)
    plan = Plan(
        minutes, load, rate, windows, partitions=partitions, events=400_000, interval_s=interval, warm_up_s=warm_up
    )

    def report(sample: Sample) -> None:
        latency = "no latencies" if sample.p99_ms is None else f"p50 {sample.p50_ms:.1f}, p99 {sample.p99_ms:.1f} ms"
        console.print(
            f"{sample.at_s:6.0f} s  {sample.rss_mib:6.1f} MiB  {latency}  lag {sample.lag}  "
            f"{sample.open_files} files  {sample.open_windows:,} windows  {sample.events:,} events",
            style="dim",
            soft_wrap=True,
        )

    try:
        running = run(plan, broker, bootstrap_server, say=console.print, report=report)
        description, samples, counts, order, measured_rate = asyncio.run(running)
        verdict = judge(samples, warm_up_s=warm_up, exact=is_exact(counts, order))
    except (ForebayError, ValueError) as error:
        console.print(str(error), style="bold red", markup=False)
        sys.exit(1)
    if output is not None:
        about: dict[str, Any] = {"broker": description, "rate": measured_rate, "machine": describe_host()}
        text = json.dumps({**about, **to_document(verdict, samples, counts)}, ensure_ascii=False, indent=2)
        output.write_text(text + "\n", encoding="utf-8")
    kind = "one model and two of windows" if windows else "one model"
    click.echo(f"{description}, {measured_rate:,.0f} events/s for {minutes:g} minutes, {kind}\n")
    click.echo("\n".join(to_lines(verdict, samples, counts)))
    if order.fault:
        click.echo(f"\nout of order: {order.fault}")
    sys.exit(0 if verdict.passed else 1)


if __name__ == "__main__":
    main()
