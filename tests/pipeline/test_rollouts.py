"""Revisions in a running pipeline: lanes come and go, and events go to the versions that the current revision names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiokafka.errors import KafkaConnectionError

from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.schemas.errors import ConfigError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.decode import DecodedModel
from tests.core.build import MODEL, P0, P1, FakeRecord, event, signature
from tests.pipeline.allocations import revision
from tests.pipeline.rig import Rig
from tests.pipeline.rollout_rig import RolloutRig, emitter

V2 = ModelRef("m", 2)


async def test_later_polls_are_routed_by_the_new_revision() -> None:
    rig = RolloutRig([20, 20])
    async with rig.running():
        await rig.add(2)
        await rig.until(rig.all_committed)
        assert rig.pipeline.revisions() == {"m": 0}
        rig.pipeline.switch(revision(1, 2, number=1))
        assert rig.pipeline.revisions() == {"m": 1}
        for place in (P0, P1):
            rig.log[place] += [FakeRecord(i, event(f"{i}", [i, 2, 3])) for i in range(20, 40)]  # type: ignore[union-attr]
        await rig.until(rig.all_committed)
        rig.pipeline.switch(revision(2, number=2))
        rig.log[P0].append(FakeRecord(40, event("0", [1, 2, 3])))  # type: ignore[union-attr]
        await rig.until(rig.all_committed)
    versions = rig.versions_of_outcomes()
    assert all(versions[place][offset] == [1] for place in (P0, P1) for offset in range(20))
    by_id = {offset: [1 + offset % 2] for offset in range(20, 40)}
    assert {offset: versions[P1][offset] for offset in by_id} == by_id
    assert versions[P0] == {**{offset: [1] for offset in range(20)}, **by_id, 40: [2]}


async def test_a_switch_is_committed_with_the_first_event_of_its_revision() -> None:
    rig = RolloutRig([5, 0])
    async with rig.running():
        await rig.add(2)
        await rig.until(rig.all_committed)
        rig.pipeline.switch(revision(1, 2, number=4))
        await rig.until(lambda: len(rig.source.idle_commits) > 2, step_s=1.0)
        assert rig.switches() == [] and rig.source.idle_metadata[-1] == {P0: "", P1: ""}, "no event was routed by it"
        rig.log[P0] += [FakeRecord(i, event(f"{i}", [i, 2, 3])) for i in range(5, 20)]  # type: ignore[union-attr]
        await rig.until(rig.all_committed)
        rig.pipeline.switch(revision(2, number=5))
        rig.log[P0].append(FakeRecord(20, event("0", [1, 2, 3])))  # type: ignore[union-attr]
        rig.log[P1] += [FakeRecord(i, event(f"{i}", [i, 2, 3])) for i in range(3)]  # type: ignore[union-attr]
        await rig.until(rig.all_committed)
        await rig.until(lambda: P1 in rig.source.idle_commits[-1] and rig.source.idle_commits[-1][P1] == 3, step_s=1.0)
    found = [(switch.partition, switch.revision, switch.first_offset) for switch in rig.switches()]
    assert sorted(found) == [(0, 4, 5), (0, 5, 20), (1, 5, 0)]
    named = {P0: "forebay-rollouts1 m=5", P1: "forebay-rollouts1 m=5"}
    assert rig.source.metadata == rig.source.idle_metadata[-1] == named


async def test_what_a_rewind_drops_is_routed_by_the_newest_revision() -> None:
    rig = RolloutRig([10, 0])
    rig.model.gate.clear()
    async with rig.running():
        await rig.add(2)
        await rig.add(3)
        await rig.until(lambda: rig.pipeline.num_in_flight == 10)
        rig.pipeline.switch(revision(2, number=1))
        rig.log[P0] += [FakeRecord(i, event(f"{i}", [i, 2, 3])) for i in range(10, 20)]  # type: ignore[union-attr]
        await rig.until(lambda: rig.pipeline.num_in_flight == 20)
        rig.pipeline.switch(revision(3, number=2))
        failures = iter([KafkaConnectionError("for this test")])

        def fail_once() -> None:
            for error in failures:
                raise error

        rig.producer.fail = fail_once
        rig.model.gate.set()
        await rig.until(rig.all_committed)
        assert rig.source.rewinds == 1
    assert rig.versions_of_outcomes()[P0] == {offset: [3] for offset in range(20)}
    assert [(switch.revision, switch.first_offset) for switch in rig.switches()] == [(2, 0)]


async def test_a_lane_is_removed_after_its_last_commit() -> None:
    rig = RolloutRig([30, 0])
    async with rig.running():
        await rig.add(2)
        assert not rig.pipeline.remove_lane(MODEL), "the configured version serves"
        rig.model.gate.clear()
        await rig.until(lambda: rig.pipeline.num_in_flight > 0)
        rig.pipeline.switch(revision(2))
        assert not rig.pipeline.remove_lane(MODEL), "its events are in flight"
        rig.model.gate.set()
        await rig.until(rig.all_committed)
        assert rig.pipeline.remove_lane(MODEL)
        assert [status.model for status in rig.pipeline.lanes_status()] == [V2]
        rig.log[P0].append(FakeRecord(30, event("last", [1, 2, 3])))  # type: ignore[union-attr]
        await rig.until(rig.all_committed)
    assert rig.versions_of_outcomes()[P0][30] == [2]


async def test_versions_with_other_features_get_events_packed_for_them() -> None:
    rig = RolloutRig([0, 0])
    async with rig.running():
        await rig.add(2, signature(2))
        rig.pipeline.switch(revision(1, 2))
        own = [FakeRecord(i, event(str(i), [i, 2, 3] if i % 2 == 0 else [i, 2])) for i in range(20)]
        rig.log[P0] += own  # type: ignore[union-attr]
        await rig.until(rig.all_committed)
        rig.pipeline.switch(revision(2, number=2))
        rig.log[P0] += [FakeRecord(i, event(str(i), [i, 2])) for i in range(20, 30)]  # type: ignore[union-attr]
        await rig.until(rig.all_committed)
    expected = {offset: [1 + offset % 2] for offset in range(20)} | {offset: [2] for offset in range(20, 30)}
    assert rig.versions_of_outcomes()[P0] == expected


async def test_a_blocked_canary_holds_back_its_own_partitions_only_until_it_answers() -> None:
    rig = RolloutRig([0, 0])
    async with rig.running():
        canary = await rig.add(2)
        rig.pipeline.switch(revision(1, 2))
        canary.gate.clear()
        rig.log[P0] += [FakeRecord(i, event(str(i), [i, 2, 3])) for i in range(10)]  # type: ignore[union-attr]
        await rig.until(lambda: rig.source.committed[P0] == 1)
        canary.gate.set()
        await rig.until(rig.all_committed)


async def test_events_that_are_stuck_in_a_broken_canary_are_predicted_by_the_next_revision() -> None:
    rig = RolloutRig([0, 0])
    async with rig.running():
        canary = await rig.add(2)
        rig.pipeline.switch(revision(1, 2))
        canary.broken = True
        rig.log[P0] += [FakeRecord(i, event(str(i), [i, 2, 3])) for i in range(20)]  # type: ignore[union-attr]
        # The event before them is for the stable version: it is committed, whether before the breaker opens or after.
        await rig.until(lambda: ("model 2", "open") in rig.breaker_changes and rig.source.committed[P0] == 1)
        assert rig.source.rewinds == 0, "the canary may work again"
        rig.pipeline.switch(revision(1, number=2))
        await rig.until(rig.all_committed)
        assert rig.source.rewinds == 1 and rig.pipeline.remove_lane(V2)
    assert rig.versions_of_outcomes()[P0] == {offset: [1] for offset in range(20)}
    assert [(switch.revision, switch.first_offset) for switch in rig.switches()] == [(1, 0), (2, 1)]


async def test_a_revision_needs_a_lane_for_each_version() -> None:
    rig = RolloutRig([1, 1])
    async with rig.running():
        with pytest.raises(RuntimeError, match="revision 1 of m needs a lane for m version 2"):
            rig.pipeline.switch(revision(1, 2))
        assert rig.pipeline.revisions() == {"m": 0}


async def test_models_of_windows_take_no_part() -> None:
    rig = RolloutRig([1, 1])
    async with rig.running():
        with pytest.raises(ConfigError, match="the model 'w' takes no part in rollouts; those that do: m"):
            rig.pipeline.switch(revision(1, model="w"))
        windowed = replace(signature(3), window=WindowInput(aggregates=(Aggregate("count"),)))
        with pytest.raises(ConfigError, match="m version 2 takes event-time windows"):
            rig.pipeline.add_lane(None, emitter(V2), DecodedModel(V2, windowed))  # type: ignore[arg-type]


async def test_without_rollouts_nothing_can_be_switched() -> None:
    rig = Rig([1, 1])
    async with rig.running():
        assert rig.pipeline.revisions() == {}
        with pytest.raises(RuntimeError, match="not enabled"):
            rig.pipeline.switch(revision(1))
