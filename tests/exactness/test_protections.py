"""The protections that keep a commit exact, one at a time, on a real Kafka.

`make test-mutations` disables each in turn and checks that the test named for it fails (`tests/exactness/mutations.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition as ClientTopicPartition

from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import Committed, Epoch, TopicPartition
from forebay.stream.kafka.consumer.group_offsets import GroupOffsets, OffsetsUnstable
from forebay.stream.output.emitter import Emission
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.committer import Committer
from forebay.stream.pipeline.dead_letter_limit import DeadLetterLimit, DeadLetterLimits
from forebay.stream.pipeline.observer import NullObserver
from tests.brokers.clients import consumer, create_topic, producer, send_batch
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.core.build import ManualClock
from tests.eventually import eventually
from tests.exactness.member import WAIT_S, Member, member

EVENTS = 10
COMMITTED = 5


class Scene:
    """An input partition with ten events, five of them committed, and an output."""

    def __init__(self, bootstrap: str, names: Names) -> None:
        self.bootstrap = bootstrap
        self.names = names
        self.input = TopicPartition(names("features"), 0)
        self.output = TopicPartition(names("predictions"), 0)

    async def create(self) -> None:
        for place in (self.input, self.output):
            # Records with the manual clock's times are old. Deleted records would not hold back readers of committed ones.
            await create_topic(self.bootstrap, place.topic, configs={"retention.ms": "-1"})
        async with producer(self.bootstrap) as client:
            await send_batch(client, ClientTopicPartition(*self.input), [b"%d" % number for number in range(EVENTS)])
        async with consumer(self.bootstrap, group_id=self.names("group")) as client:
            client.assign([ClientTopicPartition(*self.input)])
            await client.commit({ClientTopicPartition(*self.input): COMMITTED})

    def member(self, name: str) -> AbstractAsyncContextManager[Member]:
        return member(
            self.bootstrap, self.names("group"), self.input.topic, transactional_id=self.names(f"writer-{name}")
        )

    def committer(self, one: Member, value: bytes) -> Committer:
        """Return a committer that commits one output and one position, whatever it is given."""
        emission = Emission({self.output: Outgoing([b"k"], [value], [[]])}, {self.input: COMMITTED + 1}, Ledger())

        def build(_batches: Any, *, delta_headers: Any) -> Generator[None, None, Emission]:
            yield
            return emission

        emitter: Any = SimpleNamespace(build=build)
        guard = DeadLetterLimit(DeadLetterLimits(1.0, 100, None))
        return Committer(
            emitter,
            one.output_producer,
            transaction=one.transaction,
            dead_letter_limit=guard,
            observer=NullObserver(),
            clock=ManualClock(),
            timeout_ms=10_000,
        )

    async def committed(self) -> int | None:
        async with consumer(self.bootstrap, group_id=self.names("group")) as client:
            return await client.committed(ClientTopicPartition(*self.input))

    async def visible(self) -> list[bytes | None]:
        """Return the committed records of the output, once no transaction is open there."""
        place = ClientTopicPartition(*self.output)
        async with (
            consumer(self.bootstrap) as stable,
            consumer(self.bootstrap, isolation_level="read_uncommitted") as written,
        ):

            async def ends() -> tuple[int, int]:
                return (await stable.end_offsets([place]))[place], (await written.end_offsets([place]))[place]

            end, _ = await eventually(
                ends, "no open transaction", until=lambda seen: seen[0] == seen[1], timeout_s=WAIT_S
            )
            stable.assign([place])
            await stable.seek_to_beginning(place)
            values: list[bytes | None] = []
            while await stable.position(place) < end:
                found = await stable.getmany(timeout_ms=200, max_records=100)
                values += [record.value for part in found.values() for record in part]
            return values


def batches(epoch: Epoch) -> Any:
    return [SimpleNamespace(batch=SimpleNamespace(epoch=epoch))]


@pytest_asyncio.fixture
async def scene(kafka: Broker, names: Names) -> Scene:
    scene = Scene(kafka.bootstrap, names)
    await scene.create()
    return scene


async def test_generation(scene: Scene) -> None:
    """An evicted member that does not know it yet: the group has moved on to the next generation without it."""
    async with scene.member("evicted") as evicted:
        old = await evicted.epoch()
        async with scene.member("successor") as successor:
            await successor.source.wait_until_open()
            await evicted.epoch(after=old)
            await evicted.send(scene.output, b"of the evicted")
            with pytest.raises(CommitRefused, match="IllegalGeneration"):
                await evicted.transaction.commit_positions({scene.input: COMMITTED + 1}, {}, old)
            await evicted.transaction.abort()
    assert await scene.visible() == [] and await scene.committed() == COMMITTED


async def test_capture_time(scene: Scene) -> None:
    """Records of the previous generation are not committed with the current membership, although that is valid."""
    async with scene.member("rejoined") as rejoined:
        old = await rejoined.epoch()
        async with scene.member("other") as other:
            await other.source.wait_until_open()
            new = await rejoined.epoch(after=old)
        assert new.generation > old.generation
        with pytest.raises(CommitRefused):
            await scene.committer(rejoined, b"of the last generation").commit(batches(old))
        assert await scene.visible() == []
        current = await rejoined.epoch(after=new)  # the other has left
        await scene.committer(rejoined, b"of this one").commit(batches(current))
    assert await scene.visible() == [b"of this one"] and await scene.committed() == COMMITTED + 1


async def test_minus_one(scene: Scene) -> None:
    """Kafka accepts a commit without generation and member, as one from outside the group."""
    async with scene.member("reset") as reset:
        await reset.epoch()
        await reset.send(scene.output, b"of nobody")
        with pytest.raises(CommitRefused, match="outside any generation"):
            await reset.transaction.commit_positions({scene.input: COMMITTED + 1}, {}, Epoch(-1, "", None, 1))
        await reset.transaction.abort()
    assert await scene.visible() == [] and await scene.committed() == COMMITTED


async def test_require_stable(scene: Scene) -> None:
    """A successor starts after its predecessor's open transaction, once that has been committed, and not before it."""
    async with scene.member("predecessor") as predecessor:
        epoch = await predecessor.epoch()
        offsets = GroupOffsets(predecessor.consumer, scene.names("group"))
        await predecessor.send(scene.output, b"soon visible")
        await predecessor.transaction.commit_positions({scene.input: EVENTS}, {}, epoch)
        with pytest.raises(OffsetsUnstable):
            await offsets.fetch([scene.input])
        async with scene.member("successor") as successor:
            # One partition, two members: the one that is assigned it has to wait for the end of the transaction.
            async def generation() -> int:
                await predecessor.source.poll(timeout_s=0.1, max_records=100)
                return predecessor.generation

            await eventually(
                generation, "the next generation", until=lambda seen: seen != epoch.generation, timeout_s=WAIT_S
            )
            await predecessor.transaction.commit()
            await predecessor.epoch(after=epoch)
            await successor.epoch()
            for one in (predecessor, successor):
                assert not await one.source.poll(timeout_s=0.5, max_records=100)
        assert await offsets.fetch([scene.input]) == {scene.input: Committed(EVENTS, "")}
    assert await scene.visible() == [b"soon visible"]


async def test_end_txn_after_refusal(scene: Scene) -> None:
    """The refused output becomes visible neither now nor with the next transaction of the same producer."""
    async with scene.member("refused") as refused:
        epoch = await refused.epoch()
        stale = Epoch(epoch.generation - 1, epoch.member_id, None, epoch.counter)
        producer_before = refused.output_producer.producer
        with pytest.raises(CommitRefused):
            await scene.committer(refused, b"refused").commit(batches(stale))
        assert await scene.visible() == [], "the transaction has ended, so readers do not wait for it"
        await scene.committer(refused, b"accepted").commit(batches(epoch))
        assert refused.output_producer.producer is producer_before
    assert await scene.visible() == [b"accepted"] and await scene.committed() == COMMITTED + 1


async def test_gate(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read before the committed offset is known, whatever the client's own position is until then."""
    known = asyncio.Event()
    fetch = GroupOffsets.fetch

    async def late(self: GroupOffsets, partitions: Any) -> Any:
        await known.wait()
        return await fetch(self, partitions)

    monkeypatch.setattr(GroupOffsets, "fetch", late)
    async with scene.member("reader") as reader:
        await eventually(lambda: reader.source.partitions, "partitions", timeout_s=WAIT_S)
        early = [await reader.source.poll(timeout_s=0.3, max_records=100) for _ in range(4)]
        assert not any(early)
        known.set()
        await reader.source.wait_until_open()
        offsets: list[int] = []
        async with asyncio.timeout(WAIT_S):
            while len(offsets) < EVENTS - COMMITTED:
                for part in (await reader.source.poll(timeout_s=0.3, max_records=100)).values():
                    offsets += [record.offset for record in part]
    assert offsets == list(range(COMMITTED, EVENTS))
