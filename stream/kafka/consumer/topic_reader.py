"""Reading along a topic without being in a group: nothing is committed, and no worker is disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.cancellation import raise_if_cancelled, within
from forebay.stream.core.clock import Clock
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.kafka.cluster.advertised_listeners import find_unreachable, require_reachable
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error
from forebay.stream.kafka.patches.fetch_pacing import pace_fetches
from forebay.stream.kafka.patches.raw_records import PollBudget, ReadLimits, use_raw_records

_POLL_MS: Final = 100
_POLL_RECORDS: Final = 500
_SCAN_RECORDS: Final = 5000
STALLED_S: Final = 30.0
START_TIMEOUT_S: Final = 30.0
_NOWHERE: Final = TopicPartition("", -1)


OffsetRanges = Mapping[TopicPartition, range]
"""Of each partition the offsets from the first up to an end; not each of them need hold a record."""


class TopicReader:
    """All partitions of some topics, from their beginning, from a time (`since_ms`, since the Unix epoch) or from what comes
    next; committed records only.

    What cannot be read comes as an `Unreadable` in its place. Where the log itself is broken, reading ends with a BrokerError
    that names the place.

    async with TopicReader(options, ["predictions"], from_beginning=True) as reader:
        async for partition, records in reader.polls(idle_timeout_s=None): ...

    With `bounded` only as far as they go, and nothing is fetched that was not asked for:
    `async for partition, records in reader.within(await reader.extent()): ...`
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
        self._budget: PollBudget
        self._poll: asyncio.Future[Any] | None = None
        self._partitions: list[ClientTopicPartition] = []

    async def start(self) -> None:
        """Connect and find the positions. Raises BrokerError."""
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
                remedy="see that the broker runs there (`forebay check` reports more), or name another with --bootstrap-server",
            ) from error
        except TimeoutError:
            await self.stop()
            raise await find_unreachable(self._options) or self._stalled(START_TIMEOUT_S) from None
        except BaseException:
            await self.stop()
            raise

    async def _begin(self) -> None:
        await self._consumer.start()
        self._budget = use_raw_records(self._consumer, ReadLimits())
        pace_fetches(self._consumer)
        await self._assign()

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
                    remedy=hint + "`forebay topics create` creates all that are needed; a topic that this user may not "
                    "READ looks the same (`forebay acls`)",
                )
        cluster = await consumer._client.fetch_all_metadata()
        self._partitions = [
            ClientTopicPartition(topic, number)
            for topic in self._topics
            for number in sorted(cluster.partitions_for_topic(topic) or ())
        ]
        if self._bounded:
            return  # once they are assigned, the client fetches
        consumer.assign(self._partitions)
        if self._since_ms is not None:
            for place, offsets in (await self.extent(since_ms=self._since_ms)).items():
                consumer.seek(ClientTopicPartition(*place), offsets.start)
        for partition in self._partitions:
            # Until the client has found where to begin: what is published from now on is read.
            await consumer.position(partition)

    async def polls(
        self, *, idle_timeout_s: float | None, poll_records: int = _POLL_RECORDS, ticks: bool = False
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """Records as they come, partition by partition in order. Ends when nothing has come for `idle_timeout_s`.

        With `ticks`, a poll that brought nothing (one each tenth of a second) gives an empty sequence. Raises BrokerError when
        the cluster is lost for good.
        """
        last_s = self._clock.monotonic_s()
        while True:
            raise_if_cancelled()  # an interrupt
            records = await self._next(poll_records)
            now_s = self._clock.monotonic_s()
            if records:
                last_s = now_s
            for partition, batch in records.items():
                yield TopicPartition(*partition), batch
            if not records:
                if ticks:
                    yield _NOWHERE, ()
                if idle_timeout_s is not None and now_s - last_s >= idle_timeout_s:
                    return

    async def _next(self, max_records: int) -> Mapping[ClientTopicPartition, Sequence[Record]]:
        self._budget.begin_poll()
        # In a task of its own, which `stop` awaits: a poll that is cancelled leaks in the client.
        self._poll = asyncio.ensure_future(self._consumer.getmany(timeout_ms=_POLL_MS, max_records=max_records))
        try:
            found: Mapping[ClientTopicPartition, Sequence[Record]] = await asyncio.shield(self._poll)
        except KafkaError as error:
            raise self._lost(error) from error
        return found

    def _lost(self, error: KafkaError) -> BrokerError:
        return explain_authorization_error(error, "READ") or BrokerError(
            f"reading {', '.join(self._topics)} failed: {error}", kind="unreachable"
        )

    async def extent(self, *, since_ms: int | None = None) -> OffsetRanges:
        """What is committed by now: of each partition the offsets up to the last stable one.

        Without what lies before the first record of the time `since_ms` (since the Unix epoch). Raises BrokerError.
        """
        consumer, partitions = self._consumer, self._partitions
        try:
            first = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            if since_ms is not None:
                found = await consumer.offsets_for_times({partition: since_ms for partition in partitions})
                first = {
                    partition: ends[partition]
                    if (at := found.get(partition)) is None
                    else max(at.offset, first[partition])
                    for partition in partitions
                }
        except KafkaError as error:
            raise self._lost(error) from error
        return {TopicPartition(*partition): range(first[partition], ends[partition]) for partition in partitions}

    async def within(
        self,
        extent: OffsetRanges,
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        stalled_after_s: float = STALLED_S,
    ) -> AsyncIterator[tuple[TopicPartition, Sequence[Record]]]:
        """The records of `extent`, partition by partition in order, and then it ends.

        By positions, not by records: the last offsets may hold the marks of transactions, or what was aborted. `on_progress`
        gets how many of how many offsets were passed. Raises BrokerError, also where nothing moves for `stalled_after_s`.
        It takes the positions with it: `polls` has nothing more to give afterwards.
        """
        consumer = self._consumer
        left = {ClientTopicPartition(*partition): offsets for partition, offsets in extent.items() if offsets}
        total = sum(map(len, left.values()))
        passed = dict.fromkeys(left, 0)
        if left:
            consumer.assign(list(left))
        for partition, offsets in left.items():
            consumer.seek(partition, offsets.start)
        moved_s = self._clock.monotonic_s()
        while left:
            for partition, records in (await self._next(_SCAN_RECORDS)).items():
                if partition in left and (wanted := [each for each in records if each.offset < left[partition].stop]):
                    yield TopicPartition(*partition), wanted
            for partition, offsets in list(left.items()):
                position = await self._position(partition, stalled_after_s)
                if (done := min(position, offsets.stop) - offsets.start) != passed[partition]:
                    passed[partition], moved_s = done, self._clock.monotonic_s()
                if position >= offsets.stop:
                    consumer.pause(partition)
                    del left[partition]
            on_progress(sum(passed.values()), total)
            if self._clock.monotonic_s() - moved_s > stalled_after_s:
                raise self._stalled(stalled_after_s)

    async def _position(self, partition: ClientTopicPartition, timeout_s: float) -> int:
        # It is unknown while the client finds where a log begins whose oldest records were removed meanwhile.
        try:
            async with asyncio.timeout(timeout_s):
                return int(await self._consumer.position(partition))
        except TimeoutError:
            raise self._stalled(timeout_s) from None

    def _stalled(self, for_s: float) -> BrokerError:
        return BrokerError(
            f"reading {', '.join(self._topics)} got no further for {for_s:g} s",
            kind="unreachable",
            remedy="see that the brokers which lead its partitions run (`forebay check` reports more)",
        )

    async def num_partitions(self, topic: str) -> int | None:
        """Of any topic of the cluster; None where it is not there. Raises BrokerError."""
        try:
            cluster = await self._consumer._client.fetch_all_metadata()
        except KafkaError as error:
            raise self._lost(error) from error
        return len(cluster.partitions_for_topic(topic) or ()) or None

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
