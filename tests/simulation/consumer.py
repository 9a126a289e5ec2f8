"""The consumer of a simulated process, in the place of `AIOKafkaConsumer`.

The client's own group coordinator and subscription state run here, over simulated connections. Only fetching is scripted: it
returns records as `raw_records` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

from forebay.stream.core.records import TopicPartition
from tests.simulation.faults import Kind
from tests.simulation.network import Connection, SimulatedClient
from tests.simulation.partition_log import Fetched, LoggedRecord

SESSION_TIMEOUT_S: Final = 6.0
HEARTBEAT_INTERVAL_S: Final = 1.0
REBALANCE_TIMEOUT_S: Final = 8.0
RETRY_S: Final = 0.1


class ForgetfulCoordinator(GroupCoordinator):
    """The client's coordinator, which can be made to lose its membership just before it reports an assignment.

    aiokafka 0.14 does not, but nothing in its interface excludes it.
    """

    forgets_next = False

    async def _on_join_complete(self, generation: int, member_id: str, protocol: str, assignment: bytes) -> None:
        if self.forgets_next:
            self.forgets_next = False
            self.generation, self.member_id = -1, ""
        await super()._on_join_complete(generation, member_id, protocol, assignment)

    async def _heartbeat_routine(self) -> None:
        try:
            while not self.member_id:
                await asyncio.sleep(HEARTBEAT_INTERVAL_S)  # the client's own routine would end, and its caller loop
        except asyncio.CancelledError:
            return
        await super()._heartbeat_routine()


@dataclass(slots=True)
class _Buffer:
    """Fetched records of a partition. position: of the consumer, where they begin."""

    position: int
    records: list[LoggedRecord]
    next_offset: int


class SimulatedConsumer:
    """Stands for `AIOKafkaConsumer` with `isolation_level="read_committed"` and without auto commit and reset."""

    def __init__(self, connection: Connection, *, group_id: str) -> None:
        self._connection = connection
        self._group_id = group_id
        self._client = SimulatedClient(connection)
        self._subscription: Any = SubscriptionState()
        self._fetcher: Any = SimpleNamespace(
            _proc_fetch_request=None, _client=SimpleNamespace(_conns={}), _fetch_max_wait_ms=500, _records={}
        )
        self._buffers: dict[Any, _Buffer] = {}
        self._wake = asyncio.Event()
        self._arrived = asyncio.Event()

    async def start(self) -> None:
        self._coordinator = ForgetfulCoordinator(
            self._client,
            self._subscription,
            group_id=self._group_id,
            session_timeout_ms=int(SESSION_TIMEOUT_S * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_INTERVAL_S * 1000),
            rebalance_timeout_ms=int(REBALANCE_TIMEOUT_S * 1000),
            retry_backoff_ms=int(RETRY_S * 1000),
            enable_auto_commit=False,
            assignors=(RoundRobinPartitionAssignor,),
        )
        self._fetching = asyncio.create_task(self._fetch_forever(), name="fetch")

    async def stop(self) -> None:
        self._fetching.cancel()
        await asyncio.wait([self._fetching])
        await self._coordinator.close()
        await self._client.close()

    def subscribe(self, topics: list[str], listener: ConsumerRebalanceListener) -> None:
        self._subscription.subscribe(set(topics), listener=listener)

    def assignment(self) -> set[Any]:
        return set(self._subscription.assigned_partitions())

    def pause(self, *partitions: Any) -> None:
        for partition in partitions:
            self._subscription.pause(partition)

    def resume(self, *partitions: Any) -> None:
        for partition in partitions:
            self._subscription.resume(partition)
        self._wake.set()

    def seek(self, partition: Any, offset: int) -> None:
        self._subscription.seek(ClientTopicPartition(*partition), offset)
        self._buffers.pop(ClientTopicPartition(*partition), None)
        self._wake.set()

    async def position(self, partition: Any) -> int:
        return int(self._subscription.subscription.assignment.state_value(partition).position)

    def last_poll_timestamp(self, partition: Any) -> int | None:
        timestamp: int | None = self._subscription.subscription.assignment.state_value(partition).timestamp
        return timestamp

    async def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        ends = await self.end_offsets(partitions)
        return dict.fromkeys(ends, 0)

    async def end_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        logs = self._connection.cluster.logs
        ends: dict[Any, int] = await self._connection.call(
            Kind.LIST_OFFSETS,
            lambda reply: reply({partition: logs[TopicPartition(*partition)].stable_end for partition in partitions}),
        )
        return ends

    async def getmany(self, *partitions: Any, timeout_ms: float, max_records: int) -> dict[Any, list[LoggedRecord]]:
        self._coordinator.check_errors()
        with self._subscription.fetch_context():
            until_s = self._connection.process.world.now_s + timeout_ms / 1000
            while True:
                self._arrived.clear()
                taken = self._take(set(partitions), max_records)
                left_s = until_s - self._connection.process.world.now_s
                if taken or left_s <= 0:
                    return taken
                try:
                    async with asyncio.timeout(left_s):
                        await self._arrived.wait()
                except TimeoutError:
                    pass

    def _take(self, partitions: set[Any], max_records: int) -> dict[Any, list[LoggedRecord]]:
        taken: dict[Any, list[LoggedRecord]] = {}
        for partition, buffer in list(self._buffers.items()):
            state = self._state(partition)
            if state is None or state.position != buffer.position:
                del self._buffers[partition]
                continue
            if state.paused or (partitions and partition not in partitions):
                continue
            if not buffer.records:
                state.consumed_to(buffer.next_offset)
                del self._buffers[partition]
                self._wake.set()
                continue
            if max_records <= 0:
                continue
            part, buffer.records = buffer.records[:max_records], buffer.records[max_records:]
            buffer.position = part[-1].offset + 1
            state.consumed_to(buffer.position)
            max_records -= len(part)
            taken[partition] = part
        return taken

    def _state(self, partition: Any) -> Any:
        if not self._subscription.is_assigned(partition):
            return None
        state = self._subscription.subscription.assignment.state_value(partition)
        return state if state.has_valid_position else None

    async def _fetch_forever(self) -> None:
        while True:
            self._wake.clear()
            wanted = {
                partition: state
                for partition in sorted(self._subscription.assigned_partitions())
                if partition not in self._buffers and (state := self._state(partition)) is not None and not state.paused
            }
            if not wanted:
                # An assignment does not wake this task, but the seek that follows does.
                await self._wake.wait()
                continue
            fetch = asyncio.create_task(self._fetch(wanted), name="fetch-once")
            woken = asyncio.create_task(self._wake.wait(), name="fetch-wake")
            try:
                await asyncio.wait([fetch, woken], return_when=asyncio.FIRST_COMPLETED)
            finally:
                fetch.cancel()
                woken.cancel()
            await asyncio.wait([fetch, woken])

    async def _fetch(self, wanted: Mapping[Any, Any]) -> None:
        positions = {TopicPartition(*partition): state.position for partition, state in wanted.items()}
        try:
            found: dict[TopicPartition, Fetched] = await self._connection.call(
                Kind.FETCH, lambda reply: self._connection.cluster.fetch(positions, reply)
            )
        except KafkaError:
            await asyncio.sleep(RETRY_S)
            return
        for partition, state in wanted.items():
            records, next_offset, end = found[TopicPartition(*partition)]
            position = positions[TopicPartition(*partition)]
            if self._state(partition) is not state or state.position != position:
                continue  # a late answer
            state.highwater, state.timestamp = end, self._connection.process.world.time() * 1000
            if records or next_offset > position:
                self._buffers[partition] = _Buffer(position, records, next_offset)
                self._arrived.set()
