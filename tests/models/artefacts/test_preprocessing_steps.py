"""The steps that tables of values, bins, powers and functions need, against references of one value at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forebay.models.artefacts.preprocessing import Preprocessing, Step
from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.power import PowerTransform
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.preprocessing.transform import Clip, Function
from forebay.schemas.errors import ModelError

NAN = float("nan")
KEYS = st.lists(st.integers(-5, 5).map(float), unique=True, max_size=6).map(sorted)
VALUES = st.integers(-6, 6).map(float) | st.floats(-10, 10, width=32) | st.sampled_from([NAN, np.inf, -np.inf])
COLUMN = arrays(np.float32, (20, 1), elements=VALUES)


def apply(step: Step, *values: float) -> list[float]:
    """Return what the step makes of a column of values."""
    return Preprocessing((step,)).apply(np.array(values, dtype=np.float32)[:, None])[:, 0].tolist()


@given(KEYS, COLUMN, st.none() | st.just(-1.0), st.none() | st.just(-2.0))
def test_values_are_mapped_like_a_dictionary(keys: list[float], x_B1: Any, missing: Any, unknown: Any) -> None:
    values = [None if key == 0 else 10 * key for key in keys]
    step = MapValues(1, (0,), (tuple(keys),), (tuple(values),), missing=(missing,), unknown=(unknown,))
    table = dict(zip(keys, values, strict=True))
    expected = [missing if math.isnan(x) else table.get(x, unknown) for x in x_B1[:, 0].tolist()]
    plain = [NAN if value is None else value for value in expected]
    np.testing.assert_array_equal(apply(step, *x_B1[:, 0].tolist()), plain)


@given(KEYS, COLUMN)
def test_bins_count_the_edges_below(edges: list[float], x_B1: Any) -> None:
    expected = [NAN if math.isnan(x) else sum(edge <= x for edge in edges) for x in x_B1[:, 0].tolist()]
    np.testing.assert_array_equal(apply(Bin(1, (0,), (tuple(edges),)), *x_B1[:, 0].tolist()), expected)


def test_columns_are_chosen_ordered_and_repeated() -> None:
    x = np.array([[1, 2, 3]], dtype=np.float32)
    assert Preprocessing((SelectColumns(3, (2, 0, 2)),)).apply(x).tolist() == [[3, 1, 3]]


def test_values_are_limited_to_a_range() -> None:
    np.testing.assert_array_equal(apply(Clip(1, (0,), (-1.0,), (2.0,)), -5, 1, 9, NAN, np.inf), [-1, 1, 2, NAN, 2])


@pytest.mark.parametrize("lmbda", [-1.5, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_power_transformations_agree_with_their_formulas(lmbda: float) -> None:
    values = [-3.0, -0.25, 0.0, 0.25, 1.0, 7.0]

    def box_cox(x: float, power: float) -> float:
        return math.log(x) if power == 0 else (x**power - 1) / power

    expected = [box_cox(x + 1, lmbda) if x >= 0 else -box_cox(1 - x, 2 - lmbda) for x in values]
    np.testing.assert_allclose(apply(PowerTransform(1, (0,), (lmbda,)), *values), expected, rtol=1e-6)
    positive = [x for x in values if x > 0]
    step = PowerTransform(1, (0,), (lmbda,), "box-cox")
    np.testing.assert_allclose(apply(step, *positive), [box_cox(x, lmbda) for x in positive], rtol=1e-6)
    assert not np.isfinite(apply(step, -1.0)).any()
    np.testing.assert_array_equal(apply(step, NAN), [NAN])


def test_functions_are_those_of_numpy_in_float64() -> None:
    assert apply(Function(1, (0,), "log1p"), 0.5) == [float(np.float32(math.log1p(0.5)))]
    np.testing.assert_array_equal(apply(Function(1, (0,), "sqrt"), 4, -1, NAN), [2, NAN, NAN])


def test_lines_between_points() -> None:
    step = Interpolate(1, (0,), ((0.0, 1.0, 1.0, 3.0),), (0.0, 0.2, 0.4, 1.0))
    np.testing.assert_allclose(apply(step, -9, 0, 0.5, 1, 2, 3, 9, NAN), [0, 0, 0.1, 0.3, 0.7, 1, 1, NAN], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SelectColumns(2, ()), "select_columns: from 1 to 4194304 columns are allowed, from 0 to 1"),
        (lambda: SelectColumns(2, (2,)), "select_columns: from 1 to 4194304 columns are allowed, from 0 to 1"),
        (
            lambda: MapValues(1, (0,), ((1.0, 1.0),), ((0.0, 0.0),), missing=(None,), unknown=(None,)),
            "different float32 numbers",
        ),
        (
            lambda: MapValues(1, (0,), ((2.0, 1.0),), ((0.0, 0.0),), missing=(None,), unknown=(None,)),
            "in ascending order",
        ),
        (
            lambda: MapValues(1, (0,), ((1.0,),), ((),), missing=(None,), unknown=(None,)),
            "there are 0 values for 1 keys",
        ),
        (lambda: MapValues(1, (0,), ((1.0,),), ((1e39,),), missing=(None,), unknown=(None,)), "values must be finite"),
        (lambda: MapValues(1, (0,), ((1.0,),), ((1.0,),), missing=(NAN,), unknown=(None,)), "missing must be finite"),
        (
            lambda: MapValues(1, (0,), (), (), missing=(None,), unknown=(None,)),
            "there are 0 lists of keys for 1 columns",
        ),
        (lambda: Bin(1, (0,), ((1.0, 1.0),)), "edges of a column must be ascending"),
        (lambda: Bin(1, (0,), ()), "there are 0 lists of edges for 1 columns"),
        (lambda: Clip(1, (0,), (2.0,), (1.0,)), "a minimum is above its maximum"),
        (lambda: Function(1, (0,), "eval"), "function is 'eval'; allowed is one of abs, cbrt"),
        (lambda: PowerTransform(1, (0,), (1.0,), "log"), "method is 'log'; allowed is yeo-johnson or box-cox"),
        (lambda: Interpolate(1, (0,), ((1.0, 0.0),), (0.0, 1.0)), "points and levels must be ascending"),
        (lambda: Interpolate(1, (0,), ((0.0,),), (0.0, 1.0)), "there are 1 points for 2 levels"),
    ],
)
def test_invalid_steps_are_refused(make: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        make()
    assert says in caught.value.message
    assert caught.value.kind == "preprocessing"


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"step": "select_columns", "width": 1, "columns": [1]}, "steps[0]: select_columns: from 1"),
        ({"step": "bin", "width": 1, "columns": [0], "edges": [["x"]]}, "steps[0]: edges[0][0] is 'x' (str)"),
        ({"step": "bin", "width": 1, "columns": [0], "edges": 5}, "steps[0].edges is 5; allowed is a list"),
        (
            {"step": "function", "width": 1, "columns": [0], "function": "eval"},
            "steps[0]: function: function is 'eval'",
        ),
        ({"step": "clip", "width": 1, "columns": [0], "minima": [0]}, "steps[0].maxima is missing"),
    ],
)
def test_a_fault_in_a_file_names_the_step(step: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError) as caught:
        Preprocessing.from_dict({"steps": [step]}, "f.json")
    assert caught.value.message.startswith(f"f.json: {says}")
