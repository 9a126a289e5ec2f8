"""The follower of rollouts: what it applies and when, how it goes back, and what waits for it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import numpy as np
import pytest

from forebay.schemas.errors import ModelError
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchResult, MicroBatch, RowFailure
from forebay.stream.rollouts.changes import abort
from forebay.stream.rollouts.revision import Action, Revision
from forebay.stream.rollouts.revision_log import RevisionLog
from tests.core.build import chunk
from tests.worker.rollout_rig import KEEP_S, NAME, Rig, Topic, canary_at, promoted, proposal, run_tasks

DAMAGED = ModelError("weights.safetensors: the SHA-256 differs", kind="digest", remedy="copy it again")


@pytest.fixture
def topic() -> Topic:
    return Topic()


async def test_without_a_record_the_configured_version_serves(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    await rig.follow(3)
    assert (rig.applied, rig.switch.served, rig.versions.resident(NAME)) == (0, [], (1,))


async def test_the_current_revision_is_loaded_and_applied_before_the_group_is_joined(topic: Topic) -> None:
    first = topic.append(canary_at(None))
    topic.append(promoted(first, 3))
    rig = Rig(topic)
    await rig.follower.prepare()
    (served,) = rig.switch.served
    assert (served.number, served.stable, served.allocation.versions) == (2, 3, (2, 3))
    assert (rig.versions.resident(NAME), rig.versions.stable) == ((1, 2, 3), 3)
    assert rig.observer.accepted == []  # they are older than the worker


async def test_a_revision_is_applied_once_its_version_is_loaded_and_the_stream_continues_until_then(
    topic: Topic,
) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    gate = rig.versions.gates[2] = asyncio.Event()
    topic.append(canary_at(None))
    await rig.follow(3)
    (status,) = rig.follower.status()
    assert (status.applied, status.accepted, status.loading, rig.switch.served) == (0, 1, 2, [])
    gate.set()
    await run_tasks()
    (status,) = rig.follower.status()
    assert (status.applied, status.loading, rig.switch.numbers) == (1, None, [1])
    assert (rig.observer.accepted, rig.observer.loads) == ([1], 1)


async def test_waiting_revisions_are_skipped_for_the_newest_and_named(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig(topic)
    await rig.follower.prepare()
    gate = rig.versions.gates[2] = asyncio.Event()
    current = topic.append(canary_at(None))
    await rig.follow()
    for weight in (60, 70, 80):
        current = topic.append(canary_at(current, weight=weight))
    await rig.follow()
    gate.set()
    await run_tasks()
    assert rig.switch.numbers == [4]
    assert "version 1 is stable, version 2 gets 80 %; revisions 1 to 3 were skipped" in caplog.text


async def test_a_load_that_a_newer_revision_no_longer_needs_is_abandoned(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    rig.versions.gates[2] = asyncio.Event()
    current = topic.append(canary_at(None))
    await rig.follow()
    topic.append(abort(current, proposal(2)))
    await rig.follow()
    assert (rig.switch.numbers, rig.versions.resident(NAME)) == ([2], (1,))
    (status,) = rig.follower.status()
    assert status.loading is None


async def test_a_newer_revision_ends_the_wait_for_a_version_that_is_missing_but_not_a_load(topic: Topic) -> None:
    for is_missing in (True, False):
        topic.records.clear()
        rig = Rig(topic)
        await rig.follower.prepare()
        rig.versions.gates[2] = asyncio.Event()
        rig.versions.waiting = {2} if is_missing else set()
        current = topic.append(canary_at(None))
        await rig.follow(2)
        del rig.versions.gates[2]  # a load that begins now need not wait
        topic.append(canary_at(current, weight=60))
        await rig.follow()
        assert rig.switch.numbers == ([2] if is_missing else [])
        await rig.follower.stop()


async def test_the_digests_of_the_revision_are_required(topic: Topic) -> None:
    topic.append(_with_digests(canary_at(None), {2: "ab" * 32}))
    rig = Rig(topic)
    await rig.follower.prepare()
    assert rig.versions.digests == {2: "ab" * 32}


def _with_digests(revision: Revision, digests: dict[int, str]) -> Revision:
    return replace(revision, digests=digests)


async def test_a_version_that_does_not_load_leaves_the_old_one_serving_and_ends_the_canary(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(topic, delay=0.5)
    await rig.follower.prepare()
    rig.versions.faults[2] = DAMAGED
    topic.append(canary_at(None))
    await rig.follow()
    (status,) = rig.follower.status()
    assert status.error is not None and "the SHA-256 differs" in status.error
    assert (rig.switch.served, rig.observer.failed_loads, len(topic.records)) == ([], 1, 1)
    assert "(copy it again); revision 0 keeps serving" in caplog.text
    await rig.follow(2)  # the random delay is over
    assert (rig.current.number, rig.current.action, rig.current.rejected) == (2, Action.ABORT, (2,))
    assert rig.current.automatic and rig.current.author == "worker w1"
    assert rig.current.evidence == {
        "version": 2,
        "worker": "w1",
        "check": "load",
        "kind": "digest",
        "error": DAMAGED.message,
    }
    await rig.follow()
    (status,) = rig.follower.status()
    assert (status.applied, status.error, rig.versions.resident(NAME)) == (2, None, (1,))


async def test_a_promoted_version_that_does_not_load_is_rolled_back_before_the_group_is_joined(topic: Topic) -> None:
    topic.append(promoted(None))
    rig = Rig(topic, delay=0.9)
    rig.versions.faults[2] = ValueError("no such operator")
    await rig.follower.prepare()
    assert (rig.current.number, rig.current.action, rig.current.stable) == (2, Action.ROLLBACK, 1)
    assert (rig.applied, rig.switch.served[-1].stable) == (2, 1)
    assert rig.current.evidence["error"] == "ValueError: no such operator"


async def test_a_version_in_memory_whose_manifest_differs_from_the_revision_is_not_promoted(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    first = topic.append(canary_at(None))
    await rig.follow()
    rig.versions.changed.add(2)
    topic.append(promoted(first))
    await rig.follow(3)
    assert (rig.current.action, rig.current.stable, rig.applied) == (Action.ROLLBACK, 1, 3)
    assert rig.current.evidence["kind"] == "digest"


async def test_of_several_workers_one_proposes_and_the_others_are_content(topic: Topic) -> None:
    rigs = [Rig(topic, worker=f"w{number}", delay=number / 10) for number in range(3)]
    for rig in rigs:
        await rig.follower.prepare()
        rig.versions.faults[2] = DAMAGED
    topic.append(canary_at(None))
    for _ in range(4):
        for rig in rigs:
            await rig.follow()
    assert [rig.applied for rig in rigs] == [2, 2, 2]
    log = RevisionLog()
    for offset, (key, value) in enumerate(topic.records):
        log.add(key, value, offset=offset, timestamp_ms=0)
    assert [entry.revision.number for entry in log.history(NAME) if entry.accepted] == [1, 2]


async def test_where_there_is_nothing_to_go_back_to_the_load_is_tried_again(topic: Topic) -> None:
    first = topic.append(promoted(None))
    second = topic.append(promoted(first, 1))  # back to the configured version, by a person
    third = topic.append(_rejecting(promoted(second, 3), 1))
    rig = Rig(topic)
    rig.versions.faults[3] = DAMAGED
    await rig.follower.prepare()
    assert (rig.applied, rig.current) == (0, third)
    await rig.follow(30)
    assert (rig.observer.failed_loads, len(topic.records)) == (1, 3)
    del rig.versions.faults[3]
    await rig.follow(31)
    assert (rig.applied, rig.switch.served[-1].stable) == (3, 3)


def _rejecting(revision: Revision, version: int) -> Revision:
    return replace(revision, rejected=(version,))


async def test_a_topic_that_cannot_be_read_or_written_is_tried_again(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(topic)
    rig.store.fails = 3
    await rig.follower.prepare()
    topic.append(canary_at(None))
    rig.store.fails = 2
    await rig.follow(2)
    assert rig.applied == 0
    await rig.follow()
    assert rig.applied == 1
    assert "cannot read the topic of rollouts" in caplog.text and "no broker answers" in caplog.text


async def test_records_without_a_revision_are_ignored_and_logged(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    topic.records.append((NAME.encode(), b"garbage"))
    rig = Rig(topic)
    await rig.follower.prepare()
    assert "ignored 1 record without a revision in the topic of rollouts; the last one, at offset 0: " in caplog.text
    topic.append(canary_at(None))
    topic.records += [(b"\xff", b"{}"), (NAME.encode(), b"[]")]
    await rig.follow(2)
    assert rig.applied == 1
    assert "ignored 2 records" in caplog.text and "at offset 3: revision of model 'fraud': " in caplog.text
    caplog.clear()
    await rig.follow(2)
    assert caplog.text == ""


def outputs(version: int, *, rows: int, not_finite: int) -> BatchResult:
    """Return the result of a micro-batch in which some rows have no finite output."""
    batch = MicroBatch(0, (chunk(range(rows), model=ModelRef(NAME, version)),), "size", 0.0)
    failures = {row: RowFailure(FailureKind.OUTPUT_NOT_FINITE, "output 0 is NaN") for row in range(not_finite)}
    values_BO = np.zeros((rows, 1), np.float32)
    return BatchResult(batch, values_BO, classes_B=None, confidences_B=None, failures=failures, model_s=0.0)


async def test_a_canary_that_cannot_run_ends_at_once_unless_the_stable_version_cannot_run_either(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    topic.append(canary_at(None))
    await rig.follow()
    rig.versions.broken = {1, 2}
    await rig.follow()
    assert rig.current.number == 1, "the device is at fault, rather than the canary"
    rig.versions.broken = {2}
    await rig.follow(2)
    assert (rig.current.action, rig.current.canaries, rig.current.rejected) == (Action.ABORT, (), (2,))
    assert rig.current.evidence == {"version": 2, "worker": "w1", "check": "breaker"}
    assert rig.current.automatic and "fails on any input" in rig.current.reason and rig.applied == 2


async def test_a_canary_with_outputs_that_are_not_finite_ends_at_once_with_the_counts(topic: Topic) -> None:
    rig = Rig(topic, max_non_finite=2, delay=0.99)
    await rig.follower.prepare()
    topic.append(canary_at(None))
    await rig.follow()
    rig.non_finite.on_result(outputs(1, rows=100, not_finite=50))  # the stable version is not judged
    rig.non_finite.on_result(outputs(2, rows=100, not_finite=2))
    await rig.follow()
    assert rig.current.number == 1
    rig.non_finite.on_result(outputs(2, rows=100, not_finite=1))
    await rig.follow()
    assert (rig.current.number, rig.current.action, rig.current.canaries) == (2, Action.ABORT, ())
    evidence = {"version": 2, "worker": "w1", "check": "non_finite", "non_finite": 3, "rows": 200, "limit": 2}
    assert rig.current.evidence == evidence
    await rig.follow()
    assert rig.applied == 2
    # Used again by a person, it starts at 0.
    topic.append(canary_at(rig.current))
    await rig.follow(2)
    assert (rig.applied, rig.current.number) == (3, 3)


async def test_a_version_that_left_service_stays_for_a_while_and_a_rollback_needs_no_load(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    first = topic.append(promoted(None))
    await rig.follow()
    await rig.follow(advance_s=KEEP_S - 2)
    assert rig.versions.resident(NAME) == (1, 2)
    second = topic.append(promoted(first, 1))
    await rig.follow()
    assert (rig.applied, rig.observer.loads) == (2, 1)
    rig.versions.busy.add(2)
    await rig.follow(advance_s=KEEP_S)
    assert rig.versions.resident(NAME) == (1, 2)  # something is in flight
    rig.versions.busy.clear()
    await rig.follow()
    assert rig.versions.resident(NAME) == (1,)
    topic.append(promoted(second, 2))
    await rig.follow()
    assert (rig.applied, rig.observer.loads) == (3, 2)


async def test_versions_that_no_longer_serve_leave_early_if_the_next_one_needs_their_memory(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    first = topic.append(promoted(None))
    await rig.follow()
    rig.versions.faults[3] = ModelError("too large", kind="memory")
    remove = rig.versions.remove

    def free(ref: ModelRef) -> bool:
        rig.versions.faults.clear()
        return remove(ref)

    rig.versions.remove = free  # type: ignore[method-assign]
    topic.append(promoted(first, 3))
    await rig.follow()
    assert (rig.applied, rig.versions.resident(NAME)) == (2, (2, 3))


async def test_a_partition_waits_for_its_revision(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig(topic)
    await rig.follower.prepare()
    await rig.follower.wait_for({})
    await rig.follower.wait_for({NAME: 0, "no longer served": 4})
    waiting = asyncio.create_task(rig.follower.wait_for({NAME: 2}))
    await run_tasks()
    assert rig.follower.waiting_for() == ("revision 2 of fraud (it serves revision 0)",)
    assert "opens once the worker has applied revision 2 of fraud" in caplog.text
    first = topic.append(canary_at(None))
    await rig.follow()
    assert not waiting.done() and rig.follower.waiting_for() == ("revision 2 of fraud (it serves revision 1)",)
    topic.append(promoted(first))
    await rig.follow()
    await waiting
    assert rig.follower.waiting_for() == ()


async def test_a_partition_that_is_revoked_waits_no_longer(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    waiting = asyncio.create_task(rig.follower.wait_for({NAME: 1}))
    await run_tasks()
    waiting.cancel()
    await run_tasks()
    assert rig.follower.waiting_for() == ()


@pytest.mark.parametrize(("configured", "warned"), [(None, False), (2, False), (1, True)])
async def test_a_configured_version_that_differs_is_logged(
    topic: Topic, configured: int | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    topic.append(promoted(None))
    await Rig(topic, configured=configured).follower.prepare()
    assert ("version 1 of fraud is configured, but revision 1 makes version 2 stable" in caplog.text) == warned


async def test_revisions_of_models_with_windows_are_refused(topic: Topic) -> None:
    topic.append(promoted(None))
    rig = Rig(topic, takes_windows=True)
    await rig.follower.prepare()
    await rig.follow(3)
    (status,) = rig.follower.status()
    assert (rig.applied, rig.switch.served, len(topic.records)) == (0, [], 1)
    assert status.error is not None and "windows over event time" in status.error


async def test_it_follows_once_a_second_and_ends_its_loads_with_itself(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()
    rig.versions.gates[2] = asyncio.Event()
    topic.append(canary_at(None))

    rig.after_wait = lambda: asyncio.sleep(0) if len(rig.waits) < 5 else asyncio.Event().wait()
    running = asyncio.create_task(rig.follower.run())
    await run_tasks()
    assert rig.waits == [1.0] * 5
    running.cancel()
    await asyncio.wait([running])
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("rollout-")] == []


async def test_a_bug_ends_the_worker_rather_than_being_repeated(topic: Topic) -> None:
    rig = Rig(topic)
    await rig.follower.prepare()

    def switch(served: object) -> None:
        raise RuntimeError("needs a lane")

    rig.switch.switch = switch  # type: ignore[method-assign]
    topic.append(canary_at(None))
    await rig.follow()
    with pytest.raises(RuntimeError, match="needs a lane"):
        await rig.follow()
