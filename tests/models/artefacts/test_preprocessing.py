from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise, Step
from forebay.models.artefacts.preprocessing.bin import Bin
from forebay.models.artefacts.preprocessing.interpolate import Interpolate
from forebay.models.artefacts.preprocessing.isolation_forest import IsolationForest
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.pipeline import STEP_READERS
from forebay.models.artefacts.preprocessing.power import METHODS, PowerTransform
from forebay.models.artefacts.preprocessing.row_check import RowCheck
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.preprocessing.transform import FUNCTIONS, Clip, Function
from forebay.schemas.errors import ModelError, TensorError

NAN = float("nan")
VALUES = st.one_of(
    st.floats(width=32, min_value=-(2.0**66), max_value=2.0**66),
    st.just(NAN),
    st.integers(0, 5).map(float),
)
CONSTANTS = st.floats(min_value=-1e20, max_value=1e20, allow_nan=False)


def subsets(width: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, width - 1), unique=True)


@st.composite
def other_steps(draw: st.DrawFn, kind: str, width: int, columns: tuple[int, ...]) -> Step:
    ascending = st.lists(st.integers(-4, 4).map(float), unique=True, max_size=5).map(sorted)
    match kind:
        case "select_columns":
            return SelectColumns(width, tuple(draw(st.lists(st.integers(0, width - 1), min_size=1, max_size=8))))
        case "map_values":
            constants = st.none() | CONSTANTS
            keys = [tuple(draw(ascending)) for _ in columns]
            return MapValues(
                width,
                columns,
                keys=tuple(keys),
                values=tuple(tuple(draw(constants) for _ in own) for own in keys),
                missing=tuple(draw(constants) for _ in columns),
                unknown=tuple(draw(constants) for _ in columns),
            )
        case "clip":
            return Clip(width, columns, (-1.5,) * len(columns), tuple(draw(st.floats(-1.5, 9)) for _ in columns))
        case "function":
            return Function(width, columns, draw(st.sampled_from(list(FUNCTIONS))))
        case "bin":
            return Bin(width, columns, tuple(tuple(draw(ascending)) for _ in columns))
        case "power_transform":
            lambdas = tuple(draw(st.floats(-3, 3)) for _ in columns)
            return PowerTransform(width, columns, lambdas, draw(st.sampled_from(METHODS)))
        case "row_check":
            return RowCheck(
                width,
                columns,
                minima=tuple(draw(st.none() | st.floats(-9, -1)) for _ in columns),
                maxima=tuple(draw(st.none() | st.floats(-1, 9)) for _ in columns),
                allow_missing=tuple(draw(st.booleans()) for _ in columns),
                names=tuple(map(str, columns)),
            )
        case "isolation_forest":
            trees = draw(st.integers(1, 3))
            return IsolationForest(
                width,
                columns[:2] or (0,),
                splits=((0, -1, 0, -1, -1),) * trees,
                thresholds=((draw(st.floats(-2, 2)), draw(st.floats(-2, 2))),) * trees,
                samples=((1, 2, 3),) * trees,
                max_samples=6,
                offset=-0.5,
                names=tuple(map(str, columns[:2])) or ("0",),
            )
        case _:
            return Interpolate(width, columns, ((-1.0, 0.5, 0.5, 3.0),) * len(columns), (0.0, 0.1, 0.2, 1.0))


@st.composite
def preprocessings(draw: st.DrawFn, kinds: Sequence[str] = tuple(STEP_READERS)) -> tuple[int, Preprocessing]:
    """Generate up to three steps of these kinds, in any order, on any columns."""
    width = first = draw(st.integers(1, 6))
    steps: list[Step] = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=3)):
        columns = tuple(draw(subsets(width)))
        values = tuple(draw(CONSTANTS) for _ in columns)
        match kind:
            case "impute":
                steps.append(Impute(width, columns, values))
            case "standardise":
                scales = tuple(draw(st.floats(1e-6, 1e6)) for _ in columns)
                steps.append(Standardise(width, columns, values, scales))
            case "one_hot":
                steps.append(OneHot(width, columns, tuple(draw(st.integers(1, 5)) for _ in columns)))
            case _:
                steps.append(draw(other_steps(kind, width, columns)))
        width = steps[-1].output_width
    return first, Preprocessing(tuple(steps))


@st.composite
def cases(draw: st.DrawFn, kinds: Sequence[str] = tuple(STEP_READERS)) -> tuple[Preprocessing, Any]:
    width, preprocessing = draw(preprocessings(kinds))
    rows = draw(st.integers(0, 7))
    return preprocessing, draw(arrays(np.float32, (rows, width), elements=VALUES))


@given(cases())
def test_each_row_is_processed_independently(case: tuple[Preprocessing, Any]) -> None:
    preprocessing, x_BF = case
    full_BG = preprocessing.apply(x_BF)
    for row in range(len(x_BF)):
        np.testing.assert_array_equal(full_BG[row : row + 1], preprocessing.apply(x_BF[row : row + 1]))


@given(cases())
def test_the_input_is_never_modified_and_the_output_is_new_memory(case: tuple[Preprocessing, Any]) -> None:
    preprocessing, x_BF = case
    before = x_BF.tobytes()
    out_BG = preprocessing.apply(x_BF)
    assert x_BF.tobytes() == before
    assert not np.shares_memory(x_BF, out_BG)
    assert out_BG.dtype == np.float32
    assert out_BG.flags.c_contiguous
    assert out_BG.flags.writeable
    assert out_BG.shape == (len(x_BF), preprocessing.output_width(x_BF.shape[1]))
    out_BG[:] = 7
    assert x_BF.tobytes() == before


@given(cases())
def test_the_memory_layout_of_the_input_does_not_matter(case: tuple[Preprocessing, Any]) -> None:
    preprocessing, x_BF = case
    expected = preprocessing.apply(x_BF)
    read_only = np.asfortranarray(x_BF)
    read_only.flags.writeable = False
    out_BG = preprocessing.apply(read_only)
    np.testing.assert_array_equal(out_BG, expected)
    assert out_BG.flags.c_contiguous
    backwards = preprocessing.apply(np.ascontiguousarray(x_BF[::-1])[::-1])
    np.testing.assert_array_equal(backwards, expected)


@given(cases(["impute", "standardise", "one_hot", "select_columns", "clip", "bin", "interpolate"]))
def test_if_every_column_is_imputed_all_values_are_finite(case: tuple[Preprocessing, Any]) -> None:
    preprocessing, x_BF = case
    width = x_BF.shape[1]
    impute = Impute(width, tuple(range(width)), (0.5,) * width)
    assert np.isfinite(Preprocessing((impute, *preprocessing.steps)).apply(x_BF)).all()


@given(preprocessings())
def test_preprocessing_survives_json_exactly(case: tuple[int, Preprocessing]) -> None:
    _, preprocessing = case
    again = Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict())))
    assert again == preprocessing


@given(st.data())
def test_only_covered_columns_are_imputed(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 5))
    columns = data.draw(subsets(width))
    x_BF = data.draw(arrays(np.float32, (4, width), elements=VALUES))
    out_BF = Preprocessing((Impute(width, tuple(columns), (-1.5,) * len(columns)),)).apply(x_BF)
    for column in range(width):
        expected = x_BF[:, column].copy()
        if column in columns:
            expected[np.isnan(expected)] = -1.5
        np.testing.assert_array_equal(out_BF[:, column], expected)


@given(st.data())
def test_standardising_agrees_with_float64(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 4))
    columns = tuple(data.draw(subsets(width)))
    means = tuple(data.draw(CONSTANTS) for _ in columns)
    scales = tuple(data.draw(st.floats(1e-3, 1e3)) for _ in columns)
    x_BF = data.draw(arrays(np.float32, (4, width), elements=VALUES))
    expected = x_BF.astype(np.float64)
    for column, mean, scale in zip(columns, means, scales, strict=True):
        expected[:, column] = (expected[:, column] - mean) / scale
    out_BF = Preprocessing((Standardise(width, columns, means, scales),)).apply(x_BF)
    # Half a unit in the last place of float32, and what 1 / scale adds to it.
    np.testing.assert_allclose(out_BF, expected, rtol=6.1e-8, atol=1e-45)


def test_standardising_keeps_what_a_float32_mean_would_lose() -> None:
    # Seconds since the epoch: float32 represents them in steps of 128, and so would a float32 mean.
    x = np.array([[1_762_000_000.0]], dtype=np.float32)
    out = Preprocessing((Standardise(1, (0,), (float(x[0, 0]) - 1.0,), (1.0,)),)).apply(x)
    assert out[0, 0] == 1.0


def test_values_beyond_float32_become_infinite_without_a_warning() -> None:
    x = np.array([[3e38], [np.inf], [NAN]], dtype=np.float32)
    out = Preprocessing((Standardise(1, (0,), (0.0,), (1e-3,)),)).apply(x)
    np.testing.assert_array_equal(out[:, 0], [np.inf, np.inf, np.nan])


def test_one_hot_puts_the_other_columns_first_then_the_categories_in_order() -> None:
    x = np.array([[2, 10, 0, 20], [0, 11, 1, 21]], dtype=np.float32)
    out = Preprocessing((OneHot(4, (2, 0), (2, 3)),)).apply(x)
    np.testing.assert_array_equal(out, [[10, 20, 1, 0, 0, 0, 1], [11, 21, 0, 1, 1, 0, 0]])


@pytest.mark.parametrize("code", [NAN, -1, 3, 0.5, np.inf, -np.inf, 3e38])
def test_one_hot_of_an_unknown_category_is_all_zeros(code: float) -> None:
    x = np.array([[7, code]], dtype=np.float32)
    np.testing.assert_array_equal(Preprocessing((OneHot(2, (1,), (3,)),)).apply(x), [[7, 0, 0, 0]])


@given(arrays(np.float32, (5, 2), elements=VALUES))
def test_the_identity_returns_a_copy(x_BF: Any) -> None:
    out_BF = Preprocessing.identity().apply(x_BF)
    np.testing.assert_array_equal(out_BF, x_BF)
    assert not np.shares_memory(out_BF, x_BF)


@pytest.mark.parametrize("x", [np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float64), np.zeros(2, np.float32)])
def test_another_shape_or_type_is_a_tensor_error(x: Any) -> None:
    with pytest.raises(TensorError, match=r"takes float32 \[B, 2\]"):
        Preprocessing((Impute(2, (0,), (0.0,)),)).apply(x)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Impute(2, (2,), (0.0,)), "columns must be different and from 0 to 1"),
        (lambda: Impute(2, (0, 0), (0.0, 0.0)), "columns must be different"),
        (lambda: Impute(2, (0,), ()), "0 values for 1 columns"),
        (lambda: Impute(2, (0,), (NAN,)), "values must be finite"),
        (lambda: Impute(2, (0,), (1e300,)), "within float32"),
        (lambda: Impute(0, (), ()), "width is 0"),
        (lambda: Standardise(1, (0,), (0.0,), (0.0,)), "every scale must be positive"),
        (lambda: Standardise(1, (0,), (0.0,), (-1.0,)), "every scale must be positive"),
        (lambda: Standardise(1, (0,), (0.0,), (5e-324,)), "1 / scale is infinite"),
        (lambda: OneHot(1, (0,), (0,)), "sizes must be from 1"),
        (lambda: OneHot(2, (0, 1), (4_000_000, 4_000_000)), "the output must have at most"),
        (
            lambda: Preprocessing((OneHot(1, (0,), (3,)), Impute(1, (), ()))),
            "one_hot gives 3 columns, but impute",
        ),
        (lambda: Preprocessing((Impute(2, (), ()),)).output_width(3), "takes 2 columns, not 3"),
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
        ({"step": "scale"}, "steps[0].step is 'scale'; allowed is one of bin, clip, "),
        ({"step": "impute", "width": 1, "columns": [0]}, "steps[0].values is missing"),
        (
            {"step": "impute", "width": 1, "columns": [0], "values": ["x"], "strategy": "mean"},
            "steps[0].values[0] is 'x'; allowed is a finite number",
        ),
        (
            {"step": "impute", "width": 1, "columns": [0], "values": [10**400], "strategy": "mean"},
            "steps[0].values[0] is 1000",
        ),
        (
            {"step": "standardise", "width": 1, "columns": [0], "means": [0], "scales": [0]},
            "steps[0]: standardise: every scale",
        ),
        (
            {"step": "one_hot", "width": 1, "columns": [0], "sizes": [2], "x": 1},
            "steps[0].x is not a known key",
        ),
    ],
)
def test_a_fault_in_a_file_names_the_step(step: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError) as caught:
        Preprocessing.from_dict({"steps": [step]}, "f.json")
    assert caught.value.message.startswith(f"f.json: {says}")
    assert caught.value.kind == "manifest"


def test_steps_that_do_not_fit_together_name_the_file() -> None:
    impute = {"step": "impute", "columns": [], "values": [], "strategy": "mean"}
    document = {"steps": [{**impute, "width": 2}, {**impute, "width": 3}]}
    with pytest.raises(ModelError, match=r"f\.json: impute gives 2 columns, but impute takes 3"):
        Preprocessing.from_dict(document, "f.json")


def test_a_file_with_very_many_steps_is_refused() -> None:
    step = Impute(1, (), ()).to_dict()
    with pytest.raises(ModelError, match="65 steps; allowed are at most 64"):
        Preprocessing.from_dict({"steps": [step] * 65})
