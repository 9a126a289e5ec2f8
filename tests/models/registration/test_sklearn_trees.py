"""scikit-learn: trees, forests, gradient boosting and isolation forests are converted exactly, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.sklearn_trees import read_sklearn_trees
from forebay.schemas.errors import ModelError
from tests.models.registration.synthetic import CLASSES, CODES, FOUR_CLASSES, FRAME, SIZES, VALUES
from tests.models.registration.tree_comparison import Executor, Traversal, compare, ensemble_of
from tests.models.registration.tree_rows import rows_around_thresholds

HINTS = Hints("m")
NUMBERS = CODES[:, [0, 1, 4]]
COMPLETE = np.nan_to_num(NUMBERS)
FOREST: dict[str, Any] = {"n_estimators": 5, "max_depth": 6, "random_state": 0}
TARGETS = pytest.mark.parametrize("target", [CLASSES, FOUR_CLASSES], ids=["binary", "multiclass"])


def check(model: Any, data: FloatArray, sizes: tuple[int, ...] = (0, 0, 0)) -> Candidate:
    """Convert the model, and compare leaves, outputs and classes on rows around all thresholds."""
    candidate = read_sklearn_trees(model, HINTS)
    x = rows_around_thresholds(ensemble_of(candidate), data, sizes, count=2000)
    if not candidate.signature.features[0].nullable:
        x = x[~np.isnan(x).any(axis=1)]
    for execution in (Traversal(), Executor()):
        found = compare(model, candidate, x, execution)
        assert found.is_exact, found
    assert candidate.expected is not None
    outputs = Executor().outputs(ensemble_of(candidate), x)
    np.testing.assert_allclose(outputs, candidate.expected(x), rtol=1e-5, atol=1e-6)
    return candidate


@TARGETS
@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(**FOREST),
        RandomForestClassifier(**FOREST, class_weight="balanced"),
        ExtraTreesClassifier(**FOREST),
        DecisionTreeClassifier(max_depth=8),
        ExtraTreeClassifier(max_depth=8),
    ],
    ids=repr,
)
def test_forests_that_classify(model: Any, target: Any) -> None:
    candidate = check(model.fit(NUMBERS, target), NUMBERS)
    assert candidate.outputs == "probabilities"
    assert candidate.signature.labels == tuple(str(label) for label in model.classes_)
    assert candidate.signature.output_dim == (1 if target is CLASSES else 4)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestRegressor(**FOREST),
        RandomForestRegressor(**FOREST, criterion="absolute_error"),
        ExtraTreesRegressor(**FOREST),
        DecisionTreeRegressor(max_depth=8),
        ExtraTreeRegressor(max_depth=8),
    ],
    ids=repr,
)
def test_forests_that_give_values(model: Any) -> None:
    data = NUMBERS if model.__sklearn_tags__().input_tags.allow_nan else COMPLETE
    candidate = check(model.fit(data, VALUES), data)
    assert candidate.outputs == "values"
    assert candidate.signature.features[0].nullable == (data is NUMBERS)


def test_a_forest_with_several_values() -> None:
    target = np.column_stack((VALUES, -VALUES, VALUES**2))
    assert check(RandomForestRegressor(**FOREST).fit(NUMBERS, target), NUMBERS).signature.output_dim == 3


def test_a_forest_that_does_not_take_missing_values() -> None:
    model = RandomForestRegressor(**FOREST, monotonic_cst=[1, 0, 0]).fit(COMPLETE, VALUES)
    candidate = check(model, COMPLETE)
    assert candidate.params["missing"] == "refused"
    assert not any(feature.nullable for feature in candidate.signature.features)


@TARGETS
@pytest.mark.parametrize("settings", [{}, {"init": "zero"}, {"init": DummyClassifier(strategy="prior")}], ids=str)
def test_gradient_boosting_that_classifies(settings: dict[str, Any], target: Any) -> None:
    model = GradientBoostingClassifier(n_estimators=5, **settings).fit(COMPLETE, target)
    candidate = check(model, COMPLETE)
    assert (candidate.outputs, candidate.params["missing"]) == ("logits", "refused")


def test_gradient_boosting_with_exponential_loss() -> None:
    model = GradientBoostingClassifier(n_estimators=5, loss="exponential").fit(COMPLETE, CLASSES)
    candidate = check(model, COMPLETE)
    assert candidate.expected is not None
    probability = 1 / (1 + np.exp(-candidate.expected(COMPLETE)[:, 0].astype(float)))
    np.testing.assert_allclose(probability, model.predict_proba(COMPLETE)[:, 1], rtol=1e-5)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_gradient_boosting_that_gives_values(loss: str) -> None:
    check(GradientBoostingRegressor(n_estimators=5, loss=loss).fit(COMPLETE, VALUES), COMPLETE)


@TARGETS
def test_hist_gradient_boosting_with_categories(target: Any) -> None:
    candidate = check(HistGradientBoostingClassifier(max_iter=8).fit(FRAME, target), CODES, SIZES)
    assert candidate.outputs == "logits"
    assert candidate.signature.features == (
        Feature("a", nullable=True),
        Feature("b", nullable=True),
        Feature("c", "category", ("w", "x", "y", "z"), nullable=True),
        Feature("d", "category", ("1", "3", "7", "40"), nullable=True),
        Feature("e", nullable=True),
    )


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "poisson", "gamma", "quantile"])
def test_hist_gradient_boosting_that_gives_values(loss: str) -> None:
    quantile = 0.3 if loss == "quantile" else None
    model = HistGradientBoostingRegressor(max_iter=8, loss=loss, quantile=quantile).fit(FRAME, VALUES)
    assert check(model, CODES, SIZES).params["link"] == ("exp" if loss in ("poisson", "gamma") else "identity")


@pytest.mark.parametrize("has_names", [False, True])
def test_hist_gradient_boosting_with_categories_that_are_numbers(has_names: bool) -> None:
    raw = FRAME.assign(c=FRAME.c.cat.codes.replace(-1, np.nan) + 10, d=FRAME.d.astype(float))
    model = HistGradientBoostingRegressor(max_iter=8, categorical_features=[2, 3])
    model.fit(raw if has_names else raw.to_numpy(dtype=float), VALUES)
    candidate = check(model, CODES, SIZES)
    assert candidate.signature.features[2].categories == ("10", "11", "12", "13")
    assert candidate.expected is not None
    np.testing.assert_allclose(candidate.expected(CODES)[:, 0], model.predict(raw if has_names else raw.to_numpy()))


def test_a_category_that_is_unknown_to_hist_gradient_boosting_is_missing() -> None:
    model = HistGradientBoostingRegressor(max_iter=8).fit(FRAME, VALUES)
    rows, missing = CODES[:50].copy(), CODES[:50].copy()
    rows[:, 3], missing[:, 3] = 9, np.nan
    ensemble = ensemble_of(read_sklearn_trees(model, HINTS))
    found = Traversal().outputs(ensemble, rows)[:, 0]
    np.testing.assert_array_equal(found, Traversal().outputs(ensemble, missing)[:, 0])
    unknown = FRAME[:50].assign(d=pd.Categorical([99] * 50))
    np.testing.assert_allclose(found, model.predict(unknown))


@pytest.mark.parametrize("settings", [{}, {"max_features": 0.6}, {"max_features": 2, "bootstrap": True}], ids=str)
@pytest.mark.parametrize("has_names", [False, True])
def test_isolation_forests(settings: dict[str, Any], has_names: bool) -> None:
    model = IsolationForest(n_estimators=9, random_state=0, **settings)
    model.fit(pd.DataFrame(NUMBERS, columns=list("abe")) if has_names else NUMBERS)
    candidate = read_sklearn_trees(model, HINTS)
    x = rows_around_thresholds(ensemble_of(candidate), NUMBERS, (0, 0, 0), count=2000)
    found = Traversal().outputs(ensemble_of(candidate), x)[:, 0]
    original = -model.score_samples(pd.DataFrame(x, columns=list("abe")) if has_names else x)
    np.testing.assert_allclose(found, original, rtol=1e-12)
    assert candidate.signature.features[0] == Feature("a" if has_names else "x0", nullable=True)
    assert (candidate.signature.task, candidate.outputs) == ("regression", "values")
    assert candidate.expected is not None
    np.testing.assert_allclose(candidate.expected(x)[:, 0], original, rtol=1e-6)


def test_preprocessing_that_the_caller_states_comes_before_the_trees() -> None:
    step = Standardise(3, columns=(0, 1, 2), means=(1.0, 2.0, 3.0), scales=(2.0, 2.0, 2.0))
    prepared = Preprocessing((step,)).apply(NUMBERS)
    model = RandomForestRegressor(**FOREST).fit(prepared, VALUES)
    candidate = read_sklearn_trees(model, Hints("m", preprocessing=Preprocessing((step,))))
    assert candidate.preprocessing.steps == (step,)
    assert candidate.expected is not None
    np.testing.assert_allclose(candidate.expected(NUMBERS)[:, 0], model.predict(prepared), rtol=1e-6)


def test_a_stated_signature_may_have_a_shape_only() -> None:
    signature = Signature((), (3,), "regression", 1)
    model = RandomForestRegressor(**FOREST).fit(NUMBERS, VALUES)
    assert read_sklearn_trees(model, Hints("m", signature=signature)).signature == signature
    with_categories = HistGradientBoostingRegressor(max_iter=8).fit(FRAME, VALUES)
    with pytest.raises(ModelError, match="feature 'c' is stated as a number; the model was trained with categories"):
        read_sklearn_trees(with_categories, Hints("m", signature=Signature((), (5,), "regression", 1)))


class Doubled(RandomForestRegressor):
    """A forest with a prediction of its own."""

    def predict(self, X: Any) -> Any:
        return 2 * super().predict(X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomForestClassifier(), "RandomForestClassifier is not fitted"),
        (lambda: AdaBoostClassifier().fit(COMPLETE, CLASSES), "this is a AdaBoostClassifier"),
        (lambda: LogisticRegression(), "this is a LogisticRegression"),
        (lambda: Doubled().fit(NUMBERS, VALUES), "this is a Doubled"),
        (
            lambda: RandomForestClassifier(2).fit(NUMBERS, np.column_stack((FOUR_CLASSES, FOUR_CLASSES // 20))),
            "classifies 2 targets at once",
        ),
        (lambda: RandomForestClassifier(2).fit(NUMBERS, np.zeros(len(NUMBERS))), "with one class"),
        (
            lambda: GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(COMPLETE, CLASSES),
            "first guess is a LogisticRegression",
        ),
        (
            lambda: GradientBoostingClassifier(n_estimators=2, init=DummyClassifier(strategy="stratified")).fit(
                COMPLETE, CLASSES
            ),
            "first guess is a DummyClassifier",
        ),
        (lambda: IsolationForest(n_estimators=2, max_samples=1).fit(COMPLETE), "one row each"),
    ],
)
def test_refusals(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        read_sklearn_trees(make(), HINTS)
    assert error.value.remedy
