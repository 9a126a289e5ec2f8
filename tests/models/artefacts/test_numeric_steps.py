"""The frozen steps of numeric preparations: sequences, bounds and computed columns, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forebay.models.artefacts.golden_drawing import draw_golden_rows
from forebay.models.artefacts.preparation import prepare, prepared_shape
from forebay.models.artefacts.preprocessing import Impute, Preprocessing, RowCheck, RowsRejected, Standardise, Step
from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.artefacts.preprocessing.bounds import FlagMissing, FlagOutside, NullOutside
from forebay.models.artefacts.preprocessing.combine import Combine, Cyclic
from forebay.models.artefacts.preprocessing.fill_sequence import FillSequence
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.power import PowerTransform
from forebay.models.artefacts.preprocessing.transform import Function
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.schemas.errors import ModelError, TensorError

NAN = float("nan")
VALUES = st.integers(-3, 6).map(float) | st.sampled_from([NAN, 0.5, -0.5])
SEQUENCES = Signature(
    tuple(Feature(name, nullable=True) for name in "ab"), (2,), "regression", 1, window=WindowInput(3)
)
STEPS: tuple[Step, ...] = (
    NullOutside(5, (3, 1), (0.0, -1.0), (1.0, 1.0)),
    FlagOutside(5, (3, 1), (0.0, -1.0), (1.0, 1.0)),
    FlagMissing(5, (4, 0)),
    Combine(5, (0, 0), (0, 2), "divide", at_zero=7.0),
    Cyclic(5, (2, 0), (2.0, 24.0)),
    Bin(5, (4, 1), ((0.0, 1.0), ())),
    Bin(5, (4, 1), (tuple(range(40)), (0.5,))),
    Function(5, (4, 2), "rint"),
    PowerTransform(5, (3, 0), (0.5, 2.0), means=(1.0, 0.0), scales=(2.0, 1.0)),
    Interpolate(5, (3, 0), ((0.0, 1.0, 2.0), (0.0, 0.0, 3.0)), (0.0, 0.5, 1.0), distribution="normal"),
    MapValues(5, (3, 0), ((0.0, 1.0), (0.0,)), ((5.0, None), (9.0,)), missing=(None, 1.0), unknown=(2.0, None)),
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.kind)
@settings(max_examples=15, deadline=None)
@given(arrays(np.float32, (6, 5), elements=VALUES))
def test_columns_next_to_each_other_are_treated_like_others(step: Any, x_BF: Any) -> None:
    """Steps take a faster way for neighbouring columns, whole batches and codes; each value by itself is the reference."""
    preprocessing = Preprocessing.from_dict(Preprocessing((step,)).to_dict())
    assert preprocessing.steps == (step,)
    expected = preprocessing.apply(x_BF)
    for row in range(len(x_BF)):
        np.testing.assert_array_equal(preprocessing.apply(x_BF[row : row + 1])[0], expected[row])
    if step.kind in ("combine", "flag_outside", "flag_missing", "cyclic"):
        np.testing.assert_array_equal(expected[:, :5], x_BF, "the columns stay")
        return
    order = [*step.columns, *(place for place in range(5) if place not in step.columns)]
    fields = {key: value for key, value in step.to_dict().items() if key != "step"}
    neighbours = type(step)(**(fields | {"columns": tuple(range(len(step.columns)))}))
    np.testing.assert_array_equal(neighbours.apply(x_BF[:, order]), expected[:, order])


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (8, 2), elements=VALUES))
def test_codes_are_looked_up_like_in_a_dictionary(x_BF: Any) -> None:
    step = MapValues(
        2, (1, 0), ((0.0, 1.0, 2.0), (0.0,)), ((5.0, None, 7.0), (9.0,)), missing=(-1.0, None), unknown=(None, -2.0)
    )
    tables: list[dict[float, float]] = [{0.0: 9.0}, {0.0: 5.0, 1.0: NAN, 2.0: 7.0}]
    missing, unknown = [NAN, -1.0], [-2.0, NAN]
    expected = [
        [missing[k] if np.isnan(x) else tables[k].get(x, unknown[k]) for k, x in enumerate(row)]
        for row in x_BF.tolist()
    ]
    np.testing.assert_array_equal(step.apply(x_BF), expected)


def sequences(*rows: list[list[float]]) -> Any:
    """Return windows of up to three events with a column that marks events."""
    x_BTW = np.zeros((len(rows), 3, 3), dtype=np.float32)
    for number, events in enumerate(rows):
        for step, event in enumerate(events):
            x_BTW[number, step] = [*event, 1]
    return x_BTW.reshape(len(rows), -1)


def test_missing_values_are_filled_within_a_sequence() -> None:
    fill = FillSequence(2, (0,), "interpolate")
    x_BF = sequences([[NAN, 1], [2, NAN], [NAN, 3]], [[5, 5]], [[1, NAN], [NAN, NAN], [4, NAN]], [[NAN, 7]])
    x_BTG = prepare(SEQUENCES, Preprocessing((fill,)), x_BF).reshape(4, 3, 3)
    np.testing.assert_array_equal(x_BTG[:, :, 0], [[2, 2, 2], [5, 0, 0], [1, 2.5, 4], [NAN, 0, 0]])
    np.testing.assert_array_equal(x_BTG[:, :, 1], x_BF.reshape(4, 3, 3)[:, :, 1], "the other column is unchanged")
    for row in range(4):
        alone = prepare(SEQUENCES, Preprocessing((fill,)), x_BF[row : row + 1])
        np.testing.assert_array_equal(alone[0], x_BTG[row].ravel())


def test_a_check_after_a_fill_names_the_sequence() -> None:
    check = RowCheck(2, (0,), (None,), (None,), allow_missing=(False,), names=("a",))
    steps = Preprocessing((FillSequence(2, (0,), "backward"), check))
    x_BF = sequences([[NAN, 1], [2, 1]], [[1, 1], [NAN, 1]])
    with pytest.raises(RowsRejected) as caught:
        prepare(SEQUENCES, steps, x_BF, checked=True)
    assert list(caught.value.reasons) == [1], "the last event has no next one"


def test_filling_is_refused_for_rows() -> None:
    fill = Preprocessing((FillSequence(1, (0,), "forward"),))
    with pytest.raises(ModelError, match="needs the events of a sequence, and each row is an event or a window"):
        prepared_shape(Signature((), (1,), "regression", 1), fill)
    with pytest.raises(TensorError, match="these rows stand by themselves"):
        fill.apply(np.zeros((1, 1), dtype=np.float32))


def test_golden_rows_are_drawn_for_columns_that_steps_added() -> None:
    steps = Preprocessing(
        (
            FlagMissing(2, (0,)),
            NullOutside(3, (0,), (1000.0,), (1010.0,)),
            Combine(3, (0,), (1,), "divide", at_zero=0.0),
            Impute(4, (0, 3), (1005.0, 0.0)),
            Standardise(4, (3,), (5.0,), (2.0,)),
        )
    )
    signature = Signature((Feature("a", nullable=True), Feature("b")), (2,), "regression", 1)
    golden = draw_golden_rows("m", signature, steps)
    assert 1000 < np.nanmedian(golden[:, 0]) < 1010


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: NullOutside(1, (0,), (2.0,), (1.0,)), "null_outside: a minimum is above its maximum"),
        (lambda: FlagOutside(1, (0,), (NAN,), (1.0,)), "minima must be finite"),
        (lambda: FlagMissing(1, (1,)), "columns must be different and from 0 to 0"),
        (lambda: Combine(2, (0,), (1,), "power"), "operation is 'power'; allowed is one of add, subtract, multiply"),
        (lambda: Combine(2, (0,), (), "add"), "there are 0 other columns for 1 columns"),
        (lambda: Combine(2, (0,), (2,), "add"), "columns must be different and from 0 to 1"),
        (lambda: Cyclic(1, (0,), (0.0,)), "every period must be positive"),
        (lambda: FillSequence(1, (0,), "nearest"), "method is 'nearest'; allowed is one of forward, backward"),
        (
            lambda: Interpolate(1, (0,), ((0.0,),), (0.0,), distribution="gamma"),
            "distribution is 'gamma'; allowed is uniform",
        ),
        (lambda: PowerTransform(1, (0,), (1.0,), means=(1.0,)), "there are 0 scales for 1 columns"),
        (lambda: PowerTransform(1, (0,), (1.0,), means=(1.0,), scales=(0.0,)), "every scale must be positive"),
    ],
)
def test_invalid_steps_are_refused(make: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert says in caught.value.message
    assert caught.value.kind == "preprocessing"
