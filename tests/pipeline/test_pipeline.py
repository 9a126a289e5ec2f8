"""The pipeline over a scripted source and producer: conservation, rewind, revocation, backpressure, a hanging model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from forebay.models.backends.protocol import Scores
from forebay.schemas.errors import BrokerError, ModelError
from forebay.schemas.failures import Outcome
from forebay.stream.core.errors import CommitTimeout, TopicRecreated
from forebay.stream.core.outputs import Outgoing
from forebay.stream.core.records import Epoch, FloatMatrix, Record, TopicPartition
from forebay.stream.decode.duplicates import DuplicateFilter
from forebay.stream.decode.seen_ids import DuplicateWindow
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.recovery import MAX_COMMIT_BATCHES
from tests.core.build import P0, P1
from tests.pipeline.rig import Rig


async def test_every_event_is_committed_once() -> None:
    rig = Rig([23, 40])
    async with rig.running():
        await rig.until(rig.all_committed)
    assert rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 63}
    assert rig.producer.predictions() == 63 and rig.pipeline.num_in_flight == 0
    assert rig.pipeline.totals.rewinds == 0


async def test_a_micro_batch_that_the_next_commit_can_have_does_not_wait_for_more_events() -> None:
    rig = Rig([23, 40], max_batch_size=1000)
    async with rig.running():
        await rig.until(rig.all_committed, step_s=0.0)
    assert rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 63}, "although no time has passed"


async def test_a_failed_commit_rewinds_and_loses_nothing() -> None:
    rig = Rig([50, 50])
    failures = iter([False, True, False, True, True])

    def fail() -> None:
        if next(failures, False):
            raise KafkaConnectionError("gone")

    rig.producer.fail = fail
    async with rig.running():
        await rig.until(rig.all_committed)
    assert rig.source.rewinds == rig.producer.restarts == rig.pipeline.totals.rewinds == 3
    assert rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 100}, "outcomes count only after a known success"
    assert rig.pipeline.num_in_flight == 0


async def test_events_that_are_sent_again_are_rejected_but_not_events_that_are_read_again() -> None:
    rig = Rig([40, 40])
    for number, record in enumerate(rig.log[P0][20:], 20):
        rig.log[P0][number] = replace(record, value=rig.log[P0][number - 20].value)
    rig.duplicates = DuplicateFilter(DuplicateWindow(20))
    failures = iter([False, True, False, True, True, False, True])

    def fail() -> None:
        if next(failures, False):
            raise KafkaConnectionError("gone")

    rig.producer.fail = fail
    async with rig.running():
        await rig.until(rig.all_committed)
    assert rig.source.rewinds >= 3
    assert rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 60, Outcome.REJECTED: 20}
    letters = [value for place, value in rig.producer.sent if place.topic == "dead-letters"]
    assert letters == [record.value for record in rig.log[P0][20:]]


async def test_a_permanent_refusal_ends_the_worker() -> None:
    rig = Rig([10, 0])

    def fail() -> None:
        raise MessageSizeTooLargeError("too large")

    rig.producer.fail = fail
    async with rig.running() as committing:
        await rig.until(committing.done)
        with pytest.raises(BrokerError, match=r"refused the same outputs 3 times \(from features-0 before offset"):
            committing.result()


async def test_results_of_a_purged_epoch_are_dropped() -> None:
    rig = Rig([20, 0])
    async with rig.running():
        rig.model.gate.clear()
        await rig.until(lambda: rig.pipeline.num_in_flight == 20)
        await rig.pipeline._recovery.rewind(Epoch(1, "member", None, 1))
        assert rig.pipeline.num_in_flight == 0
        rig.model.gate.set()
        await rig.until(rig.all_committed)
    assert rig.producer.predictions() == 20


async def test_revocation_commits_what_is_in_flight() -> None:
    rig = Rig([12, 12])
    async with rig.running():
        await rig.until(lambda: rig.source.next_offsets == {P0: 12, P1: 12})
        await rig.pipeline.on_revoked()
        assert rig.all_committed()


async def test_revocation_drops_events_at_its_deadline() -> None:
    rig = Rig([12, 0], revoke_timeout_s=0.05)
    async with rig.running() as committing:
        rig.producer.hold.clear()
        await rig.until(lambda: rig.source.next_offsets == {P0: 12, P1: 0})
        await rig.pipeline.on_revoked()
        assert rig.pipeline.num_in_flight == 0 and rig.source.committed[P0] == 0
        await rig.until(lambda: rig.producer.restarts == 1)
        assert not committing.done()
        rig.producer.hold.set()
        await rig.source.rewind()
        await rig.until(rig.all_committed)
        assert rig.pipeline.num_in_flight == 0


async def test_a_slow_model_pauses_the_source_and_polling_continues() -> None:
    rig = Rig([200, 0], max_events=20)
    async with rig.running():
        rig.model.gate.clear()
        await rig.until(lambda: rig.source.paused)
        assert rig.pipeline.num_in_flight == 20
        polled = rig.source.polled
        await rig.until(lambda: rig.source.polled > polled)
        assert rig.pipeline.num_in_flight == 20 and rig.source.pauses == 1
        rig.model.gate.set()
        await rig.until(rig.all_committed)
    assert not rig.source.paused


async def test_a_model_call_that_hangs_ends_the_worker() -> None:
    rig = Rig([5, 0], call_timeout_s=0.01, hang_timeout_s=0.02)
    async with rig.running():
        rig.model.gate.clear()
        watching = asyncio.create_task(rig.pipeline.watch())
        await rig.until(watching.done)
        with pytest.raises(ModelError, match="has not returned"):
            watching.result()
        assert rig.source.committed[P0] == 0


async def test_the_death_of_the_device_thread_is_reported() -> None:
    rig = Rig([5, 0])

    def die(x_BG: FloatMatrix) -> Scores:
        raise SystemExit

    rig.model.forward = die  # type: ignore[method-assign]
    async with rig.running():
        await rig.until(lambda: bool(rig.deaths))
    assert isinstance(rig.deaths[0], SystemExit)


async def test_events_wait_until_a_broken_model_works_again() -> None:
    rig = Rig([40, 40])
    async with rig.running():
        rig.model.broken = True
        await rig.until(lambda: ("model", "open") in rig.breaker_changes)
        await rig.until(lambda: rig.source.paused, step_s=0.0001)
        again_s, polled = rig.clock.now_s + rig.model_breaker.wait_s(rig.clock.now_s), rig.source.polled
        assert rig.producer.sent == [], "the data is not the cause: no dead letters"
        await rig.until(lambda: rig.source.polled > polled)  # the membership is kept
        await rig.until(
            lambda: rig.breaker_changes[-1] == ("model", "open") and len(rig.breaker_changes) >= 3
        )  # a failed attempt
        assert rig.clock.now_s >= again_s - 1e-6
        rig.model.broken = False
        await rig.until(rig.all_committed)
    states = [state for _, state in rig.breaker_changes]
    failed = states.count("open")
    assert failed >= 2 and states == ["open", "half_open"] * failed + ["closed"]
    assert rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 80} and rig.producer.predictions() == 80
    assert not rig.source.paused


async def test_failed_commits_open_the_breaker_of_the_cluster() -> None:
    rig = Rig([40, 40])
    tries = 0

    def fail() -> None:
        nonlocal tries
        tries += 1
        raise KafkaConnectionError("gone")

    rig.producer.fail = fail
    async with rig.running():
        await rig.until(lambda: rig.breaker_changes == [("cluster", "open")])
        opened_s = rig.clock.now_s
        await rig.until(lambda: rig.source.paused, step_s=0.0001)
        await rig.until(lambda: rig.clock.now_s > opened_s + 20)
        assert tries == 3
        rig.producer.fail = lambda: None
        await rig.until(rig.all_committed)
        assert rig.clock.now_s > opened_s + 29, "it opened a moment before that was seen"
    assert [state for _, state in rig.breaker_changes] == ["open", "half_open", "closed"]
    assert rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 80}


async def test_commits_shrink_after_a_timeout_and_grow_again() -> None:
    rig = Rig([200, 200], max_events=800)
    most, sizes = MAX_COMMIT_BATCHES * 7, []
    send = rig.producer.send

    async def slow(outgoing: Mapping[TopicPartition, Outgoing], *, timestamp_ms: int) -> None:
        nonlocal most
        size = sum(len(out.values) for place, out in outgoing.items() if place.topic == "predictions")
        assert size <= most
        sizes.append(size)
        if size > 30 and len(sizes) < 20:
            most //= 2
            raise CommitTimeout("the cluster takes no more than 30 at once")
        await send(outgoing, timestamp_ms=timestamp_ms)
        most = min(MAX_COMMIT_BATCHES * 7, 2 * most)

    rig.producer.send = slow  # type: ignore[method-assign]
    rig.producer.hold.clear()
    async with rig.running():
        await rig.until(lambda: rig.pipeline.num_in_flight > 200)
        rig.producer.hold.set()  # by now, more is due than the cluster accepts at once
        await rig.until(rig.all_committed)
    assert max(sizes) > 30
    assert rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 400}


async def test_a_long_call_opens_the_breaker_and_closes_it_when_it_returns() -> None:
    rig = Rig([40, 0], call_timeout_s=0.02, hang_timeout_s=10_000)
    async with rig.running():
        rig.model.gate.clear()
        watching = asyncio.create_task(rig.pipeline.watch())
        await rig.until(lambda: rig.breaker_changes == [("model", "open")])
        rig.model.gate.set()
        await rig.until(rig.all_committed)
        watching.cancel()
    assert rig.breaker_changes[-1] == ("model", "closed")
    assert rig.producer.predictions() == 40


async def test_a_drain_commits_what_a_failed_commit_has_dropped() -> None:
    rig = Rig([50, 50], max_events=800)
    rig.producer.hold.clear()
    failures = iter([True, True])

    def fail() -> None:
        if next(failures, False):
            raise KafkaConnectionError("gone")

    rig.producer.fail = fail
    async with rig.running():
        await rig.until(lambda: rig.pipeline.num_in_flight == 100)
        rig.pipeline.stop()
        draining = asyncio.create_task(rig.pipeline.drain())
        rig.producer.hold.set()
        await rig.until(lambda: rig.source.rewinds == 1)
        assert not draining.done() and rig.pipeline.num_uncommitted == 100, "they are to be read again"
        await rig.until(draining.done)
        await draining
        assert rig.all_committed() and rig.pipeline.num_uncommitted == 0
    assert rig.source.rewinds == 2 and rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 100}


async def test_a_drain_leaves_events_of_revoked_partitions() -> None:
    rig = Rig([20, 20], revoke_timeout_s=0.05)
    rig.producer.hold.clear()
    async with rig.running():
        await rig.until(lambda: rig.pipeline.num_in_flight == 40)
        rig.pipeline.stop()
        draining = asyncio.create_task(rig.pipeline.drain())
        await rig.pipeline.on_revoked()
        rig.producer.hold.set()
        await rig.until(lambda: rig.producer.restarts == 1)
        assert not draining.done(), "it is not known yet which worker reads them"
        del rig.source.next_offsets[P0]
        rig.source.committed[P1] = rig.source.next_offsets[P1] = 20
        rig.source.current = Epoch(2, "member", None, 2)
        await rig.until(draining.done)
        await draining
    assert rig.producer.predictions() == 0


async def test_a_drain_waits_for_a_model_that_fails_for_a_moment() -> None:
    rig = Rig([20, 0])
    async with rig.running():
        rig.model.gate.clear()
        rig.model.broken = True
        await rig.until(lambda: rig.pipeline.num_in_flight == 20)
        rig.pipeline.stop()
        draining = asyncio.create_task(rig.pipeline.drain())
        rig.model.gate.set()
        await rig.until(lambda: rig.model_breaker.failures > 0)
        rig.model.broken = False
        await rig.until(draining.done)
        assert rig.all_committed()


async def test_the_queue_of_the_device_is_limited() -> None:
    rig = Rig([2000, 0], max_events=4000, max_poll=2000, max_batch_size=1)
    rig.pipeline._in_flight = InFlight(Bounds(4000, 10**6, 8))
    async with rig.running():
        rig.model.gate.clear()
        await rig.until(lambda: rig.pipeline.num_in_flight == 2000)
        assert rig.pipeline.lanes_status()[0].waiting <= 8
        polled = rig.source.polled
        await rig.until(lambda: rig.source.polled > polled)  # the membership is kept
        assert rig.pipeline.lanes_status()[0].waiting <= 8
        rig.model.gate.set()
        await rig.until(rig.all_committed)
    assert rig.producer.predictions() == 2000


async def test_a_thousand_micro_batches_of_one_poll_pass_the_device() -> None:
    rig = Rig([2000, 0], max_events=4000, max_poll=2000, max_batch_size=1)
    async with rig.running():
        await rig.until(rig.all_committed)
    assert rig.pipeline.totals.outcomes == {Outcome.PREDICTED: 2000}
    assert rig.producer.predictions() == 2000


@pytest.mark.parametrize(("error", "is_committed"), [(BrokerError("corrupt"), True), (TopicRecreated("new"), False)])
async def test_events_before_a_read_error_are_committed_but_never_for_a_recreated_topic(
    error: BrokerError, is_committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig([7, 0])
    poll = rig.source.poll

    async def poll_once(
        *, timeout_s: float, max_records: int, topics: frozenset[str] | None = None
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        if rig.source.polled:
            raise error
        return await poll(timeout_s=timeout_s, max_records=max_records)

    monkeypatch.setattr(rig.source, "poll", poll_once)
    rig.model.gate.clear()
    async with rig.running():
        await rig.until(lambda: rig.source.polled == 1)
        await asyncio.sleep(0)
        rig.model.gate.set()
        with pytest.raises(type(error)):
            await rig.polling
    assert (rig.source.committed[P0] == 7) is is_committed
