"""Faust's Kafka transport, adapted to the aggregator. All uses of Faust's private parts are in this module.

Decision 14 lists them with their reasons; tests/aggregate/test_faust_internals.py fails if one of them changes.

- The clients are built from the configuration like all others, and read committed records only (Faust reads uncommitted).
- Reading continues at the position in the table, not at the group's committed offset: Faust's bookkeeping of acknowledgements
  can commit past records that were not counted.
- Every record of the source carries the position that it follows. If Faust drops records on their way to the agent, at a
  rebalance or otherwise, the agent sees a gap.
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
"""The logger of the classes derived from Faust's, which would otherwise log under the names of their modules."""
PREVIOUS_HEADER: Final = "forebay-previous-position"


class Owner(Protocol):
    """What the transport needs from the aggregator."""

    source_topic: str

    def client_options(self) -> dict[str, Any]:
        """Return the options of every client: addresses and authentication."""
        ...

    def consumer_options(self) -> dict[str, Any]:
        """Return the options of the group's consumer besides those of every client."""
        ...

    def on_revoked(self) -> None:
        """Handle the revocation of all partitions; some may be assigned again."""
        ...

    def positions(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        """Return the offset at which to continue, for each partition whose state is restored.

        starts, ends: first and end offset of each partition's log.
        """
        ...


class AggregatorApp(App):
    """The Faust application. owner: the aggregator that it belongs to."""

    owner: Owner
    logger = FAUST_LOG

    def _create_directories(self) -> None:
        """Create no directories: the state is in memory, and a killed process could not remove its files."""


def _owner_of(app: object) -> Owner:
    assert isinstance(app, AggregatorApp)
    return app.owner


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the Kafka consumer."""

    logger = FAUST_LOG

    def __post_init__(self) -> None:
        super().__post_init__()
        # For each source partition after its seek: the offset up to which records were passed on without a gap.
        self.delivered_to: dict[TP, int] = {}
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
        self.delivered_to.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.delivered_to.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def seek_source(self, positions: Mapping[TP, int]) -> None:
        """Continue reading at these positions. Records fetched before the seek are not passed on."""
        await self.call_thread(self._seek_source, positions)

    async def _seek_source(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        self._num_seeks += 1
        for tp, position in positions.items():
            if tp in consumer.assignment():
                consumer.seek(tp, position)
                self.delivered_to[tp] = position

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Mapping[TP, list[Any]]:
        num_seeks = self._num_seeks
        fetched = await super()._fetch_records(consumer, active_partitions, timeout=timeout, max_records=max_records)
        source, delivered = self._owner.source_topic, {}
        for tp, records in fetched.items():
            if tp.topic != source:
                delivered[tp] = records
            elif (position := self.delivered_to.get(tp)) is None:
                continue  # not sought yet since it was assigned
            elif num_seeks != self._num_seeks:
                consumer.seek(tp, position)  # it is unknown whether these were fetched before or after the seek
            else:
                marked = []
                for record in records:
                    header = (PREVIOUS_HEADER, b"%d" % position)
                    marked.append(dataclasses.replace(record, headers=(*record.headers, header)))
                    position = record.offset + 1
                delivered[tp], self.delivered_to[tp] = marked, position
        return delivered


class Consumer(driver.Consumer):
    """The consumer that Faust's services use."""

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
        """Seek the source to the positions in the table, and other topics as Faust does."""
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

    async def delivered_and_fetched(self, tp: TP) -> tuple[int | None, int | None]:
        """Return the offset up to which records were passed on, and the client's position, which passes transaction markers."""
        delivered = self._thread.delivered_to.get(tp)
        return delivered, None if delivered is None else await self.position(tp)


class Producer(driver.Producer):
    """An idempotent producer: retried records stay in order and are written once."""

    logger = FAUST_LOG

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        return AIOKafkaProducer(**_owner_of(self.app).client_options(), enable_idempotence=True, linger_ms=0)


class Transport(driver.Transport):
    """A Faust transport with the consumer and producer of this module."""

    Consumer = Consumer
    Producer = Producer


def _by_partition(offsets: Mapping[Any, int]) -> dict[int, int]:
    return {tp.partition: offset for tp, offset in offsets.items()}


def partitions_of(tps: Iterable[TP]) -> set[int]:
    """Return the partition numbers."""
    return {tp.partition for tp in tps}
