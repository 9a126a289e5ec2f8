from __future__ import annotations

import numpy as np
import pytest

from forebay.models.artefacts.golden_drawing import MAX_VALUES, draw_golden_rows
from forebay.models.artefacts.preparation import prepare
from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise
from forebay.models.artefacts.preprocessing.map_values import MapValues
from forebay.models.artefacts.preprocessing.power import PowerTransform
from forebay.models.artefacts.preprocessing.select_columns import SelectColumns
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.schemas.errors import ModelError
from tests.models.build import make_signature, make_standardise

IDENTITY = Preprocessing.identity()
SIGNATURE = Signature(
    features=(
        Feature("place", "category", ("a", "b", "c"), nullable=True),
        Feature("heat", nullable=True),
        Feature("time"),
    ),
    shape=(3,),
    task="binary",
    output_dim=1,
)
FITTED = Preprocessing(
    (Impute(3, (1,), (20.0,)), Standardise(3, (1, 2), (20.0, 1.7e9), (5.0, 3600.0)), OneHot(3, (0,), (3,)))
)


def test_rows_without_training_rows_look_like_what_the_preprocessing_was_fitted_to() -> None:
    rows = draw_golden_rows("m", SIGNATURE, FITTED)
    assert rows.shape == (32, 3) and rows.dtype == np.float32 and rows.flags.c_contiguous
    place, heat, time = rows.T
    assert set(place[~np.isnan(place)]) == {0.0, 1.0, 2.0}
    assert np.nanmin(heat) >= 5 and np.nanmax(heat) <= 35 and np.nanstd(heat) > 2
    assert np.abs(time - 1.7e9).max() <= 3 * 3600 + 128
    assert np.isnan(place).any() and np.isnan(heat).any() and not np.isnan(time).any()
    assert np.isfinite(prepare(SIGNATURE, FITTED, rows)).all()


def test_codes_of_texts_are_drawn_from_all_that_a_worker_can_give() -> None:
    features = (Feature("a", "hashed", buckets=3), Feature("b", "category", ("x", "y"), other=True))
    rows = draw_golden_rows("m", Signature(features, (2,), "binary", 1), IDENTITY)
    assert set(rows[:, 0]) == set(rows[:, 1]) == {0, 1, 2}


def test_values_are_drawn_from_what_the_steps_were_fitted_to_whatever_the_order_of_columns() -> None:
    steps = (
        SelectColumns(3, (2, 0, 1)),
        MapValues(3, (0,), ((3.0, 7.0),), ((0.0, 1.0),), missing=(None,), unknown=(None,)),
        Standardise(3, (1,), (500.0,), (2.0,)),
        PowerTransform(3, (2,), (0.5,), "box-cox"),
        Standardise(3, (2,), (-1e6,), (1.0,)),
    )
    rows = draw_golden_rows("m", Signature((), (3,), "binary", 1), Preprocessing(steps))
    assert np.abs(rows[:, 0] - 500).max() <= 6 and rows[:, 1].min() > 0
    assert set(rows[:, 2]) == {3, 7}


def test_the_same_arguments_give_the_same_rows() -> None:
    first, second = draw_golden_rows("m", SIGNATURE, FITTED), draw_golden_rows("m", SIGNATURE, FITTED)
    np.testing.assert_array_equal(first, second)


def test_no_value_is_missing_where_the_preprocessing_does_not_replace_it() -> None:
    rows = draw_golden_rows("m", make_signature(), make_standardise())  # its first feature is nullable
    assert len(rows) == 32 and np.isfinite(rows).all()


def test_an_imputed_column_without_a_named_feature_has_missing_values() -> None:
    rows = draw_golden_rows("m", Signature((), (2,), "binary", 1), Preprocessing((Impute(2, (1,), (7.0,)),)))
    assert np.isnan(rows[:, 1]).any() and not np.isnan(rows[:, 0]).any()


def test_sequences_have_all_lengths_and_zeros_as_padding() -> None:
    signature = Signature(SIGNATURE.features, (3,), "binary", 1, window=WindowInput(8))
    x_RTW = draw_golden_rows("m", signature, FITTED).reshape(-1, 8, 4)
    lengths = x_RTW[:, :, 3].sum(axis=1)
    assert len(x_RTW) == 32 and lengths.min() == 1 and lengths.max() == 8 and (np.diff(lengths) >= 0).all()
    for sequence, length in zip(x_RTW, lengths, strict=True):
        assert (sequence[: int(length), 3] == 1).all() and (sequence[int(length) :] == 0).all()
        assert (np.abs(sequence[: int(length), 2] - 1.7e9) < 20_000).all()


def test_aggregates_are_drawn_as_columns_of_the_row() -> None:
    window = WindowInput(0, (Aggregate("count"), Aggregate("mean", 1)))
    signature = Signature(SIGNATURE.features, (3,), "binary", 1, window=window)
    preprocessing = Preprocessing((Impute(2, (1,), (20.0,)), Standardise(2, (0, 1), (100.0, 20.0), (10.0, 5.0))))
    rows = draw_golden_rows("m", signature, preprocessing)
    assert rows.shape == (32, 2)
    assert np.abs(rows[:, 0] - 100).max() <= 30 and np.isnan(rows[:, 1]).any()


@pytest.mark.parametrize(("width", "count"), [(MAX_VALUES // 2, 2), (MAX_VALUES, 1), (MAX_VALUES * 2, 1), (1, 32)])
def test_fewer_wide_rows_are_drawn(width: int, count: int) -> None:
    assert draw_golden_rows("m", Signature((), (width,), "binary", 1), IDENTITY).shape == (count, width)


@pytest.mark.parametrize(("width", "count"), [(MAX_VALUES // 2, 2), (MAX_VALUES * 2, 1), (MAX_VALUES // 100, 32)])
def test_fewer_rows_are_drawn_of_models_with_many_outputs_or_wide_prepared_rows(width: int, count: int) -> None:
    many_outputs = Signature((), (1,), "multiclass", width)
    assert len(draw_golden_rows("m", many_outputs, IDENTITY)) == count
    wide = Preprocessing((OneHot(1, (0,), (width,)),))
    assert len(draw_golden_rows("m", Signature((), (1,), "binary", 1), wide)) == count


@pytest.mark.parametrize(("given", "drawn"), [(1, 1), (31, 31), (32, 32), (33, 32), (10_000, 32)])
def test_training_rows_are_drawn_evenly(given: int, drawn: int) -> None:
    x_NF = np.arange(given, dtype=np.float32)[:, None] * np.ones(3, dtype=np.float32)
    rows = draw_golden_rows("m", make_signature(), IDENTITY, x_NF)
    assert len(rows) == drawn and rows[0, 0] == 0
    steps = np.diff(rows[:, 0])
    assert given == 1 or (steps.min() >= given // 32 - 1 and steps.max() <= given // 32 + 2 and steps.min() > 0)


def test_training_rows_that_are_not_finite_after_the_preprocessing_are_left_out() -> None:
    x_NF = np.zeros((100, 3), dtype=np.float32)
    x_NF[::2, 0] = np.nan
    x_NF[1::4, 1] = np.inf
    rows = draw_golden_rows("m", make_signature(), IDENTITY, x_NF)
    assert 20 <= len(rows) <= 32 and np.isfinite(rows).all()


def test_preprocessing_that_no_row_survives_is_refused() -> None:
    with pytest.raises(ModelError, match="none of the 32 rows made from the preprocessing is finite") as caught:
        draw_golden_rows("m", make_signature(1), Preprocessing((Standardise(1, (0,), (1e38,), (1e-300,)),)))
    assert caught.value.kind == "golden" and caught.value.remedy
