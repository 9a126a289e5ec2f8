"""Replays on both brokers, also with a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import pytest
from aiokafka import TopicPartition as ClientTopicPartition

from forebay.schemas import headers as names_of
from forebay.schemas.errors import BrokerError
from forebay.schemas.failures import FailureKind
from forebay.stream.config.sections import KafkaSection
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.filter import DeadLetterFilter
from forebay.stream.dlq.reader import DeadLetterReader
from forebay.stream.dlq.replay import Replayer, ReplayProgress, plan_replay
from forebay.stream.dlq.replay_plan import ReplayPlan, SkipReason
from tests.brokers.clients import create_topic, producer, send_batch
from tests.core.build import FakeRecord, ManualClock
from tests.dlq.build import dead_letter_record
from tests.worker.echo import POISON
from tests.worker.harness import WorkerGroup, kinds, total

NOW_MS = SystemClock().wall_ms()
EVERYTHING = DeadLetterFilter()


def reader_of(worker_group: WorkerGroup) -> DeadLetterReader:
    return DeadLetterReader(
        {"bootstrap_servers": worker_group.bootstrap}, worker_group.topic("dead-letters"), clock=SystemClock()
    )


async def plan_of(
    worker_group: WorkerGroup,
    selection: DeadLetterFilter = EVERYTHING,
    *,
    max_replays: int = 3,
    limit: int | None = None,
) -> ReplayPlan:
    kafka = KafkaSection(bootstrap_servers=worker_group.bootstrap)
    async with reader_of(worker_group) as reader, asyncio.timeout(60):
        return await plan_replay(
            reader, kafka, selection, max_replays=max_replays, limit=limit, progress=lambda done, total: None
        )


async def replay(worker_group: WorkerGroup, plan: ReplayPlan) -> ReplayProgress:
    replayer = Replayer({"bootstrap_servers": worker_group.bootstrap}, clock=SystemClock())
    async with reader_of(worker_group) as reader, asyncio.timeout(60):
        await replayer.run(reader, plan)
    return replayer.progress


async def write_dead_letters(worker_group: WorkerGroup, dead_letters: Sequence[FakeRecord], partition: int = 0) -> None:
    async with producer(worker_group.bootstrap) as writer:
        for record in dead_letters:  # one by one, because some have no value
            batch = writer.create_batch()
            batch.append(key=record.key, value=record.value, timestamp=record.timestamp, headers=list(record.headers))
            await (await writer.send_batch(batch, worker_group.topic("dead-letters"), partition=partition))


def dead_letter_for(
    worker_group: WorkerGroup, offset: int, *, partition: int = 1, topic: str = "features", **rest: object
) -> FakeRecord:
    source = TopicPartition(worker_group.topic(topic), partition)
    return dead_letter_record(0, source=source, source_offset=offset, timestamp=NOW_MS + offset, **rest)  # type: ignore[arg-type]


async def test_events_are_published_again_unchanged(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=3)
    dead_letters = [
        dead_letter_for(
            worker_group, 1, key=b"a", value=b"\xff\x00", headers=[("tenant", b"x"), ("none", None)], model="late"
        ),  # type: ignore[list-item]
        dead_letter_for(worker_group, 2, key=None, value=b""),
        dead_letter_for(worker_group, 3, key=b"b", value=None, partition=2),
    ]
    await write_dead_letters(worker_group, dead_letters)
    plan = await plan_of(worker_group)
    assert plan.topics == {worker_group.topic("features"): 3} and not plan.skipped
    progress = await replay(worker_group, plan)
    assert (progress.sent, progress.delivered, progress.topics) == (3, 3, plan.topics)
    events = await worker_group.outputs("features")
    assert [(record.partition, record.key, record.value) for record in events] == [
        (1, b"a", b"\xff\x00"),
        (1, None, b""),
        (2, b"b", None),
    ]
    assert events[0].headers == (
        ("tenant", b"x"),
        ("none", None),
        ("forebay.replay.count", b"1"),
        ("forebay.replay.from", f"{worker_group.topic('dead-letters')}-0@0".encode()),
    )
    assert all(record.timestamp >= NOW_MS for record in events)


async def test_missing_partitions_are_replaced_by_key_and_missing_topics_are_skipped(
    worker_group: WorkerGroup,
) -> None:
    await worker_group.create(partitions=3)
    await create_topic(worker_group.bootstrap, worker_group.topic("small"), configs={"max.message.bytes": "2000"})
    await write_dead_letters(
        worker_group,
        [
            *[dead_letter_for(worker_group, number, partition=9, key=b"same") for number in range(4)],
            *[dead_letter_for(worker_group, 10 + number, partition=9, key=None) for number in range(3)],
            dead_letter_for(worker_group, 20, topic="long-gone"),
            dead_letter_for(worker_group, 21, value=b"x" * 900, max_bytes=800),
            dead_letter_for(worker_group, 22, topic="small", value=b"x" * 5000),
            dead_letter_for(worker_group, 23, topic="small", headers=[("forebay.replay.count", b"3")]),
        ],
    )
    plan = await plan_of(worker_group)
    expected = {SkipReason.NO_TOPIC: 1, SkipReason.TRUNCATED: 1}
    # The embedded broker does not store a topic's size limit.
    assert {skip: count for skip, count in plan.skipped.items() if skip is not SkipReason.TOO_LARGE} == expected
    assert plan.num_dead_letters + plan.skipped[SkipReason.TOO_LARGE] == 9 and plan.replays.num_unproven == 1
    only = await plan_of(worker_group, DeadLetterFilter(topics=frozenset({worker_group.topic("features")})))
    await replay(worker_group, only)
    events = await worker_group.outputs("features")
    assert len({record.partition for record in events if record.key}) == 1 and len(events) == 7
    assert sorted(record.partition for record in events if not record.key) == [0, 1, 2]


async def test_the_order_is_kept_and_a_limit_takes_the_oldest(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=3)
    await write_dead_letters(
        worker_group, [dead_letter_for(worker_group, number, value=b"%04d" % number) for number in range(300)]
    )
    async with producer(worker_group.bootstrap) as writer:  # more dead letters than one chunk holds
        many = [dead_letter_for(worker_group, number, value=b"%04d" % number) for number in range(300, 3000)]
        await send_batch(
            writer,
            ClientTopicPartition(worker_group.topic("dead-letters"), 0),
            [record.value or b"" for record in many],
            headers=[record.headers for record in many],
            timestamps=[record.timestamp for record in many],
        )
    plan = await plan_of(worker_group, limit=2500)
    assert (plan.num_dead_letters, plan.beyond_limit) == (2500, 500)
    progress = await replay(worker_group, plan)
    assert progress.delivered == 2500
    assert [record.value for record in await worker_group.outputs("features")] == [
        b"%04d" % number for number in range(2500)
    ]


async def test_earlier_dead_letters_are_read_to_count_replays_in_any_time_range(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=3)
    dead, source = worker_group.topic("dead-letters"), TopicPartition(worker_group.topic("features"), 1)
    rows: list[tuple[bytes, int, list[tuple[str, bytes]]]] = [
        (b"older", -180_000, []),
        (b"again", -120_000, []),
        (b"again", -60_000, [(names_of.REPLAY_FROM, f"{dead}-0@1".encode())]),
        (b"again", -30_000, [(names_of.REPLAY_FROM, f"{dead}-0@2".encode())]),
        (b"again", 5, [(names_of.REPLAY_FROM, f"{dead}-0@3".encode())]),
        (b"forged", 9, [(names_of.REPLAY_FROM, f"{dead}-0@0".encode()), (names_of.REPLAY_COUNT, b"50")]),
    ]
    await write_dead_letters(
        worker_group,
        [
            dead_letter_record(0, source=source, value=value, timestamp=NOW_MS + at_ms, headers=headers)
            for value, at_ms, headers in rows
        ],
    )
    recent = DeadLetterFilter(since_ms=NOW_MS)
    plan = await plan_of(worker_group, recent, max_replays=3)
    assert plan.num_dead_letters == 1 and plan.skipped == {SkipReason.MAX_REPLAYS: 1} and plan.replays.num_unproven == 1
    plan = await plan_of(worker_group, recent, max_replays=4)
    await replay(worker_group, plan)
    counts = {
        record.value: dict(record.headers)[names_of.REPLAY_COUNT] for record in await worker_group.outputs("features")
    }
    assert counts == {b"again": b"4", b"forged": b"1"}
    assert (await plan_of(worker_group, max_replays=4)).num_dead_letters == 3, (
        "the forged header does not hide the older one, which it names"
    )


async def test_events_are_replayed_at_the_rate(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=3)
    await write_dead_letters(worker_group, [dead_letter_for(worker_group, number) for number in range(10)])
    clock = ManualClock()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now_s += seconds

    replayer = Replayer({"bootstrap_servers": worker_group.bootstrap}, clock=clock, rate=2.0, sleep=sleep)
    sent: list[int] = []
    async with reader_of(worker_group) as reader:
        await replayer.run(reader, await plan_of(worker_group), sent.append)
    assert sum(slept) == pytest.approx(4.5) and sent == list(range(1, 11))
    assert replayer.progress.seconds == pytest.approx(4.5)


async def test_a_failure_reports_how_many_events_were_replayed(worker_group: WorkerGroup) -> None:
    await worker_group.create(partitions=3)
    await write_dead_letters(worker_group, [dead_letter_for(worker_group, 1)])
    plan = await plan_of(worker_group)
    replayer = Replayer({"bootstrap_servers": "127.0.0.1:1"}, clock=SystemClock())
    async with reader_of(worker_group) as reader:
        with pytest.raises(BrokerError, match=r"cannot reach Kafka.*confirmed before the failure: 0 of 1 event"):
            await replayer.run(reader, plan)
    assert (replayer.progress.sent, replayer.progress.delivered) == (0, 0)


async def test_failures_of_a_real_worker_are_replayed_until_they_succeed_or_reach_the_limit(
    worker_group: WorkerGroup,
) -> None:
    await worker_group.create(partitions=3)
    await worker_group.publish(30)
    await worker_group.publish(6, first_feature=POISON)
    await worker_group.send([[b"garbage"], [], []], [[b"key"], [], []])
    worker = worker_group.start(mode="raise")
    await worker_group.settled()
    assert kinds(await worker_group.outputs("dead-letters")) == {"model_error": 6, "not_json": 1}

    # The model fails again each time; the filter excludes the garbage.
    failed = DeadLetterFilter(kinds=frozenset({FailureKind.MODEL_ERROR.value}))
    for run in range(2):
        plan = await plan_of(worker_group, failed, max_replays=3)
        assert plan.num_dead_letters == 6 and plan.skipped == ({SkipReason.REPLAYED: 6 * run} if run else {})
        assert (await replay(worker_group, plan)).delivered == 6
        await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    dead_letters = await worker_group.outputs("dead-letters")
    assert kinds(dead_letters) == {"model_error": 18, "not_json": 1}
    counts = [dict(record.headers).get(names_of.REPLAY_COUNT) for record in dead_letters]
    assert sorted(count or b"" for count in counts) == [b""] * 7 + [b"1"] * 6 + [b"2"] * 6
    for record in dead_letters:
        assert len({name for name, _ in record.headers}) == len(record.headers), "nothing is duplicated"

    # The limit of two replays is reached.
    plan = await plan_of(worker_group, failed, max_replays=2)
    assert plan.num_dead_letters == 0 and plan.skipped == {SkipReason.REPLAYED: 12, SkipReason.MAX_REPLAYS: 6}

    # The model works now.
    plan = await plan_of(worker_group, failed)
    await replay(worker_group, plan)
    await worker_group.settled_by(worker_group.start(mode="echo"))
    predictions = await worker_group.outputs("predictions")
    again = [record for record in predictions if names_of.REPLAY_COUNT in dict(record.headers)]
    assert len(predictions) == 36 and len(again) == 6
    assert {dict(record.headers)[names_of.REPLAY_COUNT] for record in again} == {b"3"}
    poisoned = {event_id for part in worker_group.published for event_id, _, features in part if features[0] == POISON}
    assert {orjson.loads(record.value)["id"] for record in again} == poisoned
    for record in again:
        assert record.partition == orjson.loads(record.value)["source"]["partition"]
    deltas = await worker_group.outputs("outcome-deltas")
    assert (total(deltas), total(deltas, outcome="failed")) == (30 + 6 + 1 + 18, 18)
