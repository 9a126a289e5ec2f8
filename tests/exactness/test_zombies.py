"""Workers that stand still while the group goes on without them, and then go on where they were: whatever they have begun is
either refused as a whole or was committed before anyone else read the offsets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.worker.harness import Stage, WorkerProcess, total

SESSION_MS = 6000
"""The harness's session time-out; the group goes on without a member that is silent for longer."""

EVENTS = 600


@pytest_asyncio.fixture
async def stage(kafka: Broker, names: Names, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(kafka.bootstrap, names.prefix, tmp_path)
    try:
        await stage.create()
        yield stage
    finally:
        stage.kill_all()


async def stopped_at(stage: Stage, failpoints: dict[str, dict[str, Any]], **delivery: Any) -> WorkerProcess:
    """A worker that stands still at its first failpoint, in the middle of its events."""
    zombie = stage.start(failpoints=failpoints, delivery=delivery)
    await zombie.ready()
    await stage.publish(EVENTS)
    await zombie.says(": stop")
    return zombie


async def check(stage: Stage, *workers: WorkerProcess) -> None:
    await stage.settled(90)
    for worker in workers:
        assert await worker.stop() == 0, worker.log
        assert "Traceback" not in worker.log, worker.log
    stage.check_predictions(await stage.outputs("predictions"), exactly_once=True)
    count = sum(len(part) for part in stage.published)
    assert total(await stage.outputs("outcome-deltas"), outcome="predicted") == count


async def test_stopped_before_begin_and_resumed_straight_into_the_commit(stage: Stage) -> None:
    zombie = await stopped_at(stage, {"before_begin": {"do": "stop", "at": 2}})
    successor = stage.start()
    await stage.settled(60)  # the successor has done the zombie's part
    zombie.resume()
    await zombie.says("commit failed")
    await stage.publish(200)
    await check(stage, zombie, successor)


@pytest.mark.slow
@pytest.mark.parametrize("resumed", ["before the transaction's time-out", "after it"])
async def test_stopped_between_its_offsets_and_the_end_of_the_transaction(stage: Stage, resumed: str) -> None:
    """The transaction's time-out is above the session: the successor has the partitions while the transaction is open."""
    early = resumed == "before the transaction's time-out"
    timeout_ms = 60_000 if early else 12_000
    zombie = await stopped_at(
        stage,
        {"after_txn_offset_commit": {"do": "stop", "at": 2}},
        transaction_timeout_ms=timeout_ms,
        commit_timeout_ms=timeout_ms,
        drain_timeout_ms=timeout_ms,
    )
    successor = stage.start()
    await successor.says("an open transaction holds the group's offsets")
    if early:
        # It waits for the open transaction, which is still the zombie's to commit.
        await asyncio.sleep(SESSION_MS / 1000 + 1)
        assert "worker ready" not in successor.log or "partitions assigned: none" in successor.log
    else:
        await stage.settled(60)
    zombie.resume()
    await stage.publish(200)
    await check(stage, zombie, successor)
    # Early, the transaction is still its own to commit; whether there is another one after it, to be refused, is chance.
    assert early or "commit failed" in zombie.log, zombie.log


@pytest.mark.slow
async def test_evicted_and_committing_after_the_client_has_reset_its_generation(stage: Stage) -> None:
    """The delay leaves the heartbeat the time to learn of the eviction, whereupon the client is of generation -1."""
    zombie = await stopped_at(
        stage, {"before_begin": {"do": "stop", "at": 2}, "after_deliveries": {"do": "delay", "at": 2, "seconds": 3}}
    )
    successor = stage.start()
    await stage.settled(60)
    zombie.resume()
    await zombie.says("after_deliveries: delay")
    await zombie.says("commit failed")
    await stage.publish(200)
    await check(stage, zombie, successor)
