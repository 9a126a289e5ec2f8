"""A worker with rollouts on a broker of its own, for benchmarks that change what it serves while events arrive."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.field import started_broker
from forebay.models.artefacts.artefact import read_version
from forebay.schemas.topics import topic_name
from forebay.stream.bench.events import EventGenerator
from forebay.stream.bench.open_loop import OpenLoop, publish_and_time
from forebay.stream.bench.reader import PredictionReader
from forebay.stream.bench.setup import MODEL_NAME
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.core.clock import SystemClock
from forebay.stream.embedded.worker_process import WorkerProcess, without_settings
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.rollouts.changes import Proposal
from forebay.stream.rollouts.revision import Revision, initial_revision

CLOCK: Final = SystemClock()
APPLY_TIMEOUT_S: Final = 60.0

Change = Callable[[Revision, Proposal], Revision]


@dataclass(frozen=True, slots=True)
class RolloutWorker:
    """A worker process that serves version 1 of the benchmark's model until a revision says otherwise."""

    settings: Settings
    process: WorkerProcess
    store: RolloutStore
    reader: PredictionReader

    async def change(self, change: Change) -> None:
        """Propose the next revision and wait until the worker has applied it."""
        current = self.store.log.current(MODEL_NAME) or initial_revision(MODEL_NAME, 1)
        proposal = Proposal(uuid.uuid4().hex, "benchmark", False, "", created_ms=CLOCK.wall_ms())
        revision = change(current, proposal)
        began_s = time.monotonic()
        await self.store.propose(revision)
        while (await self.rollout())["applied"] < revision.number:
            if time.monotonic() - began_s > APPLY_TIMEOUT_S:
                raise click.ClickException(f"revision {revision.number} was not applied: {self.process.log_tail()}")
            await asyncio.sleep(0.1)

    async def rollout(self) -> dict[str, Any]:
        """Return what the worker's status says of the rollout."""
        page = self.process.page
        assert page is not None

        def fetch() -> dict[str, Any]:
            with urllib.request.urlopen(f"{page.rstrip('/')}/status", timeout=10) as answer:
                rollouts: list[dict[str, Any]] = json.load(answer)["rollouts"]
            return rollouts[0]

        return await asyncio.to_thread(fetch)

    async def time_events(self, events: int, rate: float, *, first_number: int = 0, warm_up_s: float = 0.0) -> OpenLoop:
        """Publish events at a rate and return the latency of their predictions."""
        settings = self.settings
        return await publish_and_time(
            self.process,
            self.reader,
            client_options(settings.kafka),
            topic_name(settings.topics.prefix, "features"),
            num_partitions=settings.topics.partitions,
            generator=EventGenerator(read_version(settings.model.repository, MODEL_NAME, 1).manifest.signature),
            rate=rate,
            events=events,
            first_number=first_number,
            clock=CLOCK,
            warm_up_s=warm_up_s,
        )


@asynccontextmanager
async def rollout_worker(
    broker: str, save_versions: Callable[[Path], None], *rollouts: str
) -> AsyncIterator[RolloutWorker]:
    """Start a broker and a worker, and stop both at the end.

    save_versions: saves the versions of the benchmark's model in a repository.
    rollouts: further lines of the section `[rollouts]`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_versions(folder / "models")
        async with started_broker(broker, None, folder) as (bootstrap, description):
            click.echo(description, err=True)
            config = folder / "forebay.toml"
            lines = "\n".join(rollouts)
            config.write_text(
                f'[kafka]\nbootstrap_servers = "{bootstrap}"\n[topics]\nreplication_factor = 1\n'
                f'[model]\nname = "{MODEL_NAME}"\nversion = 1\nrepository = "{folder / "models"}"\n[admin]\nport = 0\n'
                f"[rollouts]\nenabled = true\n{lines}\n"
            )
            settings = load_settings(config, {}).settings
            await create_topics(settings)
            environ = without_settings(os.environ)
            process = WorkerProcess(config, folder / "log", environ=environ, clock=CLOCK, die_with_parent=False)
            process.start()
            store = RolloutStore(settings, clock=CLOCK)
            predictions = topic_name(settings.topics.prefix, "predictions")
            reader = PredictionReader(client_options(settings.kafka), predictions, settings.topics.partitions)
            try:
                await process.wait_ready()
                await store.start()
                await reader.start()
                yield RolloutWorker(settings, process, store, reader)
            finally:
                await reader.stop()
                await store.stop()
                await process.stop()
