"""A real worker process on both brokers: publish, predict, stop, and all kinds of invalid events."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition

from forebay.schemas import headers as names
from forebay.stream.telemetry.log_setup import CLIENT_LINES_EVERY_S
from tests.brokers.clients import producer, send_batch
from tests.conftest import on_apache, on_embedded
from tests.worker.echo import NUM_FEATURES, POISON
from tests.worker.harness import WorkerGroup, kinds, total
from tests.worker.structured_log import check_client_lines, repetitions, starting

GOOD = {"id": "good", "timestamp": 1, "features": [1.0] * NUM_FEATURES}


async def test_every_event_is_predicted_once_and_the_worker_stops_cleanly(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    await worker_group.publish(3000)
    worker = worker_group.start()
    await worker_group.settled()
    await worker_group.publish(500)
    await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
    deltas = await worker_group.outputs("outcome-deltas")
    assert total(deltas) == total(deltas, outcome="predicted") == 3500
    assert "3,500 events committed = 3,500 predicted + 0 rejected + 0 failed" in worker.log


async def test_invalid_events_of_every_kind_do_not_affect_others(worker_group: WorkerGroup) -> None:
    await worker_group.create({"max.message.bytes": "16000000"})
    await worker_group.publish(100)
    before = await worker_group.ends()
    poison = [
        b"",
        b"\x00\xff garbage",
        b"[" * 100_000,
        b'{"id":"d","timestamp":1,"features":' + b"[" * 500 + b"]" * 500 + b"}",
        b"x" * 10_000_000,
        orjson.dumps(GOOD | {"features": [1e39, 1, 1, 1]}),
        b'{"id":"e","timestamp":1,"features":[1e999,1,1,1]}',
        orjson.dumps(GOOD | {"features": [1, 1]}),
        orjson.dumps(GOOD | {"features": None}),
        orjson.dumps(GOOD | {"timestamp": "never"}),
        orjson.dumps(GOOD | {"model": "another"}),
        orjson.dumps(GOOD | {"deadline_ms": 5}),
        b'{"id":"first","id":"last","timestamp":1,"features":[1,1,1,1]}',
    ]
    await worker_group.send([poison, [], [], []])
    await worker_group.publish(100)
    worker = worker_group.start()
    await worker_group.settled()
    assert await worker.stop() == 0
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {
        "empty_value": 1,
        "not_json": 2,
        "wrong_type": 2,
        "too_large": 1,
        "out_of_range": 2,
        "wrong_length": 2,
        "unknown_model": 1,
        "deadline_exceeded": 1,
    }
    offsets = [int(dict(record.headers)[names.ERROR_OFFSET]) for record in letters]
    assert offsets == list(range(before[0], before[0] + 12)), "in the order of the input"
    truncated = next(record for record in letters if names.ERROR_TRUNCATED in dict(record.headers))
    assert dict(truncated.headers)[names.ERROR_KIND] == b"too_large" and len(truncated.value) < 1_048_576
    assert letters[1].value == poison[1], "the original bytes"
    predictions = await worker_group.outputs("predictions")
    assert [orjson.loads(r.value)["id"] for r in predictions if b'"last"' in r.value] == ["last"]
    assert len(predictions) == 201
    deltas = await worker_group.outputs("outcome-deltas")
    assert (total(deltas), total(deltas, outcome="rejected"), total(deltas, outcome="failed")) == (213, 11, 1)


async def test_aborted_input_is_neither_predicted_nor_counted(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    async with producer(worker_group.bootstrap, transactional_id=worker_group.topic("writer")) as writer:
        for number in range(12):
            await writer.begin_transaction()
            for place in range(worker_group.partitions):
                where = TopicPartition(worker_group.topic("features"), place)
                ids = [f"{'ab'[number % 2]}/{place}/{number}/{row}" for row in range(5)]
                await send_batch(writer, where, [orjson.dumps(GOOD | {"id": event_id}) for event_id in ids])
            await (writer.abort_transaction() if number % 2 else writer.commit_transaction())
    await worker_group.publish(40)
    worker = worker_group.start()
    await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    ids = [orjson.loads(record.value)["id"] for record in await worker_group.outputs("predictions")]
    committed = {f"a/{place}/{number}/{row}" for place in range(4) for number in range(0, 12, 2) for row in range(5)}
    assert sorted(ids) == sorted({event_id for part in worker_group.published for event_id, _, _ in part} | committed)
    assert total(await worker_group.outputs("outcome-deltas")) == len(ids) == 160


@on_embedded
@pytest.mark.parametrize(
    ("mode", "kind"), [("raise", "model_error"), ("nan", "output_not_finite"), ("reject", "outlier")]
)
async def test_a_model_that_fails_on_some_rows(worker_group: WorkerGroup, mode: str, kind: str) -> None:
    await worker_group.create()
    await worker_group.publish(300)
    good = [list(part) for part in worker_group.published]
    await worker_group.publish(7, first_feature=POISON)
    worker = worker_group.start(mode=mode)
    await worker_group.settled()
    assert await worker.stop() == 0
    worker_group.published = good
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {kind: 7}
    assert dict(letters[0].headers)[names.ERROR_MODEL] == b"echo"
    assert total(await worker_group.outputs("outcome-deltas"), kind=kind) == 7


@on_embedded
async def test_events_that_are_sent_again_become_dead_letters_of_their_own_kind(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    await worker_group.publish(300)
    again = [
        [orjson.dumps(GOOD | {"id": event_id}) for event_id, _, _ in part[-10:]] for part in worker_group.published
    ]
    await worker_group.send(again)
    worker = worker_group.start(input={"duplicate_window_events": 1000, "duplicate_window_ms": 3_600_000})
    await worker_group.settled()
    assert await worker.stop() == 0, worker.log
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
    letters = await worker_group.outputs("dead-letters")
    sent_again = len(letters)
    assert kinds(letters) == {"duplicate": sent_again}
    assert sorted(letter.value for letter in letters) == sorted(value for part in again for value in part)
    deltas = await worker_group.outputs("outcome-deltas")
    assert total(deltas, kind="duplicate") == sent_again and total(deltas) == 300 + sent_again


@on_embedded
async def test_a_model_that_hangs_ends_the_worker_with_the_reason_and_loses_nothing(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    await worker_group.publish(20)
    await worker_group.settled_by(worker_group.start(mode="hang"))
    await worker_group.publish(5, first_feature=POISON)
    worker = worker_group.start(mode="hang", model={"call_timeout_ms": 800}, breaker={"reset_timeout_ms": 1000})
    assert await worker.ended() == 1
    assert "circuit breaker of the model: open: a call has not returned" in worker.log
    assert "stopped: call_timeout: a model call has not returned" in worker.log
    await worker_group.settled_by(worker_group.start(mode="echo"))
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)


@on_embedded
async def test_a_late_model_call_loses_nothing(worker_group: WorkerGroup, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    await worker_group.create()
    worker = worker_group.start(mode="hang", flag=flag, model={"call_timeout_ms": 500})
    await worker.ready()
    await worker_group.publish(20, first_feature=POISON)
    await worker.says("circuit breaker of the model: open: a call has not returned")
    flag.unlink()
    await worker_group.publish(20)
    await worker_group.settled_by(worker)
    assert "circuit breaker of the model: closed" in worker.log
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)


@on_embedded
@pytest.mark.slow
async def test_a_temporarily_broken_model_loses_nothing(worker_group: WorkerGroup, tmp_path: Path) -> None:
    """The model fails for every input, so the data is not the cause: no dead letters, and the source waits."""
    flag = tmp_path / "flag"
    await worker_group.create()
    worker = worker_group.start(
        mode="broken",
        flag=flag,
        # So rare that the limit on repeated lines never hides one of the breaker's.
        breaker={"failure_threshold": 3, "reset_timeout_ms": 2500},
        kafka={"max_poll_interval_ms": 3000},
        log={"format": "json"},
    )
    await worker.ready()
    await worker_group.publish(100)
    await worker_group.settled()
    flag.touch()
    await worker_group.publish(400)
    await worker.says(
        "circuit breaker of the model: open: 3 failures in a row, the last: RuntimeError: the device is gone"
    )
    await worker.says("circuit breaker of the model: half_open")
    await asyncio.sleep(4)
    flag.unlink()
    await worker_group.settled_by(worker)
    assert "circuit breaker of the model: closed" in worker.log
    lines = worker.log_lines()
    assert len(starting(lines, "partitions assigned")) == 1, "it never left the group"
    tries = [line.time_s for line in starting(lines, "circuit breaker of the model: half_open")]
    assert len(tries) > 1 and min(after - before for before, after in pairwise(tries)) > 2.4, (
        "one line for each attempt"
    )
    check_client_lines(lines, every_s=CLIENT_LINES_EVERY_S)
    counts = repetitions(line for line in lines if not line.key.startswith("circuit breaker"))
    assert max(counts.values()) <= 2, counts
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
    assert await worker_group.outputs("dead-letters") == []


@on_embedded
async def test_too_many_dead_letters_stop_the_worker_instead_of_draining_the_topic(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    await worker_group.publish(100)
    limits = {"max_dead_letter_ratio": 0.5, "dead_letter_window_events": 200, "max_in_flight_events": 256}
    worker = worker_group.start(limits=limits)
    await worker_group.settled()
    await worker_group.send([[b"garbage"] * 500 for _ in range(worker_group.partitions)])
    assert await worker.ended() == 1
    assert "stopped: dead_letter_limit: " in worker.log and "Traceback" not in worker.log, worker.log
    assert "of the last" in worker.log and "most common in this commit: not_json" in worker.log
    letters = len(await worker_group.outputs("dead-letters"))
    assert letters < 600, "of 2,000: the others are still in the input"
    committed = sum(offset or 0 for offset in (await worker_group.committed()).values())
    await worker_group.settled_by(worker_group.start(limits={"max_dead_letter_ratio": 1.0}))
    assert letters <= committed
    assert len(await worker_group.outputs("dead-letters")) == 2000
    assert total(await worker_group.outputs("outcome-deltas")) == 2100


@on_embedded
async def test_a_topic_of_random_bytes(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    garbage = [[os.urandom(20 + number % 50) for number in range(500)] for _ in range(worker_group.partitions)]
    await worker_group.send(garbage)
    worker = worker_group.start()
    await worker_group.settled()
    assert await worker.stop() == 0
    letters = await worker_group.outputs("dead-letters")
    assert [record.value for record in letters] == [value for part in garbage for value in part]
    assert total(await worker_group.outputs("outcome-deltas"), outcome="rejected") == 2000


@on_apache
@pytest.mark.slow
async def test_a_slow_model_pauses_the_source_and_keeps_the_membership(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    await worker_group.publish(2000)
    worker = worker_group.start(
        mode="slow",
        batch={"max_batch_size": 16},
        limits={"max_in_flight_events": 64},
        kafka={"max_poll_interval_ms": 3000},
        log={"format": "json"},
    )
    await worker_group.settled()
    assert await worker.stop() == 0
    assert len(starting(worker.log_lines(), "partitions assigned")) == 1, "it never left the group"
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)


@on_embedded
async def test_a_second_signal_ends_the_worker_at_once(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    worker = worker_group.start(mode="hang", delivery={"drain_timeout_ms": 60_000}, model={"call_timeout_ms": 60_000})
    await worker.ready()
    await worker_group.publish(5, first_feature=POISON)
    await worker.has_in_flight(5)
    worker.process.send_signal(signal.SIGTERM)
    await worker.says("stopping: draining 5 events")
    assert worker.process.poll() is None
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended(30) == 128 + signal.SIGTERM  # in less than the drain's time-out


async def test_latest_is_the_end_of_the_log_at_the_first_start(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    await worker_group.publish(40)
    latest = {"auto_offset_reset": "latest"}
    worker = worker_group.start(input=latest)
    await worker.ready()
    assert await worker.stop() == 0
    await worker_group.publish(40)
    await worker_group.settled_by(worker_group.start(input=latest))
    predictions = await worker_group.outputs("predictions")
    assert len(predictions) == 40
    assert {orjson.loads(record.value)["source"]["offset"] for record in predictions} == set(range(10, 20))


async def test_a_worker_starts_from_a_timestamp(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    await worker_group.publish(40)
    await asyncio.sleep(0.05)
    middle = time.time_ns() // 1_000_000
    await asyncio.sleep(0.05)
    await worker_group.publish(40)
    await worker_group.settled_by(worker_group.start(input={"from_timestamp": middle}))
    offsets = {orjson.loads(record.value)["source"]["offset"] for record in await worker_group.outputs("predictions")}
    assert offsets == set(range(10, 20))


async def test_none_refuses_to_choose_a_start_offset(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    worker = worker_group.start(input={"auto_offset_reset": "none"})
    assert await worker.ended() == 1
    assert "stopped: no_offset" in worker.log and "Traceback" not in worker.log


async def test_missing_topics_are_reported_before_joining(worker_group: WorkerGroup) -> None:
    worker = worker_group.start(kafka={"request_timeout_ms": 3000})
    assert await worker.ended() == 1
    assert f"{worker_group.topic('features')}" in worker.log and "Traceback" not in worker.log
