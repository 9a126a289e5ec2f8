"""The sink: bounded, and nothing waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import TopicPartition
from forebay.stream.kafka.producer.best_effort_sink import BestEffortSink
from tests.core.build import ManualClock

PLACE = TopicPartition("shadow-predictions", 0)


class ScriptedProducer:
    """Stores what is sent while `gate` is set. Raises `error`, if it has one."""

    def __init__(self) -> None:
        self.sent: list[bytes | None] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.starts = self.stops = 0

    async def start(self) -> None:
        self.starts += 1

    async def send(self, outgoing: Mapping[TopicPartition, Outgoing], *, timestamp_ms: int) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        for records in outgoing.values():
            self.sent += records.values

    async def stop(self, *, timeout_s: float) -> None:
        self.stops += 1


class Rig:
    def __init__(self) -> None:
        self.producer = ScriptedProducer()
        self.sink = BestEffortSink(
            self.producer,
            what="predictions of shadows",
            logger=logging.getLogger("forebay.shadows"),
            clock=ManualClock(),
            max_bytes=100,
        )
        self.lost = 0

    def offer(self, *values: bytes, num_bytes: int = 10) -> None:
        outgoing = Outgoing()
        for value in values:
            outgoing.append(b"k", value, [], offset=0)
        self.sink.offer({PLACE: outgoing}, num_bytes=num_bytes, num_events=len(values), on_lost=self._on_lost)

    def _on_lost(self, num_events: int) -> None:
        self.lost += num_events

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.sink.run())
        try:
            yield
        finally:
            task.cancel()

    async def turns(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_records_are_sent_in_order_over_one_connection() -> None:
    rig = Rig()
    async with rig.running():
        rig.offer(b"a", b"b")
        rig.offer(b"c")
        await rig.turns()
        rig.offer(b"d")
        await rig.sink.stop(timeout_s=5)
    assert (rig.producer.sent, rig.producer.starts, rig.lost) == ([b"a", b"b", b"c", b"d"], 1, 0)


async def test_the_producer_connects_only_if_there_is_something_to_send() -> None:
    rig = Rig()
    async with rig.running():
        await rig.turns()
        assert rig.producer.starts == 0


async def test_what_exceeds_the_limit_is_lost_while_the_cluster_is_slow() -> None:
    rig = Rig()
    rig.producer.gate.clear()
    async with rig.running():
        rig.offer(b"a", num_bytes=60)
        await rig.turns()  # it is being sent, and still counts
        rig.offer(b"b", b"c", num_bytes=41)
        assert rig.lost == 2
        rig.offer(b"d", num_bytes=40)
        rig.producer.gate.set()
        await rig.turns()
        rig.offer(b"e", num_bytes=100)
        await rig.turns()
    assert (rig.producer.sent, rig.lost) == ([b"a", b"d", b"e"], 2)


async def test_a_failure_loses_what_waits_and_nothing_is_raised() -> None:
    rig = Rig()
    rig.producer.error = RuntimeError("no broker answers")
    async with rig.running():
        rig.offer(b"a")
        rig.offer(b"b")
        await rig.turns()
        assert (rig.lost, rig.producer.stops) == (2, 1)
        rig.offer(b"c", num_bytes=100)  # there is room again
    assert rig.lost == 2
