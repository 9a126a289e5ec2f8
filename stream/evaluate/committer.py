"""The commit of what was counted with the positions up to which: one transaction under one deadline."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from aiokafka.errors import KafkaError, ProducerFenced

from forebay.schemas.errors import BrokerError
from forebay.stream.core.clock import Clock
from forebay.stream.core.errors import CommitRefused, CommitTimeout, OutputMissing
from forebay.stream.core.ports import RecordProducer
from forebay.stream.core.records import Epoch, TopicPartition
from forebay.stream.evaluate.joins import Snapshot
from forebay.stream.evaluate.quality_records import QualityRecords

log = logging.getLogger("forebay.evaluate")

MAX_FAILURES: Final = 3
MAX_FENCINGS: Final = 3
FENCINGS_S: Final = 60.0


class OffsetTransaction(Protocol):
    """Commits outputs and positions together (`kafka.producer.transaction`)."""

    async def begin(self, partitions: Collection[TopicPartition]) -> None: ...
    async def add_group(self) -> None: ...
    async def commit_positions(
        self, positions: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str], epoch: Epoch
    ) -> None: ...
    async def commit(self) -> None: ...
    async def abort(self) -> None: ...


class Committer:
    """Writes the records of a snapshot and commits its offsets."""

    def __init__(
        self,
        records: QualityRecords,
        producer: RecordProducer,
        transaction: OffsetTransaction,
        *,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._records = records
        self._producer = producer
        self._transaction = transaction
        self._clock = clock
        self._timeout_s = timeout_s

    async def commit(self, snapshot: Snapshot, epoch: Epoch) -> int:
        """Commit and return the number of records.

        epoch: under which everything in the snapshot was read.

        Raises CommitTimeout, CommitRefused, OutputMissing or KafkaError: what was counted must then be dropped and read again.
        """
        outgoing = self._records.encode(snapshot)
        positions = {partition: committed.offset for partition, committed in snapshot.checkpoint.items()}
        metadata = {partition: committed.metadata for partition, committed in snapshot.checkpoint.items()}
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._transaction.begin(outgoing)
                if outgoing:
                    await self._producer.send(outgoing, timestamp_ms=self._clock.wall_ms())
                await self._transaction.add_group()
                try:
                    await self._transaction.commit_positions(positions, metadata, epoch)
                except CommitRefused:
                    # The membership has ended: the next owner counts this again, and readers must never see it twice.
                    await self._transaction.abort()
                    raise
                await self._transaction.commit()
        except TimeoutError:
            if missing := await self._producer.missing_topics(outgoing):
                raise OutputMissing(f"the cluster has no topic {', '.join(sorted(missing))} any more") from None
            raise CommitTimeout(f"the commit did not finish within {self._timeout_s:g} s") from None
        self._records.on_committed(snapshot)
        return sum(len(records.values) for records in outgoing.values())


class FailureLimits:
    """Ends the evaluator after commits that would fail again in the same way.

    explain: returns what the cluster refused and the remedy; None if the error does not say.
    """

    def __init__(self, explain: Callable[[BaseException], BrokerError | None]) -> None:
        self._explain = explain
        self._failures_in_a_row = 0
        self._fenced_at_s: deque[float] = deque(maxlen=MAX_FENCINGS)

    def record_success(self) -> None:
        """Record that a commit succeeded."""
        self._failures_in_a_row = 0

    def record_failure(self, error: BaseException, *, now_s: float) -> None:
        """Record a failed commit. Raises BrokerError if a limit is reached."""
        if isinstance(error, ProducerFenced):
            log.warning(
                "another producer has taken over this evaluator's transactional id: a second one uses the same "
                "delivery.instance_id, or the commit took longer than delivery.transaction_timeout_ms"
            )
            self._fenced_at_s.append(now_s)
            if len(self._fenced_at_s) == MAX_FENCINGS and now_s - self._fenced_at_s[0] <= FENCINGS_S:
                raise BrokerError(
                    f"the transactional id was taken over {MAX_FENCINGS} times within {FENCINGS_S:g} s",
                    kind="transactional_id_in_use",
                    remedy="give each evaluator its own delivery.instance_id",
                ) from error
            return
        is_permanent = isinstance(error, OutputMissing) or (isinstance(error, KafkaError) and not error.retriable)
        self._failures_in_a_row = self._failures_in_a_row + 1 if is_permanent else 0
        if self._failures_in_a_row >= MAX_FAILURES:
            refusal = self._explain(error)
            raise BrokerError(
                f"the cluster refused the quality records {MAX_FAILURES} times: {refusal.message if refusal else error}",
                kind=refusal.kind if refusal else None,
                remedy=(refusal.remedy if refusal else None) or "`forebay topics check` checks topics and permissions",
            ) from error
