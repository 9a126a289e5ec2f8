"""What fails a probe, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forebay.stream.admin.health import (
    HealthSnapshot,
    StallDetector,
    StallDurations,
    StallLimits,
    liveness,
    readiness,
    startup,
)
from forebay.stream.core.circuit_breaker import BreakerState

CLOSED = {"model": BreakerState.CLOSED, "cluster": BreakerState.CLOSED}
LIMITS = StallLimits(work_s=120, gate_s=190)
HEALTHY = HealthSnapshot(
    now_s=0.0,
    warm=True,
    joined=True,
    gate_open=True,
    draining=False,
    paused=False,
    in_flight=0,
    lag=0,
    progress=0,
    cluster_answered_s=0.0,
    commit_failed_s=None,
    breakers=CLOSED,
)


def observe(
    seconds: int, *, answers: bool = True, moves: bool = False, **changes: Any
) -> tuple[HealthSnapshot, StallDurations]:
    """Return the last snapshot and the stall after a snapshot a second for that many seconds."""
    detector, stall, snapshot = StallDetector(), StallDurations(), HEALTHY
    for second in range(seconds + 1):
        snapshot = replace(
            HEALTHY,
            now_s=float(second),
            progress=second if moves else 0,
            cluster_answered_s=float(second) if answers else 0.0,
            **changes,
        )
        stall = detector.update(snapshot)
    return snapshot, stall


def is_alive(snapshot: HealthSnapshot, stall: StallDurations) -> bool:
    return liveness(snapshot, stall, LIMITS).ok


def test_work_that_stalls_although_all_is_healthy_fails_liveness() -> None:
    verdict = liveness(*observe(130, in_flight=40, lag=7), LIMITS)
    assert not verdict.ok
    assert "stalled for 130 s" in verdict.reasons[0]
    assert "40 events in flight, lag 7" in verdict.reasons[0]
    assert is_alive(*observe(119, in_flight=40))


def test_a_consumer_that_does_not_read_its_lag_fails_liveness() -> None:
    assert not is_alive(*observe(130, lag=1))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"in_flight": 9, "moves": True},
        {"in_flight": 9, "breakers": CLOSED | {"model": BreakerState.OPEN}},
        {"in_flight": 9, "breakers": CLOSED | {"cluster": BreakerState.HALF_OPEN}},
        {"in_flight": 9, "draining": True},
        {"in_flight": 9, "answers": False},
        {"lag": 9, "paused": True},
        {"lag": None},
        {"warm": False, "joined": False, "gate_open": False},
    ],
    ids=str,
)
def test_an_hour_of_what_is_not_the_workers_fault_does_not_fail_liveness(changes: dict[str, Any]) -> None:
    assert is_alive(*observe(3600, **changes))


def test_a_refused_commit_excuses_a_stall_for_a_limited_time() -> None:
    failing, stall = observe(100, in_flight=9, commit_failed_s=99.0)
    assert stall.work_s == 0 and not failing.cluster_is_healthy
    # It failed once, and since then the consumer has stalled without an error.
    assert not is_alive(*observe(300, lag=9, commit_failed_s=0.0))


def test_a_closed_gate_fails_liveness_only_after_the_time_of_a_rebalance_and_a_transaction() -> None:
    closed = {"gate_open": False, "lag": None}
    assert is_alive(*observe(180, **closed))
    assert not is_alive(*observe(200, **closed))
    assert is_alive(*observe(3600, answers=False, **closed))


def test_a_worker_is_ready_if_warm_joined_open_and_not_draining() -> None:
    assert readiness(HEALTHY).ok  # also without a partition
    for change, words in (
        ({"warm": False}, "warming up"),
        ({"joined": False, "gate_open": False}, "not been joined"),
        ({"gate_open": False}, "rebalanced"),
        ({"draining": True}, "draining"),
    ):
        verdict = readiness(replace(HEALTHY, **change))
        assert not verdict.ok and words in verdict.reasons[0], change
        assert verdict.to_dict()["status"] == "failed"


def test_breakers_pause_and_cluster_are_conditions_that_do_not_affect_readiness() -> None:
    snapshot = replace(
        HEALTHY, paused=True, now_s=500.0, breakers={"model": BreakerState.OPEN, "cluster": BreakerState.CLOSED}
    )
    verdict = readiness(snapshot)
    assert verdict.ok
    assert verdict.to_dict()["conditions"] == {
        "breakers": {"model": "open", "cluster": "closed"},
        "cluster": "failing",
        "paused": True,
    }


def test_startup_waits_for_the_model_and_not_for_the_cluster() -> None:
    assert not startup(replace(HEALTHY, warm=False)).ok
    assert startup(replace(HEALTHY, joined=False, gate_open=False, cluster_answered_s=None)).ok


def test_a_silent_cluster_leaves_the_lag_unknown() -> None:
    assert replace(HEALTHY, now_s=6.0, lag=7).known_lag == 7
    assert replace(HEALTHY, now_s=6.1, lag=7).known_lag is None
    assert replace(HEALTHY, now_s=6.1, lag=7).silence_s == 6.1
    never = replace(HEALTHY, lag=7, cluster_answered_s=None)
    assert never.known_lag is None and never.silence_s is None
    # The stall detector still knows the cluster's last answer.
    assert replace(HEALTHY, now_s=6.1, lag=7).lag == 7


def test_a_worker_that_waits_for_a_revision_is_not_ready_says_why_and_is_not_restarted() -> None:
    snapshot, stall = observe(600, gate_open=False, waiting_for=("revision 12 of fraud (it serves revision 11)",))
    assert is_alive(snapshot, stall)
    assert readiness(snapshot).reasons == ("waiting for revision 12 of fraud (it serves revision 11)",)
    snapshot, stall = observe(600, gate_open=False)
    assert not is_alive(snapshot, stall)


def test_partitions_that_wait_for_a_schema_are_reported_and_fail_no_probe() -> None:
    waits = ("features-0 waits at offset 7 for schema id 5: status 404",)
    snapshot, stall = observe(600, lag=100, schema_waits=waits)
    assert is_alive(snapshot, stall) and stall.work_s == 0
    verdict = readiness(snapshot).to_dict()
    assert verdict["status"] == "ok" and verdict["conditions"]["waiting_for_schemas"] == list(waits)  # type: ignore[index]
    assert "waiting_for_schemas" not in str(readiness(HEALTHY).to_dict())
    snapshot, stall = observe(600, lag=100, in_flight=3, schema_waits=waits)
    assert not is_alive(snapshot, stall), "events in flight must be committed"
