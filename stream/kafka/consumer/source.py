"""The source of records: one consumer in the group, which stamps what it reads with the epoch of its assignment.

`assignment.py` holds the state of the assignment and draws its transitions; here are the calls to the client that go with them:

    assigned      pause all partitions; a task reads the committed offsets, seeks to them, and opens the gate.
    gate closed   records that the client returns nevertheless are dropped.
    rewind        as assigned, in a new epoch.
    revoked       `on_revoked` commits what is in flight, or drops it at its deadline; then detach.

An error that is not retried is reported to `on_fatal` and leaves the gate closed. `pause` and `resume` do not change the state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientTopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from forebay.stream.core.backoff import Backoff
from forebay.stream.core.cancellation import cancel_until_done
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.core.errors import CommitRefused, CommitUnknown
from forebay.stream.core.group import Member
from forebay.stream.core.records import Epoch, PartitionLag, Record, TopicPartition
from forebay.stream.core.retry import retry, warn_sparsely
from forebay.stream.kafka.cluster.topic_identity import recreated_error
from forebay.stream.kafka.consumer.assignment import Assignment, State
from forebay.stream.kafka.consumer.cluster_watch import ClusterWatch
from forebay.stream.kafka.consumer.group_members import forget_instance, read_members
from forebay.stream.kafka.consumer.group_offsets import GroupOffsets
from forebay.stream.kafka.consumer.held_partitions import HeldPartitions
from forebay.stream.kafka.consumer.lag import read_partition_lags
from forebay.stream.kafka.consumer.positions import all_positions, is_at_end, known_positions, partitions_of
from forebay.stream.kafka.consumer.restoration import Restoration, RevisionGate
from forebay.stream.kafka.consumer.start_offsets import OffsetRestorer, StartPolicy, out_of_range_error
from forebay.stream.kafka.patches.chunked_reads import use_chunked_reads
from forebay.stream.kafka.patches.fetch_pacing import IDLE_WAIT_S, FetchHold, pace_fetches
from forebay.stream.kafka.patches.raw_records import ReadLimits, use_raw_records

log = logging.getLogger("forebay.source")

MAX_POLL_WAIT_S: Final = 0.5
IDLE_COMMIT_TIMEOUT_S: Final = 5.0
LEAVE_TIMEOUT_S: Final = 1.0
MAX_OPEN_FAILURES: Final = 11
"""After this many failures in a row to read the committed offsets, an error that the client calls final ends the worker."""


class Source(ConsumerRebalanceListener):
    """A member of the consumer group: polls records and commits positions.

    topics: the number of partitions of each input topic at the start.
    on_revoked: awaited before partitions are revoked, while commits are still possible.
    on_fatal: receives errors that no caller awaits: of the rebalance listener, which the client would only log, and of the
    task that opens the gate.
    revision_gate: awaited before a partition opens; None if rollouts are not enabled.
    idle_wait_s: see `pace_fetches`.
    assignments: the number of assignments so far.
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
        revision_gate: RevisionGate | None = None,
        idle_wait_s: float = IDLE_WAIT_S,
    ) -> None:
        self._consumer = consumer
        self._idle_wait_s = idle_wait_s
        self.fetch_hold: FetchHold | None = None
        self._read_limits = read_limits
        self._revision_gate = revision_gate
        self._topics = dict(topics)
        self._group_id = group_id
        self._policy = policy
        self._restorer = restorer
        self._on_revoked = on_revoked
        self._on_fatal = on_fatal
        self._backoff = backoff or Backoff()
        self._clock = clock or SystemClock()
        self._assignment = Assignment()
        self.assignments = 0
        self._opening: asyncio.Task[None] | None = None
        self._paused = False
        self.held = HeldPartitions(consumer, is_paused=lambda: self._paused)
        self._opened = asyncio.Event()
        self._watch: ClusterWatch | None = None
        self._last_idle_positions: Mapping[TopicPartition, int] = {}

    async def start(self) -> None:
        """Join the group. Raises KafkaError."""
        await self._consumer.start()
        use_chunked_reads(self._consumer)
        self._poll_budget = use_raw_records(self._consumer, self._read_limits)
        pace_fetches(self._consumer, self._idle_wait_s, hold=self.fetch_hold, sizes=self._poll_budget.fetched_bytes)
        self._offsets = GroupOffsets(self._consumer, self._group_id)
        self._watch = ClusterWatch(self._consumer._client, self._topics, clock=self._clock)
        self._restoration = Restoration(
            self._consumer,
            topics=self._topics,
            offsets=self._offsets,
            watch=self._watch,
            restorer=self._restorer,
            policy=self._policy,
            is_current=self.is_current,
            revision_gate=self._revision_gate,
        )
        self._consumer.subscribe(list(self._topics), listener=self)

    async def stop(self, *, timeout_s: float, leaves: bool = False) -> None:
        """Close; leave the group, as a static member only if it `leaves`; abandon what takes `timeout_s`. Raises nothing."""
        await self.detach()
        if self._watch is not None:
            await self._watch.stop()
        if leaves:
            forget_instance(self._consumer)
        # In a task of its own: if the cluster is unreachable, the client's `stop` ends with the cancellation of one of its
        # own tasks, which would look like the cancellation of this one.
        closing = asyncio.create_task(self._consumer.stop())
        await asyncio.wait([closing], timeout=timeout_s)
        if not closing.done():
            closing.cancel()
        elif not closing.cancelled() and (error := closing.exception()) is not None:
            log.debug("closing the consumer: %s", error)
        await self.detach()  # the client may have completed a join while it was closing

    async def wait_until_open(self) -> None:
        """Wait until the positions of the first assignment are known (it may be empty)."""
        await self._opened.wait()

    @property
    def epoch(self) -> Epoch | None:
        """The current epoch; None while the gate is closed."""
        return self._assignment.epoch

    @property
    def partitions(self) -> set[TopicPartition]:
        """The assigned partitions."""
        return {TopicPartition(*partition) for partition in self._consumer.assignment()}

    @property
    def joined(self) -> bool:
        """Whether the positions of a first assignment are known (it may be empty)."""
        return self._opened.is_set()

    async def ask_cluster(self) -> None:
        """Send a request to the cluster and wait for its response. Raises KafkaError, TimeoutError."""
        await self._consumer.end_offsets([ClientTopicPartition(min(self._topics), 0)])

    async def members(self) -> tuple[Member, ...]:
        """Return the current members of the group. Raises KafkaError."""
        return await read_members(self._consumer, self._group_id)

    async def poll(
        self, *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return the next records, read in `epoch`; nothing while the gate is closed. Never cancel this call: the client leaks.

        topics: return records of these topics only; None for all.

        Raises BrokerError if a position is outside the log or cannot be read, KafkaError for what the client does not retry.
        """
        wait_ms = max(0.0, min(timeout_s, MAX_POLL_WAIT_S)) * 1000
        self._poll_budget.begin_poll()
        try:
            records: dict[Any, list[Any]] = await self._consumer.getmany(
                *partitions_of(topics, self._topics), timeout_ms=wait_ms, max_records=max_records
            )
        except OffsetOutOfRangeError as error:
            if self._watch is not None:
                with contextlib.suppress(KafkaError):
                    await self._watch.refuse_recreated(known_positions(self._consumer))
            raise out_of_range_error(error.args[0]) from error
        # After the fetch and before its records are used, so that a topic recreated during a pause is detected in time.
        epoch = self.epoch
        if self._watch is not None and (recreated := await self._watch.check()):
            raise recreated_error(recreated, known_positions(self._consumer))
        return records if epoch is not None and epoch == self.epoch else {}

    def pause(self) -> None:
        """Stop fetching. The member stays in the group as long as `poll` is called."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Resume fetching."""
        if self._paused:
            self._paused = False
            if self._watch is not None:
                self._watch.expire()
            if self._assignment.is_open:
                self._consumer.resume(*self.held.others())

    @property
    def paused(self) -> bool:
        return self._paused

    async def commit(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        """Commit positions under the epoch in which they were read, at least once. Retries; the caller sets the deadline.

        Raises CommitRefused if the epoch has ended, KafkaError otherwise.
        """

        async def commit() -> None:
            if not self.is_current(epoch):
                raise CommitRefused("the epoch of the records has ended")
            await self._offsets.commit(positions, metadata, epoch)

        def should_retry(error: Exception, _failures: int) -> bool:
            # A deleted input topic may be created again as another one, in which these positions mean nothing.
            is_deleted = isinstance(error, UnknownTopicOrPartitionError)
            is_transient = isinstance(error, CommitUnknown) or (isinstance(error, KafkaError) and error.retriable)
            return is_transient and not is_deleted

        await retry(commit, should_retry=should_retry, wait_s=lambda _failures: self._backoff.wait_s(1))

    def is_current(self, epoch: Epoch) -> bool:
        """Return whether records are read in this epoch, or will be once the gate is open."""
        return self._assignment.is_current(epoch)

    async def commit_idle(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str]
    ) -> None:
        """Commit the positions of an idle member, which has committed everything it read. Raises KafkaError.

        These positions pass transaction markers and aborted records at a partition's end, which the commit of an event does
        not: without this, outside observers would see a lag that never ends. Call it from the task that calls `poll`, not
        concurrently. If there is no answer, this member leaves the group and joins it again.

        positions: from `positions`, with no await in between.
        """
        epoch = self.epoch
        if epoch is None or positions == self._last_idle_positions:
            return
        try:
            async with asyncio.timeout(IDLE_COMMIT_TIMEOUT_S):
                await self._offsets.commit(positions, metadata, epoch)
        except CommitRefused:
            return  # a rebalance is in progress and takes precedence
        except (CommitUnknown, TimeoutError) as error:
            await self._leave(epoch, error)
            return
        self._last_idle_positions = positions

    def is_at_end(self, partition: TopicPartition) -> bool:
        """Return whether a response of the last seconds shows that the partition's whole log was read; False while paused."""
        return self.epoch is not None and not self._paused and is_at_end(self._consumer, partition)

    def positions(self) -> Mapping[TopicPartition, int] | None:
        """Return the position in each assigned partition; None while the gate is closed or one is unknown."""
        return None if self.epoch is None else all_positions(self._consumer)

    async def partition_lags(self) -> dict[TopicPartition, PartitionLag]:
        """Return the lag of each partition; nothing while the gate is closed. Raises KafkaError, TimeoutError."""
        return await read_partition_lags(self._consumer) if self._assignment.is_open else {}

    async def rewind(self) -> None:
        """Return to the committed offsets: records that were not committed are read again, in a new epoch.

        While partitions are being revoked, this detaches instead.
        """
        epoch = self._assignment.rewind()
        await self._stop_opening()
        self._start_opening(epoch)

    async def detach(self) -> None:
        """Stop reading and committing until the next assignment."""
        self._assignment.detach()
        await self._stop_opening()

    async def rejoin(self) -> None:
        """Detach and join the group again, after it has removed this member."""
        ended = self._assignment.current
        await self.detach()
        if ended is not None:
            self._reset_generation(ended)

    async def _leave(self, epoch: Epoch, error: Exception) -> None:
        """Leave the group and join it again, after a commit outside a transaction without an answer.

        The request may arrive later, after a transaction has committed higher offsets. As one of a former member, the group
        refuses it then.
        """
        if not self.is_current(epoch):
            return
        reason = str(error) or f"no answer within {IDLE_COMMIT_TIMEOUT_S:g} s"
        log.warning("joining the group again, because it is unknown whether offsets were committed: %s", reason)
        await self.detach()
        leaving = self._consumer._coordinator.maybe_leave_group()
        await asyncio.wait([leaving], timeout=LEAVE_TIMEOUT_S)
        if not leaving.done():
            await cancel_until_done(leaving)
            self._reset_generation(epoch)

    def _reset_generation(self, ended: Epoch) -> None:
        """Let the client join the group as a new member, unless it has done so already."""
        coordinator = self._consumer._coordinator
        if (coordinator.generation, coordinator.member_id) == (ended.generation, ended.member_id):
            coordinator.reset_generation()

    # ---- the client's rebalance listener

    async def on_partitions_revoked(self, revoked: Collection[ClientTopicPartition]) -> None:
        try:
            if self._assignment.state is not State.DETACHED:
                self._assignment.revoke()
                await self._on_revoked()
        except Exception as error:
            self._on_fatal(error)
        finally:
            await self.detach()

    async def on_partitions_assigned(self, assigned: Collection[ClientTopicPartition]) -> None:
        # The client sends no heartbeats while this runs, so it only begins the epoch, and a task reads the offsets. All
        # partitions are paused, so nothing is read at offset 0: the seek keeps the client from resolving positions itself.
        try:
            coordinator = self._consumer._coordinator
            epoch = self._assignment.assign(
                coordinator.generation, coordinator.member_id, coordinator._group_instance_id
            )
            self.assignments += 1
            for partition in assigned:
                self._consumer.pause(partition)
                self._consumer.seek(partition, 0)
            await self._stop_opening()
            self._start_opening(epoch)
        except Exception as error:
            self._on_fatal(error)

    # ---- the gate

    def _start_opening(self, epoch: Epoch | None) -> None:
        """Begin to open the gate for an epoch, unless it has ended."""
        self.held.forget()
        if epoch is None or not self.is_current(epoch):
            return
        if self._consumer.assignment():
            self._consumer.pause(*self._consumer.assignment())
        self._opening = asyncio.create_task(self._open(epoch), name=f"open-epoch-{epoch.counter}")

    async def _stop_opening(self) -> None:
        task, self._opening = self._opening, None
        if task is not None and task is not asyncio.current_task():
            await cancel_until_done(task)

    async def _open(self, epoch: Epoch) -> None:
        """Seek to the committed offsets and open the gate. Retries while brokers are unreachable."""

        def should_retry(error: Exception, failures: int) -> bool:
            if isinstance(error, KafkaError):
                return error.retriable or failures <= MAX_OPEN_FAILURES
            return isinstance(error, TimeoutError)

        try:
            await retry(
                lambda: self._seek(epoch),
                should_retry=should_retry,
                wait_s=self._backoff.wait_s,
                on_retry=warn_sparsely(log, "cannot read the group's offsets, trying again: %s"),
            )
        except CommitRefused:
            return  # the next assignment begins its own epoch
        except CommitUnknown as error:
            await self._leave(epoch, error)
        except Exception as error:
            self._on_fatal(error)

    async def _seek(self, epoch: Epoch) -> None:
        positions = await self._restoration.positions(epoch)
        self._last_idle_positions = positions
        for partition, position in positions.items():
            self._consumer.seek(ClientTopicPartition(*partition), position)
        if not self._paused and positions:
            self._consumer.resume(*self._consumer.assignment())
        self._assignment.open(epoch)
        self._opened.set()
        log.info(
            "partitions assigned: %s (generation %d)",
            ", ".join(f"{p.topic}-{p.partition}@{offset}" for p, offset in sorted(positions.items())) or "none",
            epoch.generation,
        )
