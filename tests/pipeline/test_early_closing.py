"""When open micro-batches close early."""

from __future__ import annotations

import numpy as np

from forebay.stream.core.records import BatchResult, MicroBatch
from forebay.stream.pipeline.early_closing import FEW_EVENTS, EarlyClosing
from forebay.stream.pipeline.in_flight import Bounds, InFlight
from tests.core.build import chunk


def rig(*, enabled: bool = True) -> tuple[EarlyClosing, InFlight]:
    in_flight = InFlight(Bounds(10_000, 10**9, 10))
    return EarlyClosing(in_flight, enabled=enabled), in_flight


def result(seq: int, *, is_last_part: bool = True) -> BatchResult:
    batch = MicroBatch(seq, (chunk(range(1)),), "size", 0.0)
    values_BO = np.zeros((1, 1), np.float32)
    return BatchResult(
        batch, values_BO, classes_B=None, confidences_B=None, failures={}, model_s=0.0, is_last_part=is_last_part
    )


def test_it_is_due_if_nothing_waits_for_the_next_commit() -> None:
    closing, _ = rig()
    closing.on_polled(1)
    assert closing.is_due


def test_it_is_not_due_before_the_first_poll_nor_with_a_backlog() -> None:
    closing, _ = rig()
    assert not closing.is_due
    closing.on_polled(FEW_EVENTS + 1)
    assert not closing.is_due
    closing.on_polled(FEW_EVENTS)
    assert closing.is_due


def test_it_is_not_due_while_a_closed_micro_batch_waits_for_the_next_commit() -> None:
    closing, in_flight = rig()
    closing.on_polled(1)
    in_flight.on_batch_closed()
    assert not closing.is_due
    closing.on_commit_started([result(0)])
    assert closing.is_due, "the next commit would have nothing"
    in_flight.on_batch_closed()
    assert not closing.is_due
    in_flight.on_committed(events=0, num_bytes=0)
    closing.on_commit_ended()
    assert not closing.is_due, "the second waits for the next commit"


def test_a_part_of_a_micro_batch_leaves_the_rest_waiting() -> None:
    closing, in_flight = rig()
    closing.on_polled(1)
    in_flight.on_batch_closed()
    closing.on_commit_started([result(0, is_last_part=False)])
    assert not closing.is_due


def test_an_objective_decides_instead() -> None:
    closing, _ = rig(enabled=False)
    closing.on_polled(1)
    assert not closing.is_due
