"""Prepare the broker, topics, events and model of a comparison, and run one contestant."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.contestants.job import Job
from forebay.schemas.topics import FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.setup import MODEL_NAME, as_toml, bench_settings, save_bench_model, signature_of
from forebay.stream.config.sections import KafkaSection, Settings
from forebay.stream.embedded.broker import EmbeddedBroker, broker_version
from forebay.stream.embedded.worker_process import without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

ROOT = Path(__file__).resolve().parent.parent
RUN_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """A worker in the comparison.

    name: the name in tables.
    module: the Python module to run.
    what: a description in one line.
    processing_guarantee: the guarantee that it provides.
    config: name of the configuration file of the worker, in the folder of the field.
    model: name of the model of a hand-written worker.
    topic: the topic that it drains, without the prefix.
    """

    name: str
    module: str
    what: str
    processing_guarantee: str = "at_least_once"
    config: str = "forebay.toml"
    model: str = MODEL_NAME
    topic: str = FEATURES.name


FOREBAY = Contestant(
    "forebay", "benchmarks.contestants.forebay_worker", "Forebay's worker, at least once like the others"
)
CONTESTANTS = (
    FOREBAY,
    Contestant(
        "forebay exactly once",
        "benchmarks.contestants.forebay_worker",
        "the same with one transaction per commit, the default",
        "exactly_once",
    ),
    Contestant("aiokafka", "benchmarks.contestants.aiokafka_worker", "getmany(512), batch predict, send, commit"),
    Contestant(
        "aiokafka pipelined",
        "benchmarks.contestants.aiokafka_pipelined",
        "the same, awaiting deliveries and committing every 100 ms",
    ),
    Contestant("confluent", "benchmarks.contestants.confluent_worker", "consume(512), batch predict, produce, commit"),
    Contestant(
        "confluent pipelined",
        "benchmarks.contestants.confluent_pipelined",
        "the same, flushing and committing every 100 ms",
    ),
    Contestant("pass-through", "benchmarks.contestants.passthrough", "aiokafka send_batch, without JSON and model"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """The measurements of one contestant in one round."""

    events: int
    seconds: float
    cpu_s: float
    peak_rss_mib: float

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds

    @property
    def events_per_cpu_s(self) -> float:
        return self.events / self.cpu_s


class RunFailed(Exception):
    """A contestant failed, or its outputs are incomplete."""


@dataclass(frozen=True, slots=True)
class Field:
    """The common environment: a broker with the topics, and `events` events in the input topic."""

    settings: Settings
    folder: Path
    events: int
    broker: str
    idempotent: bool

    async def run(self, contestant: Contestant, number: int) -> Run:
        """Let the contestant drain the topic from the beginning, in a new group. Raises RunFailed."""
        prefix = self.settings.topics.prefix
        job = Job(
            bootstrap_servers=self.settings.kafka.bootstrap_servers,
            features=topic_name(prefix, contestant.topic),
            predictions=topic_name(prefix, PREDICTIONS.name),
            group_id=f"{prefix}{contestant.name.replace(' ', '-')}-{number}",
            events=self.events,
            repository=self.settings.model.repository,
            model=contestant.model,
            config=str(self.folder / contestant.config),
            idempotent=self.idempotent,
            processing_guarantee=contestant.processing_guarantee,
        )
        before = await self._ends()
        result = await asyncio.to_thread(self._run, contestant, job)
        written = await self._count_since(before)
        if written != self.events:
            raise RunFailed(f"{contestant.name} wrote {written:,} predictions for {self.events:,} events")
        return result

    def _run(self, contestant: Contestant, job: Job) -> Run:
        log_path = self.folder / f"{contestant.name}.log"
        try:
            done = self._run_once(contestant, job, log_path)
        except subprocess.TimeoutExpired as error:
            tail = log_path.read_bytes()[-2000:].decode(errors="replace")
            raise RunFailed(f"{contestant.name} did not finish within {error.timeout:g} s:\n{tail}") from None
        lines = done.stdout.splitlines()
        if done.returncode != 0 or not lines:
            tail = log_path.read_bytes()[-2000:].decode(errors="replace")
            raise RunFailed(f"{contestant.name} exited with status {done.returncode}:\n{tail}")
        return Run(**json.loads(lines[-1]))

    def _run_once(self, contestant: Contestant, job: Job, log_path: Path) -> subprocess.CompletedProcess[bytes]:
        with log_path.open("wb") as log:
            return subprocess.run(
                [sys.executable, "-m", contestant.module, job.to_argument()],
                cwd=ROOT,
                env={**without_settings(os.environ), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=RUN_TIMEOUT_S,
                check=False,
            )

    @contextlib.asynccontextmanager
    async def _predictions(self) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
        """Yield a consumer of the output topic, and its partitions."""
        topic = topic_name(self.settings.topics.prefix, PREDICTIONS.name)
        places = [TopicPartition(topic, number) for number in range(self.settings.topics.partitions)]
        consumer = AIOKafkaConsumer(
            **client_options(self.settings.kafka), group_id=None, isolation_level="read_committed"
        )
        await consumer.start()
        try:
            consumer.assign(places)
            yield consumer, places
        finally:
            await consumer.stop()

    async def _ends(self) -> dict[TopicPartition, int]:
        async with self._predictions() as (consumer, places):
            ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
            return ends

    async def _count_since(self, starts: dict[TopicPartition, int]) -> int:
        """Count the committed predictions after `starts` by reading them, because offsets also count transaction markers."""
        count = 0
        async with asyncio.timeout(RUN_TIMEOUT_S), self._predictions() as (consumer, places):
            for place, start in starts.items():
                consumer.seek(place, start)
            ends = await consumer.end_offsets(places)
            while any([await consumer.position(place) < ends[place] for place in places]):
                polled = await consumer.getmany(timeout_ms=100)
                count += sum(map(len, polled.values()))
        return count


@contextlib.asynccontextmanager
async def prepared(
    *,
    broker: str,
    bootstrap_server: str | None,
    events: int,
    partitions: int,
    idempotent: bool,
    run_id: str,
    timestamp_ms: int,
    progress: Callable[[int], None],
) -> AsyncIterator[Field]:
    """Prepare the environment on a new broker ("embedded" or "apache"), or on the running one at `bootstrap_server`."""
    with tempfile.TemporaryDirectory(prefix="forebay-compare-") as name:
        folder = Path(name)
        async with started_broker(broker, bootstrap_server, folder) as (servers, description):
            save_bench_model(folder / "models")
            base = Settings(kafka=KafkaSection(bootstrap_servers=servers))
            settings = bench_settings(base, run_id=run_id, embedded_servers=None, own_repository=folder / "models")
            settings = settings.model_copy(
                update={"topics": settings.topics.model_copy(update={"partitions": partitions})}
            )
            (folder / "forebay.toml").write_text(as_toml(settings), encoding="utf-8")
            await create_topics(settings)
            await preload_topic(
                client_options(settings.kafka),
                topic_name(settings.topics.prefix, FEATURES.name),
                num_partitions=partitions,
                events=events,
                generator=EventGenerator(signature_of(settings.model)),
                timestamp_ms=timestamp_ms,
                progress=progress,
            )
            yield Field(settings=settings, folder=folder, events=events, broker=description, idempotent=idempotent)


@contextlib.asynccontextmanager
async def started_broker(kind: str, bootstrap_server: str | None, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Start a broker, "embedded" or "apache", or use the running one. Yield its address and its description."""
    if bootstrap_server is not None:
        yield bootstrap_server, f"Kafka at {bootstrap_server}"
    elif kind == "embedded":
        async with EmbeddedBroker() as embedded:
            yield embedded.bootstrap_servers, f"embedded {broker_version()}"
    else:
        # Imported only here: it belongs to the tests, and downloads Kafka on first use.
        from tests.brokers.resolve import resolve_own

        source = await asyncio.to_thread(resolve_own, os.environ)
        assert source.make is not None
        kafka = source.make(folder / "kafka", {})
        try:
            await asyncio.to_thread(kafka.start)
            yield kafka.bootstrap, source.description
        finally:
            await asyncio.to_thread(kafka.remove)
