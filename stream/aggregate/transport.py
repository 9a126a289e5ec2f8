"""Faust's Kafka transport, as the aggregator needs it. The private parts of Faust that are used are all here.

Decision 14 names them and says why; tests/aggregate/test_faust_internals.py fails when one of them moves.

- The clients are built from the configuration as all others are, and read committed only (Faust reads uncommitted).
- Reading goes on where the table says, not where the group has committed: Faust's bookkeeping of acknowledgements can commit
  past records that nobody counted.
- Every record of the source carries the position that it follows. Whatever Faust drops on its way to the agent, at a
  rebalance or otherwise, is noticed there as a gap.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust import App
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from forebay.stream.kafka.patches.fetch_pacing import pace_fetches

FAUST_LOG: Final = logging.getLogger("forebay.aggregate.faust")
"""Of the classes derived from Faust's, which would log under the names of their modules."""
PREVIOUS_HEADER: Final = "forebay-previous-position"


class Owner(Protocol):
    """What the transport asks of the aggregator."""

    source_topic: str

    def client_options(self) -> dict[str, Any]:
        """For each client of its own: where the cluster is, and how to log in."""
        ...

    def consumer_options(self) -> dict[str, Any]:
        """Further ones, for the consumer."""
        ...

    def on_revoked(self) -> None:
        """All partitions are taken away, at least for a while."""
        ...

    def positions(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        """Where to go on reading, by partition, of those whose state is known. Gets where the logs begin and end."""
        ...


class AggregatorApp(App):
    """The Faust application, which knows whom it works for."""

    owner: Owner
    logger = FAUST_LOG

    def _create_directories(self) -> None:
        """Create none. The state is in memory, and a killed process could not remove what it has left on disk."""


def _owner_of(app: object) -> Owner:
    assert isinstance(app, AggregatorApp)
    return app.owner


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that has the Kafka consumer."""

    logger = FAUST_LOG

    def __post_init__(self) -> None:
        super().__post_init__()
        # Up to where the records of each source partition were handed on without a gap; of those that were sought.
        self.handed_to: dict[TP, int] = {}
        self._num_seeks = 0

    @property
    def _owner(self) -> Owner:
        return _owner_of(self.app)

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        # Faust's own method sets the assignor too.
        self._assignor = self.app.assignor
        return AIOKafkaConsumer(
            **self._owner.client_options(),
            **self._owner.consumer_options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=[self._assignor],
        )

    async def on_start(self) -> None:
        await super().on_start()
        pace_fetches(self._consumer)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.handed_to.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.handed_to.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def seek_source(self, positions: Mapping[TP, int]) -> None:
        """Go on reading there. What was fetched before is not handed on."""
        await self.call_thread(self._seek_source, positions)

    async def _seek_source(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        self._num_seeks += 1
        for tp, position in positions.items():
            if tp in consumer.assignment():
                consumer.seek(tp, position)
                self.handed_to[tp] = position

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Mapping[TP, list[Any]]:
        num_seeks = self._num_seeks
        found = await super()._fetch_records(consumer, active_partitions, timeout=timeout, max_records=max_records)
        source, handed = self._owner.source_topic, {}
        for tp, records in found.items():
            if tp.topic != source:
                handed[tp] = records
            elif (position := self.handed_to.get(tp)) is None:
                continue  # not sought since it was assigned; that is still to come
            elif num_seeks != self._num_seeks:
                consumer.seek(tp, position)  # fetched before or after the seek: nobody knows
            else:
                marked = []
                for record in records:
                    header = (PREVIOUS_HEADER, b"%d" % position)
                    marked.append(dataclasses.replace(record, headers=(*record.headers, header)))
                    position = record.offset + 1
                handed[tp], self.handed_to[tp] = marked, position
        return handed


class Consumer(driver.Consumer):
    """The consumer as Faust's services see it."""

    logger = FAUST_LOG

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def _owner(self) -> Owner:
        return _owner_of(self.app)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._owner.on_revoked()
        await super().on_partitions_revoked(revoked)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """To where the table says, of the source; of all else, as Faust has it."""
        offsets = dict(await super().seek_to_committed())
        tps = [tp for tp in self.assignment() if tp.topic == self._owner.source_topic]
        if tps:
            starts = await self.earliest_offsets(*tps)
            ends = await self.highwaters(*tps)
            wanted = self._owner.positions(_by_partition(starts), _by_partition(ends))
            positions = {tp: wanted[tp.partition] for tp in tps if tp.partition in wanted}
            await self._thread.seek_source(positions)
            offsets.update(positions)
        return offsets

    async def _seek(self, partition: TP, offset: int) -> None:
        if partition.topic == self._owner.source_topic:
            await self._thread.seek_source({partition: offset})
        else:
            await super()._seek(partition, offset)

    async def handed_and_fetched(self, tp: TP) -> tuple[int | None, int | None]:
        """Up to where records were handed on, and up to where the client has come, past the marks of transactions."""
        handed = self._thread.handed_to.get(tp)
        return handed, None if handed is None else await self.position(tp)


class Producer(driver.Producer):
    """The producer, idempotent: what is retried stays in order and is there once."""

    logger = FAUST_LOG

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        return AIOKafkaProducer(**_owner_of(self.app).client_options(), enable_idempotence=True, linger_ms=0)


class Transport(driver.Transport):
    Consumer = Consumer
    Producer = Producer


def _by_partition(offsets: Mapping[Any, int]) -> dict[int, int]:
    return {tp.partition: offset for tp, offset in offsets.items()}


def partitions_of(tps: Iterable[TP]) -> set[int]:
    return {tp.partition for tp in tps}
