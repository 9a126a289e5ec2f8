"""A source over a scripted client, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition as ClientTopicPartition

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.records import Epoch, TopicPartition
from forebay.stream.eventtime.restore import WithoutWindows
from forebay.stream.kafka.consumer.source import Source
from forebay.stream.kafka.consumer.start_offsets import StartPolicy
from forebay.stream.kafka.protocol.offset_requests import OffsetFetch
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.pipeline.switch_recorder import RevisionRestorer
from tests.core.build import ManualClock
from tests.eventually import eventually
from tests.kafka.consumer.test_cluster_watch import ScriptedClient

P0, P1 = TopicPartition("features", 0), TopicPartition("features", 1)
CLIENT_P0 = ClientTopicPartition("features", 0)
RECORD = object()


class ScriptedCoordinator:
    """The group's coordinator, with one member. It answers requests for offsets while `answers` is set."""

    def __init__(self, committed: Mapping[TopicPartition, int]) -> None:
        self.committed = dict(committed)
        self.metadata = ""
        self.generation = 1
        self.member_id = "member"
        self._group_instance_id = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.error: Exception | None = None
        self.num_fetches = 0
        self.num_commits = 0
        self.commit_error: Exception | None = None
        self.commit_answers = asyncio.Event()
        self.commit_answers.set()
        self.can_leave = asyncio.Event()
        self.can_leave.set()
        self.left = 0
        self.resets = 0

    def reset_generation(self) -> None:
        self.resets += 1

    def maybe_leave_group(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._leave())

    async def _leave(self) -> None:
        await self.can_leave.wait()
        self.left += 1
        self.reset_generation()

    def coordinator_dead(self) -> None:
        pass

    async def ensure_coordinator_known(self) -> None:
        pass

    async def _send_req(self, request: Any) -> Any:
        if not isinstance(request, OffsetFetch):
            self.num_commits += 1
            await self.commit_answers.wait()
            if self.commit_error is not None:
                raise self.commit_error
            return SimpleNamespace(topics=[])
        self.num_fetches += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        offsets = [(p.partition, offset, -1, self.metadata, 0, {}) for p, offset in self.committed.items()]
        return SimpleNamespace(error_code=0, topics=[("features", offsets, {})])


class ScriptedConsumer:
    """The client. `records` are returned by the next polls, whatever the positions are."""

    def __init__(self, committed: Mapping[TopicPartition, int]) -> None:
        self._coordinator = ScriptedCoordinator(committed)
        self._client = ScriptedClient()
        self._fetcher: Any = SimpleNamespace(
            _proc_fetch_request=None, _client=SimpleNamespace(_conns={}), _fetch_max_wait_ms=500, _records={}
        )
        self.assigned: set[ClientTopicPartition] = set()
        self.paused: set[ClientTopicPartition] = set()
        self.sought: list[tuple[ClientTopicPartition, int]] = []
        self.records: dict[ClientTopicPartition, Sequence[object]] = {}
        self.while_closing: Callable[[], Awaitable[None]] | None = None

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        if self.while_closing is not None:
            await self.while_closing()

    def subscribe(self, topics: Sequence[str], listener: object) -> None:
        pass

    def assignment(self) -> set[ClientTopicPartition]:
        return self.assigned

    def pause(self, *partitions: ClientTopicPartition) -> None:
        self.paused.update(partitions)

    def resume(self, *partitions: ClientTopicPartition) -> None:
        self.paused.difference_update(partitions)

    def seek(self, partition: ClientTopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))

    async def getmany(self, *, timeout_ms: float, max_records: int) -> dict[ClientTopicPartition, Sequence[object]]:
        return self.records

    async def beginning_offsets(self, partitions: Sequence[ClientTopicPartition]) -> dict[ClientTopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Sequence[ClientTopicPartition]) -> dict[ClientTopicPartition, int]:
        return dict.fromkeys(partitions, 100)


class ScriptedGate:
    """Revisions count as applied while `applied` is set."""

    def __init__(self) -> None:
        self.required: list[Mapping[str, int]] = []
        self.applied = asyncio.Event()
        self.applied.set()

    async def wait_for(self, required: Mapping[str, int]) -> None:
        self.required.append(required)
        await self.applied.wait()


class Scene:
    """A started source with a scripted client. revoked: calls of `on_revoked`, which runs `while_revoking`."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.consumer = ScriptedConsumer({P0: 7})
        self.coordinator = self.consumer._coordinator
        self.revoked = 0
        self.fatal: list[BaseException] = []
        self.while_revoking: Callable[[], Awaitable[None]] | None = None
        self.gate = ScriptedGate()
        self.ledger = SwitchLedger(["churn", "fraud"])
        for model, revision in (("churn", 3), ("fraud", 12)):
            self.ledger.apply(model, revision)
        self.source = Source(
            self.consumer,  # type: ignore[arg-type]
            topics={"features": 2},
            group_id="group",
            policy=StartPolicy("earliest"),
            restorer=RevisionRestorer(WithoutWindows(), self.ledger),
            on_revoked=self._on_revoked,
            on_fatal=self.fatal.append,
            backoff=Backoff(first_s=0, max_s=0),
            clock=self.clock,
            revision_gate=self.gate,
        )

    async def _on_revoked(self) -> None:
        self.revoked += 1
        if self.while_revoking is not None:
            await self.while_revoking()

    async def assign(self, *, generation: int = 1) -> None:
        """Assign partition 0, as the client does after a join."""
        self.coordinator.generation = generation
        self.consumer.assigned = {CLIENT_P0}
        await self.source.on_partitions_assigned({CLIENT_P0})

    async def revoke(self) -> None:
        """Revoke all partitions, as the client does before a join."""
        await self.source.on_partitions_revoked(self.consumer.assigned)
        self.consumer.assigned = set()

    async def open(self) -> Epoch:
        """Assign partition 0 and wait until its offset is sought."""
        await self.assign()
        return await self.until_open()

    async def until_open(self) -> Epoch:
        epoch = await eventually(lambda: self.source.epoch, "an open gate", every_s=0)
        assert epoch is not None
        return epoch

    async def poll(self) -> Mapping[TopicPartition, Sequence[object]]:
        return await self.source.poll(timeout_s=0, max_records=10)
