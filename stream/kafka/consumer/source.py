"""Records from the group's partitions, stamped with the epoch under which they were read.

The gate is closed from an assignment or a rewind until the committed offsets were read and sought. Records that the client
returns meanwhile are dropped. `epoch` is the membership that the gate was opened for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.group import Member
from forebay.stream.core.records import Epoch, PartitionLag, Record, TopicPartition
from forebay.stream.core.retry import fixed, retry, warn_sparsely
from forebay.stream.kafka.cluster.topic_identity import recreated_error
from forebay.stream.kafka.consumer.cluster_watch import ClusterWatch
from forebay.stream.kafka.consumer.group_members import read_members
from forebay.stream.kafka.consumer.group_offsets import GroupOffsets, OffsetsUnstable
from forebay.stream.kafka.consumer.lag import read_partition_lags
from forebay.stream.kafka.consumer.start_offsets import (
    OffsetRestorer,
    StartPolicy,
    out_of_range_error,
    refuse_new_partitions,
    start_positions,
)
from forebay.stream.kafka.patches.chunked_reads import use_chunked_reads
from forebay.stream.kafka.patches.fetch_pacing import pace_fetches
from forebay.stream.kafka.patches.raw_records import ReadLimits, use_raw_records

log = logging.getLogger("forebay.source")

MAX_POLL_WAIT_S = 0.5
IDLE_COMMIT_S = 5.0
UNSTABLE_RETRY_S = 0.05
MAX_OPEN_FAILURES = 11
"""Failures in a row to read the committed offsets after which an error that the client calls final ends the worker."""
AT_END_WITHIN_MS = 3_000


class Source(ConsumerRebalanceListener):
    """One member of the consumer group.

    topics: number of partitions of each at the start. on_revoked: awaited before partitions are revoked, while commits are
    still possible. on_fatal: gets what a listener raises, which the client only logs. assignments: how many there were.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        topics: Mapping[str, int],
        group_id: str,
        policy: StartPolicy,
        restorer: OffsetRestorer,
        on_revoked: Callable[[], Awaitable[None]],
        on_fatal: Callable[[BaseException], None],
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        read_limits: ReadLimits = ReadLimits(),  # noqa: B008  # immutable
    ) -> None:
        self._consumer = consumer
        self._read_limits = read_limits
        self._topics = dict(topics)
        self._group_id = group_id
        self._policy = policy
        self._restorer = restorer
        self._on_revoked = on_revoked
        self._on_fatal = on_fatal
        self._backoff = backoff or Backoff()
        self._clock = clock or SystemClock()
        self._counter = 0
        self.assignments = 0
        self._epoch: Epoch | None = None
        self._gate_open = False
        self._opening: asyncio.Task[None] | None = None
        self._paused = False
        self._opened = asyncio.Event()
        self._watch: ClusterWatch | None = None
        self._idle_at: Mapping[TopicPartition, int] = {}

    async def start(self) -> None:
        """Join the group. Raises KafkaError."""
        await self._consumer.start()
        use_chunked_reads(self._consumer)
        self._budget = use_raw_records(self._consumer, self._read_limits)
        pace_fetches(self._consumer)
        self._offsets = GroupOffsets(self._consumer, self._group_id)
        self._watch = ClusterWatch(self._consumer._client, self._topics, clock=self._clock)
        self._consumer.subscribe(list(self._topics), listener=self)

    async def stop(self, *, timeout_s: float) -> None:
        """Leave the group and close; whatever is not over by then is let go of. Raises nothing."""
        await self._close_gate()
        if self._watch is not None:
            await self._watch.stop()
        # In a task of its own: where the cluster is away, the client's `stop` ends in the cancellation of one of its own
        # tasks, which here would be taken for this one's.
        closing = asyncio.create_task(self._consumer.stop())
        await asyncio.wait([closing], timeout=timeout_s)
        if not closing.done():
            closing.cancel()
        elif not closing.cancelled() and (error := closing.exception()) is not None:
            log.debug("closing the consumer: %s", error)

    async def wait_until_open(self) -> None:
        """Until the first assignment's positions are known (it may be empty)."""
        await self._opened.wait()

    @property
    def epoch(self) -> Epoch | None:
        """The epoch that records are read under now; None while the gate is closed."""
        return self._epoch if self._gate_open else None

    @property
    def partitions(self) -> set[TopicPartition]:
        """What is assigned now."""
        return {TopicPartition(*partition) for partition in self._consumer.assignment()}

    @property
    def joined(self) -> bool:
        """Whether a first assignment's positions are known (it may be empty)."""
        return self._opened.is_set()

    async def ask_cluster(self) -> None:
        """Returns when the cluster has answered something. Raises KafkaError, TimeoutError."""
        await self._consumer.end_offsets([ClientTopicPartition(min(self._topics), 0)])

    async def members(self) -> tuple[Member, ...]:
        """The members of the group now. Raises KafkaError."""
        return await read_members(self._consumer, self._group_id)

    async def poll(self, *, timeout_s: float, max_records: int) -> Mapping[TopicPartition, Sequence[Record]]:
        """The next records, of `epoch`; nothing while the gate is closed. Never cancel this call: the client would leak.

        Raises BrokerError for a position that the log no longer holds, or where it cannot be read; KafkaError for what the
        client cannot fix.
        """
        wait_ms = max(0.0, min(timeout_s, MAX_POLL_WAIT_S)) * 1000
        self._budget.begin_poll()
        try:
            records: dict[Any, list[Any]] = await self._consumer.getmany(timeout_ms=wait_ms, max_records=max_records)
        except OffsetOutOfRangeError as error:
            if self._watch is not None:
                with contextlib.suppress(KafkaError):
                    await self._watch.refuse_recreated(self._held_positions())
            raise out_of_range_error(error.args[0]) from error
        # After the fetch and before its records are used: what was recreated during a pause is found in time.
        epoch = self._epoch
        if self._watch is not None and (recreated := await self._watch.look()):
            raise recreated_error(recreated, self._held_positions())
        return records if self._gate_open and epoch is self._epoch else {}

    def pause(self) -> None:
        """Stop fetching; the membership is kept as long as `poll` is called."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Fetch again."""
        if self._paused:
            self._paused = False
            if self._watch is not None:
                self._watch.expire()
            if self._gate_open:
                self._consumer.resume(*self._consumer.assignment())

    @property
    def paused(self) -> bool:
        return self._paused

    async def commit(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        """Commit positions under the epoch that they were read in. Retries what passes by itself; the caller sets the deadline.

        Raises CommitRefused when the epoch is over, KafkaError otherwise.
        """

        async def commit() -> None:
            if not self.is_current(epoch):
                raise CommitRefused("the records' epoch is over")
            await self._offsets.commit(positions, metadata, epoch)

        def should_retry(error: Exception, _failures: int) -> bool:
            # An input topic that is gone may come back as another one, for which these positions mean nothing.
            gone = isinstance(error, UnknownTopicOrPartitionError)
            return isinstance(error, KafkaError) and error.retriable and not gone

        await retry(commit, should_retry=should_retry, wait_s=lambda _failures: self._backoff.wait_s(1))

    def is_current(self, epoch: Epoch) -> bool:
        """Whether records are still read under this epoch, or will be once the gate is open."""
        return epoch == self._epoch

    async def commit_idle(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str]
    ) -> None:
        """Commit where reading stands, when everything that was read is committed. Raises KafkaError, TimeoutError.

        These positions pass transaction markers and aborted records at a partition's end, which no event's commit does:
        without this a lag would remain for outside observers. To be called where `poll` is, never beside it.
        positions: taken from `positions` with no await in between.
        """
        epoch = self.epoch
        if epoch is not None and positions != self._idle_at:
            with contextlib.suppress(CommitRefused):  # a rebalance is under way, and what it does goes before
                async with asyncio.timeout(IDLE_COMMIT_S):
                    await self.commit(positions, metadata, epoch)
                self._idle_at = positions

    def _held_positions(self) -> dict[TopicPartition, int]:
        """Where reading goes on, of assigned partitions whose position is known."""
        assignment = self._consumer._subscription.subscription.assignment
        states = {one: assignment.state_value(one) for one in self._consumer.assignment()}
        return {TopicPartition(*one): state.position for one, state in states.items() if state.has_valid_position}

    def is_at_end(self, partition: TopicPartition) -> bool:
        """Whether a broker's answer of the last seconds shows that everything in the partition's log has been read.

        The end is the high watermark. What is committed behind another producer's open transaction lies beyond the last
        stable offset and cannot be read yet, but it is there. Positions pass aborted records and transaction markers.
        """
        one = ClientTopicPartition(*partition)
        if self.epoch is None or self._paused or not self._consumer._subscription.is_assigned(one):
            return False
        state = self._consumer._subscription.subscription.assignment.state_value(one)
        answered_ms = self._consumer.last_poll_timestamp(one)
        if answered_ms is None or not state.has_valid_position:
            return False
        end = state.highwater
        return end is not None and state.position >= end and _now_ms() - answered_ms <= AT_END_WITHIN_MS

    def positions(self) -> Mapping[TopicPartition, int] | None:
        """Return where reading stands in each assigned partition; None while that is not known."""
        if self.epoch is None:
            return None
        found = {}
        for one in self._consumer.assignment():
            state = self._consumer._subscription.subscription.assignment.state_value(one)
            if not state.has_valid_position:
                return None
            found[TopicPartition(*one)] = state.position
        return found

    async def partition_lags(self) -> dict[TopicPartition, PartitionLag]:
        """Where reading stands in each partition; nothing while the gate is closed. Raises KafkaError, TimeoutError."""
        return await read_partition_lags(self._consumer) if self._gate_open else {}

    async def rewind(self) -> None:
        """Go back to the committed offsets: what was read and not committed will be read again, in a new epoch."""
        if self._epoch is None:
            return
        await self._close_gate()
        self._counter += 1
        old = self._epoch
        self._begin(Epoch(old.generation, old.member_id, old.instance_id, self._counter))

    async def detach(self) -> None:
        """Read nothing more, and commit nothing, before the next assignment."""
        await self._close_gate()
        self._epoch = None

    async def rejoin(self) -> None:
        """The group has put this member out: give up what was assigned and join anew."""
        old = self._epoch
        await self.detach()
        coordinator = self._consumer._coordinator
        if old is not None and (coordinator.generation, coordinator.member_id) == (old.generation, old.member_id):
            coordinator.reset_generation()

    # ---- the client's listener

    async def on_partitions_revoked(self, revoked: Collection[ClientTopicPartition]) -> None:
        try:
            if self._epoch is not None:
                await self._on_revoked()
        except Exception as error:
            self._on_fatal(error)
        finally:
            await self.detach()

    async def on_partitions_assigned(self, assigned: Collection[ClientTopicPartition]) -> None:
        # No heartbeat goes out while this runs, so it only stamps the epoch and leaves the reading of offsets to a task. The
        # positions of 0 are never read from (all is paused): they keep the client from resolving positions itself.
        try:
            coordinator = self._consumer._coordinator
            self._counter += 1
            self.assignments += 1
            epoch = Epoch(coordinator.generation, coordinator.member_id, coordinator._group_instance_id, self._counter)
            if assigned:
                self._consumer.pause(*assigned)
                for partition in assigned:
                    self._consumer.seek(partition, 0)
            self._begin(epoch)
        except Exception as error:
            self._on_fatal(error)

    # ---- the gate

    def _begin(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._gate_open = False
        if self._consumer.assignment():
            self._consumer.pause(*self._consumer.assignment())
        self._opening = asyncio.create_task(self._open(epoch), name=f"open-epoch-{epoch.counter}")

    async def _open(self, epoch: Epoch) -> None:
        """Read the committed offsets, seek, open the gate. Waits for a broker that is away."""

        def should_retry(error: Exception, failures: int) -> bool:
            if isinstance(error, KafkaError):
                return error.retriable or failures <= MAX_OPEN_FAILURES
            return isinstance(error, TimeoutError)

        try:
            await retry(
                lambda: self._seek_when_stable(epoch),
                should_retry=should_retry,
                wait_s=self._backoff.wait_s,
                on_retry=warn_sparsely(log, "cannot read the group's offsets, trying again: %s"),
            )
        except CommitRefused:
            return  # the next assignment begins its own epoch
        except Exception as error:
            self._on_fatal(error)

    async def _seek_when_stable(self, epoch: Epoch) -> None:
        """Seek once no open transaction holds any of the offsets: only then is it known where to go on.

        The transaction is this worker's, or that of a worker that is gone, which ends with its time-out.
        """

        def tell(_error: Exception, failures: int) -> None:
            if failures == 1:
                log.info("an open transaction holds the group's offsets: reading begins when it has ended")

        await retry(
            lambda: self._seek(epoch),
            should_retry=lambda error, _failures: isinstance(error, OffsetsUnstable),
            wait_s=fixed(UNSTABLE_RETRY_S),
            on_retry=tell,
        )

    async def _seek(self, epoch: Epoch) -> None:
        assigned = {TopicPartition(*partition) for partition in self._consumer.assignment()}
        committed = await self._offsets.fetch(assigned)
        if epoch != self._epoch:
            return
        # Before positions are held against a log that may be another one, and once more after that.
        known = {place: found.offset for place, found in committed.items() if found is not None}
        if self._watch is not None:
            await self._watch.refuse_recreated(known, known)
            self._watch.hold(assigned)
        refuse_new_partitions(assigned, self._topics)
        positions = await start_positions(self._consumer, self._restorer.restore(committed), self._policy)
        if self._watch is not None:
            await self._watch.refuse_recreated(positions)
        # Committed before the first record is read, so that a restart starts in the same place whatever was decided here.
        unset = {partition: positions[partition] for partition, found in committed.items() if found is None}
        await self._offsets.commit(unset, {}, epoch)
        if epoch != self._epoch:
            return
        self._idle_at = positions
        for partition, position in positions.items():
            self._consumer.seek(ClientTopicPartition(*partition), position)
        if not self._paused and assigned:
            self._consumer.resume(*self._consumer.assignment())
        self._gate_open = True
        self._opened.set()
        log.info(
            "partitions assigned: %s (generation %d)",
            ", ".join(f"{p.topic}-{p.partition}@{offset}" for p, offset in sorted(positions.items())) or "none",
            epoch.generation,
        )

    async def _close_gate(self) -> None:
        self._gate_open = False
        task, self._opening = self._opening, None
        if task is not None and task is not asyncio.current_task():
            await cancel_until_done(task)


def _now_ms() -> float:
    # The machine's own clock and none that is passed in: the client stamps its answers with it.
    return time.time() * 1000
