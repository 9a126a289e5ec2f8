"""The supervisor, over children that a test ends as it likes."""

from __future__ import annotations

import asyncio

import pytest

from forebay.schemas.errors import BrokerError, ConfigError, ForebayError
from forebay.stream.config.sections import KafkaSection, Settings
from forebay.stream.supervisor.child_process import ChildProcess, ChildReport, ChildState, ChildVerdict
from tests.eventually import eventually
from tests.supervisor.fake import Rig, ready


def all_ready(rig: Rig) -> bool:
    return all(child.state is ChildState.READY for child in rig.children)


async def test_all_children_drain_at_the_same_time() -> None:
    rig = Rig(3)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "three ready children")
    rig.supervisor.stop()
    await running
    assert rig.launcher.events[3:] == ["SIGTERM 0", "SIGTERM 1", "SIGTERM 2"]
    assert (rig.ended, rig.endings) == ([0, 1, 2], 1)


async def test_a_killed_child_is_started_again_and_the_others_continue() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    rig.launcher.end(1, -9)
    await eventually(lambda: rig.children[1].restarts, "a restart")
    await eventually(lambda: all_ready(rig), "ready children")
    assert rig.launcher.events == ["start 0", "start 1", "start 1"]
    assert rig.children[1].last_end == "killed by SIGKILL"
    rig.supervisor.stop()
    await running


async def test_a_child_that_does_not_drain_is_killed_and_the_whole_fails() -> None:
    rig = Rig(2, kill_after_s=0.05)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    rig.launcher.drains = None
    rig.supervisor.stop()
    with pytest.raises(ForebayError, match="process 0 did not drain: killed by SIGKILL"):
        await running


async def test_the_reason_of_a_child_that_did_not_drain_is_the_error_of_the_whole() -> None:
    rig = Rig(1)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "a ready child")
    rig.launcher.drains = 1
    rig.errors[0] = BrokerError("5 events were not committed within 20 s")
    rig.supervisor.stop()
    with pytest.raises(BrokerError, match="5 events"):
        await running


async def test_a_wrong_configuration_ends_the_whole() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    rig.errors[1] = ConfigError("the configuration has errors")
    rig.launcher.end(1, 2)
    with pytest.raises(ConfigError, match="the configuration has errors"):
        await running
    assert rig.ended == [1, 0]


async def test_an_error_before_any_child_was_ready_ends_the_whole() -> None:
    rig = Rig(2)
    rig.report = lambda _child: None
    running = rig.run()
    await eventually(lambda: len(rig.launcher.events), "two starts", until=lambda seen: seen == 2)
    rig.errors[0] = BrokerError("the cluster does not answer")
    rig.launcher.end(0, 1)
    with pytest.raises(BrokerError, match="does not answer"):
        await running


async def test_an_error_after_a_child_was_ready_restarts_only_the_child_that_has_it() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    rig.errors[0] = BrokerError("too many dead letters")
    rig.launcher.end(0, 1)
    await eventually(lambda: rig.children[0].restarts, "a restart")
    assert rig.children[0].last_end == "exit status 1: too many dead letters"
    rig.supervisor.stop()
    await running


async def test_a_child_that_the_system_does_not_start_is_tried_again() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    rig.launcher.refusal = "Cannot allocate memory"
    rig.launcher.end(0, -9)
    await eventually(lambda: rig.launcher.events.count("refuse 0"), "two attempts", until=lambda count: count >= 2)
    assert "process 0 could not be started: Cannot allocate memory" in str(rig.children[0].last_end)
    rig.launcher.refusal = None
    await eventually(lambda: all_ready(rig), "ready children")
    rig.supervisor.stop()
    await running


async def test_the_end_of_the_whole_does_not_wait_for_a_child_that_the_system_does_not_start() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    rig.launcher.refusal = "Cannot allocate memory"
    rig.launcher.end(0, -9)
    await eventually(lambda: "refuse 0" in rig.launcher.events, "an attempt")
    rig.supervisor.stop()
    await asyncio.wait_for(running, 5.0)


async def test_a_system_that_starts_no_child_ends_the_whole() -> None:
    rig = Rig(1)
    rig.launcher.refusal = "Resource temporarily unavailable"
    with pytest.raises(ForebayError, match="could not be started: Resource temporarily unavailable"):
        await rig.run()


async def test_a_restart_with_a_longer_time_to_drain_moves_the_time_of_the_kill() -> None:
    rig = Rig(1, kill_after_s=0.05)
    rig.kill_after_s["patient"] = 30.0
    running = rig.run()
    await eventually(lambda: all_ready(rig), "a ready child")
    await rig.supervisor.restart_one_by_one(Settings(kafka=KafkaSection(group_id="patient")))
    assert (rig.launcher.kill_after_s, rig.supervisor.kill_after_s) == ({0: 30.0}, 30.0)
    rig.launcher.drains = None
    rig.supervisor.stop()
    await eventually(lambda: rig.launcher.events[-1], "a request to stop", until=lambda event: event == "SIGTERM 0")
    await asyncio.sleep(0.1)
    assert rig.launcher.events[-1] == "SIGTERM 0"
    rig.launcher.end(0, 0)
    await running


async def test_the_end_of_the_whole_does_not_wait_for_the_next_start_of_a_child() -> None:
    rig = Rig(2, first_wait_s=20.0)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    rig.launcher.end(0, -9)
    await eventually(lambda: rig.children[0].state, "a waiting child", until=lambda state: state is ChildState.WAITING)
    rig.supervisor.stop()
    await asyncio.wait_for(running, 5.0)
    assert rig.launcher.events == ["start 0", "start 1", "SIGTERM 1"]


async def test_a_rolling_restart_waits_for_each_child() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    await rig.supervisor.restart_one_by_one(Settings(kafka=KafkaSection(group_id="new")))
    assert rig.launcher.events[2:] == ["SIGTERM 0", "start 0", "SIGTERM 1", "start 1"]
    assert all_ready(rig)
    assert [job for _pid, job in sorted(rig.launcher.jobs.items())][2:] == [(0, "new"), (1, "new")]
    assert all(child.policy.failures == 0 for child in rig.children)
    rig.supervisor.stop()
    await running


async def test_a_rolling_restart_with_settings_that_fail_ends_at_the_first_child() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    restarting = asyncio.create_task(rig.supervisor.restart_one_by_one(Settings(kafka=KafkaSection(group_id="wrong"))))
    await eventually(lambda: rig.launcher.events[3:], "the start of the first", until=lambda seen: seen == ["start 0"])
    rig.report = lambda child: ready() if child.number == 1 else None
    rig.errors[0] = ConfigError("no such group")
    rig.launcher.end(0, 2)
    rig.report = lambda _child: ready()
    await restarting
    await eventually(lambda: all_ready(rig), "ready children")
    assert "SIGTERM 1" not in rig.launcher.events
    assert rig.launcher.jobs[max(rig.launcher.jobs)] == (0, "forebay")
    rig.supervisor.stop()
    await running


async def test_a_stuck_child_is_killed_and_started_again() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")

    def answer(child: ChildProcess) -> ChildReport:
        is_stuck = child.number == 0 and child.restarts == 0
        return ready(live=ChildVerdict(False, ("no progress for 120 s",)) if is_stuck else ChildVerdict(True))

    rig.report = answer
    await eventually(lambda: rig.children[0].restarts, "a restart")
    assert rig.children[0].last_end == "killed by SIGKILL: no progress for 120 s"
    rig.supervisor.stop()
    await running


async def test_a_pause_reaches_children_that_start_later() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    await rig.supervisor.pause(True)
    assert rig.paused == [(0, True), (1, True)]
    rig.report = lambda child: ready(paused=child.restarts == 0)
    rig.launcher.end(1, -9)
    await eventually(lambda: len(rig.paused), "a third request", until=lambda seen: seen > 2)
    assert rig.paused[2] == (1, True)
    rig.supervisor.stop()
    await running


async def test_the_loss_of_the_template_is_an_error() -> None:
    rig = Rig(2)
    running = rig.run()
    await eventually(lambda: all_ready(rig), "ready children")
    rig.lost.set_exception(ForebayError("the process that starts workers was killed"))
    with pytest.raises(ForebayError, match="was killed"):
        await running
    assert rig.supervisor.pids == [1000, 1001]
    assert rig.endings == 1


async def test_an_unexpected_error_in_the_supervision_of_a_child_is_not_swallowed() -> None:
    rig = Rig(2)

    def report(child: ChildProcess) -> ChildReport:
        if child.number == 1:
            raise RuntimeError("a bug")
        return ready()

    rig.report = report
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(rig.run(), 5)
    assert rig.supervisor.pids == []
