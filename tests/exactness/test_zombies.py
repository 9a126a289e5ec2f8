"""Workers that are frozen while the group continues without them, and then resume: the transaction they had begun is either
refused as a whole or was committed before any other worker read the offsets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.worker.harness import WorkerGroup, WorkerProcess, total

SESSION_MS = 6000
"""The harness's session time-out. The group evicts a member that is silent for longer."""

EVENTS = 600

PATIENT = {"commit_timeout_ms": 60_000, "transaction_timeout_ms": 60_000, "drain_timeout_ms": 60_000}
"""Time-outs that let a worker continue its commit however long it was frozen."""


async def stopped_at(
    worker_group: WorkerGroup, failpoints: dict[str, dict[str, Any]], **delivery: Any
) -> WorkerProcess:
    """Start a worker that freezes at its first failpoint, in the middle of its events."""
    zombie = worker_group.start(failpoints=failpoints, delivery=delivery)
    await zombie.ready()
    await worker_group.publish(EVENTS)
    await zombie.says(": stop")
    return zombie


async def check(worker_group: WorkerGroup, *workers: WorkerProcess) -> None:
    await worker_group.settled(90)
    for worker in workers:
        assert await worker.stop() == 0, worker.log
        assert "Traceback" not in worker.log, worker.log
    worker_group.check_predictions(await worker_group.outputs("predictions"), exactly_once=True)
    count = sum(len(part) for part in worker_group.published)
    assert total(await worker_group.outputs("outcome-deltas"), outcome="predicted") == count


async def test_stopped_before_begin_and_resumed_straight_into_the_commit(worker_group: WorkerGroup) -> None:
    await worker_group.create()
    zombie = await stopped_at(worker_group, {"before_begin": {"do": "stop", "at": 2}}, **PATIENT)
    successor = worker_group.start()
    await worker_group.settled(60)  # the successor has processed the zombie's events
    zombie.resume()
    await zombie.says("commit failed")
    await worker_group.publish(200)
    await check(worker_group, zombie, successor)


@pytest.mark.slow
@pytest.mark.parametrize("resumed", ["before the transaction's time-out", "after it"])
async def test_stopped_between_its_offsets_and_the_end_of_the_transaction(
    worker_group: WorkerGroup, resumed: str
) -> None:
    """The transaction times out later than the session, so the successor gets the partitions while the transaction is open."""
    await worker_group.create()
    early = resumed == "before the transaction's time-out"
    timeout_ms = 60_000 if early else 12_000
    zombie = await stopped_at(
        worker_group,
        {"after_txn_offset_commit": {"do": "stop", "at": 2}},
        transaction_timeout_ms=timeout_ms,
        commit_timeout_ms=timeout_ms,
        drain_timeout_ms=timeout_ms,
    )
    successor = worker_group.start()
    await successor.says("an open transaction holds the group's offsets")
    if early:
        # The successor waits for the open transaction, which the zombie can still commit.
        await asyncio.sleep(SESSION_MS / 1000 + 1)
        assert "worker ready" not in successor.log or "partitions assigned: none" in successor.log
    else:
        await worker_group.settled(60)
    zombie.resume()
    await worker_group.publish(200)
    await check(worker_group, zombie, successor)
    # If it resumes early, it can still commit the transaction. Whether another one follows and is refused is up to chance.
    assert early or "commit failed" in zombie.log, zombie.log


@pytest.mark.slow
async def test_evicted_and_committing_after_the_client_has_reset_its_generation(worker_group: WorkerGroup) -> None:
    """During the delay, the heartbeat learns of the eviction, and the client resets its generation to -1."""
    await worker_group.create()
    zombie = await stopped_at(
        worker_group,
        {"before_begin": {"do": "stop", "at": 2}, "after_deliveries": {"do": "delay", "at": 2, "seconds": 3}},
        **PATIENT,
    )
    successor = worker_group.start()
    await worker_group.settled(60)
    zombie.resume()
    await zombie.says("after_deliveries: delay")
    await zombie.says("commit failed")
    await worker_group.publish(200)
    await check(worker_group, zombie, successor)
