"""The objective in a worker: what the stages report reaches the controller, and its decisions reach lanes and commits."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from forebay.stream.core.circuit_breaker import CircuitBreaker
from forebay.stream.core.records import MicroBatch, PartitionLag
from forebay.stream.objective.controller import ObjectiveController
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.commit_pacing import CommitPacing
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from forebay.stream.pipeline.lane import CallLimits, Lane
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.objective_control import ObjectiveControl
from forebay.stream.pipeline.observer import CommitTimes
from tests.core.build import MODEL, P0, ManualClock, chunk, finish


class Rig:
    """A control with one lane of at most 1,000 events, and an objective of 100 ms."""

    def __init__(self) -> None:
        self.clock, self.cpu_s = ManualClock(), 0.0
        self.in_flight = InFlight(Bounds(1000, 1 << 20, 32))
        self.batcher = MicroBatcher(max_batch_size=1000, max_batch_bytes=1 << 20, max_queue_delay_ms=2)
        breaker = CircuitBreaker(failure_threshold=5, reset_timeout_s=30, on_change=lambda state, reason: None)
        lane = Lane(MODEL, cast(Any, None), self.batcher, breaker, call_limits=CallLimits(5, 35))
        self.control = ObjectiveControl(
            ObjectiveController(0.1),
            CommitPacing(self.clock),
            self.in_flight,
            clock=self.clock,
            cpu_time=lambda: self.cpu_s,
        )
        self.control.add_lane(lane)

    def turn(self, *, events: int = 10, age_s: float = 0.01, model_s: float = 0.002) -> None:
        """Poll events, run the model, and commit them at an age."""
        clock = self.clock
        timestamp = clock.wall_ms() - round(1000 * age_s)
        part = chunk(range(events))
        part = replace(part, records=[replace(record, timestamp=timestamp) for record in part.records])
        now_s = clock.monotonic_s()
        self.control.on_polled([part], began_s=now_s, received_s=now_s)
        result = replace(finish(MicroBatch(0, (part,), "delay", now_s)), model_s=model_s, started_s=now_s)
        self.control.on_result(result)
        ledger = Ledger(now_ms=clock.wall_ms())
        ledger.of(MODEL).add_predictions(P0, np.full(events, timestamp, dtype=np.int64))
        self.control.on_committed([result], ledger, CommitTimes(now_s - 0.01, *[now_s] * 5))
        clock.advance(0.1)


def test_limits_follow_what_the_stages_report() -> None:
    rig = Rig()
    assert rig.batcher.waits_for_device
    for number in range(20):
        rig.turn(events=5 + 5 * (number % 3), model_s=0.005 + 0.001 * (5 + 5 * (number % 3)))
    # 5 ms and 1 ms a row: 20 rows take a quarter of the objective.
    assert rig.batcher.max_batch_size == pytest.approx(20, abs=1)
    report = rig.control.report()
    assert report.verdict.is_met
    assert report.p99_s == pytest.approx(0.01, rel=0.1)
    assert report.commit_s == pytest.approx(0.01)
    assert report.lanes[MODEL].call.row_s == pytest.approx(0.001, rel=0.05)
    assert rig.control.pacing.interval_s == 0


def test_a_missed_objective_is_logged_once_and_once_when_it_is_met_again(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    with caplog.at_level(logging.INFO, "forebay.objective"):
        for _ in range(40):
            rig.turn(age_s=0.5)
        for _ in range(150):
            rig.turn(age_s=0.02)
    first, second = [record.getMessage() for record in caplog.records if record.name == "forebay.objective"]
    assert first.startswith("objective.p99_ms = 100 is not met: the 99th percentile of the last ten seconds is 5")
    assert first.endswith("; nothing is dropped")
    assert second.startswith("objective.p99_ms = 100 is met again")


def test_events_that_wait_without_a_commit_miss_the_objective() -> None:
    rig = Rig()
    rig.turn()
    for second in range(8):
        rig.clock.advance(1.0)
        rig.control.on_lags({P0: PartitionLag(10, 500 + second)})
    verdict = rig.control.report().verdict
    assert verdict.binding == "stalled"


def test_a_commit_counts_for_the_cadence_when_it_starts_and_keeps_micro_batches_open_for_a_while() -> None:
    rig = Rig()
    for _ in range(3):
        rig.turn(model_s=0.001)
    now_s = rig.clock.monotonic_s()
    rig.control.on_commit_started([])
    rig.batcher.add(chunk([0]), now_s=now_s, wall_ms=0)
    assert rig.batcher.close_at_s() == pytest.approx(now_s + 0.0025), "a quarter of a commit"


def test_a_lane_that_is_removed_is_no_longer_controlled() -> None:
    rig = Rig()
    rig.turn()
    rig.control.remove_lane(MODEL)
    for _ in range(5):
        rig.turn()
    assert rig.control.report().lanes == {}
