"""Prepare the broker, topics, events and model of a comparison, and run one contestant."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from benchmarks.contestants.catalogue import DIVISORS, Contestant, Runtime
from benchmarks.contestants.job import Job
from benchmarks.predictions import Expected, PredictionCheck, prediction_ends, read_predictions
from benchmarks.rivals.commands import command_of
from benchmarks.rivals.model_files import expected_scores, write_model_files
from forebay.schemas.topics import FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.events import DISTINCT_ROWS, EventGenerator
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.setup import MODEL_NAME, as_toml, bench_settings, save_bench_model, signature_of
from forebay.stream.config.sections import KafkaSection, Settings
from forebay.stream.embedded.broker import EmbeddedBroker, broker_version
from forebay.stream.embedded.worker_process import without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics

ROOT = Path(__file__).resolve().parent.parent
RUN_TIMEOUT_S = 150.0
WARM_UP_TOPIC = "warm-up"


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
    """The common environment: a broker with the topics, and `events` events in the input topic.

    builds: the folder of each runtime but Python.
    expected: what the predictions are compared with; None only counts them.
    """

    settings: Settings
    folder: Path
    events: int
    broker: str
    idempotent: bool
    builds: Mapping[Runtime, Path] = field(default_factory=dict)
    expected: Expected | None = None

    async def run(self, contestant: Contestant, number: int) -> Run:
        """Let the contestant drain the topic from the beginning, in a new group. Raises RunFailed."""
        job = self.job_of(contestant, number)
        before = await prediction_ends(self.settings)
        result = await asyncio.to_thread(self._run, contestant, job)
        check = PredictionCheck(job.events, self.expected if contestant.predicts else None)
        async with asyncio.timeout(RUN_TIMEOUT_S):
            await read_predictions(self.settings, before, check)
        if fault := check.fault():
            raise RunFailed(f"{contestant.name} wrote {fault}")
        return result

    def job_of(self, contestant: Contestant, number: int) -> Job:
        """Return the parameters of the contestant's run in round `number`."""
        prefix = self.settings.topics.prefix
        return Job(
            bootstrap_servers=self.settings.kafka.bootstrap_servers,
            features=topic_name(prefix, contestant.topic),
            predictions=topic_name(prefix, PREDICTIONS.name),
            group_id=f"{prefix}{contestant.name.replace(' ', '-')}-{number}",
            events=self.events // contestant.divisor,
            repository=self.settings.model.repository,
            model=contestant.model,
            config=str(self.folder / contestant.config),
            idempotent=self.idempotent,
            processing_guarantee=contestant.processing_guarantee,
            warm_up=topic_name(prefix, WARM_UP_TOPIC) if contestant.warmed else "",
            onnx=str(self.folder / f"{contestant.model}.onnx"),
            weights=str(self.folder / f"{contestant.model}.safetensors"),
            folder=str(self.folder / f"{contestant.name}-{number}"),
            threads=contestant.parallelism,
        )

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
                command_of(contestant, job, self.builds),
                cwd=ROOT,
                env={**without_settings(os.environ), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=RUN_TIMEOUT_S,
                check=False,
            )


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
    builds: Mapping[Runtime, Path],
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
            inputs = (FEATURES.name, *DIVISORS, WARM_UP_TOPIC)  # the warm-up is an output; it is only created so
            topics = settings.model_copy(update={"input": settings.input.model_copy(update={"topics": inputs})})
            await create_topics(topics)
            generator = EventGenerator(signature_of(settings.model))
            for name, divisor in ((FEATURES.name, 1), *DIVISORS.items()):
                await preload_topic(
                    client_options(settings.kafka),
                    topic_name(settings.topics.prefix, name),
                    num_partitions=partitions,
                    events=events // divisor,
                    generator=generator,
                    timestamp_ms=timestamp_ms,
                    progress=progress,
                )
            write_model_files(folder / "models", MODEL_NAME, folder)
            yield Field(
                settings=settings,
                folder=folder,
                events=events,
                broker=description,
                idempotent=idempotent,
                builds=builds,
                expected=expected_of(folder / "models", generator),
            )


def expected_of(repository: Path, generator: EventGenerator) -> Expected:
    """Return the scores of the generator's distinct rows."""
    rows = [orjson.loads(generator.value(number, 0))["features"] for number in range(DISTINCT_ROWS)]
    return Expected(expected_scores(repository, MODEL_NAME, np.array(rows, dtype=np.float32)).numpy())


@contextlib.asynccontextmanager
async def started_broker(
    kind: str, bootstrap_server: str | None, folder: Path, settings: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, str]]:
    """Start a broker, "embedded" or "apache", or use the running one. Yield its address and its description.

    settings: settings of an Apache broker.
    """
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
        kafka = source.make(folder / "kafka", settings or {})
        try:
            await asyncio.to_thread(kafka.start)
            yield kafka.bootstrap, source.description
        finally:
            await asyncio.to_thread(kafka.remove)
