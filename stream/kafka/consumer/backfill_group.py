"""The consumer group of a back-fill, seen from outside: its ranges, how far it is, and the first commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.cancellation import within
from forebay.stream.core.errors import CommitRefused, CommitUnknown
from forebay.stream.core.records import Committed, TopicPartition
from forebay.stream.core.retry import fixed, retry
from forebay.stream.kafka.cluster.advertised_listeners import require_reachable
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error
from forebay.stream.kafka.consumer.frozen_ranges import FrozenRange, join_range, split_range
from forebay.stream.kafka.consumer.group_offsets import GroupOffsets
from forebay.stream.kafka.consumer.read_bounds import Log, ReadBound, resolve_ranges

T = TypeVar("T")

TIMEOUT_S: Final = 30.0
RETRY_S: Final = 0.5


class RunProgress(NamedTuple):
    """How far the back-fill of a partition is committed. committed: without the range in its metadata."""

    frozen: FrozenRange
    committed: Committed

    @property
    def remaining(self) -> int:
        """Return how many offsets are still to be committed."""
        return self.frozen.remaining(self.committed.offset)


Progress = Mapping[TopicPartition, RunProgress]


class BackfillGroup:
    """Reads and begins the offsets of a group, which it does not join. See `open_backfill_group`."""

    def __init__(self, consumer: AIOKafkaConsumer, group_id: str, partitions: Sequence[TopicPartition]) -> None:
        self._consumer = consumer
        self._offsets = GroupOffsets(consumer, group_id)
        self._partitions = list(partitions)

    @staticmethod
    def beginning(ranges: Mapping[TopicPartition, FrozenRange]) -> dict[TopicPartition, RunProgress]:
        """Return the progress of a back-fill that has just begun."""
        return {place: RunProgress(frozen, Committed(frozen.start, "")) for place, frozen in ranges.items()}

    async def progress(self) -> dict[TopicPartition, RunProgress] | None:
        """Return the progress of each partition; None if the back-fill has not begun.

        Raises BrokerError if it was begun with other partitions, or offsets without ranges are committed.
        """
        committed = await _ask(lambda: self._offsets.fetch(self._partitions, require_stable=False))
        if all(offset is None for offset in committed.values()):
            return None
        found = {}
        for partition, offset in committed.items():
            if offset is None:
                raise BrokerError(
                    f"{partition.topic}-{partition.partition} is not part of the back-fill",
                    kind="backfill_range",
                    remedy="topics or partitions were added since it began: give another --run-id to include them",
                )
            found[partition] = RunProgress(*split_range(partition, offset))
        return found

    async def find_ranges(self, begin: ReadBound, end: ReadBound) -> dict[TopicPartition, range]:
        """Return the offsets between two bounds as they are now, up to the last stable ones.

        Raises ConfigError for offsets that do not exist, and BrokerError.
        """
        partitions = [ClientTopicPartition(*partition) for partition in self._partitions]
        consumer = self._consumer
        ends = await _ask(lambda: consumer.end_offsets(partitions))
        first = await _ask(lambda: consumer.beginning_offsets(partitions))
        since: dict[int, Mapping[ClientTopicPartition, object]] = {}
        for time_ms in {bound.time_ms for bound in (begin, end) if bound.kind == "time"}:
            times = dict.fromkeys(partitions, time_ms)
            since[time_ms] = await _ask(partial(consumer.offsets_for_times, times))
        logs = {
            TopicPartition(*place): Log(
                first[place],
                max(first[place], ends[place]),
                {time_ms: getattr(found.get(place), "offset", None) for time_ms, found in since.items()},
            )
            for place in partitions
        }
        return resolve_ranges(logs, begin, end)

    async def has_records(self, partitions: Sequence[TopicPartition]) -> bool:
        """Return whether any of these partitions has records. Raises BrokerError."""
        places = [ClientTopicPartition(*partition) for partition in partitions]
        if not places:
            return False
        first = await _ask(partial(self._consumer.beginning_offsets, places))
        ends = await _ask(partial(self._consumer.end_offsets, places))
        return any(ends[place] > first[place] for place in places)

    async def freeze(self, ranges: Mapping[TopicPartition, FrozenRange]) -> bool:
        """Commit the starts with the ranges, all in one request; return False if the group has members.

        Of several commands that do this at the same time, the last one counts, until the first member joins. Members read the
        ranges from what is committed, after they have joined, so all of them read the same.

        Raises BrokerError.
        """
        starts = {partition: frozen.start for partition, frozen in ranges.items()}
        metadata = {partition: join_range(frozen, "") for partition, frozen in ranges.items()}
        try:
            await _ask(lambda: self._offsets.initialise(starts, metadata))
        except CommitRefused:
            return False
        return True


@asynccontextmanager
async def open_backfill_group(
    options: Mapping[str, object], group_id: str, partitions: Sequence[TopicPartition]
) -> AsyncIterator[BackfillGroup]:
    """Connect to the cluster for reading and beginning the offsets of a group. Raises BrokerError."""
    await require_reachable(options)
    consumer = AIOKafkaConsumer(
        **options, group_id=group_id, enable_auto_commit=False, isolation_level="read_committed"
    )
    try:
        await _ask(consumer.start)
        yield BackfillGroup(consumer, group_id, partitions)
    finally:
        await consumer.stop()


async def _ask(request: Callable[[], Awaitable[T]]) -> T:
    """Return the answer of the cluster, within `TIMEOUT_S`. Raises BrokerError, or CommitRefused."""

    def should_retry(error: Exception, _failures: int) -> bool:
        return isinstance(error, CommitUnknown) or (isinstance(error, KafkaError) and error.retriable)

    async def attempt() -> T:
        return await request()

    try:
        return await within(TIMEOUT_S, retry(attempt, should_retry=should_retry, wait_s=fixed(RETRY_S)))
    except CommitRefused:
        raise
    except (KafkaError, CommitUnknown, TimeoutError) as error:
        raise explain_authorization_error(error, "READ") or BrokerError(
            f"the cluster did not answer about the back-fill: {error or type(error).__name__}",
            kind="unreachable",
            remedy="check that the cluster is healthy (`forebay check` reports more)",
        ) from error
