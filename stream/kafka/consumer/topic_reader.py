"""A reader of whole topics outside any consumer group: it commits nothing and disturbs no worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.cancellation import raise_if_cancelled, within
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.kafka.cluster.advertised_listeners import find_unreachable, require_reachable
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error
from forebay.stream.kafka.consumer.topic_metadata import request_metadata, topic_ids
from forebay.stream.kafka.patches.fetch_pacing import pace_fetches
from forebay.stream.kafka.patches.raw_records import PollBudget, ReadLimits, use_raw_records

_POLL_MS: Final = 100
_POLL_RECORDS: Final = 500
_SCAN_RECORDS: Final = 5000
STALLED_S: Final = 30.0
START_TIMEOUT_S: Final = 30.0
STABLE_TIMEOUT_S: Final = 60.0
_STABLE_POLL_S: Final = 0.05
_NO_PARTITION: Final = TopicPartition("", -1)

OffsetRanges = Mapping[TopicPartition, range]
"""The offsets of each partition from the first up to an end. Not every offset has a record."""


class TopicReader:
    """Reads the committed records of all partitions of some topics.

    Records that cannot be read are returned as an `Unreadable` in their place. If the log itself is corrupt, reading ends with
    a BrokerError that names the place.

    from_beginning: start at the first offset rather than at the end.
    since_ms: start at the first record since this time (ms since the Unix epoch).
    bounded: fetch nothing until `within` is called, which reads up to an end.

    async with TopicReader(options, ["predictions"], from_beginning=True) as reader:
        async for partition, records in reader.polls(idle_timeout_s=None): ...

    async with TopicReader(options, ["predictions"], from_beginning=True, bounded=True) as reader:
        async for partition, records in reader.within(await reader.offset_ranges()): ...
    """

    def __init__(
        self,
        options: Mapping[str, object],
        topics: Sequence[str],
        *,
        from_beginning: bool,
        clock: Clock,
        since_ms: int | None = None,
        bounded: bool = False,
    ) -> None:
        self._since_ms = since_ms
        self._options = dict(options)
        self._topics = list(topics)
        self._from_beginning = from_beginning
        self._clock = clock
        self._bounded = bounded
        self._consumer: Any = None
        self._poll_budget: PollBudget
        self._poll: asyncio.Future[Any] | None = None
        self._partitions: list[ClientTopicPartition] = []

    async def start(self) -> None:
        """Connect and seek. Raises BrokerError."""
        await require_reachable(self._options)
        self._consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest" if self._from_beginning else "latest",
        )
        try:
            await within(START_TIMEOUT_S, self._begin())
        except KafkaError as error:
            await self.stop()
            raise explain_authorization_error(error, "READ") or BrokerError(
                f"cannot read from Kafka at {self._options.get('bootstrap_servers')}: {error}",
                kind="unreachable",
                remedy="check that the broker runs there (`forebay check` reports more), or set --bootstrap-server",
            ) from error
        except TimeoutError:
            await self.stop()
            raise await find_unreachable(self._options) or self._stalled(START_TIMEOUT_S) from None
        except BaseException:
            await self.stop()
            raise

    async def _begin(self) -> None:
        await self._consumer.start()
        self._poll_budget = use_raw_records(self._consumer, ReadLimits())
        pace_fetches(self._consumer)
        await self._assign()

    async def _assign(self) -> None:
        consumer = self._consumer
        # All topics are requested: a request for one topic would create it on clusters that create topics on demand.
        known = await consumer.topics()
        for topic in self._topics:
            if topic not in known:
                similar = get_close_matches(topic, known, n=1)
                hint = f"did you mean {similar[0]!r}? " if similar else ""
                raise BrokerError(
                    f"there is no topic {topic!r}",
                    kind="unknown_topic",
                    remedy=hint + "`forebay topics create` creates all topics that are needed; a topic that this user "
                    "may not READ looks the same (`forebay acls`)",
                )
        cluster = await consumer._client.fetch_all_metadata()
        self._partitions = [
            ClientTopicPartition(topic, number)
            for topic in self._topics
            for number in sorted(cluster.partitions_for_topic(topic) or ())
        ]
        if self._bounded:
            return  # the client fetches as soon as partitions are assigned
        consumer.assign(self._partitions)
        if self._since_ms is not None:
            for topic_partition, offsets in (await self.offset_ranges(since_ms=self._since_ms)).items():
                consumer.seek(ClientTopicPartition(*topic_partition), offsets.start)
        for partition in self._partitions:
            # Wait until the client knows where to begin: everything that is published after that is read.
            await consumer.position(partition)

    async def polls(
        self, *, idle_timeout_s: float | None, poll_records: int = _POLL_RECORDS, ticks: bool = False
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield records as they arrive, in order within each partition. Ends after `idle_timeout_s` without a record.

        ticks: also yield an empty sequence for each empty poll, every tenth of a second.

        Raises BrokerError if reading fails.
        """
        last_s = self._clock.monotonic_s()
        while True:
            raise_if_cancelled()  # by an interrupt
            records = await self._next(poll_records)
            now_s = self._clock.monotonic_s()
            if records:
                last_s = now_s
            for partition, batch in records.items():
                yield TopicPartition(*partition), batch
            if not records:
                if ticks:
                    yield _NO_PARTITION, ()
                if idle_timeout_s is not None and now_s - last_s >= idle_timeout_s:
                    return

    async def _next(self, max_records: int) -> Mapping[ClientTopicPartition, Sequence[Record]]:
        self._poll_budget.begin_poll()
        # In a task of its own, which `stop` awaits: a poll that is cancelled leaks in the client.
        self._poll = asyncio.ensure_future(self._consumer.getmany(timeout_ms=_POLL_MS, max_records=max_records))
        try:
            records: Mapping[ClientTopicPartition, Sequence[Record]] = await asyncio.shield(self._poll)
        except KafkaError as error:
            raise self._read_error(error) from error
        return records

    def _read_error(self, error: KafkaError) -> BrokerError:
        return explain_authorization_error(error, "READ") or BrokerError(
            f"reading {', '.join(self._topics)} failed: {error}", kind="unreachable"
        )

    async def offset_ranges(self, *, since_ms: int | None = None) -> OffsetRanges:
        """Return the offsets of each partition up to the last stable offset. Raises BrokerError.

        since_ms: leave out records before the first one since this time (ms since the Unix epoch).
        """
        consumer, partitions = self._consumer, self._partitions
        try:
            first = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            if since_ms is not None:
                by_time = await consumer.offsets_for_times({partition: since_ms for partition in partitions})
                first = {
                    partition: ends[partition]
                    if (first_since := by_time.get(partition)) is None
                    else max(first_since.offset, first[partition])
                    for partition in partitions
                }
        except KafkaError as error:
            raise self._read_error(error) from error
        return {TopicPartition(*partition): range(first[partition], ends[partition]) for partition in partitions}

    async def wait_until_stable(self, timeout_s: float = STABLE_TIMEOUT_S) -> None:
        """Wait until everything that is in the topics now can be read: until no open transaction is before it.

        A transaction that has just ended may be in the committed offsets of a group before its records can be read. Raises
        BrokerError if it takes longer than `timeout_s`.
        """
        latest = AIOKafkaConsumer(**self._options, group_id=None, isolation_level="read_uncommitted")
        try:
            await latest.start()
            ends = await latest.end_offsets(self._partitions)
            async with asyncio.timeout(timeout_s):
                while True:
                    stable = await self._consumer.end_offsets(self._partitions)
                    if all(stable[partition] >= end for partition, end in ends.items()):
                        return
                    await asyncio.sleep(_STABLE_POLL_S)
        except KafkaError as error:
            raise self._read_error(error) from error
        except TimeoutError:
            raise self._stalled(timeout_s) from None
        finally:
            await latest.stop()

    async def within(
        self,
        ranges: OffsetRanges,
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        stalled_after_s: float = STALLED_S,
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield the records of `ranges`, in order within each partition, and end. `polls` yields nothing afterwards.

        The end is found by positions rather than records: the last offsets may be transaction markers or aborted records.

        on_progress: receives the number of offsets read and their total.

        Raises BrokerError, also if no position advances for `stalled_after_s`.
        """
        consumer = self._consumer
        remaining = {ClientTopicPartition(*partition): offsets for partition, offsets in ranges.items() if offsets}
        total = sum(map(len, remaining.values()))
        passed = dict.fromkeys(remaining, 0)
        if remaining:
            consumer.assign(list(remaining))
        for partition, offsets in remaining.items():
            consumer.seek(partition, offsets.start)
        progress_s = self._clock.monotonic_s()
        while remaining:
            for partition, records in (await self._next(_SCAN_RECORDS)).items():
                if partition not in remaining:
                    continue
                if in_range := [record for record in records if record.offset < remaining[partition].stop]:
                    yield TopicPartition(*partition), in_range
            for partition, offsets in list(remaining.items()):
                position = await self._position(partition, stalled_after_s)
                if (done := min(position, offsets.stop) - offsets.start) != passed[partition]:
                    passed[partition], progress_s = done, self._clock.monotonic_s()
                if position >= offsets.stop:
                    consumer.pause(partition)
                    del remaining[partition]
            on_progress(sum(passed.values()), total)
            if self._clock.monotonic_s() - progress_s > stalled_after_s:
                raise self._stalled(stalled_after_s)

    async def _position(self, partition: ClientTopicPartition, timeout_s: float) -> int:
        # It is unknown while the client looks up the start of a log whose oldest records were removed meanwhile.
        try:
            async with asyncio.timeout(timeout_s):
                return int(await self._consumer.position(partition))
        except TimeoutError:
            raise self._stalled(timeout_s) from None

    def _stalled(self, for_s: float) -> BrokerError:
        return BrokerError(
            f"reading {', '.join(self._topics)} made no progress for {for_s:g} s",
            kind="unreachable",
            remedy="check that the leaders of its partitions run (`forebay check` reports more)",
        )

    async def topic_ids(self) -> Mapping[str, UUID]:
        """Return the ids of the topics that exist, as far as the cluster reports them. Raises BrokerError."""
        try:
            metadata = await request_metadata(self._consumer._client, self._topics)
        except KafkaError as error:
            raise self._read_error(error) from error
        return topic_ids(metadata)[0]

    async def num_partitions(self, topic: str) -> int | None:
        """Return the number of partitions of any topic; None if it does not exist. Raises BrokerError."""
        try:
            cluster = await self._consumer._client.fetch_all_metadata()
        except KafkaError as error:
            raise self._read_error(error) from error
        return len(cluster.partitions_for_topic(topic) or ()) or None

    async def at_end(self) -> bool:
        """Return whether everything up to the last stable offsets has been read."""
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
