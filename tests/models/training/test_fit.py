from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.training.fit import fit_impute, fit_preprocessing, fit_standardise
from forebay.schemas.errors import ModelError, TensorError

NAN = np.nan
WITH_GAPS = st.one_of(st.floats(-1e4, 1e4, width=32), st.integers(0, 3).map(float), st.just(NAN))


@given(arrays(np.float32, (9, 3), elements=WITH_GAPS), st.sampled_from(["mean", "median", "mode"]))
def test_imputing_agrees_with_scikit_learn(x_NF: Any, strategy: Any) -> None:
    x_NF[0] = 1.0  # columns without any value have their own test
    known_as = {"mode": "most_frequent"}.get(strategy, strategy)
    expected = SimpleImputer(strategy=known_as).fit_transform(x_NF.astype(np.float64))
    out_NF = Preprocessing((fit_impute(x_NF, (0, 1, 2), strategy),)).apply(x_NF)
    np.testing.assert_allclose(out_NF, expected, rtol=1e-6, atol=1e-3)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(-1e5, 1e5), st.floats(1e-2, 1e4))
def test_standardising_agrees_with_scikit_learn(seed: int, offset: float, spread: float) -> None:
    x_NF = (np.random.default_rng(seed).normal(size=(50, 3)) * spread + offset).astype(np.float32)
    x_NF[:, 1] = offset
    x_NF[3, 2] = NAN
    expected = StandardScaler().fit_transform(x_NF.astype(np.float64))
    out_NF = Preprocessing((fit_standardise(x_NF, (0, 1, 2)),)).apply(x_NF)
    np.testing.assert_allclose(out_NF[:, [0, 2]], expected[:, [0, 2]], rtol=1e-5, atol=1e-6)
    assert (out_NF[:, 1] == out_NF[0, 1]).all()
    assert abs(out_NF[0, 1]) < 1e-6


def test_a_column_that_never_varies_gets_the_scale_1() -> None:
    step = fit_standardise(np.full((7, 1), 0.1, dtype=np.float32), (0,))
    assert step.scales == (1.0,)


def test_the_usual_steps_agree_with_a_scikit_learn_pipeline() -> None:
    rng = np.random.default_rng(5)
    signature = Signature(
        (
            Feature("carrier", "category", ("AA", "B6", "UA"), nullable=True),
            Feature("delay", nullable=True),
            Feature("origin", "category", ("EWR", "JFK")),
            Feature("distance"),
        ),
        (4,),
        "binary",
        1,
    )
    x_NF = np.column_stack(
        [rng.integers(0, 3, 500), rng.normal(5, 20, 500), rng.integers(0, 2, 500), rng.uniform(50, 5000, 500)]
    ).astype(np.float32)
    x_NF[::7, 0] = NAN
    x_NF[::5, 1] = NAN
    before = x_NF.tobytes()
    preprocessing = fit_preprocessing(signature, x_NF, impute="median")
    assert x_NF.tobytes() == before
    assert [type(step) for step in preprocessing.steps] == [Impute, Standardise, OneHot]

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    encoder = OneHotEncoder(categories=[[0, 1, 2], [0, 1]], handle_unknown="ignore", sparse_output=False)
    encoder.fit([[0, 0]])
    x64_NF = x_NF.astype(np.float64)
    expected = np.column_stack([numbers.fit_transform(x64_NF[:, [1, 3]]), encoder.transform(x64_NF[:, [0, 2]])])
    np.testing.assert_allclose(preprocessing.apply(x_NF), expected, rtol=1e-5, atol=1e-6)
    assert (preprocessing.apply(x_NF)[::7, 2:5] == 0).all()


def test_hashed_texts_and_other_categories_are_one_hot_encoded() -> None:
    features = (Feature("a", "hashed", buckets=3), Feature("b", "category", ("x", "y"), nullable=True, other=True))
    x_NF = np.array([[2, 1], [0, 2], [1, NAN]], dtype=np.float32)
    preprocessing = fit_preprocessing(Signature(features, (2,), "binary", 1), x_NF)
    expected = [[0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]]
    assert preprocessing.apply(x_NF).tolist() == expected


def test_steps_without_columns_are_omitted() -> None:
    signature = Signature((Feature("a"), Feature("b")), (2,), "regression", 1)
    x_NF = np.ones((3, 2), dtype=np.float32)
    assert fit_preprocessing(signature, x_NF, standardise=False) == Preprocessing.identity()
    assert [step.kind for step in fit_preprocessing(signature, x_NF).steps] == ["standardise"]


def test_without_imputing_missing_values_stay_missing() -> None:
    signature = Signature((Feature("a", nullable=True),), (1,), "regression", 1)
    x_NF = np.array([[1], [NAN], [3]], dtype=np.float32)
    out_NF = fit_preprocessing(signature, x_NF, impute=None).apply(x_NF)
    np.testing.assert_allclose(out_NF[:, 0], [-1, NAN, 1])


def test_unnamed_columns_are_all_standardised() -> None:
    x_NF = np.random.default_rng(0).normal(3, 2, (100, 4)).astype(np.float32)
    out_NF = fit_preprocessing(Signature((), (1, 2, 2), "multiclass", 2), x_NF).apply(x_NF)
    np.testing.assert_allclose(out_NF.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(out_NF.std(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        ([[1, NAN], [2, NAN]], "column 1 has no value in any training row"),
        ([[1, np.inf], [2, 1]], "column 1 has infinite values"),
    ],
)
def test_columns_that_cannot_be_fitted_are_refused(x: Any, says: str) -> None:
    x_NF = np.array(x, dtype=np.float32)
    for fit in (lambda: fit_impute(x_NF, (0, 1), "mean"), lambda: fit_standardise(x_NF, (0, 1))):
        with pytest.raises(ModelError, match=says) as caught:
            fit()
        assert caught.value.kind == "fit"
        assert caught.value.remedy


def test_a_missing_value_where_none_is_allowed_names_the_feature() -> None:
    signature = Signature((Feature("a", nullable=True), Feature("tail")), (2,), "regression", 1)
    x_NF = np.array([[1, NAN], [NAN, 1]], dtype=np.float32)
    with pytest.raises(ModelError, match="feature tail has missing values and is not nullable"):
        fit_preprocessing(signature, x_NF)
    with pytest.raises(ModelError, match="feature number 0 has missing values"):
        fit_preprocessing(Signature((), (2,), "regression", 1), x_NF)


def test_wrong_requests_are_refused() -> None:
    x_NF = np.ones((3, 2), dtype=np.float32)
    with pytest.raises(ModelError, match="strategy is 'max'"):
        fit_impute(x_NF, (0,), "max")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="there is no column 2"):
        fit_standardise(x_NF, (2,))
    with pytest.raises(TensorError, match="have 2 columns; the signature has 3"):
        fit_preprocessing(Signature((), (3,), "regression", 1), x_NF)
    bad: Any
    for bad in (x_NF.astype(np.float64), x_NF[0], x_NF[:0]):
        with pytest.raises(TensorError, match="at least one row"):
            fit_standardise(bad, (0,))
