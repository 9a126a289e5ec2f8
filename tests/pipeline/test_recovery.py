"""What follows a failed commit: which stages are called, in which order, and which failures end the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, ProducerFenced

from forebay.schemas.errors import BrokerError
from forebay.stream.core.circuit_breaker import BreakerState, CircuitBreaker
from forebay.stream.core.errors import CommitRefused, CommitTimeout, OutputMissing
from forebay.stream.core.records import BatchResult, Epoch, MicroBatch
from forebay.stream.kafka.producer.commit_failures import MAX_FAILURES
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.committer import ConservationError
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.observer import NullObserver
from forebay.stream.pipeline.recovery import MAX_COMMIT_BATCHES, InFlightWork, Recovery
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from forebay.stream.pipeline.totals import Totals
from forebay.stream.pipeline.uncommitted import Uncommitted
from tests.core.build import P0, ManualClock, chunk, finish
from tests.eventually import eventually
from tests.pipeline.rig import ScriptedProducer, ScriptedSource

EPOCH = Epoch(1, "member", None, 1)
BATCH = MicroBatch(0, (chunk(range(40, 43), epoch=EPOCH),), "size", 0.0)
FIRST: BatchResult = finish(BATCH)
LEDGER = Ledger()
LASTING = [MessageSizeTooLargeError("too large"), OutputMissing("the cluster has no topic predictions any more")]


class RecordingSource(ScriptedSource):
    """A source that records the changes of its assignment in `calls`."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__({P0: []})
        self.calls = calls

    async def rewind(self) -> None:
        self.calls.append("rewind")
        await super().rewind()

    async def rejoin(self) -> None:
        self.calls.append("rejoin")
        await super().detach()

    async def detach(self) -> None:
        self.calls.append("detach")
        await super().detach()


class RecordingProducer(ScriptedProducer):
    """A producer that records its restarts in `calls`."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.calls = calls

    async def restart(self) -> None:
        self.calls.append("restart")


class RecordingFeed:
    """A feed that holds nothing and records calls."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.on_flush: Callable[[], None] = lambda: None

    def flush(self) -> None:
        self.calls.append("flush")
        self.on_flush()

    def purge(self) -> None:
        self.calls.append("drop")


class ScriptedCommitter:
    """Commits what it is given, or raises `error`. Waits while `gate` is not set.

    ends_anyway: a cancellation comes too late to stop the commit.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.num_started = 0
        self.ends_anyway = False

    async def commit(self, batches: Sequence[BatchResult]) -> Ledger:
        self.num_started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if not self.ends_anyway:
                raise
        if self.error is not None:
            raise self.error
        return LEDGER


class Scene:
    """A recovery with three events in flight. calls: what it called, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.source = RecordingSource(self.calls)
        self.committer = ScriptedCommitter()
        self.totals = Totals()
        self.breaker = CircuitBreaker(failure_threshold=3, reset_timeout_s=30, on_change=lambda _state, _reason: None)
        self.work = InFlightWork(
            InFlight(Bounds(100, 10**6, 10)),
            Uncommitted(),
            RecordingFeed(self.calls),
            ReorderBuffer(),
            room=asyncio.Event(),
            idle=asyncio.Event(),
        )
        self.work.counts.on_polled(events=3, num_bytes=30)
        self.work.counts.on_batch_closed()
        self.work.reorder.add(BATCH)
        self.recovery = Recovery(
            self.source,
            self.committer,
            RecordingProducer(self.calls),
            self.work,
            breaker=self.breaker,
            observer=NullObserver(),
            clock=ManualClock(),
            revoke_timeout_s=0.05,
            totals=self.totals,
        )

    @property
    def is_dropped(self) -> bool:
        """Whether nothing is in flight, the three events are to be read again, and waiting tasks are woken."""
        work = self.work
        is_empty = work.counts.is_empty and not work.reorder.contains(BATCH)
        return is_empty and work.uncommitted.num_to_read_again == 3 and work.room.is_set() and work.idle.is_set()

    async def fail(self, error: BaseException) -> None:
        """Commit with this error."""
        self.committer.error = error
        assert await self.recovery.commit([FIRST]) is None


async def test_a_commit_that_succeeds_changes_nothing_else() -> None:
    scene = Scene()
    assert await scene.recovery.commit([FIRST]) is LEDGER
    assert scene.calls == [] and scene.recovery.num_drops == 0 and not scene.work.counts.is_empty


@pytest.mark.parametrize(
    "error",
    [*LASTING, KafkaConnectionError("away"), CommitTimeout("late"), ProducerFenced()],
    ids=lambda error: type(error).__name__,
)
async def test_the_gate_closes_before_the_drop_and_the_producer_restarts_last(error: Exception) -> None:
    scene = Scene()
    await scene.fail(error)
    assert scene.calls == ["rewind", "drop", "restart"]
    assert scene.is_dropped and scene.recovery.num_drops == scene.totals.rewinds == scene.breaker.failures == 1
    assert scene.source.epoch is not None and scene.source.epoch.counter == 2


async def test_a_refused_member_joins_again_and_the_cluster_counts_as_reachable() -> None:
    scene = Scene()
    await scene.fail(KafkaConnectionError("away"))
    scene.source.current = EPOCH
    scene.calls.clear()
    await scene.fail(CommitRefused("evicted"))
    assert scene.calls == ["rejoin", "drop", "restart"] and scene.is_dropped and scene.source.epoch is None
    assert scene.breaker.failures == 0


@pytest.mark.parametrize("current", [None, Epoch(2, "member", None, 2)], ids=["closed", "later"])
async def test_a_failure_in_an_epoch_that_has_ended_only_restarts_the_producer(current: Epoch | None) -> None:
    scene = Scene()
    scene.source.current = current
    await scene.fail(CommitRefused("the epoch of the records has ended"))
    assert scene.calls == ["restart"] and scene.recovery.num_drops == 0 and scene.source.epoch == current


async def test_commits_halve_after_each_timeout_and_double_after_each_success() -> None:
    scene = Scene()
    sizes = []
    for _ in range(6):
        await scene.fail(CommitTimeout("late"))
        sizes.append(scene.recovery.max_commit_batches)
    assert sizes == [8, 4, 2, 1, 1, 1]
    scene.committer.error = None
    for _ in range(6):
        await scene.recovery.commit([FIRST])
        sizes.append(scene.recovery.max_commit_batches)
    assert sizes[6:] == [2, 4, 8, 16, MAX_COMMIT_BATCHES, MAX_COMMIT_BATCHES]


async def test_failures_in_a_row_open_the_breaker_and_a_success_closes_it() -> None:
    scene = Scene()
    for _ in range(3):
        await scene.fail(KafkaConnectionError("away"))
    assert scene.breaker.state is BreakerState.OPEN
    scene.committer.error = None
    await scene.recovery.commit([FIRST])
    assert scene.breaker.state is BreakerState.CLOSED


async def test_the_failure_that_ends_the_worker_rewinds_no_more() -> None:
    scene = Scene()
    for _ in range(MAX_FAILURES - 1):
        scene.source.current = EPOCH
        await scene.fail(LASTING[0])
    scene.source.current = EPOCH
    scene.calls.clear()
    with pytest.raises(BrokerError, match=r"refused the same outputs 3 times \(from features-0 before offset 43\)"):
        await scene.fail(LASTING[0])
    assert scene.calls == []


async def test_a_successful_commit_between_permanent_failures_keeps_the_worker() -> None:
    scene = Scene()
    for _ in range(2 * MAX_FAILURES):
        scene.source.current = EPOCH
        await scene.fail(LASTING[0])
        scene.committer.error = None
        await scene.recovery.commit([FIRST])


async def test_a_bug_ends_the_worker_at_once() -> None:
    scene = Scene()
    with pytest.raises(ConservationError):
        await scene.fail(ConservationError("3 records but 2 outcomes"))
    assert scene.calls == []


async def test_a_stop_of_the_worker_is_not_a_failed_commit() -> None:
    scene = Scene()
    scene.committer.gate.clear()
    committing = asyncio.create_task(scene.recovery.commit([FIRST]))
    await eventually(lambda: scene.committer.num_started == 1, "a commit")
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert scene.calls == [] and scene.breaker.failures == 0


async def test_a_revocation_waits_for_what_is_in_flight() -> None:
    scene = Scene()

    def commit_everything() -> None:
        scene.work.counts.on_committed(events=3, num_bytes=30)
        scene.work.idle.set()

    scene.work.feed.on_flush = commit_everything  # type: ignore[attr-defined]
    await scene.recovery.on_revoked()
    assert scene.calls == ["flush", "drop"], "the epoch does not end before the source ends it"
    assert scene.work.uncommitted.num_to_read_again == 0 and scene.source.epoch == EPOCH


async def test_a_revocation_drops_everything_at_its_deadline_and_cancels_the_commit() -> None:
    scene = Scene()
    scene.committer.gate.clear()
    committing = asyncio.create_task(scene.recovery.commit([FIRST]))
    await eventually(lambda: scene.committer.num_started == 1, "a commit")
    await scene.recovery.on_revoked()
    assert scene.calls[:3] == ["flush", "detach", "drop"] and scene.is_dropped
    assert await committing is None
    assert sorted(scene.calls[3:]) == ["drop", "restart"], "the source is detached already: no rewind"
    assert scene.breaker.failures == 1 and scene.totals.rewinds == 0


async def test_the_outcomes_of_a_commit_that_was_cancelled_too_late_count() -> None:
    scene = Scene()
    scene.committer.gate.clear()
    scene.committer.ends_anyway = True
    committing = asyncio.create_task(scene.recovery.commit([FIRST]))
    await eventually(lambda: scene.committer.num_started == 1, "a commit")
    await scene.recovery.on_revoked()
    assert await committing is LEDGER
    assert scene.is_dropped and scene.recovery.num_drops > 0, "its events must not be subtracted from what is in flight"
    assert "restart" not in scene.calls
