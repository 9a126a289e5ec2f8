"""Recovery from failed commits: everything that happens between a commit that fails and the first record that is read again.

    what the commit raised                         reaction
    CommitRefused                                  drop what is in flight, restart the producer, join the group again
    CommitTimeout                                  smaller commits from now on; rewind
    a KafkaError that may pass                     rewind
    OutputMissing, a KafkaError that will repeat   rewind; the third in a row ends the worker
    ProducerFenced                                 rewind; the third within a minute ends the worker
    CancelledError, from `on_revoked`              restart the producer; what was in flight is dropped already

To rewind is to drop what is in flight, restart the producer, and read again from the committed offsets. Except for
CommitRefused, each failure counts for the cluster's circuit breaker. Any other error of a commit ends the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.cancellation import raise_if_cancelled
from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.clock import Clock
from forebay.stream.core.errors import CommitRefused, CommitTimeout
from forebay.stream.core.ports import RecordProducer
from forebay.stream.core.records import BatchResult, Epoch
from forebay.stream.kafka.producer.commit_failures import CommitWords, FailureLimits
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.commit_pacing import CommitPacing
from forebay.stream.pipeline.device_feed import ResultBuffer
from forebay.stream.pipeline.in_flight import InFlight
from forebay.stream.pipeline.observer import Observer
from forebay.stream.pipeline.stages import PolledSource
from forebay.stream.pipeline.totals import Totals
from forebay.stream.pipeline.uncommitted import Uncommitted

log = logging.getLogger("forebay.pipeline")
commit_log = logging.getLogger("forebay.commit")

MAX_COMMIT_BATCHES = 16
"""The largest number of full micro-batches in one commit. Halved after a commit timeout, doubled after a success."""
CANCEL_TIMEOUT_S = 1.0
BREAKER_POLL_S = 0.2
WORDS: Final = CommitWords(
    "worker",
    "the same outputs",
    remedy="look up the error in Kafka's documentation; `forebay check` checks topics and permissions",
)


class CommitStep(Protocol):
    """Commits finished micro-batches (see `pipeline.committer`)."""

    async def commit(self, batches: Sequence[BatchResult]) -> Ledger: ...


class Feed(Protocol):
    """Feeds the executors with micro-batches (see `pipeline.lanes`)."""

    def flush(self) -> None: ...
    def purge(self) -> None: ...


@dataclass(frozen=True, slots=True)
class InFlightWork:
    """Everything that was polled and is not committed yet.

    room: set when more may be polled.
    idle: set while nothing is in flight.
    pacing: delays commits, but none while `finish` waits; None if nothing delays them.
    """

    counts: InFlight
    uncommitted: Uncommitted
    feed: Feed
    reorder: ResultBuffer
    room: asyncio.Event
    idle: asyncio.Event
    pacing: CommitPacing | None = None

    async def finish(self) -> None:
        """Close the open micro-batch and wait until nothing is in flight: all is committed or dropped by a rewind."""
        self.feed.flush()
        with contextlib.nullcontext() if self.pacing is None else self.pacing.suspended():
            await self.idle.wait()

    def drop(self) -> None:
        """Drop everything. Its records will be read again; results that the device returns for them later are ignored."""
        self.uncommitted.record_dropped(self.counts.events)
        self.feed.purge()
        self.reorder.purge()
        self.counts.purge()
        self.room.set()
        self.idle.set()


class Recovery:
    """Runs each commit. After one that fails, makes its records be read again, or ends the worker.

    breaker: the circuit breaker of the cluster.
    revoke_timeout_s: limit for committing before partitions are revoked.
    totals: counts the rewinds.
    """

    def __init__(
        self,
        source: PolledSource,
        committer: CommitStep,
        producer: RecordProducer,
        work: InFlightWork,
        *,
        breaker: CircuitBreaker,
        observer: Observer,
        clock: Clock,
        revoke_timeout_s: float,
        totals: Totals,
    ) -> None:
        self._source = source
        self._committer = committer
        self._producer = producer
        self._work = work
        self._breaker = breaker
        self._observer = observer
        self._clock = clock
        self._revoke_timeout_s = revoke_timeout_s
        self._totals = totals
        self._limits = FailureLimits(producer.explain, WORDS, log=commit_log)
        self._committing: asyncio.Task[Ledger] | None = None
        self._max_batches = MAX_COMMIT_BATCHES
        self._num_drops = 0

    @property
    def max_commit_batches(self) -> int:
        """The largest number of full micro-batches that the next commit should have."""
        return self._max_batches

    @property
    def num_drops(self) -> int:
        """How often everything in flight was dropped: a commit during which this changes must not be counted as in flight."""
        return self._num_drops

    async def commit(self, batches: Sequence[BatchResult]) -> Ledger | None:
        """Commit micro-batches and return their outcomes; None if that failed and their records will be read again.

        Raises the error that ends the worker.
        """
        self._breaker.record_start(self._clock.monotonic_s())
        self._observer.on_commit_started(batches)
        self._committing = asyncio.create_task(self._committer.commit(batches), name="commit")
        try:
            ledger = await self._committing
        except (KafkaError, BrokerError, CommitTimeout, asyncio.CancelledError) as error:
            raise_if_cancelled()  # this task was cancelled, not only the commit
            await self._recover(error, batches)
            return None
        finally:
            self._committing = None
        self._limits.record_success()
        self._breaker.record_success()
        self._max_batches = min(MAX_COMMIT_BATCHES, 2 * self._max_batches)
        return ledger

    async def _recover(self, error: BaseException, batches: Sequence[BatchResult]) -> None:
        """React to a failed commit. Raises BrokerError if the next try would fail in the same way."""
        self._observer.on_commit_failed(batches, error)
        now_s, reason = self._clock.monotonic_s(), str(error) or type(error).__name__
        if isinstance(error, asyncio.CancelledError):
            # By `on_revoked`, which has dropped what was in flight. Whether the commit succeeded is unknown until the next
            # owner reads the committed offsets.
            self._breaker.record_failure(now_s, "a commit was cancelled at a rebalance")
            await self._producer.restart()
            return
        if isinstance(error, CommitRefused):
            self._breaker.record_success()  # the cluster answered
        else:
            self._breaker.record_failure(now_s, reason)
        if isinstance(error, CommitTimeout):
            # The same amount would time out again on a slow cluster.
            self._max_batches = max(1, self._max_batches // 2)
        chunk = batches[0].batch.chunks[0]
        place = f"from {chunk.partition.topic}-{chunk.partition.partition} before offset {chunk.next_offset}"
        self._limits.record_failure(error, now_s=now_s, place=place)
        log.warning("commit failed, reading again from the committed offsets: %s", reason)
        await self.rewind(batches[0].batch.epoch, rejoin=isinstance(error, CommitRefused))

    async def rewind(self, epoch: Epoch, *, rejoin: bool = False) -> None:
        """Drop everything in flight, restart the producer, and read again from the committed offsets in a new epoch.

        epoch: of the failed commit. If it has ended, what was in flight is dropped already.
        rejoin: the group has removed this member, which must join again before it can read.
        """
        self._totals.rewinds += 1
        if self._source.epoch == epoch:
            # Close the gate first: records after the failed ones must not be processed before the rest is dropped.
            await (self._source.rejoin() if rejoin else self._source.rewind())
            self._drop()
        await self._producer.restart()

    async def read_again(self, reason: str) -> None:
        """Rewind although no commit has failed. Call it from the task that commits, between two commits."""
        epoch = self._source.epoch
        if epoch is not None:
            log.warning("reading again from the committed offsets: %s", reason)
            await self.rewind(epoch)

    async def on_revoked(self) -> None:
        """Commit everything in flight before partitions are revoked, or drop it at the deadline."""
        try:
            async with asyncio.timeout(self._revoke_timeout_s):
                await self._work.finish()
        except TimeoutError:
            log.warning(
                "%d events were not committed before the rebalance; they will be read again", self._work.counts.events
            )
            committing = self._committing
            await self._source.detach()  # before the drop, as in `rewind`
            self._drop()
            if committing is not None:
                committing.cancel()
                await asyncio.wait([committing], timeout=CANCEL_TIMEOUT_S)
        self._drop()

    def _drop(self) -> None:
        self._num_drops += 1
        self._work.drop()
        self._observer.on_purged()


async def wait_until_allowed(breaker: CircuitBreaker, clock: Clock) -> None:
    """Wait until a circuit breaker permits an attempt."""
    while True:
        now_s = clock.monotonic_s()
        if breaker.allows(now_s):
            return
        await asyncio.sleep(min(BREAKER_POLL_S, breaker.wait_s(now_s)))
