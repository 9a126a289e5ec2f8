"""The check of a contestant's outputs."""

from __future__ import annotations

import numpy as np
import orjson

from benchmarks.predictions import SAMPLED, Expected, PredictionCheck

EXPECTED = Expected(np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32))


def prediction(number: int, scores: list[float]) -> bytes:
    return orjson.dumps({"id": f"event-{number}", "model": "bench", "prediction": scores})


def fault_of(outputs: list[bytes], events: int = 2) -> str:
    check = PredictionCheck(events, EXPECTED)
    for value in outputs:
        check.add(value)
    return check.fault()


def test_one_correct_prediction_for_each_event_is_right() -> None:
    assert fault_of([prediction(1, [0.5, 0.5]), prediction(0, [0.25000001, 0.75])]) == ""


def test_the_id_may_be_at_any_place() -> None:
    assert fault_of([b'{"prediction":[0.25,0.75],"id":"event-0"}'], events=1) == ""


def test_missing_duplicate_foreign_and_wrong_predictions_are_found() -> None:
    right = prediction(0, [0.25, 0.75])
    assert fault_of([right]) == "1 predictions for 2 events"
    assert fault_of([right, right]) == "two predictions for event-0"
    assert fault_of([right, prediction(2, [0.5, 0.5])]).startswith("an output that is not a prediction of an event")
    assert fault_of([b"no JSON", right]).startswith("an output that is not a prediction of an event")
    assert fault_of([prediction(0, [0.75, 0.25]), prediction(1, [0.5, 0.5])]).startswith("the prediction [0.75, 0.25]")


def test_only_samples_are_compared_with_the_model() -> None:
    assert fault_of([prediction(1, [9.0, 9.0]), prediction(0, [0.25, 0.75])]) == ""
    assert SAMPLED > 1


def test_without_scores_only_records_are_counted() -> None:
    check = PredictionCheck(1, None)
    check.add(b"anything")
    assert check.fault() == ""
