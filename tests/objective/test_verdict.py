"""The verdict on the objective: what binds, and when the verdict changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forebay.stream.objective.verdict import Binding, Judge, Measured, find_binding

FINE = Measured(
    p99_s=0.03,
    silent_s=0.01,
    is_waiting=True,
    arrival_rate=1000.0,
    commit_rate=1000.0,
    waited_s=0.001,
    offset_s=0.002,
    ahead_share=0.0,
    lag=5,
    lag_growth=0.0,
    commit_s=0.012,
    call_s=0.002,
    queue_s=0.001,
    model="m version 1",
    model_load=0.2,
    loop_load=0.4,
)
SLOW = replace(FINE, p99_s=0.3)


@pytest.mark.parametrize(
    ("measured", "binding", "words"),
    [
        (
            replace(SLOW, arrival_rate=12_300.0, commit_rate=9_800.0, lag=50_000, lag_growth=2_500.0, model_load=0.97),
            Binding.ARRIVAL_RATE,
            "arrival rate 12,300 events/s exceeds capacity 9,800 events/s, which the model m version 1 limits",
        ),
        (
            replace(SLOW, arrival_rate=12_300.0, commit_rate=9_800.0, lag=50_000, lag_growth=2_500.0, loop_load=0.99),
            Binding.ARRIVAL_RATE,
            "which the event loop limits",
        ),
        (
            replace(SLOW, commit_rate=3000.0, lag=10_000, lag_growth=-2000.0),
            Binding.BACKLOG,
            "a backlog of 10,000 events is being read: 1,000 events/s arrive, 3,000 events/s are committed, about 5 s",
        ),
        (replace(SLOW, commit_s=0.14), Binding.COMMIT, "a commit usually takes 140 ms"),
        (replace(SLOW, call_s=0.2, queue_s=0.1), Binding.MODEL_CALL, "m version 1 usually takes 200 ms"),
        (replace(SLOW, loop_load=0.98), Binding.EVENT_LOOP, "98 % of the time"),
        (replace(SLOW, silent_s=7.0), Binding.STALLED, "nothing was committed for 7.0 s"),
        (replace(SLOW, ahead_share=0.3), Binding.TIMESTAMPS, "30 % of the events have timestamps in the future"),
        (
            replace(SLOW, offset_s=3.0, p99_s=3.1),
            Binding.TIMESTAMPS,
            "3,000 ms old when they are read although none wait",
        ),
    ],
)
def test_what_binds_is_named_with_its_size(measured: Measured, binding: Binding, words: str) -> None:
    found, detail = find_binding(measured, 0.1)
    assert found == binding
    assert words in detail


def test_the_verdict_changes_only_after_a_while_and_names_what_binds_now() -> None:
    judge = Judge(0.1)
    assert judge.judge(FINE, now_s=0.0).is_met
    assert judge.judge(SLOW, now_s=1.0).is_met
    assert judge.judge(FINE, now_s=1.5).is_met
    assert judge.judge(SLOW, now_s=2.0).is_met
    verdict = judge.judge(SLOW, now_s=3.0)
    assert (verdict.is_met, verdict.binding, verdict.since_s) == (False, Binding.COMMIT, 3.0)
    verdict = judge.judge(replace(SLOW, silent_s=9.0), now_s=4.0)
    assert (verdict.binding, verdict.since_s) == (Binding.STALLED, 3.0)
    almost = replace(FINE, p99_s=0.098)
    for now_s in (5.0, 7.0):
        assert not judge.judge(almost, now_s=now_s).is_met
    judge.judge(FINE, now_s=8.0)
    verdict = judge.judge(FINE, now_s=9.1)
    assert verdict.is_met and verdict.binding is None and verdict.since_s == 9.1


def test_a_worker_without_events_meets_its_objective_and_one_that_commits_nothing_does_not() -> None:
    judge = Judge(0.1)
    idle = replace(FINE, p99_s=None, is_waiting=False, silent_s=0.0)
    assert judge.judge(idle, now_s=0.0).is_met
    stuck = replace(idle, is_waiting=True, silent_s=3.0)
    judge.judge(stuck, now_s=1.0)
    verdict = judge.judge(stuck, now_s=2.5)
    assert (verdict.is_met, verdict.binding) == (False, Binding.STALLED)
