"""The frozen isolation forest against scikit-learn's decision function, bit by bit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest as Reference

from forebay.models.artefacts.preprocessing import Preprocessing, RowsRejected
from forebay.models.artefacts.preprocessing.isolation_forest import IsolationForest
from forebay.models.preparation.training_rows import TrainingRows
from forebay.models.preparation.whole_rows import freeze
from forebay.schemas.errors import ModelError

RANDOM = np.random.default_rng(5)
X_NF = np.column_stack(
    [RANDOM.normal(1e6, 3, 600), RANDOM.integers(0, 4, 600), RANDOM.lognormal(0, 3, 600), np.ones(600)]
).astype(np.float32)
SMALL = IsolationForest(
    3,
    (2, 0),
    splits=((0, -1, 1, -1, -1),),
    thresholds=((1.0, -1.0),),
    samples=((1, 2, 3),),
    max_samples=6,
    offset=-0.5,
    names=("delay", "share"),
)


@pytest.mark.parametrize(
    "options",
    [{}, {"contamination": 0.05}, {"n_estimators": 7, "max_samples": 3}, {"max_samples": 600, "bootstrap": True}],
    ids=str,
)
def test_decisions_are_those_of_scikit_learn(options: dict[str, Any]) -> None:
    reference = Reference(random_state=1, **options).fit(X_NF)
    step = freeze(reference, TrainingRows(tuple("abcd"), X_NF), (0, 1, 2, 3))
    thresholds = np.concatenate([tree.tree_.threshold[tree.tree_.feature == 2] for tree in reference.estimators_])
    on_and_beside = np.repeat(X_NF[:1], 3 * len(thresholds[:300]), axis=0)
    on = thresholds[:300].astype(np.float32)
    on_and_beside[:, 2] = np.concatenate(
        [on, np.nextafter(on, np.float32(np.inf)), np.nextafter(on, np.float32(-np.inf))]
    )
    rows = np.concatenate([X_NF, X_NF * np.float32(1.001), on_and_beside])
    np.testing.assert_array_equal(step.decisions(rows), reference.decision_function(rows))
    np.testing.assert_array_equal(step.rejected(rows), reference.predict(rows) < 0)
    np.testing.assert_array_equal(step.decisions(rows[:1]), reference.decision_function(rows[:1]))
    again = Preprocessing.from_dict(json.loads(json.dumps(Preprocessing((step,)).to_dict()))).steps[0]
    assert again == step
    np.testing.assert_array_equal(step.apply(rows), rows)


def test_rows_are_rejected_with_a_reason_that_has_no_value() -> None:
    rows = np.array([[0, 0, 0], [0, 0, np.nan], [np.nan, 9, 5], [-7, 9, 5], [9, 9, 5]], dtype=np.float32)
    decisions = SMALL.decisions(rows[[0, 3, 4]])
    assert decisions[0] < 0 < decisions[1] < decisions[2], "rows that are alone after one split are outliers"
    with pytest.raises(RowsRejected) as caught:
        Preprocessing((SMALL,)).apply(rows, checked=True)
    assert caught.value.reasons == {
        0: "the row is unlike the training rows: its isolation score is above the preparation's limit",
        1: "'delay' is missing, and the model's preparation requires it",
        2: "'share' is missing, and the model's preparation requires it",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": ((0, -1),)}, "tree 0 is not complete"),
        ({"splits": ((0, -1, -1, -1),)}, r"splits\[0\] has nodes after its last leaf"),
        ({"splits": ((2, -1, 1, -1, -1),)}, "must have numbers from -1 to 1"),
        ({"splits": ((0,) * 20,), "thresholds": ((1.0,) * 20,)}, "at most 12 splits on a path"),
        ({"thresholds": ((1.0,),)}, "a threshold for each split"),
        ({"thresholds": ((1.0, 2.0, 3.0),)}, "more thresholds or samples than nodes"),
        ({"thresholds": ((1.0, float("inf")),)}, "thresholds must be finite"),
        ({"samples": ((0, 2, 3),)}, "a number of rows from 1 to 6"),
        ({"samples": ((1, 2, 7),)}, "a number of rows from 1 to 6"),
        ({"samples": ()}, "a list for every tree"),
        ({"max_samples": 1}, "max_samples is 1; allowed is from 2"),
        ({"offset": 0.5}, "allowed is from -1 to 0"),
        ({"names": ("delay",)}, "1 names for 2 columns"),
        ({"columns": (2, 2)}, "columns must be different"),
    ],
    ids=str,
)
def test_what_is_no_forest_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(SMALL, **changes)


def test_forests_that_would_fill_the_memory_are_refused() -> None:
    deep = (0,) * 12 + (-1,) * 13
    with pytest.raises(ModelError, match="300 trees of depth 12 are too many"):
        replace(SMALL, splits=(deep,) * 300, thresholds=((1.0,) * 12,) * 300, samples=((1,) * 13,) * 300)
