"""Workers within a test's process that serve a small model from a repository and follow its rollouts."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import torch
from aiokafka import TopicPartition

from forebay.models.artefacts.artefact import read_version
from forebay.models.backends.protocol import Model
from forebay.stream.config.sections import Settings
from forebay.stream.control.rollout_store import RolloutStore
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.stop_request import StopRequest
from forebay.stream.evaluate.topics import create_evaluator_topics
from forebay.stream.inference.loading import ModelLoader
from forebay.stream.kafka.cluster.topics import create_topics
from forebay.stream.rollouts.changes import Proposal
from forebay.stream.rollouts.revision import Revision, initial_revision
from forebay.stream.rollouts.rollout_status import RolloutStatus
from forebay.stream.telemetry.load_meter import load_meter
from forebay.stream.worker.assembly import WorkerAssembly
from forebay.stream.worker.worker import Worker
from tests.brokers.clients import consumer, producer, read_committed, send_batch
from tests.eventually import eventually
from tests.models.build import make_net, publish

NAME = "delays"
PARTITIONS = 2
OVERFLOWS = 1e37
"""The value of a feature for which versions of `publish_overflowing` give NaN, and others do not."""


class RunningWorker:
    """A worker that runs as a task."""

    def __init__(self, worker: Worker, stop: StopRequest) -> None:
        self._worker = worker
        self._stop = stop
        self.task = asyncio.create_task(worker.run())

    @property
    def rollout(self) -> RolloutStatus:
        follower = self._worker._parts.follower
        assert follower is not None
        (status,) = follower.status()
        return status

    @property
    def status(self) -> Any:
        """The document of `/status`."""
        return self._worker._parts.admin._view.status(since=None)

    async def applied(self, number: int) -> RolloutStatus:
        """Wait until the worker serves this revision or a later one."""
        await eventually(lambda: self.rollout, f"revision {number}", until=lambda seen: seen.applied >= number)
        return self.rollout

    async def ready(self) -> None:
        def is_ready() -> bool:
            if self.task.done():
                self.task.result()
            return self._worker._parts.admin.is_ready()

        await eventually(is_ready, "a ready worker")

    async def stop(self) -> None:
        """Stop the worker, which commits what it has read."""
        if not self.task.done():
            self._stop.request(signal.SIGTERM)
        await self.task


class RolloutGroup:
    """A repository, the topics of a group, and its workers. sections: settings of all of them."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, **sections: Any) -> None:
        self.bootstrap = bootstrap
        self._sections = sections
        self.repository = folder / "models"
        self.prefix = prefix
        self.settings = self.settings_of("any")
        self.workers: list[RunningWorker] = []
        self.published = 0
        self.store = RolloutStore(self.settings, clock=SystemClock())
        publish(self.repository, NAME)

    def settings_of(self, worker: str, **sections: Any) -> Settings:
        return Settings.model_validate(
            {
                "model": {"name": NAME, "repository": str(self.repository), "version": 1},
                "kafka": {"bootstrap_servers": self.bootstrap, "group_id": self.prefix, "session_timeout_ms": 6000},
                "topics": {"prefix": f"{self.prefix}-", "partitions": PARTITIONS},
                "delivery": {"instance_id": worker},
                "batch": {"max_batch_size": 64},
                "admin": {"enabled": False},
                "rollouts": {"enabled": True},
            }
            | self._sections
            | sections
        )

    async def start(self, worker: str, **sections: Any) -> RunningWorker:
        """Start a worker with version 1, without waiting for it."""
        settings, stop = self.settings_of(worker, **sections), StopRequest()
        loader = ModelLoader(settings.models_to_serve(), settings.trust, load_meter())
        models: list[Model] = [loader.load(served) for served in settings.models_to_serve()]
        running = RunningWorker(await WorkerAssembly(settings, models, clock=SystemClock()).assemble(stop), stop)
        self.workers.append(running)
        return running

    @property
    def current(self) -> Revision:
        return self.store.log.current(NAME) or initial_revision(NAME, 1)

    async def propose(self, change: Callable[[Revision, Proposal], Revision], *versions: int) -> Revision:
        """Propose a change of the current revision, with the digests of these versions."""
        await self.store.refresh()
        proposal = Proposal(
            id=f"person-{self.current.number + 1}",
            author="ada",
            automatic=False,
            reason="a test",
            created_ms=SystemClock().wall_ms(),
            digests={version: self.digest(version) for version in versions},
        )
        revision = change(self.current, proposal)
        await self.store.propose(revision)
        return revision

    def digest(self, version: int) -> str:
        return read_version(self.repository, NAME, version).manifest_sha256

    def publish_version(self, seed: int, **more: Any) -> None:
        publish(self.repository, NAME, net=make_net(seed=seed), **more)

    def publish_overflowing(self) -> None:
        """Publish a version that gives NaN for large values."""
        net = make_net(seed=9)
        with torch.no_grad():
            next(net.parameters()).mul_(1e4)
        publish(self.repository, NAME, net=net)

    def flip_byte(self, version: int) -> None:
        """Damage the weights of a version."""
        weights = self.repository / NAME / str(version) / "weights.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)

    async def send(self, count: int, *, features: Sequence[float] = (1.0, 2.0, 3.0)) -> range:
        """Publish events with unique keys, evenly over the partitions. Return their numbers."""
        numbers = range(self.published, self.published + count)
        self.published += count
        async with producer(self.bootstrap, acks="all") as client:
            for place in range(PARTITIONS):
                own = [number for number in numbers if number % PARTITIONS == place]
                values = [
                    orjson.dumps({"id": str(n), "timestamp": 1_372_636_800_000 + n, "features": list(features)})
                    for n in own
                ]
                partition = TopicPartition(f"{self.prefix}-features", place)
                await send_batch(client, partition, values, keys=[key_of(n) for n in own])
        return numbers

    async def settled(self) -> None:
        """Wait until the group has committed all of the input."""
        places = [TopicPartition(f"{self.prefix}-features", number) for number in range(PARTITIONS)]

        async def behind() -> int:
            for worker in self.workers:
                if worker.task.done():
                    worker.task.result()
            async with consumer(self.bootstrap, group_id=self.prefix) as client:
                ends = await client.end_offsets(places)
                return sum([ends[place] - (await client.committed(place) or 0) for place in places])

        await eventually(behind, "a group without lag", until=lambda lag: lag == 0, every_s=0.2)

    async def outcomes(self, numbers: range) -> dict[int, int | None]:
        """Return the version that has predicted each event, None for a dead letter; each event has one outcome."""
        seen: dict[int, int | None] = {}
        for topic in ("predictions", "dead-letters"):
            for record in await read_committed(self.bootstrap, f"{self.prefix}-{topic}", PARTITIONS):
                document = orjson.loads(record.value)
                number = int(document["id"])
                assert number not in seen, number
                seen[number] = document["version"] if topic == "predictions" else None
        assert seen.keys() == set(range(self.published))
        return {number: seen[number] for number in numbers}

    async def predicted(self, count: int, *, features: Sequence[float] = (1.0, 2.0, 3.0)) -> dict[int, int | None]:
        """Publish events and return the version that has predicted each of them."""
        numbers = await self.send(count, features=features)
        await self.settled()
        return await self.outcomes(numbers)


def key_of(number: int) -> bytes:
    return b"key-%d" % number


@asynccontextmanager
async def rollout_group(bootstrap: str, prefix: str, folder: Path, **sections: Any) -> AsyncIterator[RolloutGroup]:
    """Create the topics of a group. Its workers are stopped at the end. sections: settings of all of them."""
    thresholds = gc.get_threshold()
    group = RolloutGroup(bootstrap, prefix, folder, **sections)
    created = [*await create_topics(group.settings), *await create_evaluator_topics(group.settings, dry_run=False)]
    assert {result.status for result in created} == {"created"}
    await group.store.start()
    try:
        yield group
    finally:
        await asyncio.gather(*(worker.stop() for worker in group.workers))
        await group.store.stop()
        gc.unfreeze()
        gc.set_threshold(*thresholds)
