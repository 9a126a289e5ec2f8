"""A follower of rollouts without a cluster: a topic in memory, versions that load when a test lets them, a recording switch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from forebay.schemas.errors import BrokerError, ModelError
from forebay.stream.control.rollout_store import RolloutConflict
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.pipeline.served_revision import ServedRevision
from forebay.stream.rollouts.changes import Proposal, promote, start_canary
from forebay.stream.rollouts.revision import Revision, initial_revision
from forebay.stream.rollouts.revision_log import RevisionLog
from forebay.stream.rollouts.rollout_observer import NullRolloutObserver
from forebay.stream.worker.non_finite import NonFiniteCounter
from forebay.stream.worker.rollout_follower import RolloutFollower
from forebay.stream.worker.rollout_ports import (
    FollowedModel,
    FollowerParts,
    FollowerSettings,
    FollowerTools,
)
from tests.core.build import ManualClock

NAME = "fraud"
KEEP_S = 600.0


class Topic:
    """The records of the topic `rollouts`."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []

    def append(self, revision: Revision) -> Revision:
        self.records.append(revision.encode())
        return revision


class Store:
    """The topic as one worker reads it. fails: the number of calls that fail."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.log = RevisionLog()
        self.fails = 0
        self._position = 0

    async def start(self) -> None:
        await self.refresh()

    async def refresh(self) -> list[Revision]:
        if self.fails:
            self.fails -= 1
            raise BrokerError("no broker answers", kind="unreachable")
        accepted = []
        while self._position < len(self.topic.records):
            key, value = self.topic.records[self._position]
            revision = self.log.add(key, value, offset=self._position, timestamp_ms=0)
            accepted += [revision] if revision is not None else []
            self._position += 1
        return accepted

    async def propose(self, revision: Revision) -> None:
        self.topic.append(revision)
        await self.refresh()
        current = self.log.revision(revision.model, revision.number)
        if current is None or current.id != revision.id:
            assert current is not None
            raise RolloutConflict(revision, current)

    async def stop(self) -> None:
        pass


class MemoryVersions:
    """Versions in memory. faults: what loading a version raises. gates: loading a version waits for its event.
    changed: versions whose manifest differs from the one that a revision names. waiting: versions whose load waits for a
    repository."""

    def __init__(self, version: int) -> None:
        self._resident = {version}
        self.digests: dict[int, str | None] = {}
        self.faults: dict[int, Exception] = {}
        self.gates: dict[int, asyncio.Event] = {}
        self.busy: set[int] = set()
        self.broken: set[int] = set()
        self.changed: set[int] = set()
        self.waiting: set[int] = set()
        self.stable = version

    def resident(self, model: str) -> tuple[int, ...]:
        return tuple(sorted(self._resident))

    async def add(self, ref: ModelRef, *, digest: str | None) -> None:
        if ref.version in self.gates:
            await self.gates[ref.version].wait()
        if ref.version in self.faults:
            raise self.faults[ref.version]
        self.digests[ref.version] = digest
        self._resident.add(ref.version)

    async def require(self, ref: ModelRef, *, digest: str | None) -> None:
        if ref.version in self.changed:
            raise ModelError("the manifest has another SHA-256", kind="digest")

    def is_waiting(self, ref: ModelRef) -> bool:
        return ref.version in self.waiting

    def cannot_run(self, ref: ModelRef) -> bool:
        return ref.version in self.broken

    def set_stable(self, ref: ModelRef) -> None:
        assert ref.version in self._resident
        self.stable = ref.version

    def remove(self, ref: ModelRef) -> bool:
        if ref.version in self.busy:
            return False
        self._resident.remove(ref.version)
        return True


class Switch:
    """Records the revisions that it was switched to."""

    def __init__(self) -> None:
        self.served: list[ServedRevision] = []

    def switch(self, served: ServedRevision) -> None:
        self.served.append(served)

    @property
    def numbers(self) -> list[int]:
        return [served.number for served in self.served]


class CountingObserver(NullRolloutObserver):
    """Counts revisions and loads."""

    def __init__(self) -> None:
        self.accepted: list[int] = []
        self.loads = 0
        self.failed_loads = 0

    def on_accepted(self, revision: Revision) -> None:
        self.accepted.append(revision.number)

    def on_loaded(self, model: str, duration_s: float) -> None:
        self.loads += 1

    def on_load_failed(self, model: str) -> None:
        self.failed_loads += 1


class Rig:
    """One worker that started with version 1. Its time advances only by its own waits and by `advance`."""

    def __init__(
        self,
        topic: Topic,
        *,
        worker: str = "w1",
        delay: float = 0.0,
        configured: int | None = None,
        takes_windows: bool = False,
        max_non_finite: int = 0,
    ) -> None:
        self.clock = ManualClock()
        self.topic, self.store = topic, Store(topic)
        self.versions, self.switch, self.observer = MemoryVersions(1), Switch(), CountingObserver()
        self.non_finite = NonFiniteCounter()
        self.waits: list[float] = []
        self.after_wait: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        ids = count()
        parts = FollowerParts(
            store=self.store,
            versions=self.versions,
            pipeline=self.switch,
            non_finite=self.non_finite,
            settings=FollowerSettings(worker=worker, keep_previous_s=KEEP_S, max_non_finite=max_non_finite),
            tools=FollowerTools(
                clock=self.clock,
                random=lambda: delay,
                new_id=lambda: f"{worker}-{next(ids)}",
                sleep=self._sleep,
                observer=self.observer,
            ),
        )
        followed = FollowedModel(NAME, 1, configured=configured, takes_windows=takes_windows)
        self.follower = RolloutFollower(parts, [followed])

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        assert len(self.waits) < 100, "it waits for ever"
        self.clock.advance(seconds)
        await self.after_wait()

    @property
    def applied(self) -> int:
        (status,) = self.follower.status()
        return status.applied

    @property
    def current(self) -> Revision:
        current = self.store.log.current(NAME)
        assert current is not None
        return current

    async def follow(self, times: int = 1, *, advance_s: float = 1.0) -> None:
        """Follow the topic, and let the tasks run."""
        for _ in range(times):
            self.clock.advance(advance_s)
            await self.follower.follow()
            await run_tasks()


async def run_tasks() -> None:
    """Let all tasks run until they wait for something else."""
    for _ in range(10):
        await asyncio.sleep(0)


def proposal(number: int = 0) -> Proposal:
    return Proposal(id=f"person-{number}", author="ada", automatic=False, reason="", created_ms=0)


def canary_at(current: Revision | None, version: int = 2, weight: float = 50) -> Revision:
    """Return the revision that starts or resizes a canary."""
    current = current or initial_revision(NAME, 1)
    return start_canary(
        current, version, weight, steps=None, seed=7, route_by=None, proposal=proposal(current.number + 1)
    )


def promoted(current: Revision | None, version: int = 2) -> Revision:
    """Return the revision that promotes a version."""
    current = current or initial_revision(NAME, 1)
    return promote(current, version, proposal(current.number + 1))
