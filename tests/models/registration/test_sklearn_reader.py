"""Pipelines of scikit-learn: the converted model gives the original's outputs, on tables that scikit-learn ships."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from xgboost import XGBClassifier

import forebay
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.text_codes import encode_texts
from forebay.models.backends.protocol import RunOptions
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.publish import publish_candidate
from forebay.models.registration.sklearn_reader import read_sklearn
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ModelError

CREATED_AT = datetime(2026, 11, 28, tzinfo=UTC)
QUANTILES = "averaged_inverted_cdf"


def label(value: Any) -> str:
    """Return the name of a test's parameter, without addresses."""
    return re.sub(r"<.* at 0x[0-9a-f]+>", "code", str(value))


@pytest.fixture(autouse=True)
def short_training() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def mixed_table() -> tuple[pd.DataFrame, Any, Any]:
    """Return wine with texts, whole numbers, booleans, missing values, a column of no use; its classes and its hue."""
    wine = load_wine(as_frame=True)
    # Values as events carry them: on a bin's edge, float32 and float64 may be in different bins.
    table = wine.data[["alcohol", "malic_acid", "magnesium", "proline"]].astype(np.float32).astype(np.float64)
    table["unused"] = 1.0
    table["taste"] = pd.cut(wine.data["flavanoids"], 4, labels=["dry", "off-dry", "medium", "sweet"]).astype(object)
    table["shade"] = pd.cut(wine.data["hue"], 3, labels=["x", "y", "z"]).astype(object)
    table["grade"] = (wine.data["ash"] * 2).astype(int)
    table["tenth"] = (wine.data["alcalinity_of_ash"] / 5).astype(int) / 10
    table["old"] = wine.data["proanthocyanins"] > 1.5
    table.loc[::7, "alcohol"] = np.nan
    table.loc[::9, "taste"] = np.nan
    return table, wine.target, wine.data["hue"]


def rows_of(signature: Signature, table: pd.DataFrame) -> Any:
    """Return the rows of a table as a worker encodes them."""
    columns = [
        encode_texts(feature, table[feature.name])
        if feature.is_text
        else table[feature.name].to_numpy(dtype=np.float32)
        for feature in signature.features
    ]
    return np.column_stack(columns).astype(np.float32)


def scores(candidate: Candidate, rows: Any, repository: Path) -> Any:
    """Publish the candidate, load it as a worker does, and return what it predicts."""
    publish_candidate(candidate, repository=repository, name="m", provenance=Provenance(CREATED_AT, {}))
    served = load_model(repository, "m", options=RunOptions())
    return served.forward(served.prepare(rows)).values_BO


def check(model: Any, table: Any, tmp_path: Path) -> Candidate:
    """Check that the converted model gives the original's predictions for all rows of the table."""
    candidate = read_sklearn(model, Hints("m"))
    frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table, columns=candidate_names(candidate))
    found = scores(candidate, rows_of(candidate.signature, frame), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about unknown categories
        if candidate.signature.task == "regression":
            wanted = np.reshape(model.predict(table), found.shape)
        else:
            wanted = model.predict_proba(table)
            wanted = wanted[:, 1:] if candidate.signature.task == "binary" else wanted
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)
    return candidate


def candidate_names(candidate: Candidate) -> list[str]:
    return [feature.name for feature in candidate.signature.features]


def with_unknowns(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with missing values and categories that no step has seen."""
    changed = table.copy()
    changed.loc[1::5, "taste"] = "sour"
    changed.loc[2::5, "taste"] = np.nan
    changed.loc[3::5, "alcohol"] = np.nan
    return changed


def test_a_table_of_numbers_texts_and_missing_values(tmp_path: Path) -> None:
    table, classes, _ = mixed_table()
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    texts = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["alcohol"]),
            ("power", PowerTransformer(), ["malic_acid"]),
            ("bins", KBinsDiscretizer(4, quantile_method=QUANTILES), ["magnesium", "malic_acid"]),
            ("texts", texts, ["taste"]),
            ("codes", OneHotEncoder(drop="first"), ["grade", "tenth", "old", "shade"]),
            ("range", MinMaxScaler(clip=True), slice("magnesium", "proline")),
        ]
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=300)).fit(table, classes)
    candidate = check(model, with_unknowns(table), tmp_path)
    features = {feature.name: feature for feature in candidate.signature.features}
    names = ["alcohol", "malic_acid", "magnesium", "proline", "taste", "shade", "grade", "tenth", "old"]
    assert list(features) == names
    assert features["taste"] == Feature(
        "taste", "category", ("dry", "medium", "none", "off-dry", "sweet"), nullable=True, other=True
    )
    assert features["shade"] == Feature("shade", "category", ("x", "y", "z"))
    assert features["alcohol"].nullable and not features["malic_acid"].nullable
    assert candidate.signature.labels == ("0", "1", "2")
    notes = {note.part: note for note in candidate.notes}
    assert notes["columns left out"].reason == "no transformer takes unused: not in the signature"
    assert notes["columntransformer.codes (OneHotEncoder)"].result == "approximated"
    assert (
        "grade, tenth, old: a number that is not a category" in notes["columntransformer.codes (OneHotEncoder)"].reason
    )
    assert notes["columntransformer.numbers.simpleimputer (SimpleImputer)"].result == "frozen"
    assert notes["LogisticRegression"].result == "frozen"


ENCODERS = [
    OneHotEncoder(handle_unknown="ignore"),
    OneHotEncoder(drop="if_binary", handle_unknown="ignore"),
    OneHotEncoder(drop="first", handle_unknown="ignore"),
    OneHotEncoder(min_frequency=40, handle_unknown="infrequent_if_exist"),
    OneHotEncoder(max_categories=3, drop="first", handle_unknown="infrequent_if_exist"),
    OneHotEncoder(max_categories=2, handle_unknown="warn"),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-3, encoded_missing_value=-2),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=9, encoded_missing_value=-1, min_frequency=40),
    TargetEncoder(cv=3),
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=label)
@pytest.mark.parametrize("filled", [False, True], ids=["missing", "filled"])
def test_encoders_of_texts(encoder: Any, filled: bool, tmp_path: Path) -> None:
    table, _, hue = mixed_table()
    steps = [SimpleImputer(strategy="most_frequent")] if filled else []
    columns = ColumnTransformer([("t", make_pipeline(*steps, encoder), ["taste", "shade"])])
    candidate = check(make_pipeline(columns, Ridge()).fit(table, hue), with_unknowns(table), tmp_path)
    taste, shade = candidate.signature.features
    assert taste.nullable and taste.other and shade.other


def test_an_encoder_that_raises_for_unknown_texts_makes_a_worker_reject_them(tmp_path: Path) -> None:
    table, _, hue = mixed_table()
    columns = ColumnTransformer([("t", OneHotEncoder(), ["taste", "shade"])])
    candidate = check(make_pipeline(columns, Ridge()).fit(table, hue), table, tmp_path)
    taste, shade = candidate.signature.features
    assert (taste.nullable, taste.other, shade.nullable, shade.other) == (True, False, False, False)
    (note,) = [note for note in candidate.notes if note.result == "approximated"]
    assert note.part == "column 'taste'" and "treated like a missing value" in note.reason


NUMBER_STEPS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler((-2, 5)),
    MaxAbsScaler(),
    RobustScaler(quantile_range=(10, 90)),
    RobustScaler(with_centering=False),
    RobustScaler(with_scaling=False),
    PowerTransformer(),
    PowerTransformer("box-cox", standardize=False),
    QuantileTransformer(n_quantiles=50),
    KBinsDiscretizer(5, encode="ordinal", strategy="uniform"),
    KBinsDiscretizer(5, encode="onehot-dense", quantile_method=QUANTILES),
    Binarizer(threshold=1.0),
    FunctionTransformer(np.log1p),
    FunctionTransformer(),
    VarianceThreshold(0.5),
    SelectKBest(k=3),
    make_union(StandardScaler(), FunctionTransformer(np.sqrt), MinMaxScaler()),
    "passthrough",
]


@pytest.mark.parametrize("step", NUMBER_STEPS, ids=label)
def test_steps_of_numbers(step: Any, tmp_path: Path) -> None:
    x, y = load_wine(return_X_y=True)
    x = x[:, :6].astype(np.float32).astype(np.float64)
    candidate = check(make_pipeline(step, StandardScaler(), Ridge()).fit(x, y), x, tmp_path)
    assert candidate_names(candidate) == [f"x{index}" for index in range(6)]
    # A column that is dropped may be missing, if the step that drops it takes missing values.
    dropped = ~step.get_support() if isinstance(step, VarianceThreshold) else np.zeros(6, dtype=bool)
    assert [feature.nullable for feature in candidate.signature.features] == dropped.tolist()
    assert all(note.result == "frozen" for note in candidate.notes)


@pytest.mark.parametrize(("scale", "result"), [(1000, "frozen"), (1, "approximated")])
def test_normal_quantiles_are_approximated_beside_the_ends(scale: float, result: str, tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)  # values around 0.05
    x = (scale * x[:, :4]).astype(np.float32).astype(np.float64)
    step = QuantileTransformer(n_quantiles=50, output_distribution="normal")
    candidate = check(make_pipeline(step, StandardScaler(), Ridge()).fit(x, y), x, tmp_path)
    note = next(note for note in candidate.notes if "QuantileTransformer" in note.part)
    assert (note.result, "within 1e-07 of the smallest" in note.reason) == (result, result == "approximated")


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@pytest.mark.parametrize("indicate", [False, True])
def test_imputers(strategy: str, indicate: bool, tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    x = x[:, :4].astype(np.float32).astype(np.float64)
    x[::5, 1] = np.nan
    imputer = SimpleImputer(strategy=strategy, add_indicator=indicate, fill_value=0.03)
    candidate = check(make_pipeline(imputer, LinearRegression()).fit(x, y), x, tmp_path)
    assert all(feature.nullable for feature in candidate.signature.features)


def test_missing_indicators_and_columns_that_were_always_missing(tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    x = x[:, :3].astype(np.float32).astype(np.float64)
    x[::5, 1], x[:, 2] = np.nan, np.nan
    union = FeatureUnion([("values", SimpleImputer()), ("gaps", MissingIndicator(features="missing-only"))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        candidate = check(make_pipeline(union, LinearRegression()).fit(x, y), x, tmp_path)
    assert "'x2' had no value" in str(candidate.notes)


REGRESSORS = [
    LinearRegression(),
    Ridge(),
    Lasso(0.1),
    ElasticNet(0.1),
    SGDRegressor(random_state=0),
    MLPRegressor(hidden_layer_sizes=(8, 4), activation="tanh", random_state=0, max_iter=20),
    MLPRegressor(hidden_layer_sizes=(5,), activation="identity", random_state=0, max_iter=20),
    GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2),
]


@pytest.mark.parametrize("regressor", REGRESSORS, ids=label)
def test_regressors(regressor: Any, tmp_path: Path) -> None:
    table, y = load_diabetes(return_X_y=True, as_frame=True)
    table = table.astype(np.float32).astype(np.float64)
    candidate = check(make_pipeline(StandardScaler(), regressor).fit(table, y), table, tmp_path)
    assert candidate_names(candidate) == list(table.columns)


def test_a_regressor_of_several_values_and_a_search_around_the_pipeline(tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    x, targets = x.astype(np.float32).astype(np.float64), np.column_stack([y, -2 * y])
    search = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=2)
    candidate = check(search.fit(x, targets), x, tmp_path)
    assert candidate.signature.output_dim == 2
    assert candidate.notes[0].reason == "the best model that it found"


CLASSIFIERS = [
    LogisticRegression(max_iter=200),
    LinearDiscriminantAnalysis(),
    MLPClassifier((8,), "relu", random_state=0, max_iter=20),
    MLPClassifier((6, 5), "logistic", random_state=0, max_iter=20),
]


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=label)
@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_classifiers(classifier: Any, load: Any, tmp_path: Path) -> None:
    x, y = load(return_X_y=True)
    x = x.astype(np.float32).astype(np.float64)
    names = np.array(["benign", "malign", "other"])[y]
    candidate = check(make_pipeline(StandardScaler(), classifier).fit(x, names), x, tmp_path)
    assert candidate.signature.labels == tuple(sorted(set(names)))


def test_a_classifier_by_stochastic_gradient_and_one_without_a_pipeline(tmp_path: Path) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x).astype(np.float32).astype(np.float64)
    check(SGDClassifier(loss="log_loss", random_state=0).fit(x, y), x, tmp_path)


TREES = [
    RandomForestClassifier(12, random_state=0),
    HistGradientBoostingClassifier(max_iter=8, random_state=0),
    XGBClassifier(n_estimators=6, max_depth=3),
    LGBMClassifier(n_estimators=6, verbose=-1),
]


@pytest.mark.parametrize("trees", TREES, ids=lambda trees: type(trees).__name__)
def test_trees_at_the_end_of_a_pipeline(trees: Any, tmp_path: Path) -> None:
    table, classes, _ = mixed_table()
    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), ["alcohol", "malic_acid"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["taste", "shade"]),
        ]
    )
    candidate = check(make_pipeline(columns, trees).fit(table, classes), with_unknowns(table), tmp_path)
    assert candidate.backend == "trees"
    assert candidate_names(candidate) == ["alcohol", "malic_acid", "taste", "shade"]


def test_a_pipeline_is_registered_with_rows_of_its_table(tmp_path: Path) -> None:
    table, classes, _ = mixed_table()
    columns = ColumnTransformer([("t", OneHotEncoder(handle_unknown="ignore"), ["taste"])], remainder=StandardScaler())
    used = table[["taste", "malic_acid", "proline"]]
    model = make_pipeline(columns, LogisticRegression()).fit(used, classes)
    registered = forebay.register(model, name="m", repository=tmp_path, signature=used, created_at=CREATED_AT)
    assert registered.golden_rows_given
    assert {note.result for note in registered.notes} == {"frozen"}


def test_a_linear_model_is_registered_and_served_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys, forebay\n"
        "from sklearn.datasets import load_wine\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "x, y = load_wine(return_X_y=True, as_frame=True)\n"
        "model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)\n"
        "done = forebay.register(model, name='wine')\n"
        "print(done.backend, *sorted({'torch', 'onnx', 'onnxscript'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "onnx\n", done.stderr


@pytest.mark.parametrize("activation", ["relu", "logistic", "tanh", "identity"])
def test_the_backend_torch_runs_the_same_layers(activation: str, tmp_path: Path) -> None:
    x, y = load_wine(return_X_y=True)
    x = (x / x.max(axis=0)).astype(np.float32)
    model = MLPClassifier((6, 5), activation, random_state=0, max_iter=5).fit(x, y)
    outputs = []
    for backend in ("torch", "onnx"):
        candidate = read_sklearn(model, Hints("m", backend=backend))
        assert candidate.backend == backend
        outputs.append(scores(candidate, x, tmp_path))
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs[0], model.predict_proba(x), rtol=1e-5, atol=1e-6)


def test_weights_beyond_float32_are_refused() -> None:
    x, y = load_diabetes(return_X_y=True)
    with pytest.raises(ModelError, match=r"model 'm': a weight is not a finite number of float32"):
        read_sklearn(LinearRegression().fit(x, y * 1e38), Hints("m"))
