"""The commit: one numbered function under one deadline. It raises, or its micro-batches' outcomes are known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol, cast

from forebay.schemas.errors import ForebayError
from forebay.stream.core.clock import Clock
from forebay.stream.core.errors import CommitRefused, CommitTimeout, OutputMissing
from forebay.stream.core.ports import RecordProducer
from forebay.stream.core.records import BatchResult, Epoch, TopicPartition
from forebay.stream.output.emitter import Emission, EmissionBuilder, EmissionSteps
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.dead_letter_limit import DeadLetterLimit
from forebay.stream.pipeline.observer import CommitTimes, Observer

log = logging.getLogger("forebay.commit")


class ConservationError(ForebayError):
    """Records passed and outcomes decided differ: a bug. Nothing of that commit was sent."""

    default_kind = "conservation"


class OffsetTransaction(Protocol):
    """What holds outputs and positions together: a transaction (`stream.kafka.transaction`), or nothing (`AtLeastOnce`)."""

    async def begin(self, partitions: Collection[TopicPartition]) -> None: ...
    async def add_group(self) -> None: ...
    async def commit_positions(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None: ...
    async def commit(self) -> None: ...
    async def abort(self) -> None: ...


class PositionCommitter(Protocol):
    """Where positions are committed by themselves (see `stream.kafka.source`)."""

    async def commit(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None: ...


class AtLeastOnce:
    """The same path without the transaction: the positions follow the outputs, and a crash between the two repeats outputs."""

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
    """Commits finished micro-batches: their outputs, and the positions that these cover.

    observer: receives the times of each commit that succeeded.
    """

    def __init__(
        self,
        emitter: EmissionBuilder,
        producer: RecordProducer,
        transaction: OffsetTransaction,
        guard: DeadLetterLimit,
        observer: Observer,
        *,
        clock: Clock,
        timeout_ms: int,
    ) -> None:
        self._emitter = emitter
        self._producer = producer
        self._transaction = transaction
        self._guard = guard
        self._observer = observer
        self._clock = clock
        self._timeout_s = timeout_ms / 1000

    async def commit(self, batches: Sequence[BatchResult]) -> Ledger:
        """Commit micro-batches of one epoch, in order. Returns what they came to.

        Raises CommitTimeout, CommitRefused, OutputMissing or KafkaError: the caller rewinds; DataError where it would pass a
        limit on dead letters; ConservationError: a bug.
        """
        epoch = batches[0].batch.epoch
        now_s = self._clock.monotonic_s
        began_s = now_s()
        # 1. Build everything before anything is sent.
        emission = await _built(self._emitter.build(batches, delta_headers=self._observer.delta_headers(batches)))
        # 2. Every record that the positions pass has one outcome.
        _check_conservation(emission)
        self._guard.check(emission.ledger)
        try:
            async with asyncio.timeout(self._timeout_s):
                at_s = [now_s()]
                # 3. Begin, and not before: while a transaction is open, readers wait behind it.
                await self._transaction.begin(emission.outgoing)
                at_s.append(now_s())
                # 4. Send, and await every delivery: predictions, dead letters, deltas. A transaction would commit without
                #    a batch that failed. Meanwhile the coordinator learns that positions will come.
                await _both(
                    self._producer.send(emission.outgoing, timestamp_ms=self._clock.wall_ms()),
                    self._transaction.add_group(),
                )
                at_s.append(now_s())
                try:
                    # 5. The positions, under the epoch that the records were read in.
                    await self._transaction.commit_positions(emission.positions, emission.metadata, epoch)
                except CommitRefused:
                    # Somebody else has these records now: what was sent for them must never be seen.
                    await self._transaction.abort()
                    raise
                at_s.append(now_s())
                # 6. Commit.
                await self._transaction.commit()
                at_s.append(now_s())
        except TimeoutError:
            # The client asks for a topic that was deleted again and again, as though the cluster were away.
            if missing := await self._producer.missing_topics(emission.outgoing):
                raise OutputMissing(f"the cluster has no topic {', '.join(sorted(missing))} any more") from None
            raise CommitTimeout(f"the commit was not over after {self._timeout_s:g} s") from None
        # 7. Only now do the outcomes count.
        self._guard.on_committed(emission.ledger)
        self._observer.on_committed(batches, emission.ledger, CommitTimes(began_s, *at_s))
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", _describe(emission.positions, len(batches), at_s[-1] - began_s))
        return emission.ledger


async def _built(building: EmissionSteps) -> Emission:
    """Return what `building` builds; between its slices, heartbeats and decoding have the event loop."""
    while True:
        try:
            next(building)
        except StopIteration as done:
            return cast(Emission, done.value)
        await asyncio.sleep(0)


def _describe(positions: Mapping[TopicPartition, int], num_batches: int, took_s: float) -> str:
    places = ", ".join(f"{place.topic}-{place.partition}@{offset}" for place, offset in sorted(positions.items()))
    batches = "micro-batch" if num_batches == 1 else "micro-batches"
    return f"committed {num_batches} {batches} up to {places} in {took_s * 1000:.1f} ms"


async def _both(one: Coroutine[Any, Any, None], other: Coroutine[Any, Any, None]) -> None:
    """Until both are done. Raises what the first that failed did, when the other is over too."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(one)
            group.create_task(other)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _check_conservation(emission: Emission) -> None:
    for partition, (passed, decided) in emission.ledger.unbalanced().items():
        raise ConservationError(
            f"{partition.topic}-{partition.partition}: {passed} records or windows but {decided} outcomes in one commit"
        )
