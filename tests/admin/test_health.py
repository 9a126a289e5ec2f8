"""What fails a probe and, as much, what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forebay.stream.admin.health import (
    HealthSnapshot,
    Limits,
    StallDetector,
    StallDurations,
    liveness,
    readiness,
    startup,
)
from forebay.stream.core.circuit_breaker import BreakerState

CLOSED = {"model": BreakerState.CLOSED, "cluster": BreakerState.CLOSED}
LIMITS = Limits(stuck_s=120, closed_s=190)
WELL = HealthSnapshot(
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


def watched(
    seconds: int, *, answers: bool = True, moves: bool = False, **facts: Any
) -> tuple[HealthSnapshot, StallDurations]:
    """The facts once a second for so long."""
    watch, still, now = StallDetector(), StallDurations(), WELL
    for second in range(seconds + 1):
        now = replace(
            WELL,
            now_s=float(second),
            progress=second if moves else 0,
            cluster_answered_s=float(second) if answers else 0.0,
            **facts,
        )
        still = watch.look(now)
    return now, still


def alive(facts: HealthSnapshot, still: StallDurations) -> bool:
    return liveness(facts, still, LIMITS).ok


def test_work_that_stands_still_though_all_is_well_is_stuck() -> None:
    facts, still = watched(130, in_flight=40, lag=7)
    verdict = liveness(facts, still, LIMITS)
    assert not verdict.ok
    assert "stood still for 130 s" in verdict.reasons[0]
    assert "40 events in flight, lag 7" in verdict.reasons[0]
    assert alive(*watched(119, in_flight=40))


def test_a_consumer_that_sits_still_before_a_lag_is_stuck() -> None:
    assert not alive(*watched(130, lag=1))


@pytest.mark.parametrize(
    "facts",
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
def test_an_hour_of_what_is_no_fault_of_the_worker_fails_no_liveness(facts: dict[str, Any]) -> None:
    assert alive(*watched(3600, **facts))


def test_a_cluster_that_refuses_commits_is_an_excuse_but_not_for_ever() -> None:
    failing, still = watched(100, in_flight=9, commit_failed_s=99.0)
    assert still.work_s == 0 and not failing.cluster_is_well
    # It failed once, and since then the consumer has sat still without an error.
    assert not alive(*watched(300, lag=9, commit_failed_s=0.0))


def test_a_gate_that_stays_closed_is_given_the_group_and_the_transaction_their_time() -> None:
    closed = {"gate_open": False, "lag": None}
    assert alive(*watched(180, **closed))
    assert not alive(*watched(200, **closed))
    assert alive(*watched(3600, answers=False, **closed))


def test_ready_is_warm_joined_open_and_not_draining() -> None:
    assert readiness(WELL).ok  # without a partition too
    for change, words in (
        ({"warm": False}, "warming up"),
        ({"joined": False, "gate_open": False}, "not been joined"),
        ({"gate_open": False}, "rebalanced"),
        ({"draining": True}, "draining"),
    ):
        verdict = readiness(replace(WELL, **change))
        assert not verdict.ok and words in verdict.reasons[0], change
        assert verdict.to_dict()["status"] == "failed"


def test_breakers_pause_and_cluster_are_conditions_and_keep_nobody_from_being_ready() -> None:
    facts = replace(
        WELL, paused=True, now_s=500.0, breakers={"model": BreakerState.OPEN, "cluster": BreakerState.CLOSED}
    )
    verdict = readiness(facts)
    assert verdict.ok
    assert verdict.to_dict()["conditions"] == {
        "breakers": {"model": "open", "cluster": "closed"},
        "cluster": "failing",
        "paused": True,
    }


def test_startup_waits_for_the_model_and_for_no_cluster() -> None:
    assert not startup(replace(WELL, warm=False)).ok
    assert startup(replace(WELL, joined=False, gate_open=False, cluster_answered_s=None)).ok


def test_a_silent_cluster_leaves_the_lag_unknown() -> None:
    assert replace(WELL, now_s=6.0, lag=7).known_lag == 7
    assert replace(WELL, now_s=6.1, lag=7).known_lag is None
    assert replace(WELL, now_s=6.1, lag=7).silence_s == 6.1
    never = replace(WELL, lag=7, cluster_answered_s=None)
    assert never.known_lag is None and never.silence_s is None
    # The watch for work that is stuck still knows what the cluster said last.
    assert replace(WELL, now_s=6.1, lag=7).lag == 7
