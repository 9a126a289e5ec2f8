"""Reading along a topic without being in a group: nothing is committed, and no worker is disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import BrokerError
from stream.clock import Clock
from stream.embedded.pacing import pace_fetches
from stream.records import Partition, Record

_POLL_MS: Final = 100
_POLL_RECORDS: Final = 500
_NOWHERE: Final = Partition("", -1)


class TopicReader:
    """All partitions of some topics, from their beginning or from what comes next; committed records only.

    async with TopicReader(options, ["predictions"], from_beginning=True) as reader:
        async for partition, records in reader.polls(idle_timeout_s=None): ...
    """

    def __init__(
        self, options: Mapping[str, object], topics: Sequence[str], *, from_beginning: bool, clock: Clock
    ) -> None:
        self._options = dict(options)
        self._topics = list(topics)
        self._from_beginning = from_beginning
        self._clock = clock
        self._consumer: Any = None
        self._poll: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Connect and find the positions. Raises BrokerError."""
        self._consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest" if self._from_beginning else "latest",
        )
        try:
            await self._consumer.start()
            pace_fetches(self._consumer)
            await self._assign()
        except KafkaError as error:
            await self.stop()
            raise BrokerError(
                f"cannot read from Kafka at {self._options.get('bootstrap_servers')}",
                kind="unreachable",
                remedy="see that the broker runs there (`forebay check` tells more), or name another with --bootstrap-server",
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def _assign(self) -> None:
        consumer = self._consumer
        # Asking for a topic by name would create it on clusters that create topics by themselves.
        known = await consumer.topics()
        for topic in self._topics:
            if topic not in known:
                near = get_close_matches(topic, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise BrokerError(
                    f"there is no topic {topic!r}",
                    kind="unknown_topic",
                    remedy=hint + "`forebay topics create` creates all that are needed",
                )
        cluster = await consumer._client.fetch_all_metadata()
        partitions = [
            TopicPartition(topic, number)
            for topic in self._topics
            for number in sorted(cluster.partitions_for_topic(topic) or ())
        ]
        consumer.assign(partitions)
        for partition in partitions:
            # Until the client has found where to begin: what is published from now on is read.
            await consumer.position(partition)

    async def polls(
        self, *, idle_timeout_s: float | None, poll_records: int = _POLL_RECORDS, ticks: bool = False
    ) -> AsyncIterator[tuple[Partition, Sequence[Record]]]:
        """Records as they come, partition by partition in order. Ends when nothing has come for `idle_timeout_s`.

        With `ticks`, a poll that brought nothing (one each tenth of a second) gives an empty sequence. Raises BrokerError when
        the cluster is lost for good.
        """
        last_s = self._clock.monotonic_s()
        while True:
            # In a task of its own, which `stop` awaits: a poll that is cancelled leaks in the client.
            self._poll = asyncio.ensure_future(self._consumer.getmany(timeout_ms=_POLL_MS, max_records=poll_records))
            try:
                records = await asyncio.shield(self._poll)
            except KafkaError as error:
                raise BrokerError(f"reading {', '.join(self._topics)} failed: {error}", kind="unreachable") from error
            now_s = self._clock.monotonic_s()
            if records:
                last_s = now_s
            for partition, batch in records.items():
                yield Partition(*partition), batch
            if not records:
                if ticks:
                    yield _NOWHERE, ()
                if idle_timeout_s is not None and now_s - last_s >= idle_timeout_s:
                    return

    async def at_end(self) -> bool:
        """Whether all that is committed by now was read."""
        partitions = self._consumer.assignment()
        ends = await self._consumer.end_offsets(partitions)
        return all([await self._consumer.position(partition) >= end for partition, end in ends.items()])

    async def stop(self) -> None:
        """Close. Safe to call twice."""
        consumer, self._consumer = self._consumer, None
        if self._poll is not None:
            await asyncio.wait([self._poll])
            self._poll = None
        if consumer is not None:
            await consumer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
