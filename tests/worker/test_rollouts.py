"""Rollouts in real workers on the embedded broker: canary, promotion, rollback, versions that cannot serve, late workers."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forebay.stream.control.switch_reader import read_switches
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import TopicPartition
from forebay.stream.rollouts.allocation import Allocation
from forebay.stream.rollouts.changes import Proposal, promote, rollback, start_canary
from forebay.stream.rollouts.revision import Action, Revision
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.eventually import eventually
from tests.worker.rollout_workers import NAME, OVERFLOWS, RolloutGroup, key_of, rollout_group


@pytest.fixture
async def group(embedded_broker: Broker, names: Names, tmp_path: Path) -> AsyncIterator[RolloutGroup]:
    async with rollout_group(embedded_broker.bootstrap, names.prefix, tmp_path) as group:
        yield group


def canary(version: int, weight: float = 50) -> object:
    def change(current: Revision, proposal: Proposal) -> Revision:
        return start_canary(current, version, weight, steps=None, seed=7, route_by=None, proposal=proposal)

    return change


async def test_canary_promotion_and_rollback_in_two_workers(group: RolloutGroup) -> None:
    group.publish_version(2)
    first = await group.start("w1")
    await first.ready()
    assert set((await group.predicted(40)).values()) == {1}

    # A canary of half of the keys, and a second worker that joins while it is in force.
    revision = await group.propose(canary(2), 2)
    await first.applied(1)
    second = await group.start("w2")
    await second.ready()
    assert second.rollout.applied == 1 and second.rollout.resident == (1, 2)
    versions = await group.predicted(200)
    expected = Allocation.of(revision).versions_of([key_of(number) for number in versions])
    assert list(versions.values()) == expected.tolist() and set(expected.tolist()) == {1, 2}

    # Promoted in both; the switch is recorded for each partition.
    await group.propose(lambda current, proposal: promote(current, 2, proposal))
    for worker in group.workers:
        await worker.applied(2)
    assert set((await group.predicted(40)).values()) == {2}
    switches = await read_switches(group.settings, clock=SystemClock())
    for number in range(2):
        place = TopicPartition(f"{group.prefix}-features", number)
        assert [switches.revision_at(NAME, place, offset) for offset in (0, 20, 119, 120)] == [0, 1, 1, 2]

    # Back, without a load: version 1 is still in memory.
    loads = first.status["rollouts"][0]["resident"]
    await group.propose(lambda current, proposal: rollback(current, None, proposal))
    for worker in group.workers:
        await worker.applied(3)
    assert set((await group.predicted(40)).values()) == {1}
    assert first.status["rollouts"][0]["resident"] == loads == [1, 2]
    assert first.status["model"] == {"name": NAME, "version": 1}


async def test_a_damaged_version_is_refused_while_the_stream_continues(group: RolloutGroup) -> None:
    group.publish_version(2)
    workers = [await group.start("w1"), await group.start("w2")]
    for worker in workers:
        await worker.ready()
    await group.predicted(20)
    group.flip_byte(2)
    await group.propose(canary(2), 2)
    for worker in workers:
        status = await worker.applied(2)
        assert (status.resident, status.revision.action, status.revision.rejected) == ((1,), Action.ABORT, (2,))
        assert status.revision.automatic and status.revision.evidence["kind"] == "digest"
        assert status.revision.evidence["check"] == "load"
    assert set((await group.predicted(40)).values()) == {1}


async def test_a_canary_that_gives_nan_is_rolled_back_at_once(group: RolloutGroup) -> None:
    group.publish_overflowing()
    worker = await group.start("w1")
    await worker.ready()
    await group.propose(canary(2), 2)
    await worker.applied(1)
    versions = await group.predicted(60, features=(1.0, OVERFLOWS, 1.0))
    assert set(versions.values()) == {1, None}
    status = await worker.applied(2)
    evidence = status.revision.evidence
    num_failed = list(versions.values()).count(None)
    assert (status.revision.action, evidence["check"], evidence["version"]) == (Action.ABORT, "non_finite", 2)
    assert evidence["non_finite"] == evidence["rows"] == num_failed
    assert set((await group.predicted(40, features=(1.0, OVERFLOWS, 1.0))).values()) == {1}


async def test_a_version_that_has_left_service_is_freed(group: RolloutGroup) -> None:
    group.publish_version(2)
    worker = await group.start("w1", rollouts={"enabled": True, "keep_previous_s": 0})
    await worker.ready()
    lane = next(lane for lane in worker._worker._parts.lanes if lane.ref == ModelRef(NAME, 1))
    model = weakref.ref(lane.model)
    del lane
    await group.predicted(20)
    await group.propose(lambda current, proposal: promote(current, 2, proposal), 2)
    await worker.applied(1)
    await eventually(lambda: worker.rollout.resident, "version 2 alone", until=lambda resident: resident == (2,))
    gc.unfreeze()  # as the worker starts, it excludes its first version from collection

    def is_freed() -> bool:
        gc.collect()
        return model() is None

    await eventually(is_freed, "the freed model", context=lambda: gc.get_referrers(model()), timeout_s=5)
    assert set((await group.predicted(20)).values()) == {2}
    assert [entry["version"] for entry in worker.status["models"]] == [2]
