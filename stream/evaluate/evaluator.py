"""The evaluator's loop: poll, parse, join, and every commit_interval_ms one transaction.

assigned         `Joins.restore` begins empty joins and says from where to read; nothing is emitted until each has read up to
                 the offset that was committed.
revoked          what was counted is committed. The joins are kept for the next assignment, in which those continue whose
                 committed offsets are unchanged (`Joins.restore`); if the commit fails, they are dropped.
failed commit    the joins are dropped, the producer is replaced, and the partitions are read again.
names unknown    a label names a class, and the manifest that says which cannot be read: the joins are dropped, nothing is
                 committed, and once the manifest can be read the partitions are read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.cancellation import raise_if_cancelled
from forebay.stream.core.clock import Clock
from forebay.stream.core.errors import CommitRefused, CommitTimeout
from forebay.stream.core.ports import RecordProducer
from forebay.stream.core.records import Committed, Epoch, Record, TopicPartition
from forebay.stream.evaluate.class_names import ClassNames, ClassNamesUnreadable
from forebay.stream.evaluate.committer import Committer
from forebay.stream.evaluate.joins import Joins, Snapshot
from forebay.stream.evaluate.prediction_documents import PredictionDocuments
from forebay.stream.evaluate.totals import Totals
from forebay.stream.kafka.producer.commit_failures import CommitWords, FailureLimits

log = logging.getLogger("forebay.evaluate")

MAX_POLL_RECORDS: Final = 20_000
MAX_POLL_WAIT_S: Final = 0.5
FULL_POLL_RECORDS: Final = 2_000
PAUSE_S: Final = 0.1
"""How long to wait after a poll with fewer records. No client waits for an evaluator, and many small polls cost more CPU time,
which workers on the same cores need."""
NAMES_RETRY_S: Final = 5.0
"""How long after a manifest that is needed could not be read it is tried again."""
WORDS: Final = CommitWords(
    "evaluator", "the quality records", remedy="`forebay topics check` checks topics and permissions"
)


class PolledSource(Protocol):
    """What the evaluator needs from the source (see `kafka.consumer.source`)."""

    @property
    def epoch(self) -> Epoch | None: ...
    async def poll(
        self, *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]: ...
    def positions(self) -> Mapping[TopicPartition, int] | None: ...
    def is_at_end(self, partition: TopicPartition) -> bool: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    async def rewind(self) -> None: ...
    async def rejoin(self) -> None: ...
    async def detach(self) -> None: ...


class Evaluator:
    """Joins what a source reads and commits what was counted. Call `connect` once, then `run`.

    totals: what was committed.
    last_step_s: the monotonic time at which the last step began; None before the first.
    is_reconnecting: whether it waits for the cluster.
    waits_for_schema: why nothing is read, while the schema of predictions is not known; None otherwise.
    waits_for: why nothing is read, while a manifest that is needed cannot be read; None otherwise.
    documents: reads predictions in other formats than JSON; None if no registry is configured.
    """

    def __init__(
        self,
        joins: Joins,
        names: ClassNames,
        *,
        clock: Clock,
        commit_interval_s: float,
        revoke_timeout_s: float,
        documents: PredictionDocuments | None = None,
    ) -> None:
        self._documents = documents
        self.joins = joins
        self.totals = Totals()
        self._names = names
        self._clock = clock
        self._commit_interval_s = commit_interval_s
        self._revoke_timeout_s = revoke_timeout_s
        self._lock = asyncio.Lock()
        self._stopping = False
        self._committed: Mapping[TopicPartition, Committed] = {}
        self._must_restart = False
        self.last_step_s: float | None = None
        self.is_reconnecting = False
        self.waits_for_schema: str | None = None
        self.waits_for: ClassNamesUnreadable | None = None
        self._next_names_s = 0.0

    def connect(self, source: PolledSource, committer: Committer, producer: RecordProducer) -> None:
        """Connect the parts that need this object to be built."""
        self._source = source
        self._committer = committer
        self._producer = producer
        self._limits = FailureLimits(producer.explain, WORDS, log=log)

    async def run(self) -> None:
        """Run until `stop`, then commit what was counted. Raises the error that ends the evaluator."""
        next_commit_s = self._clock.monotonic_s() + self._commit_interval_s
        while not self._stopping:
            now_s = self.last_step_s = self._clock.monotonic_s()
            await self._step(timeout_s=max(0.0, next_commit_s - now_s))
            raise_if_cancelled()
            if self._clock.monotonic_s() >= next_commit_s:
                await self.commit()
                next_commit_s = self._clock.monotonic_s() + self._commit_interval_s
        await self.commit()

    def stop(self) -> None:
        """End `run` after its current step."""
        self._stopping = True

    async def _step(self, *, timeout_s: float) -> None:
        if self.waits_for is not None:
            await self._wait_for_names(self.waits_for, timeout_s=timeout_s)
            return
        polled = await self._source.poll(
            timeout_s=min(timeout_s, MAX_POLL_WAIT_S), max_records=MAX_POLL_RECORDS, topics=self._topics_to_read()
        )
        # Until the next await, positions are those after the records that were polled.
        epoch, positions = self._source.epoch, self._source.positions()
        at_end = self._partitions_at_end()
        if epoch is None or positions is None:
            await asyncio.sleep(0)
            return
        if self._documents is not None and not await self._wait_for_schemas(self._documents, polled, epoch):
            return  # they will be read again
        parsed = self.joins.parse(polled)
        for columns in parsed.predictions_by_version():
            self._names.learn(columns.ref, columns.class_names, columns.num_classes)
        if missing := self._names.missing(parsed.refs()):
            await asyncio.to_thread(self._names.load, missing)
            if self._source.epoch != epoch:
                return  # they will be read again
        own_positions = {TopicPartition(*partition): at for partition, at in positions.items()}
        try:
            self.joins.add(parsed, own_positions, at_end=at_end)
        except ClassNamesUnreadable as error:
            self._begin_to_wait(error)
            return
        num_records = sum(map(len, polled.values()))
        self.totals.records += num_records
        await asyncio.sleep(0 if num_records >= FULL_POLL_RECORDS else min(timeout_s, PAUSE_S))

    async def _wait_for_schemas(
        self, documents: PredictionDocuments, polled: Mapping[TopicPartition, Sequence[Record]], epoch: Epoch
    ) -> bool:
        """Stay in the group until the schemas of what was polled are known. Return False if the epoch or the run has ended."""
        topics = self.joins.prediction_topics()
        try:
            while (problem := documents.problem(polled, topics)) is not None:
                if self.waits_for_schema is None:
                    self._source.pause()
                self.waits_for_schema = problem
                await self._source.poll(timeout_s=PAUSE_S, max_records=MAX_POLL_RECORDS)
                self.last_step_s = self._clock.monotonic_s()
                if self._stopping or self._source.epoch != epoch:
                    return False
        finally:
            if self.waits_for_schema is not None:
                self.waits_for_schema = None
                documents.end_wait()
                self._source.resume()
        return True

    def _begin_to_wait(self, error: ClassNamesUnreadable) -> None:
        """Drop what was counted. Refusing the labels could not be undone: after a restart they may mean classes."""
        self._drop()
        self._source.pause()
        self.waits_for = error
        self._next_names_s = self._clock.monotonic_s() + NAMES_RETRY_S
        log.error("%s; nothing is counted until it can be read; %s", error, error.remedy)

    async def _wait_for_names(self, error: ClassNamesUnreadable, *, timeout_s: float) -> None:
        """Stay in the group, and read everything again once the manifest can be read."""
        await self._source.poll(timeout_s=min(timeout_s, MAX_POLL_WAIT_S), max_records=MAX_POLL_RECORDS)
        if self._clock.monotonic_s() < self._next_names_s:
            await asyncio.sleep(0)
            return
        await asyncio.to_thread(self._names.load, {error.ref, *self._names.unreadable()})
        if not self._names.is_readable(error.ref):
            self._next_names_s = self._clock.monotonic_s() + NAMES_RETRY_S
            return
        log.info("the manifest of %s can be read again", error.ref)
        self.waits_for = None
        self._source.resume()
        if self._source.epoch is not None:
            self._drop()
            await self._source.rewind()

    def _partitions_at_end(self) -> frozenset[TopicPartition]:
        """Return the partitions of predictions that were read to their end, if there are several topics."""
        return frozenset(filter(self._source.is_at_end, self.joins.partitions_that_may_be_idle()))

    def _topics_to_read(self) -> frozenset[str] | None:
        """Return the topic to read alone, if too much of the other waits in memory; None for all.

        What is counted does not depend on this, except through evictions.
        """
        behind = self.joins.topics_behind()
        return behind if behind and not all(map(self._source.is_at_end, self.joins.partitions_of(behind))) else None

    async def commit(self) -> None:
        """Commit what was counted, if anything has changed. After a failed commit everything will be read again.

        Raises BrokerError if the next commit would fail in the same way.
        """
        async with self._lock:
            epoch = self._source.epoch
            if epoch is None or self.waits_for is not None:
                return
            if self._must_restart:
                await self._restart()
                if not self._is_current(epoch):
                    return
            snapshot = self.joins.take()
            if not snapshot.checkpoint or (snapshot.is_empty and snapshot.checkpoint == self._committed):
                return
            try:
                self._must_restart = True  # if this is cancelled
                began_s = self._clock.monotonic_s()
                num_records = await self._committer.commit(snapshot, epoch)
                self._must_restart = False
            except (KafkaError, BrokerError, CommitTimeout) as error:
                raise_if_cancelled()
                await self._recover(error, epoch)
                return
            self._on_committed(snapshot, num_records, took_s=self._clock.monotonic_s() - began_s)

    def _on_committed(self, snapshot: Snapshot, num_records: int, *, took_s: float) -> None:
        self._limits.record_success()
        self._committed = snapshot.checkpoint
        evicted = self.totals.evicted.total()
        self.totals.add(snapshot)
        self._warn_of_evictions(evicted, self.totals.evicted.total())
        log.debug("committed %d quality records in %.1f ms", num_records, took_s * 1000)

    def _warn_of_evictions(self, before: int, now: int) -> None:
        """Log the first eviction, and each time that their number has doubled."""
        if before.bit_length() != now.bit_length():
            log.warning(
                "%d predictions have been evicted before their label came, because more than evaluate.max_waiting waited; they "
                "can get no label any more. Use more evaluators, raise max_waiting, or lower evaluate.horizon_s",
                now,
            )

    def _is_current(self, epoch: Epoch) -> bool:
        return self._source.epoch == epoch

    async def _recover(self, error: Exception, epoch: Epoch) -> None:
        self.totals.failed_commits += 1
        self._limits.record_failure(error, now_s=self._clock.monotonic_s())
        log.warning("commit failed, reading again: %s", str(error) or type(error).__name__)
        if self._is_current(epoch):
            self._drop()
            await (self._source.rejoin() if isinstance(error, CommitRefused) else self._source.rewind())
        await self._restart()

    async def _restart(self) -> None:
        self.is_reconnecting = True
        try:
            await self._producer.restart()
        finally:
            self.is_reconnecting = False
        self._must_restart = False

    def restore(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int | None]:
        """Begin or continue the joins of assigned partitions (see `Joins.restore`). Raises BrokerError."""
        positions = self.joins.restore(committed)
        if self.joins.num_kept:
            log.info(
                "%d of %d partitions are not read again after the rebalance",
                self.joins.num_kept,
                len(self.joins.numbers),
            )
        return positions

    async def on_revoked(self) -> None:
        """Commit what was counted before partitions are revoked, and keep the joins; at the deadline give up and drop them."""
        try:
            async with asyncio.timeout(self._revoke_timeout_s):
                await self.commit()
        except TimeoutError:
            log.warning(
                "what was counted since the last commit was not committed before the rebalance; it is read again"
            )
            await self._source.detach()
            self._drop()
        except BaseException:
            self._drop()
            raise
        else:
            self._committed = {}
            self.joins.keep()

    def _drop(self) -> None:
        self._committed = {}
        self.joins.drop()
