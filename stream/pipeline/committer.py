"""The commit of finished micro-batches: one numbered function under one deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol, cast

from forebay.schemas.errors import ForebayError
from forebay.stream.core.clock import Clock
from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.ports import OffsetTransaction, RecordProducer
from forebay.stream.core.records import BatchResult, Epoch, TopicPartition
from forebay.stream.kafka.producer.commit_failures import missed_deadline
from forebay.stream.output.emitter import Emission, EmissionBuilder, EmissionSteps
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.dead_letter_limit import DeadLetterLimit
from forebay.stream.pipeline.observer import CommitTimes, Observer

log = logging.getLogger("forebay.commit")


class ConservationError(ForebayError):
    """The numbers of records and outcomes differ, which is a bug. Nothing of that commit was sent."""

    default_kind = "conservation"


class PositionCommitter(Protocol):
    """Commits positions without a transaction (see `kafka.consumer.source`)."""

    async def commit(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None: ...


class AtLeastOnce:
    """Commits positions after the outputs, without a transaction. A crash between the two repeats outputs."""

    def __init__(self, source: PositionCommitter) -> None:
        self._source = source

    async def begin(self, partitions: Collection[TopicPartition]) -> None:
        pass

    async def add_group(self) -> None:
        pass

    async def commit_positions(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None:
        await self._source.commit(positions, metadata, epoch)

    async def commit(self) -> None:
        pass

    async def abort(self) -> None:
        pass


class Committer:
    """Sends the outputs of finished micro-batches and commits the positions after their records.

    dead_letter_limit: checked before anything is sent.
    observer: receives the times of each successful commit.
    on_delivered: called in each commit once the outputs are delivered, shortly before its end.
    """

    def __init__(
        self,
        emitter: EmissionBuilder,
        producer: RecordProducer,
        transaction: OffsetTransaction,
        dead_letter_limit: DeadLetterLimit,
        observer: Observer,
        *,
        clock: Clock,
        timeout_ms: int,
        on_delivered: Callable[[], None] = lambda: None,
    ) -> None:
        self._emitter = emitter
        self._producer = producer
        self._transaction = transaction
        self._dead_letter_limit = dead_letter_limit
        self._observer = observer
        self._clock = clock
        self._timeout_s = timeout_ms / 1000
        self._on_delivered = on_delivered

    async def commit(self, batches: Sequence[BatchResult]) -> Ledger:
        """Commit micro-batches of one epoch, in order, and return their outcomes.

        Raises CommitTimeout, CommitRefused, OutputMissing or KafkaError, after which the caller rewinds; DataError if the
        commit would exceed a limit on dead letters; ConservationError, which is a bug.
        """
        epoch = batches[0].batch.epoch
        now_s = self._clock.monotonic_s
        began_s = now_s()
        # 1. Build everything before anything is sent.
        emission = await _build(self._emitter.build(batches, delta_headers=self._observer.delta_headers(batches)))
        # 2. Check that every record before the positions has exactly one outcome.
        _check_conservation(emission)
        self._dead_letter_limit.check(emission.ledger)
        try:
            async with asyncio.timeout(self._timeout_s):
                at_s = [now_s()]
                # 3. Begin as late as possible: readers wait behind an open transaction. At the same time, announce to the
                #    coordinator that positions will follow: it takes both requests from one connection, in turn.
                await _run_both(self._transaction.begin(emission.outgoing), self._transaction.add_group())
                at_s.append(now_s())
                # 4. Send predictions, dead letters and deltas, and await every delivery: a transaction would commit without
                #    a batch that failed. Nothing else is requested meanwhile: the brokers ask the coordinator whether these
                #    partitions are in the transaction, and while it is writing, the client's answer is to wait 100 ms.
                await self._producer.send(emission.outgoing, timestamp_ms=self._clock.wall_ms())
                at_s.append(now_s())
                self._on_delivered()
                try:
                    # 5. Add the positions, under the epoch in which the records were read.
                    await self._transaction.commit_positions(emission.positions, emission.metadata, epoch)
                except CommitRefused:
                    # The membership under which these records were read has ended: their outputs must never become visible.
                    await self._transaction.abort()
                    raise
                at_s.append(now_s())
                # 6. Commit.
                await self._transaction.commit()
                at_s.append(now_s())
        except TimeoutError:
            raise await missed_deadline(self._producer, emission.outgoing, timeout_s=self._timeout_s) from None
        # 7. Count the outcomes, only after the commit.
        self._dead_letter_limit.on_committed(emission.ledger)
        self._observer.on_committed(batches, emission.ledger, CommitTimes(began_s, *at_s))
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", _describe(emission.positions, len(batches), at_s[-1] - began_s))
        return emission.ledger


async def _build(steps: EmissionSteps) -> Emission:
    """Return the emission that `steps` builds. Between its slices, heartbeats and decoding use the event loop."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(Emission, done.value)
        await asyncio.sleep(0)


def _describe(positions: Mapping[TopicPartition, int], num_batches: int, took_s: float) -> str:
    places = ", ".join(f"{topic}-{partition}@{offset}" for (topic, partition), offset in sorted(positions.items()))
    batches = "micro-batch" if num_batches == 1 else "micro-batches"
    return f"committed {num_batches} {batches} up to {places} in {took_s * 1000:.1f} ms"


async def _run_both(first: Coroutine[Any, Any, None], second: Coroutine[Any, Any, None]) -> None:
    """Run two coroutines until both have ended. Raises the first error."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(first)
            group.create_task(second)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _check_conservation(emission: Emission) -> None:
    for partition, (passed, decided) in emission.ledger.unbalanced().items():
        raise ConservationError(
            f"{partition.topic}-{partition.partition}: {passed} records or windows but {decided} outcomes in one commit"
        )
