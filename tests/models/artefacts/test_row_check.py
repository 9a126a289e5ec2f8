"""Rows that a preparation rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.preparation import prepare
from forebay.models.artefacts.preprocessing import Impute, Preprocessing, RowCheck, RowsRejected, Standardise
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ModelError
from tests.models.build import CREATED_AT, load_artefact, serve_artefact

NAN = float("nan")
CHECK = RowCheck(
    3, (2, 0), minima=(-1.0, None), maxima=(1.0, 0.1), allow_missing=(False, True), names=("delay", "share")
)


def rows(*values: list[float]) -> Any:
    return np.array(values, dtype=np.float32)


def test_rows_outside_are_rejected_with_the_column_and_its_range() -> None:
    x_BF = rows([0, 9, 0], [0, 9, 1.5], [0.2, 9, -2], [NAN, 9, NAN], [0.2, NAN, 1], [-9e9, NAN, -1])
    assert CHECK.rejected(x_BF).tolist() == [False, True, True, True, True, False]
    with pytest.raises(RowsRejected) as caught:
        Preprocessing((CHECK,)).apply(x_BF, checked=True)
    outside = "is outside the range that the model's preparation allows:"
    assert caught.value.reasons == {
        1: f"'delay' {outside} from -1 to 1",
        2: f"'delay' {outside} from -1 to 1",
        3: "'delay' is missing, and the model's preparation requires it",
        4: f"'share' {outside} to 0.1",
    }
    np.testing.assert_array_equal(Preprocessing((CHECK,)).apply(x_BF), x_BF)


def test_limits_are_compared_in_float64() -> None:
    """float32(0.1) is above 0.1: the mask of the training rows and the worker agree, because both are this code."""
    assert CHECK.rejected(rows([0.1, 0, 0])).tolist() == [True]


def test_the_values_after_earlier_steps_count() -> None:
    preprocessing = Preprocessing((Standardise(3, (2,), (10.0,), (2.0,)), Impute(3, (2,), (0.5,)), CHECK))
    x_BF = rows([0, 0, 11], [0, 0, 13], [0, 0, NAN])
    with pytest.raises(RowsRejected) as caught:
        preprocessing.apply(x_BF, checked=True)
    assert list(caught.value.reasons) == [1]
    np.testing.assert_array_equal(preprocessing.apply(x_BF[[0, 2]], checked=True), preprocessing.apply(x_BF)[[0, 2]])


@given(arrays(np.float32, (5, 3), elements=st.floats(-2, 2, width=32) | st.just(NAN)))
def test_whether_a_row_is_rejected_does_not_depend_on_the_others(x_BF: Any) -> None:
    rejected_B = CHECK.rejected(x_BF)
    assert rejected_B.tolist() == [bool(CHECK.rejected(x_BF[row : row + 1])[0]) for row in range(5)]


def test_an_event_outside_rejects_its_sequence() -> None:
    signature = Signature((), (3,), "regression", 1, window=WindowInput(2))
    x_BTW = np.zeros((3, 2, 4), dtype=np.float32)
    x_BTW[:, 0, 3] = x_BTW[1, 1, 3] = 1  # the second step of the others is padding
    x_BTW[1, 1, 2] = x_BTW[2, 0, 2] = 5
    x_BTW[0, 1, 2] = 5
    with pytest.raises(RowsRejected) as caught:
        prepare(signature, Preprocessing((CHECK,)), x_BTW.reshape(3, -1), checked=True)
    assert list(caught.value.reasons) == [1, 2]


def test_an_aggregate_outside_rejects_its_window() -> None:
    signature = Signature((), (3,), "regression", 1, window=WindowInput(aggregates=(Aggregate("count"),)))
    check = RowCheck(1, (0,), (2.0,), (None,), allow_missing=(True,), names=("count",))
    with pytest.raises(RowsRejected) as caught:
        prepare(signature, Preprocessing((check,)), rows([1], [2]), checked=True)
    assert list(caught.value.reasons) == [0]


def test_a_model_whose_check_refuses_zeros_is_published_warmed_up_and_checked(tmp_path: Path) -> None:
    check = RowCheck(2, (0,), (100.0,), (200.0,), allow_missing=(True,), names=("a",))
    signature = Signature((Feature("a", nullable=True), Feature("b")), (2,), "regression", 1)
    save_artefact(
        tmp_path,
        "m",
        build_net("linear_regression", {"input_dim": 2}),
        signature=signature,
        preprocessing=Preprocessing((check, Impute(2, (0,), (150.0,)))),
        created_at=CREATED_AT,
    )
    served = serve_artefact(load_artefact(tmp_path, "m"))
    served.warm_up([1, 4])
    with pytest.raises(RowsRejected):
        served.prepare(rows([1, 1]))
    golden = draw_golden_rows("m", signature, Preprocessing((check,)))
    assert 100 < np.nanmedian(golden[:, 0]) < 200, "made around the allowed range"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"minima": (2.0, None)}, "a minimum is above its maximum"),
        ({"maxima": (NAN, None)}, "minima and maxima must be finite"),
        ({"names": ("a",)}, "there are 1 names for 2 columns"),
        ({"allow_missing": (True,)}, "there are 1 allow_missing for 2 columns"),
        ({"allow_missing": (True, 1)}, "allow_missing[1] is 1 (int); give True or False"),
        ({"columns": (0, 0)}, "columns must be different"),
    ],
)
def test_invalid_checks_are_refused(change: dict[str, Any], says: str) -> None:
    arguments = {key: value for key, value in CHECK.to_dict().items() if key != "step"} | change
    with pytest.raises(ModelError) as caught:
        RowCheck(**arguments)  # type: ignore[arg-type]
    assert says in caught.value.message
