"""The source over a scripted client: what is read and committed in each state of the assignment, and races between changes."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaConnectionError, RequestTimedOutError

from forebay.stream.core.errors import CommitRefused
from forebay.stream.core.records import Epoch
from forebay.stream.kafka.consumer import source as source_module
from forebay.stream.kafka.consumer.assignment import TransitionError
from tests.eventually import eventually
from tests.kafka.consumer.scripted import CLIENT_P0, P0, RECORD, Scene


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.source.start()
    made.consumer.records = {CLIENT_P0: [RECORD]}
    return made


def is_opening() -> bool:
    """Return whether a task that opens the gate is running."""
    return any(task.get_name().startswith("open-epoch") for task in asyncio.all_tasks())


async def test_records_are_dropped_until_the_committed_offset_is_sought(scene: Scene) -> None:
    scene.coordinator.answers.clear()
    await scene.assign()
    assert await scene.poll() == {} and scene.source.epoch is None and scene.source.positions() is None
    assert scene.consumer.paused == {CLIENT_P0}
    scene.coordinator.answers.set()
    epoch = await scene.until_open()
    assert epoch == Epoch(1, "member", None, 1) and scene.consumer.sought[-1] == (CLIENT_P0, 7)
    assert await scene.poll() == {P0: [RECORD]} and scene.consumer.paused == set()


async def test_a_rewind_seeks_again_in_a_new_epoch(scene: Scene) -> None:
    first = await scene.open()
    scene.coordinator.committed[P0] = 9
    scene.coordinator.answers.clear()
    await scene.source.rewind()
    assert scene.source.epoch is None and await scene.poll() == {} and scene.consumer.paused == {CLIENT_P0}
    assert not scene.source.is_current(first), "a commit of the old epoch is refused from now on"
    scene.coordinator.answers.set()
    assert await scene.until_open() == Epoch(1, "member", None, 2) and scene.consumer.sought[-1] == (CLIENT_P0, 9)


async def test_records_fetched_before_the_gate_opened_are_dropped_after_it_has_opened(scene: Scene) -> None:
    """A poll awaits the check of topic ids between the fetch and the use of its records."""
    await scene.open()
    scene.coordinator.answers.clear()
    await scene.source.rewind()
    scene.clock.advance(10)
    scene.consumer._client.blocked = check = asyncio.get_running_loop().create_future()
    asked = len(scene.consumer._client.asked)
    polling = asyncio.create_task(scene.poll())
    await eventually(lambda: len(scene.consumer._client.asked) > asked, "a check of topic ids", every_s=0)
    scene.consumer._client.blocked = None
    scene.coordinator.answers.set()
    await scene.until_open()
    check.set_result(None)
    assert await polling == {}, "they may be beyond the position that was sought"


async def test_a_rewind_while_offsets_are_read_begins_again(scene: Scene) -> None:
    scene.coordinator.answers.clear()
    await scene.assign()
    await eventually(lambda: scene.coordinator.num_fetches == 1, "a request", every_s=0)
    await scene.source.rewind()
    scene.coordinator.answers.set()
    assert (await scene.until_open()).counter == 2
    assert scene.coordinator.num_fetches == 2 and not is_opening()


async def test_a_detach_while_offsets_are_read_leaves_the_gate_closed(scene: Scene) -> None:
    scene.coordinator.answers.clear()
    await scene.assign()
    await eventually(lambda: scene.coordinator.num_fetches == 1, "a request", every_s=0)
    await scene.source.detach()
    scene.coordinator.answers.set()
    assert not is_opening() and scene.source.epoch is None and not scene.source.joined
    await scene.source.rewind()
    assert not is_opening(), "there is nothing to rewind"


async def test_a_later_assignment_replaces_one_whose_offsets_are_still_read(scene: Scene) -> None:
    scene.coordinator.answers.clear()
    await scene.assign()
    await eventually(lambda: scene.coordinator.num_fetches == 1, "a request", every_s=0)
    await scene.assign(generation=2)
    scene.coordinator.answers.set()
    assert await scene.until_open() == Epoch(2, "member", None, 2)
    assert not is_opening() and scene.source.assignments == 2


async def test_what_is_in_flight_can_be_committed_during_a_revocation(scene: Scene) -> None:
    epoch = await scene.open()

    async def commit() -> None:
        assert scene.source.epoch == epoch
        await scene.source.commit({P0: 8}, {}, epoch)

    scene.while_revoking = commit
    await scene.revoke()
    assert scene.revoked == 1 and scene.fatal == [] and scene.source.epoch is None
    with pytest.raises(CommitRefused):
        await scene.source.commit({P0: 9}, {}, epoch)


async def test_a_rewind_during_a_revocation_reads_nothing_more(scene: Scene) -> None:
    epoch = await scene.open()

    async def rewind() -> None:
        await scene.source.rewind()
        assert not is_opening() and not scene.source.is_current(epoch)
        assert await scene.poll() == {}

    scene.while_revoking = rewind
    await scene.revoke()
    assert scene.fatal == [] and scene.coordinator.num_fetches == 1
    await scene.assign(generation=2)
    assert (await scene.until_open()).counter == 2


async def test_a_detach_at_the_deadline_of_a_revocation_refuses_what_is_still_in_flight(scene: Scene) -> None:
    epoch = await scene.open()

    async def give_up() -> None:
        await scene.source.detach()
        with pytest.raises(CommitRefused):
            await scene.source.commit({P0: 8}, {}, epoch)

    scene.while_revoking = give_up
    await scene.revoke()
    assert scene.revoked == 1 and scene.fatal == []


async def test_the_gate_does_not_open_during_a_revocation(scene: Scene) -> None:
    scene.coordinator.answers.clear()
    await scene.assign()
    await eventually(lambda: scene.coordinator.num_fetches == 1, "a request", every_s=0)

    async def answer() -> None:
        scene.coordinator.answers.set()
        for _ in range(20):
            await asyncio.sleep(0)
            assert scene.source.epoch is None and await scene.poll() == {}

    scene.while_revoking = answer
    await scene.revoke()
    assert scene.revoked == 1 and scene.fatal == [] and not is_opening()


async def test_nothing_is_committed_before_the_first_assignment(scene: Scene) -> None:
    await scene.revoke()
    assert scene.revoked == 0 and scene.fatal == []


async def test_a_failure_to_commit_during_a_revocation_is_fatal_and_detaches(scene: Scene) -> None:
    epoch = await scene.open()

    async def fail() -> None:
        raise RuntimeError("lost")

    scene.while_revoking = fail
    await scene.revoke()
    assert [str(error) for error in scene.fatal] == ["lost"] and not scene.source.is_current(epoch)


async def test_a_rewind_and_a_detach_at_the_same_time_detach(scene: Scene) -> None:
    await scene.open()
    await asyncio.gather(scene.source.rewind(), scene.source.detach())
    assert scene.source.epoch is None and not is_opening()
    assert scene.coordinator.num_fetches == 1, "offsets are not read for an epoch that has ended"


async def test_an_assignment_while_records_may_be_in_flight_is_fatal(scene: Scene) -> None:
    await scene.open()
    await scene.assign(generation=2)
    (error,) = scene.fatal
    assert isinstance(error, TransitionError)


@pytest.mark.parametrize(("generation", "resets"), [(1, 1), (2, 0)], ids=["as it was removed", "already joined again"])
async def test_a_removed_member_joins_again_once(scene: Scene, generation: int, resets: int) -> None:
    epoch = await scene.open()
    scene.coordinator.generation = generation
    await scene.source.rejoin()
    assert scene.coordinator.resets == resets
    assert scene.source.epoch is None and not scene.source.is_current(epoch)


async def test_unreadable_offsets_are_read_again_while_the_cluster_is_away(scene: Scene) -> None:
    scene.coordinator.error = KafkaConnectionError("away")
    await scene.assign()
    await eventually(lambda: scene.coordinator.num_fetches > 3, "further requests", every_s=0)
    assert scene.fatal == [] and scene.source.epoch is None
    scene.coordinator.error = None
    await scene.until_open()


async def test_nothing_begins_after_a_stop_that_a_join_has_overtaken(scene: Scene) -> None:
    await scene.open()
    scene.consumer.while_closing = scene.assign
    await scene.source.stop(timeout_s=5)
    assert scene.source.epoch is None and not is_opening()


async def test_a_paused_source_stays_paused_through_a_rewind(scene: Scene) -> None:
    await scene.open()
    scene.source.pause()
    await scene.source.rewind()
    await scene.until_open()
    assert scene.consumer.paused == {CLIENT_P0}
    scene.source.resume()
    assert scene.consumer.paused == set()


async def test_a_resume_opens_no_closed_gate(scene: Scene) -> None:
    await scene.open()
    scene.source.pause()
    scene.coordinator.answers.clear()
    await scene.source.rewind()
    scene.source.resume()
    assert scene.consumer.paused == {CLIENT_P0}
    scene.coordinator.answers.set()
    await scene.until_open()
    assert scene.consumer.paused == set()


@pytest.mark.parametrize("error", [KafkaConnectionError("gone"), RequestTimedOutError("no answer")])
async def test_an_idle_commit_without_an_answer_ends_the_membership(scene: Scene, error: Exception) -> None:
    epoch = await scene.open()
    scene.coordinator.commit_error = error
    await scene.source.commit_idle({P0: 9}, {P0: ""})
    assert scene.source.epoch is None and not scene.source.is_current(epoch)
    assert (scene.coordinator.num_commits, scene.coordinator.left) == (1, 1), "a retry could not undo a late arrival"
    assert not scene.fatal


async def test_a_member_that_cannot_leave_joins_again_as_another(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "LEAVE_TIMEOUT_S", 0.0)
    await scene.open()
    scene.coordinator.can_leave.clear()
    scene.coordinator.commit_error = RequestTimedOutError("no answer")
    await scene.source.commit_idle({P0: 9}, {P0: ""})
    assert (scene.coordinator.left, scene.coordinator.resets) == (0, 1)


async def test_an_idle_commit_that_is_answered_with_an_error_keeps_the_membership(scene: Scene) -> None:
    epoch = await scene.open()
    scene.coordinator.commit_error = GroupCoordinatorNotAvailableError()
    with pytest.raises(GroupCoordinatorNotAvailableError):
        await scene.source.commit_idle({P0: 9}, {P0: ""})
    assert scene.source.epoch == epoch and scene.coordinator.left == 0
    scene.coordinator.commit_error = None
    await scene.source.commit_idle({P0: 9}, {P0: ""})
    assert scene.coordinator.num_commits == 2, "it is tried again"


async def test_start_offsets_whose_commit_has_no_answer_are_not_read_from(scene: Scene) -> None:
    scene.coordinator.committed = {P0: -1}
    scene.coordinator.commit_error = RequestTimedOutError("no answer")
    await scene.assign()
    await eventually(lambda: scene.coordinator.left == 1, "the member leaves", every_s=0)
    assert scene.source.epoch is None and not scene.fatal
    scene.coordinator.commit_error = None
    await scene.assign(generation=2)
    assert (await scene.until_open()).generation == 2


async def test_the_log_says_why_a_member_joins_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source_module, "IDLE_COMMIT_TIMEOUT_S", 0.0)
    await scene.open()
    scene.coordinator.commit_answers.clear()
    await scene.source.commit_idle({P0: 9}, {P0: ""})
    assert "no answer within 0 s" in caplog.text and scene.coordinator.left == 1


async def test_a_partition_opens_once_the_revisions_of_its_offset_are_applied(scene: Scene) -> None:
    scene.coordinator.metadata = "forebay-rollouts1 churn=3,fraud=12"
    scene.gate.applied.clear()
    await scene.assign()
    await eventually(lambda: scene.gate.required == [{"churn": 3, "fraud": 12}], "a wait", every_s=0)
    assert scene.source.epoch is None and await scene.poll() == {} and is_opening()
    scene.gate.applied.set()
    await scene.until_open()
    assert scene.consumer.sought[-1] == (CLIENT_P0, 7)
    assert scene.ledger.recorded(P0) == {"churn": 3, "fraud": 12}


async def test_a_revocation_ends_the_wait_for_revisions(scene: Scene) -> None:
    scene.coordinator.metadata = "forebay-rollouts1 fraud=12"
    scene.gate.applied.clear()
    await scene.assign()
    await eventually(lambda: scene.gate.required, "a wait", every_s=0)
    await scene.revoke()
    scene.gate.applied.set()
    assert not is_opening() and scene.source.epoch is None and scene.fatal == []
    scene.coordinator.metadata = ""
    await scene.open()
    assert scene.gate.required[-1] == {}


async def test_a_held_partition_is_sought_and_stays_paused_until_its_release(scene: Scene) -> None:
    await scene.open()
    scene.source.held.hold(P0, 8)
    assert scene.consumer.sought[-1] == (CLIENT_P0, 8) and scene.consumer.paused == {CLIENT_P0}
    scene.source.pause()
    scene.source.resume()
    assert scene.consumer.paused == {CLIENT_P0}
    scene.source.held.release(P0)
    assert scene.consumer.paused == set()
    scene.source.held.release(P0)


async def test_a_release_while_reading_is_paused_takes_effect_when_it_resumes(scene: Scene) -> None:
    await scene.open()
    scene.source.held.hold(P0, 8)
    scene.source.pause()
    scene.source.held.release(P0)
    assert scene.consumer.paused == {CLIENT_P0}
    scene.source.resume()
    assert scene.consumer.paused == set()


async def test_a_rewind_ends_holds(scene: Scene) -> None:
    await scene.open()
    scene.source.held.hold(P0, 8)
    await scene.source.rewind()
    await scene.until_open()
    assert scene.consumer.sought[-1] == (CLIENT_P0, 7) and scene.consumer.paused == set()
    scene.source.pause()
    scene.source.held.release(P0)  # of the earlier epoch
    assert scene.consumer.paused == {CLIENT_P0}
