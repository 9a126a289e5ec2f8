"""Errors by kind, from commits with and without windows; the last warnings."""

from __future__ import annotations

import logging

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.admin.recent_errors import MAX_SAMPLES, ErrorSummary, RecentWarnings
from forebay.stream.admin.status_observer import StatusObserver
from forebay.stream.core.records import MicroBatch, RowFailure
from forebay.stream.output.ledger import Ledger
from forebay.stream.pipeline.observer import CommitTimes
from tests.core.build import JULY, MODEL, P0, ManualClock, chunk, finish
from tests.eventtime.build import plan, poll
from tests.eventtime.build import stage as window_stage

TIMES = CommitTimes(*range(6))


def test_errors_are_counted_by_kind_with_sample_positions() -> None:
    batch = MicroBatch(0, (chunk(range(20), rejected=range(5, 15)),), "size", 0.0)
    result = finish(batch, {1: RowFailure(FailureKind.MODEL_ERROR, "raised 5", "stack")})
    ledger = Ledger()
    for offset in range(5, 15):
        ledger.of(MODEL).add_failure(P0, FailureKind.NOT_JSON, JULY, event_id=None, message=f"line {offset}")
    ledger.of(MODEL).add_failure(P0, FailureKind.MODEL_ERROR, JULY, event_id="0-1", message="raised 5")
    errors = ErrorSummary()
    errors.record_commit([result], ledger, wall_ms=7)
    not_json, model_error = errors.to_list()
    assert (not_json["kind"], not_json["count"], not_json["last_seen"]) == ("not_json", 10, 7)
    assert not_json["message"] == "line …"  # no values of events
    assert not_json["samples"] == [f"features-0@{offset}" for offset in range(10, 15)]
    assert model_error["samples"] == ["features-0@1"]
    for _ in range(10):
        errors.record_commit([result], ledger, wall_ms=8)
    assert all(len(error["samples"]) == MAX_SAMPLES for error in errors.to_list())  # type: ignore[arg-type]


def test_good_outcomes_are_not_errors_with_windows_either() -> None:
    observer, ledger = StatusObserver([MODEL], clock=ManualClock()), Ledger()
    ledger.of(MODEL).add_accepted(P0, np.array([JULY, JULY], dtype=np.int64))
    ledger.of(MODEL).add_window_predictions(P0, 3, JULY)
    ledger.of(MODEL).add_failure(P0, FailureKind.NOT_JSON, JULY, event_id=None, message="x")
    observer.on_committed([finish(MicroBatch(0, (chunk([1]),), "size", 0.0))], ledger, TIMES)
    assert [(error["kind"], error["count"]) for error in observer.errors.to_list()] == [("not_json", 1)]
    # Three events: the windows are not counted again.
    assert observer.samples.summary(now_ms=JULY + 1000)["events_per_s"] == 0.3


def test_the_last_warnings_are_listed_newest_first() -> None:
    warnings = RecentWarnings()
    logger = logging.Logger("forebay.x")
    logger.addHandler(warnings)
    for number in range(40):
        logger.info("not this")
        logger.warning("number %d", number)
    messages = [record["message"] for record in warnings.to_list()]
    assert messages[0] == "number 39" and len(messages) == 20


def test_the_size_of_a_micro_batch_of_windows_is_its_number_of_windows() -> None:
    observer, windows = StatusObserver([MODEL], clock=ManualClock()), window_stage(plan())
    windows.restore({P0: None})
    # Four events close two windows. The fifth closes none, and the model is not called.
    for offset, events in ((0, [(b"a", 0), (b"b", 1), (b"a", 2), (b"a", 50)]), (4, [(b"a", 51)])):
        (part,) = windows.take(poll(offset, events))
        result = finish(MicroBatch(0, (part,), "size", 0.0))
        ledger = Ledger()
        ledger.of(MODEL).add_accepted(P0, np.full(len(events), JULY, dtype=np.int64))
        observer.on_committed([result], ledger, TIMES)
    summary = observer.samples.summary(now_ms=JULY + 1000)
    assert (summary["batch_mean"], summary["batch_max"], summary["events_per_s"]) == (2.0, 2, 0.5)
