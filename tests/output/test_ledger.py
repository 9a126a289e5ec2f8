"""The ledger of a commit: outcomes by model, and sums over the models."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas.failures import FailureKind, Outcome
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.redaction import Redactor
from forebay.stream.output.ledger import DELTA_BUCKET_MS, Ledger
from tests.core.build import JULY, MODEL, P0, P1

OTHER = ModelRef("other", 2)


def test_deltas_are_bucketed_by_record_timestamp() -> None:
    ledger = Ledger()
    model = ledger.of(MODEL)
    model.add_predictions(P0, np.array([JULY, JULY + 59_999]))
    model.add_predictions(P0, np.array([JULY + 59_999, JULY + 60_000]))
    assert [(key.window_start - JULY, delta.count) for key, delta in ledger.deltas.items()] == [(0, 3), (60_000, 1)]
    for offset in range(9):
        model.add_failure(P0, FailureKind.NOT_JSON, JULY + offset, event_id=f"{offset}", message=f"bad at {offset}")
    delta = next(delta for key, delta in ledger.deltas.items() if key.kind == "not_json")
    assert (delta.count, delta.first_seen, delta.last_seen) == (9, JULY, JULY + 8)
    assert delta.sample_ids == list("01234")
    assert delta.exemplar == {"message": "bad at …", "stack_hash": None, "stack": None}


@given(st.lists(st.lists(st.integers(-1, 4 * DELTA_BUCKET_MS), max_size=20), max_size=3), st.integers(0, 10**6))
def test_predictions_are_grouped_into_minutes(columns: list[list[int]], now_ms: int) -> None:
    ledger = Ledger(now_ms=now_ms)
    expected: dict[int, list[int]] = {}
    for timestamps in columns:
        ledger.of(MODEL).add_predictions(P0, np.array(timestamps, dtype=np.int64))
        for timestamp in timestamps:
            timestamp = now_ms if timestamp < 0 else timestamp
            expected.setdefault(timestamp // DELTA_BUCKET_MS * DELTA_BUCKET_MS, []).append(timestamp)
    found = {key.window_start: (d.count, d.first_seen, d.last_seen) for key, d in ledger.deltas.items()}
    assert found == {start: (len(times), min(times), max(times)) for start, times in expected.items()}


def test_records_without_a_timestamp_count_in_the_minute_of_their_commit() -> None:
    ledger = Ledger(now_ms=JULY + 60_000)
    ledger.of(MODEL).add_predictions(P0, np.array([JULY, -1, -1]))
    ledger.of(MODEL).add_failure(P0, FailureKind.NOT_JSON, -1, event_id=None, message="no")
    assert {(key.window_start, key.kind): delta.count for key, delta in ledger.deltas.items()} == {
        (JULY, "predicted"): 1,
        (JULY + 60_000, "predicted"): 2,
        (JULY + 60_000, "not_json"): 1,
    }
    # A record without a timestamp has no latency.
    assert ledger.latencies_ms(wall_ms=JULY + 250).tolist() == [250.0]
    assert ledger.latencies_ms(wall_ms=JULY - 250).tolist() == [0.0], "the record's clock is ahead"
    assert ledger.decided[P0] == 4


def test_totals_are_the_sums_of_the_models() -> None:
    ledger = Ledger()
    ledger.of(MODEL).add_predictions(P0, np.array([JULY, JULY]))
    ledger.of(OTHER).add_predictions(P0, np.array([JULY + 1]))
    ledger.of(OTHER).add_failure(
        P1, FailureKind.BATCH_TOO_LARGE, JULY + 2, event_id=None, message="no 'x' in 'age'", count=5
    )
    ledger.of(MODEL).add_failure(P1, FailureKind.MODEL_ERROR, -1, event_id="a", message="no")
    assert ledger.outcomes == {Outcome.PREDICTED: 3, Outcome.REJECTED: 5, Outcome.FAILED: 1}
    assert ledger.models[OTHER].outcomes == {Outcome.PREDICTED: 1, Outcome.REJECTED: 5}
    assert ledger.kinds == {"batch_too_large": 5, "model_error": 1} and ledger.models[MODEL].kinds == {"model_error": 1}
    assert ledger.decided == {P0: 3, P1: 6} and ledger.num_without_letter == 4
    assert sorted(ledger.latencies_ms(wall_ms=JULY + 10)) == [8, 9, 10, 10]
    assert sorted(ledger.models[OTHER].latencies_ms(wall_ms=JULY + 10)) == [8, 9]
    counts: Counter[ModelRef] = Counter()
    for key, delta in ledger.deltas.items():
        counts[ModelRef(key.model, key.version)] += delta.count
    assert counts == {MODEL: 3, OTHER: 6}


def test_each_model_is_balanced_by_itself() -> None:
    ledger = Ledger()
    for model, passed in ((MODEL, 1), (OTHER, 3)):
        ledger.of(model).add_predictions(P0, np.array([JULY, JULY]))
        ledger.of(model).passed[P0] += passed
    assert ledger.passed == ledger.decided == {P0: 4}
    assert ledger.unbalanced().keys() == {P0}


def test_a_commit_without_records_has_no_latencies() -> None:
    assert len(Ledger().latencies_ms(wall_ms=JULY)) == 0 and Ledger().outcomes == {} and not Ledger().unbalanced()


def test_a_model_keeps_the_redactor_of_the_first_call() -> None:
    ledger = Ledger()
    model = ledger.of(MODEL, Redactor(("age",)))
    assert ledger.of(MODEL) is model is ledger.models[MODEL]
    model.add_failure(P0, FailureKind.MISSING_VALUE, JULY, event_id="a", message="feature 'age' is null")
    (delta,) = ledger.deltas.values()
    assert delta.exemplar is not None and delta.exemplar["message"] == "feature `age` is null"
