"""What is known of one child, when it is restarted, and what the probes say, with times passed in."""

from __future__ import annotations

from forebay.stream.core.backoff import Backoff
from forebay.stream.supervisor.child_process import ChildProcess, ChildReport, ChildState, ChildVerdict, describe_end
from forebay.stream.supervisor.group_health import liveness, readiness, startup, warnings_of
from forebay.stream.supervisor.restart_policy import HEALTHY_AFTER_S, LOOPS_AFTER, RestartPolicy

OK, NO = ChildVerdict(True), ChildVerdict(False, ("the model is warming up",))


def policy() -> RestartPolicy:
    return RestartPolicy(Backoff(1.0, 30.0, jitter=lambda: 1.0))


def child(number: int = 0) -> ChildProcess:
    return ChildProcess(number, policy=policy())


def report(ready: ChildVerdict = OK, live: ChildVerdict = OK, started: ChildVerdict = OK) -> ChildReport:
    return ChildReport(live=live, ready=ready, started=started, paused=False, metrics=b"{}")


def test_the_wait_doubles_with_each_failure_up_to_a_limit() -> None:
    restarts = policy()
    assert [restarts.on_failure(ran_s=1.0) for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_child_that_ran_for_a_minute_begins_again() -> None:
    restarts = policy()
    for _ in range(4):
        restarts.on_failure(ran_s=1.0)
    assert restarts.failures_of(running_s=None) == 4
    assert restarts.failures_of(running_s=HEALTHY_AFTER_S) == 0
    assert restarts.on_failure(ran_s=HEALTHY_AFTER_S) == 1.0


def test_the_states_of_a_child() -> None:
    one = child()
    assert one.state is ChildState.ENDED
    one.on_started(11, now_s=0.0)
    one.on_report(report(ready=NO), now_s=1.0)
    assert one.state is ChildState.STARTING
    one.on_report(report(), now_s=2.0)
    assert one.state is ChildState.READY
    one.on_report(report(ready=NO), now_s=3.0)
    assert one.state is ChildState.RUNNING
    one.on_stopping()
    one.on_report(report(), now_s=3.5)
    assert one.state is ChildState.STOPPING
    assert one.on_ended(-9, now_s=4.0) == 4.0
    one.on_waiting(2.0, now_s=4.0)
    entry = one.to_dict(now_s=5.0, url=None)
    assert (entry["state"], entry["starts_again_in_s"], entry["last_end"]) == ("waiting", 1.0, "killed by SIGKILL")
    one.on_started(12, now_s=6.0)
    assert (one.restarts, one.state, one.report) == (1, ChildState.STARTING, None)


def test_ends_in_words() -> None:
    assert [describe_end(status) for status in (1, -11, -250)] == [
        "exit status 1",
        "killed by SIGSEGV",
        "killed by signal 250",
    ]


def test_a_child_is_stuck_by_its_own_verdict_or_by_its_silence() -> None:
    one = child()
    one.on_started(11, now_s=0.0)
    assert one.stuck_because(now_s=1000.0) is None  # it may load a model for this long
    one.on_report(report(), now_s=1000.0)
    assert one.stuck_because(now_s=1030.0) is None
    assert one.stuck_because(now_s=1061.0) == "it has not answered for 61 s"
    one.on_report(report(live=ChildVerdict(False, ("no progress",))), now_s=1062.0)
    assert one.stuck_because(now_s=1062.0) == "no progress"
    assert not liveness([one, child(1)], now_s=1062.0).ok
    one.on_stopping()
    assert one.stuck_because(now_s=2000.0) is None


def test_ready_once_all_have_been_started_and_then_while_one_is_ready() -> None:
    first, second = child(0), child(1)
    for number, one in enumerate((first, second)):
        one.on_started(number + 10, now_s=0.0)
    assert not startup([first, second]).ok
    first.on_report(report(), now_s=1.0)
    assert startup([first, second]).ok
    verdict = readiness([first, second], stopping=False)
    assert (verdict.ok, verdict.reasons) == (False, ("process 1 is starting",))
    second.on_report(report(), now_s=2.0)
    assert readiness([first, second], stopping=False).ok
    second.on_ended(-9, now_s=3.0)
    second.on_started(20, now_s=4.0)
    assert readiness([first, second], stopping=False).ok
    first.on_report(report(ready=NO), now_s=5.0)
    verdict = readiness([first, second], stopping=False)
    assert verdict.reasons == ("no process is ready", "process 0: the model is warming up")
    assert readiness([first, second], stopping=True).reasons[-1] == "draining"


def test_a_child_that_fails_at_its_first_start_does_not_keep_the_others_from_being_ready() -> None:
    first, second = child(0), child(1)
    first.on_started(10, now_s=0.0)
    first.on_report(report(), now_s=1.0)
    second.on_started(11, now_s=0.0)
    second.on_ended(1, now_s=1.0)
    assert readiness([first, second], stopping=False).ok


def test_failing_again_and_again_is_reported_and_ends_liveness_if_all_do() -> None:
    children = [child(0), child(1)]
    for number in range(2):
        for _ in range(LOOPS_AFTER):
            children[number].on_started(10, now_s=0.0)
            ran_s = children[number].on_ended(1, now_s=1.0, reason="no such device")
            children[number].policy.on_failure(ran_s=ran_s)
        assert len(warnings_of(children, now_s=2.0)) == number + 1
        assert liveness(children, now_s=2.0).ok == (number == 0)
    assert warnings_of(children, now_s=2.0)[0] == "process 0 has failed 5 times in a row: exit status 1: no such device"
