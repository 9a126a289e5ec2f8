"""Pipelines of scikit-learn that cannot be converted, or differ from the original, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import LinearSVC

from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.registration.hints import Hints
from forebay.models.registration.publish import publish_candidate
from forebay.models.registration.sklearn_reader import read_sklearn
from forebay.schemas.errors import ModelError
from tests.models.registration.test_sklearn_reader import CREATED_AT, label, mixed_table

REFUSED = [
    (PolynomialFeatures(), Ridge(), "polynomialfeatures (PolynomialFeatures): there is no step that does the same"),
    (PCA(2), Ridge(), "pca (PCA): there is no step that does the same"),
    (FunctionTransformer(lambda x: x), Ridge(), "it runs the code of '<lambda>'"),
    (FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}), Ridge(), "it runs the code of 'clip'"),
    (SimpleImputer(missing_values=-1), Ridge(), "missing_values is -1; events give NaN"),
    (StandardScaler(), LinearSVC(), "LinearSVC"),
    (StandardScaler(), RidgeClassifier(), "RidgeClassifier"),
    (StandardScaler(), PoissonRegressor(), "PoissonRegressor"),
    (StandardScaler(), SGDClassifier(), "gives no probabilities"),
    (StandardScaler(), SGDClassifier(loss="log_loss"), "has 3 classes and one model for each"),
]


@pytest.mark.parametrize(("step", "model", "says"), REFUSED, ids=label)
def test_what_cannot_be_converted_is_refused_with_a_remedy(step: Any, model: Any, says: str) -> None:
    x, y = load_wine(return_X_y=True)
    with pytest.raises(ModelError) as caught:
        read_sklearn(make_pipeline(step, model).fit(x, y), Hints("m"))
    assert caught.value.message.startswith("model 'm': ") and says in caught.value.message
    assert caught.value.remedy


def test_a_subclass_that_may_do_anything_is_refused() -> None:
    class Doubled(StandardScaler):  # type: ignore[misc]
        def transform(self, X: Any, copy: Any = None) -> Any:
            return 2 * super().transform(X, copy)

    x, y = load_wine(return_X_y=True)
    with pytest.raises(ModelError, match=r"doubled \(Doubled\): there is no step"):
        read_sklearn(make_pipeline(Doubled(), Ridge()).fit(x, y), Hints("m"))


def test_models_that_are_not_fitted_are_refused() -> None:
    for model in (Ridge(), make_pipeline(StandardScaler(), Ridge())):
        with pytest.raises(ModelError, match="is not fitted"):
            read_sklearn(model, Hints("m"))
    with pytest.raises(ModelError, match="this is a int"):
        read_sklearn(5, Hints("m"))


def test_texts_that_no_step_encodes_or_two_encode_differently_are_refused() -> None:
    table, _, hue = mixed_table()
    filled = ColumnTransformer(
        [
            ("a", OneHotEncoder(handle_unknown="ignore"), ["shade"]),
            ("b", OneHotEncoder(categories=[["x"]], handle_unknown="ignore"), ["shade"]),
        ]
    )
    with pytest.raises(ModelError, match="'shade' with other categories than another step does"):
        read_sklearn(make_pipeline(filled, Ridge()).fit(table, hue), Hints("m"))


def test_a_preprocessing_that_differs_from_the_original_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), Ridge()).fit(x, y)
    scale = model[0].scale_.copy()
    transform = StandardScaler.transform
    monkeypatch.setattr(StandardScaler, "transform", lambda self, X, copy=None: transform(self, X, copy) * 1.001)
    with pytest.raises(ModelError, match=r"model 'm': the prepared column \d+ is .* in the original it is"):
        read_sklearn(model, Hints("m"))
    np.testing.assert_array_equal(scale, model[0].scale_)


def test_a_net_that_differs_from_the_original_is_not_published(tmp_path: Path) -> None:
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    candidate = read_sklearn(model, Hints("m"))
    model[-1].coef_ = model[-1].coef_ * 1.5
    with pytest.raises(ModelError, match="do not give the pipeline's predictions"):
        publish_candidate(candidate, repository=tmp_path, name="m", provenance=Provenance(CREATED_AT, {}))


def test_a_stated_signature_must_fit_the_pipeline() -> None:
    table, _, hue = mixed_table()
    model = make_pipeline(ColumnTransformer([("t", OneHotEncoder(), ["shade"])]), Ridge()).fit(table, hue)
    right = Signature((Feature("shade", "category", ("x", "y", "z")),), (1,), "regression", 1)
    assert read_sklearn(model, Hints("m", signature=right)).signature == right
    for features in ((Feature("shade", "category", ("z", "y", "x")),), (Feature("shade"),)):
        wrong = Signature(features, (1,), "regression", 1)
        with pytest.raises(ModelError, match="the signature's feature is"):
            read_sklearn(model, Hints("m", signature=wrong))
    with pytest.raises(ModelError, match="the signature states 2 features"):
        read_sklearn(model, Hints("m", signature=Signature((), (2,), "regression", 1)))


def test_all_steps_side_by_side_are_reported_when_one_is_refused() -> None:
    x, y = load_wine(return_X_y=True)
    columns = ColumnTransformer(
        [
            ("squares", PolynomialFeatures(), [0, 1]),
            ("scale", StandardScaler(), [2, 3]),
            ("axes", PCA(1), [4, 5]),
        ]
    )
    with pytest.raises(ModelError) as caught:
        read_sklearn(make_pipeline(columns, Ridge()).fit(x, y), Hints("m"))
    first, *table = caught.value.message.splitlines()
    assert first.startswith("model 'm': columntransformer.squares (PolynomialFeatures): there is no step")
    assert [line.split()[:3] for line in table] == [
        ["columns", "left", "out"],
        ["columntransformer.squares", "(PolynomialFeatures)", "refused"],
        ["columntransformer.scale", "(StandardScaler)", "frozen"],
        ["columntransformer.axes", "(PCA)", "refused"],
    ]
    assert caught.value.remedy == "add the products to the events, or use trees, which need none"
