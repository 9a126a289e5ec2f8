"""One worker with one load: its configuration, and its measurement."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.growth.load_events import LoadEvents
from benchmarks.growth.model_files import net_name, save_net, save_windows_model, windows_name
from benchmarks.growth.points import Load, latency_rate, num_events
from forebay.models.artefacts.artefact import read_version
from forebay.schemas.topics import CATALOGUE, FEATURES, PREDICTIONS, topic_name
from forebay.stream.bench.events import AlternatingEvents, EventGenerator, Events
from forebay.stream.bench.live_worker import LiveWorker
from forebay.stream.bench.open_loop import publish_and_time
from forebay.stream.bench.preload import preload_topic
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.stats import Latency
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.config.toml_text import toml_value
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.delete_topics import delete_topics
from forebay.stream.kafka.cluster.topics import create_topics

CLOCK: Final = SystemClock()
SETTLE_S: Final = 0.5
DAY_MS: Final = 86_400_000
WINDOW_LINES: Final = f"""[window]
kind = "tumbling"
size_ms = {DAY_MS}
max_open_windows = 10_000_000
max_buffered_rows = 100_000_000
max_buffered_bytes = 17_179_869_184
max_replay_records = 100_000_000"""
"""Windows of a day, so that none closes during a measurement, and no limit that would close them."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured of each load, at most. latency_s: 0 leaves latency out."""

    events: int
    rate: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """The measurements of one load.

    cpu_us: CPU time of all processes per event, while the topic is drained.
    rest_mib, peak_mib: resident memory before the first event, and the largest while the topic is drained.
    p50_ms, p99_ms: latency at `rate` events/s from when an event was due until its prediction was readable; None for windows.
    open_windows: at the end.
    batch_mean, commit_mean: events in a micro-batch and in a commit, while the topic is drained.
    """

    events: int
    event_bytes: int
    events_per_s: float
    events_per_cpu_s: float
    cpu_us: float
    rest_mib: float
    peak_mib: float
    rate: float
    p50_ms: float | None
    p99_ms: float | None
    open_windows: int
    batch_mean: float
    commit_mean: float


def save_models(repository: Path, loads: Sequence[Load]) -> None:
    """Save the models of all loads."""
    for load in loads:
        if load.windows:
            save_windows_model(repository, load.features)
        else:
            save_net(repository, load.features, copies=load.models)


def config_of(load: Load, *, servers: str, repository: Path, run_id: str, guarantee: str) -> str:
    """Return the configuration file of a worker with this load."""
    lines = [
        f"[kafka]\nbootstrap_servers = {toml_value(servers)}\ngroup_id = {toml_value(f'growth-{run_id}')}",
        f"[topics]\nprefix = {toml_value(f'growth-{run_id}-')}\npartitions = {load.partitions}",
        f"[worker]\nprocesses = {load.processes}",
        f"[delivery]\nprocessing_guarantee = {toml_value(guarantee)}",
        f"[batch]\nmax_batch_size = {load.batch_size}\nmax_batch_bytes = {64 << 20}",
        f"[model]\nrepository = {toml_value(repository)}",
    ]
    if load.windows:
        lines += [f"name = {toml_value(windows_name(load.features))}", WINDOW_LINES]
    elif load.models == 1:
        lines.append(f"name = {toml_value(net_name(load.features))}")
    else:
        lines += [f"[[models]]\nname = {toml_value(net_name(load.features, copy))}" for copy in range(load.models)]
    return "\n".join([*lines, '[admin]\nport = 0\n[log]\nlevel = "info"\nformat = "json"\n'])


def events_of(load: Load, repository: Path) -> LoadEvents:
    """Return the generator of the events of this load."""
    names = [windows_name(load.features)] if load.windows else [net_name(load.features, n) for n in range(load.models)]
    signature = read_version(repository, names[0]).manifest.signature
    if load.models == 1:
        events: Events = EventGenerator(signature)
    else:
        events = AlternatingEvents([EventGenerator(signature, model=name) for name in names])
    return LoadEvents(events, load)


@contextlib.asynccontextmanager
async def started_worker(
    load: Load, *, servers: str, folder: Path, guarantee: str
) -> AsyncIterator[tuple[LiveWorker, Settings]]:
    """Create topics, start a worker that reads them, and remove both at the end."""
    run_id = uuid.uuid4().hex[:8]
    config = folder / f"{run_id}.toml"
    text = config_of(load, servers=servers, repository=folder / "models", run_id=run_id, guarantee=guarantee)
    config.write_text(text, encoding="utf-8")
    settings = load_settings(config, {}).settings
    await create_topics(settings)
    process = WorkerProcess(
        config, folder / f"{run_id}.log", environ=without_settings(os.environ), clock=CLOCK, die_with_parent=True
    )
    process.start()
    try:
        worker = LiveWorker(process, CLOCK, num_processes=load.processes)
        await worker.attach()
        yield worker, settings
    finally:
        await process.stop()
        await delete_topics(settings.kafka, [topic_name(settings.topics.prefix, spec.name) for spec in CATALOGUE])


async def measure(
    load: Load,
    size: Size,
    *,
    servers: str,
    folder: Path,
    guarantee: str,
    progress: Callable[[str], None] = lambda step: None,
) -> Result:
    """Start a worker and measure its memory at rest, its latency, and how it drains a topic. Raises ForebayError."""
    progress("starting")
    async with started_worker(load, servers=servers, folder=folder, guarantee=guarantee) as (worker, settings):
        await asyncio.sleep(SETTLE_S)
        rest_mib = worker.usage().rss_bytes / (1 << 20)
        events = events_of(load, folder / "models")
        event_bytes = len(events.value(0, CLOCK.wall_ms()))
        options, features = client_options(settings.kafka), topic_name(settings.topics.prefix, FEATURES.name)
        rate, latency = latency_rate(event_bytes, size.rate), None
        if size.latency_s and not load.windows:
            progress("latency")
            latency = await _latency(worker, settings, events, rate=rate, seconds=size.latency_s)
        count = num_events(event_bytes, size.events)
        progress("filling")
        await worker.pause()
        before = await worker.counts()
        await preload_topic(
            options,
            features,
            num_partitions=load.partitions,
            events=count,
            generator=events,
            timestamp_ms=CLOCK.wall_ms(),
        )
        progress("draining")
        backlog = await worker.drain(before.events + count)
    return Result(
        events=backlog.counts.events,
        event_bytes=event_bytes,
        events_per_s=backlog.events_per_s,
        events_per_cpu_s=backlog.events_per_cpu_s,
        cpu_us=backlog.cpu_s / backlog.counts.events * 1e6,
        rest_mib=rest_mib,
        peak_mib=backlog.peak_rss_mib,
        rate=rate,
        p50_ms=None if latency is None else latency.p50_ms,
        p99_ms=None if latency is None else latency.p99_ms,
        open_windows=backlog.counts.open_windows,
        batch_mean=backlog.counts.events / max(1, backlog.counts.batches),
        commit_mean=backlog.counts.events / max(1, backlog.counts.commits),
    )


async def _latency(
    worker: LiveWorker, settings: Settings, events: LoadEvents, *, rate: float, seconds: float
) -> Latency:
    options, num_partitions = client_options(settings.kafka), settings.topics.partitions
    reader = PredictionReader(options, topic_name(settings.topics.prefix, PREDICTIONS.name), num_partitions)
    await reader.start()
    try:
        loop = await publish_and_time(
            worker.process,
            reader,
            options,
            topic_name(settings.topics.prefix, FEATURES.name),
            num_partitions=num_partitions,
            generator=events,
            rate=rate,
            events=round(rate * seconds),
            first_number=0,
            clock=CLOCK,
            warm_up_s=min(1.0, seconds / 4),
        )
    finally:
        await reader.stop()
    return loop.latency
