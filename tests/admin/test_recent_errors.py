"""Errors by kind, as commits tell them, with and without windows; the last warnings."""

from __future__ import annotations

import logging

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.admin.recent_errors import MAX_SAMPLES, ErrorSummary, RecentWarnings
from forebay.stream.admin.status_observer import StatusObserver
from forebay.stream.core.records import MicroBatch, RowFailure
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from tests.core.build import JULY, P0, ManualClock, chunk, finish
from tests.eventtime.build import plan, poll
from tests.eventtime.build import stage as window_stage

TIMES = CommitTimes(*range(6))


def ledger() -> Ledger:
    return Ledger(model="m", version=1)


def test_kinds_are_counted_with_places_to_look_at() -> None:
    batch = MicroBatch(0, (chunk(range(20), rejected=range(5, 15)),), "size", 0.0)
    finished = finish(batch, {1: RowFailure(FailureKind.MODEL_ERROR, "raised 5", "stack")})
    told = ledger()
    for offset in range(5, 15):
        told.add_failure(P0, FailureKind.NOT_JSON, JULY, event_id=None, message=f"line {offset}")
    told.add_failure(P0, FailureKind.MODEL_ERROR, JULY, event_id="0-1", message="raised 5")
    book = ErrorSummary()
    book.on_committed([finished], told, wall_ms=7)
    not_json, model_error = book.to_list()
    assert (not_json["kind"], not_json["count"], not_json["last_seen"]) == ("not_json", 10, 7)
    assert not_json["message"] == "line …"  # no values of events
    assert not_json["samples"] == [f"features-0@{offset}" for offset in range(10, 15)]
    assert model_error["samples"] == ["features-0@1"]
    for _ in range(10):
        book.on_committed([finished], told, wall_ms=8)
    assert all(len(error["samples"]) == MAX_SAMPLES for error in book.to_list())  # type: ignore[arg-type]


def test_what_came_out_well_is_no_error_in_windows_either() -> None:
    status_observer, told = StatusObserver(clock=ManualClock()), ledger()
    told.add_accepted(P0, np.array([JULY, JULY], dtype=np.int64))
    told.add_window_predictions(P0, 3, JULY)
    told.add_failure(P0, FailureKind.NOT_JSON, JULY, event_id=None, message="x")
    status_observer.on_committed([finish(MicroBatch(0, (chunk([1]),), "size", 0.0))], told, TIMES)
    assert [(error["kind"], error["count"]) for error in status_observer.errors.to_list()] == [("not_json", 1)]
    # Three events: the windows are not counted a second time.
    assert status_observer.samples.summary(now_ms=JULY + 1000)["events_per_s"] == 0.3


def test_the_last_warnings_are_kept_the_newest_first() -> None:
    kept = RecentWarnings()
    logger = logging.Logger("forebay.x")
    logger.addHandler(kept)
    for number in range(40):
        logger.info("not this")
        logger.warning("number %d", number)
    told = [line["message"] for line in kept.to_list()]
    assert told[0] == "number 39" and len(told) == 20


def test_micro_batches_of_windows_are_measured_in_windows() -> None:
    status_observer, windows = StatusObserver(clock=ManualClock()), window_stage(plan())
    windows.restore({P0: None})
    # Two windows are closed by four events. The fifth closes none, and the model is not asked.
    for offset, events in ((0, [(b"a", 0), (b"b", 1), (b"a", 2), (b"a", 50)]), (4, [(b"a", 51)])):
        (part,) = windows.take(poll(offset, events))
        finished = finish(MicroBatch(0, (part,), "size", 0.0))
        told = ledger()
        told.add_accepted(P0, np.full(len(events), JULY, dtype=np.int64))
        status_observer.on_committed([finished], told, TIMES)
    summary = status_observer.samples.summary(now_ms=JULY + 1000)
    assert (summary["batch_mean"], summary["batch_max"], summary["events_per_s"]) == (2.0, 2, 0.5)
