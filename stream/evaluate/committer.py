"""The commit of what was counted with the positions up to which: one transaction under one deadline."""

from __future__ import annotations

import asyncio

from forebay.stream.core.clock import Clock
from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.ports import OffsetTransaction, RecordProducer
from forebay.stream.core.records import Epoch
from forebay.stream.evaluate.joins import Snapshot
from forebay.stream.evaluate.quality_records import QualityRecords
from forebay.stream.kafka.producer.commit_failures import missed_deadline


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
            raise await missed_deadline(self._producer, outgoing, timeout_s=self._timeout_s) from None
        self._records.on_committed(snapshot)
        return sum(len(records.values) for records in outgoing.values())
