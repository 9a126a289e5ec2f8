"""A complete measurement: broker, topics, model and worker, the three tests, and removal of everything."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import CATALOGUE, FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.closed_loop import drain
from forebay.stream.bench.commit_timings import commit_steps
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.host_info import describe_host
from forebay.stream.bench.open_loop import publish_and_time
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.report import BenchReport
from forebay.stream.bench.setup import (
    MODEL_DESCRIPTION,
    as_toml,
    bench_settings,
    reported_settings,
    save_bench_model,
    signature_of,
    worker_environment,
)
from forebay.stream.bench.soak import soak
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.embedded.broker import EmbeddedBroker, broker_version
from forebay.stream.embedded.worker_process import WorkerProcess
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.advertised_listeners import require_reachable
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics

CONFIG_FILE = "forebay.toml"
LOG_FILE = "worker.log"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. 0 for `events`, `memory_events` or `rate` skips that test.

    embedded: whether to use an embedded broker instead of the configured cluster.
    own_model: whether to use the benchmark's model instead of the configured one.
    backend: of the benchmark's model, `torch` or `onnx`.
    events: number of events of the closed loop.
    memory_events: number of events over which memory is measured.
    rate: events per second of the open loop.
    seconds: duration of the open loop, including the warm-up.
    run_id: part of the names of the topics and the group.
    folder: where to keep the configuration and the log; None to keep nothing.
    """

    settings: Settings
    embedded: bool
    own_model: bool
    events: int
    memory_events: int
    rate: float
    seconds: float
    run_id: str
    folder: Path | None = None
    backend: str = "torch"

    @property
    def broker_name(self) -> str:
        """The broker, for the report."""
        servers = self.settings.kafka.bootstrap_servers
        return f"embedded {broker_version()}" if self.embedded else f"Kafka at {servers}"

    @property
    def model_name(self) -> str:
        """The model, for the report."""
        if self.own_model:
            return f"{MODEL_DESCRIPTION} ({self.backend})"
        return f"model {self.settings.with_default_model_only().model.name}"


Progress = Callable[[str, int], Callable[[int], None]]
"""Begins a step, with its name and number of events. Returns a function that receives the number of further events done."""


async def measure(plan: Plan, *, clock: Clock, progress: Progress) -> BenchReport:
    """Measure one configuration and return the report. Raises ForebayError."""
    async with deployed(plan) as (settings, config):
        return await _measure_on(plan, settings, config=config, clock=clock, progress=progress)


@contextlib.asynccontextmanager
async def deployed(plan: Plan) -> AsyncIterator[tuple[Settings, Path]]:
    """Provide the broker, the model and the topics, and remove them at the end. Raises ForebayError.

    Yields the settings of the worker, and its configuration file.
    """
    try:
        async with contextlib.AsyncExitStack() as stack:
            folder = plan.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-bench-")))
            folder.mkdir(parents=True, exist_ok=True)
            servers = None
            if not plan.embedded:
                await require_reachable(client_options(plan.settings.kafka))
            if plan.embedded:
                servers = (await stack.enter_async_context(EmbeddedBroker())).bootstrap_servers
            repository = folder / "models" if plan.own_model else None
            if repository is not None:
                save_bench_model(repository, backend=plan.backend)
            settings = bench_settings(
                plan.settings, run_id=plan.run_id, embedded_servers=servers, own_repository=repository
            )
            config = folder / CONFIG_FILE
            config.write_text(as_toml(settings), encoding="utf-8")
            if not plan.embedded:  # the topics of an embedded broker end with it
                names = [topic_name(settings.topics.prefix, spec.name) for spec in CATALOGUE]
                stack.push_async_callback(delete_topics, settings.kafka, names)
            await _create_topics(settings)
            yield settings, config
    except KafkaError as error:
        raise BrokerError(
            f"Kafka at {plan.settings.kafka.bootstrap_servers}: {error}",
            kind="unreachable",
            remedy="run `forebay check` to find out whether it can be reached",
        ) from error


async def _measure_on(plan: Plan, settings: Settings, config: Path, clock: Clock, progress: Progress) -> BenchReport:
    options = client_options(settings.kafka)
    prefix, num_partitions = settings.topics.prefix, settings.topics.partitions
    features = topic_name(prefix, FEATURES.name)
    generator = EventGenerator(signature_of(settings.model))
    if plan.events:
        await preload_topic(
            options,
            features,
            num_partitions=num_partitions,
            events=plan.events,
            generator=generator,
            timestamp_ms=clock.wall_ms(),
            progress=progress("filling the topic", plan.events),
        )
    closed, memory, opened = None, None, None
    async with started_reader(settings, options) as reader, started_worker(settings, config) as worker:
        # Existing objects stay alive: collecting them again and again would show as latency.
        gc.collect()
        gc.freeze()
        if plan.events:
            closed = await drain(
                worker,
                reader,
                events=plan.events,
                clock=clock,
                progress=progress("closed loop: draining", plan.events),
            )
        await worker.wait_ready()
        if plan.memory_events:
            memory = await soak(
                worker,
                reader,
                options,
                features,
                num_partitions=num_partitions,
                generator=generator,
                events=plan.memory_events,
                first_number=plan.events,
                clock=clock,
                progress=progress("memory: a short backlog", plan.memory_events),
            )
        if plan.rate:
            events = max(1, round(plan.rate * plan.seconds))
            opened = await publish_and_time(
                worker,
                reader,
                options,
                features,
                num_partitions=num_partitions,
                generator=generator,
                rate=plan.rate,
                events=events,
                first_number=plan.events + plan.memory_events,
                clock=clock,
                progress=progress(f"open loop: {plan.rate:,.0f} events/s", events),
            )
        await worker.stop()
    return BenchReport(
        broker=plan.broker_name,
        model=plan.model_name,
        closed_loop=closed,
        memory=memory,
        open_loop=opened,
        configuration=reported_settings(settings),
        machine=describe_host(),
        commit_steps=commit_steps(config.with_name(LOG_FILE)),
    )


async def _create_topics(settings: Settings) -> None:
    refused = [result for result in await create_topics(settings) if result.status == "refused"]
    if refused:
        raise BrokerError(f"topic {refused[0].topic.name} cannot be created: {refused[0].reason}", kind="topics")


async def measure_variants(
    plan: Plan, variants: Mapping[str, Settings], *, rounds: int, clock: Clock, progress: Progress
) -> list[BenchReport]:
    """Measure all variants in each round, in reverse order in every second round. Raises ForebayError."""
    reports = []
    names = list(variants)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            run_id = f"{plan.run_id}-{number}-{names.index(name)}"
            folder = None if plan.folder is None else plan.folder / run_id
            variant_plan = dataclasses.replace(plan, settings=variants[name], run_id=run_id, folder=folder)
            report = await measure(variant_plan, clock=clock, progress=progress)
            reports.append(dataclasses.replace(report, variant=name))
    return sorted(reports, key=lambda report: names.index(report.variant))


@contextlib.asynccontextmanager
async def started_reader(settings: Settings, options: dict[str, object]) -> AsyncIterator[PredictionReader]:
    """Start a reader of the predictions, and stop it at the end."""
    topic = topic_name(settings.topics.prefix, PREDICTIONS.name)
    reader = PredictionReader(options, topic, settings.topics.partitions)
    try:
        await reader.start()
        yield reader
    finally:
        await reader.stop()


@contextlib.asynccontextmanager
async def started_worker(settings: Settings, config: Path) -> AsyncIterator[WorkerProcess]:
    """Start the worker, and stop it at the end."""
    worker = WorkerProcess(
        config,
        config.with_name(LOG_FILE),
        environ=worker_environment(settings, os.environ),
        clock=SystemClock(),
        die_with_parent=True,
    )
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
