"""Real workers that serve several models, on both brokers: which model predicts, order, blocked models, changes and stops."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import orjson

from forebay.schemas import headers as names
from tests.conftest import on_embedded
from tests.eventually import eventually
from tests.worker.harness import WorkerGroup, WorkerProcess, kinds
from tests.worker.several_models import Choice, SeveralModels

ECHO: dict[str, Any] = {"name": "alpha", "mode": "echo", "topics": ["features"]}
ORDERS: dict[str, Any] = {"name": "beta", "mode": "echo", "topics": ["orders"]}
OF_TOPIC = {"features": "alpha", "orders": "beta"}


async def blocked(worker: WorkerProcess) -> dict[str, str | None]:
    """Return why each model is blocked."""
    return {model["name"]: model["blocked"] for model in (await worker.status())["models"]}


async def until_blocked(worker: WorkerProcess, expected: dict[str, str | None]) -> None:
    async def reasons() -> dict[str, str | None]:
        return await blocked(worker)

    await eventually(reasons, f"{expected}", until=lambda seen: seen == expected, context=lambda: worker.log)


async def test_each_event_is_predicted_by_the_model_that_it_chooses(worker_group: WorkerGroup) -> None:
    events = SeveralModels(worker_group, of_topic=OF_TOPIC, widths={"wide": 6})
    await events.create()
    worker = worker_group.start(models=[ECHO, ORDERS, {"name": "wide", "mode": "echo", "width": 6}])
    await events.publish(100, [Choice()])
    await events.publish(
        60,
        [
            Choice(),
            Choice(field="wide"),
            Choice(header="wide"),
            Choice(field="beta"),
            Choice(field="wide", header="beta"),
            Choice(field="alpha"),
        ],
    )
    await events.publish(60, [Choice(), Choice(field="alpha"), Choice(header="wide")], topic="orders")
    await worker_group.settled_by(worker)
    await events.check()
    assert await worker_group.outputs("dead-letters") == []
    assert "640 events committed = 640 predicted + 0 rejected + 0 failed" in worker.log, worker.log


@on_embedded
async def test_without_topics_the_first_model_is_the_default(worker_group: WorkerGroup) -> None:
    events = SeveralModels(worker_group, of_topic={"features": "beta"})
    await events.create()
    worker = worker_group.start(models=[{"name": "beta", "mode": "echo"}, {"name": "alpha", "mode": "echo"}])
    await events.publish(100, [Choice(), Choice(header="alpha")])
    await worker_group.settled_by(worker)
    await events.check()


@on_embedded
async def test_an_event_for_an_unknown_model_becomes_a_dead_letter_that_lists_the_models(
    worker_group: WorkerGroup,
) -> None:
    events = SeveralModels(worker_group, of_topic=OF_TOPIC)
    await events.create()
    await events.publish(50, [Choice(), Choice(field="beta")])
    event = {"id": "x", "timestamp": 1, "features": [1.0, 2.0, 3.0, 4.0]}
    by_field, by_header = orjson.dumps(event | {"model": "gamma"}), orjson.dumps(event)
    await worker_group.send([[by_field, by_header]], headers=[[[], [(names.MODEL, b"delta")]]])
    await worker_group.send([[by_field]], topic="orders")
    await worker_group.settled_by(worker_group.start(models=[ECHO, ORDERS]))
    letters = await worker_group.outputs("dead-letters")
    assert kinds(letters) == {"unknown_model": 3}
    for letter in letters:
        message = dict(letter.headers)[names.ERROR_MESSAGE].decode()
        assert "alpha" in message and "beta" in message, message
    assert await events.counts() == {
        ("alpha", "predicted"): 50,
        ("beta", "predicted"): 50,
        ("alpha", "rejected"): 2,
        ("beta", "rejected"): 1,
    }


@on_embedded
async def test_a_model_that_fails_on_rows_does_not_affect_the_others(worker_group: WorkerGroup) -> None:
    events = SeveralModels(worker_group, of_topic=OF_TOPIC)
    await events.create()
    mixed = [Choice(), Choice(field="beta"), Choice(header="gamma")]
    await events.publish(100, mixed)
    await events.publish(5, mixed, poison=True)
    await events.publish(100, mixed)
    models = [ECHO | {"mode": "raise"}, ORDERS, {"name": "gamma", "mode": "slow"}]
    await worker_group.settled_by(worker_group.start(models=models))
    await events.check(raising="alpha")
    assert kinds(await worker_group.outputs("dead-letters")) == {"model_error": 5}


@on_embedded
async def test_a_model_whose_breaker_is_open_blocks_only_its_own_topic(
    worker_group: WorkerGroup, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    events = SeveralModels(worker_group, of_topic=OF_TOPIC)
    await events.create()
    worker = worker_group.start(
        models=[ECHO, ORDERS | {"mode": "broken", "flag": str(flag)}],
        breaker={"failure_threshold": 2, "reset_timeout_ms": 500},
    )
    await worker.ready()
    for topic in OF_TOPIC:
        await events.publish(50, topic=topic)
    await worker_group.settled()
    before = await worker_group.committed("orders")
    flag.touch()
    await events.publish(200, topic="orders")
    await worker.says("circuit breaker of the model beta: open: 2 failures in a row")
    for _ in range(3):
        await events.publish(200)
        await worker_group.topic_settled("features")
    assert await worker_group.committed("orders") == before
    await until_blocked(worker, {"alpha": None, "beta": "breaker_open"})
    flag.unlink()
    await worker_group.settled()
    # Not by its log: the line may be one of too many that are similar.
    await until_blocked(worker, {"alpha": None, "beta": None})
    assert await worker.stop() == 0, worker.log
    assert worker.log.count("partitions assigned") == 1, "it never left the group"
    await events.check()
    assert await worker_group.outputs("dead-letters") == []


@on_embedded
async def test_on_a_mixed_topic_a_model_whose_breaker_is_open_holds_back_in_order(
    worker_group: WorkerGroup, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    events = SeveralModels(worker_group, of_topic=OF_TOPIC)
    await events.create()
    worker = worker_group.start(
        models=[ECHO, ORDERS | {"mode": "broken", "flag": str(flag)}],
        breaker={"failure_threshold": 2, "reset_timeout_ms": 500},
    )
    await worker.ready()
    flag.touch()
    await events.publish(100, [Choice(), Choice(field="beta")])
    await worker.says("circuit breaker of the model beta: open")
    await events.publish(100, [Choice()])
    flag.unlink()
    await worker_group.settled_by(worker)
    await events.check()


@on_embedded
async def test_a_model_that_is_slow_does_not_starve_another_topic(worker_group: WorkerGroup, tmp_path: Path) -> None:
    """The slow model's events fill its share of what may be in flight; those of the other topic keep flowing."""
    flag = tmp_path / "flag"
    flag.touch()
    events = SeveralModels(worker_group, of_topic=OF_TOPIC)
    await events.create()
    worker = worker_group.start(
        models=[ECHO, ORDERS | {"mode": "hang", "flag": str(flag), "call_timeout_ms": 60_000}],
        limits={"max_in_flight_events": 120},
        batch={"max_batch_size": 16},
    )
    await worker.ready()
    await events.publish(400, topic="orders", poison=True)
    await until_blocked(worker, {"alpha": None, "beta": "in_flight_limit"})
    for _ in range(3):
        await events.publish(300)
        await worker_group.topic_settled("features")
    assert set((await worker_group.committed("orders")).values()) <= {None, 0}
    flag.unlink()
    await worker_group.settled_by(worker)
    await events.check()


@on_embedded
async def test_a_worker_that_restarts_with_other_models_continues(worker_group: WorkerGroup) -> None:
    events = SeveralModels(worker_group, of_topic={"features": "alpha"})
    await events.create()
    await events.publish(100, [Choice(), Choice(field="beta")])
    await worker_group.settled_by(worker_group.start(models=[ECHO, {"name": "beta", "mode": "echo"}]))
    await events.publish(100, [Choice(), Choice(field="gamma")])
    await worker_group.settled_by(worker_group.start(models=[ECHO, {"name": "gamma", "mode": "echo"}]))
    await events.check()
    gone = [orjson.dumps({"id": "x", "timestamp": 1, "features": [1.0] * 4, "model": "beta"})] * 3
    await worker_group.send([gone])
    await worker_group.settled_by(worker_group.start(models=[{"name": "gamma", "mode": "echo"}, ECHO]))
    assert kinds(await worker_group.outputs("dead-letters")) == {"unknown_model": 3}
    assert len(await worker_group.outputs("predictions")) == 400


@on_embedded
async def test_a_stop_drains_all_models(worker_group: WorkerGroup, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    events = SeveralModels(worker_group, of_topic=OF_TOPIC)
    await events.create()
    hanging = {"mode": "hang", "flag": str(flag), "call_timeout_ms": 60_000, "batch": {"max_batch_size": 8}}
    models = [ECHO, ORDERS | hanging]
    worker = worker_group.start(models=models, limits={"max_in_flight_events": 100})
    await worker.ready()
    await events.publish(150, [Choice(), Choice(field="beta")])
    await events.publish(150, topic="orders", poison=True)
    await worker.has_in_flight(20)
    worker.process.send_signal(signal.SIGTERM)
    await worker.says("stopping: draining")
    flag.unlink()
    assert await worker.ended() == 0, worker.log
    committed = [offset or 0 for topic in OF_TOPIC for offset in (await worker_group.committed(topic)).values()]
    assert 0 < sum(committed) == len(await worker_group.outputs("predictions")) < 450
    await worker_group.settled_by(worker_group.start(models=models))
    await events.check()
