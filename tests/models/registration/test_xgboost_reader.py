"""XGBoost models are read so that every row reaches the same leaves, and the sums are those of its leaves.

Shapes: B rows, F features, T trees, O outputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Impute, Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.trees.runner import TreesRunner, run_leaf_numbers
from forebay.models.registration.hints import Hints
from forebay.models.registration.publish import publish_candidate
from forebay.models.registration.register import register
from forebay.models.registration.xgboost_document import BoosterDocument
from forebay.models.registration.xgboost_reader import (
    OBJECTIVES,
    XGBoostTrees,
    convert,
    native_matrix,
    native_outputs,
    read_xgboost,
)
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ModelError
from tests.models.backends.trees.forest import make_rows

Float64Array = np.ndarray[Any, np.dtype[np.float64]]
PROVENANCE = Provenance(datetime(2026, 11, 28, tzinfo=UTC), {})
HINTS = Hints("delays")
COLOURS = ["amber", "blue", "cyan", "green", "red", "white"]


def frame(num_rows: int = 500) -> pd.DataFrame:
    """Return two numbers, a text and whole numbers as categories; some are missing."""
    random = np.random.default_rng(3)
    table = pd.DataFrame({"a": random.normal(size=num_rows), "b": random.normal(size=num_rows).round(1)})
    table["colour"] = pd.Categorical(random.choice(COLOURS, num_rows), categories=COLOURS)
    table["zone"] = pd.Categorical(random.integers(0, 40, num_rows) * 10)
    table.loc[::11, "a"] = np.nan
    table.loc[::7, "colour"] = None
    return table


def target(table: pd.DataFrame) -> Float64Array:
    """Return a number that depends on all columns."""
    value = table["a"].fillna(1.0) + table["b"] + (table["colour"].cat.codes % 2) + (table["zone"].cat.codes % 3)
    return value.to_numpy(np.float64)


def converted(booster: xgboost.Booster) -> tuple[BoosterDocument, XGBoostTrees]:
    document = BoosterDocument.read(bytes(booster.save_raw("json")), "a test")
    return document, convert(booster, document, "a test")


def assert_identical(booster: xgboost.Booster, num_rows: int = 1_000) -> None:
    """Compare leaves and outputs for rows whose values are often thresholds, next to them, missing, or unknown codes."""
    document, trees = converted(booster)
    ensemble, rounds = trees.ensemble, (0, trees.rounds)
    x_BF = make_rows(ensemble, num_rows)
    for column, kind in enumerate(document.feature_types):
        if kind == "c":  # XGBoost refuses negative codes
            codes_B = np.random.default_rng(column).integers(0, 60, num_rows).astype(np.float32)
            x_BF[:, column] = np.where(np.isnan(x_BF[:, column]), np.nan, codes_B)
    if ensemble.values_LV.shape[1] == 1:  # XGBoost 3.2 does not show the leaves of other trees
        leaves_BT = booster.predict(native_matrix(document, x_BF), pred_leaf=True, iteration_range=rounds)
        leaf_nodes = np.flatnonzero(ensemble.feature_N < 0)
        found_BT = trees.native_ids[leaf_nodes[run_leaf_numbers(ensemble, x_BF, place="a test")]]
        np.testing.assert_array_equal(found_BT, leaves_BT.reshape(num_rows, -1).astype(np.int64))
    # XGBoost adds float32: compare with a tolerance that suits its sums.
    expected_BO = native_outputs(booster, document, trees, x_BF)
    out_BO = TreesRunner(ensemble, place="a test").run(x_BF)
    assert out_BO.shape == expected_BO.shape
    np.testing.assert_allclose(out_BO, expected_BO, rtol=2e-5, atol=2e-5)


def booster_of(estimator: Any, x: Any, y: Any) -> xgboost.Booster:
    return estimator.fit(x, y).get_booster()  # type: ignore[no-any-return]


def labels_for(objective: str, y: Float64Array) -> Any:
    if objective.startswith("multi"):
        return np.digitize(y, [0.5, 2.0])
    if objective.startswith(("binary", "reg:logistic", "rank")):
        return (y > 1.0).astype(np.int64)
    return np.exp(y / 4) if objective != "count:poisson" else np.floor(np.exp(y / 4))


def trained(objective: str, **more: object) -> xgboost.Booster:
    table = frame()
    matrix = xgboost.DMatrix(table, labels_for(objective, target(table)), enable_categorical=True)
    if objective == "survival:aft":
        bound = np.exp(target(table) / 4)
        matrix.set_float_info("label_lower_bound", bound)
        matrix.set_float_info("label_upper_bound", bound + 1)
    if objective.startswith("rank"):
        matrix.set_group([100] * 5)
    params: dict[str, object] = {"objective": objective, "max_depth": 5, "nthread": 1, **more}
    if objective.startswith("multi"):
        params["num_class"] = 3
    if objective == "reg:quantileerror":
        params["quantile_alpha"] = [0.1, 0.5, 0.9]
    return xgboost.train(params, matrix, 12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_reaches_the_same_leaves_and_gives_the_same_outputs(objective: str) -> None:
    assert_identical(trained(objective))


VARIANTS: dict[str, Callable[[], xgboost.Booster]] = {
    "dart": lambda: trained("multi:softprob", booster="dart", rate_drop=0.5, one_drop=True, seed=1),
    "several trees in a round": lambda: trained("multi:softprob", num_parallel_tree=3, subsample=0.5),
    "stated base score": lambda: trained("binary:logistic", base_score=0.9),
    "categories one by one": lambda: trained("reg:squarederror", max_cat_to_onehot=100),
    "categories in sets": lambda: trained("reg:squarederror", max_cat_to_onehot=1),
    "the exact method, leaf by leaf": lambda: booster_of(
        xgboost.XGBRegressor(n_estimators=15, max_leaves=20, max_depth=0, grow_policy="lossguide", n_jobs=1),
        frame()[["a", "b"]],
        target(frame()),
    ),
    "pruned": lambda: booster_of(
        xgboost.XGBRegressor(n_estimators=15, tree_method="exact", gamma=2.0, n_jobs=1),
        frame()[["a", "b"]],
        target(frame()),
    ),
    "several targets": lambda: booster_of(
        xgboost.XGBRegressor(n_estimators=5, n_jobs=1), frame()[["a", "b"]], np.stack([target(frame())] * 2, axis=1)
    ),
    "leaves of several targets": lambda: booster_of(
        xgboost.XGBRegressor(n_estimators=5, multi_strategy="multi_output_tree", n_jobs=1),
        frame()[["a", "b"]],
        np.stack([target(frame()), -target(frame()), frame()["b"]], axis=1),
    ),
    "random forest": lambda: booster_of(
        xgboost.XGBRFClassifier(n_estimators=20, n_jobs=1), frame()[["a", "b"]], target(frame()) > 1.0
    ),
    "nothing to learn": lambda: booster_of(
        xgboost.XGBRegressor(n_estimators=2, n_jobs=1), frame()[["a", "b"]], np.ones(500)
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_models_reach_the_same_leaves_and_give_the_same_outputs(variant: str) -> None:
    assert_identical(VARIANTS[variant]())


def test_sums_are_those_of_the_leaves_in_float64() -> None:
    booster = trained("binary:logistic")
    document, trees = converted(booster)
    x_BF = make_rows(trees.ensemble, 500)
    x_BF[:, 2:] = np.abs(x_BF[:, 2:])
    leaf_BT = booster.predict(native_matrix(document, x_BF), pred_leaf=True).astype(np.int64)
    stored = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    expected_B = np.full(len(x_BF), float(trees.ensemble.base_O[0]))
    for tree, leaf_B in zip(stored, leaf_BT.T, strict=True):
        expected_B += np.array(tree["split_conditions"], np.float32).astype(np.float64)[leaf_B]
    out_BO = TreesRunner(trees.ensemble, place="a test").run(x_BF)
    np.testing.assert_allclose(out_BO[:, 0], expected_B, rtol=1e-6)


def stopped_early() -> xgboost.XGBClassifier:
    table = frame()
    y = np.random.default_rng(0).integers(0, 2, len(table))  # noise: more rounds make it worse
    return xgboost.XGBClassifier(n_estimators=50, early_stopping_rounds=3, enable_categorical=True, n_jobs=1).fit(
        table[:300], y[:300], eval_set=[(table[300:], y[300:])], verbose=False
    )


def test_rounds_after_the_best_one_are_left_out() -> None:
    model = stopped_early()
    candidate = read_xgboost(model, HINTS)
    document, trees = converted(model.get_booster())
    assert trees.rounds == model.best_iteration + 1 < document.num_rounds
    assert f"the first {trees.rounds} of {document.num_rounds} rounds" in candidate.notes[0].reason
    table = frame()
    codes = table.assign(colour=table["colour"].cat.codes, zone=table["zone"].cat.codes).to_numpy(np.float32)
    codes[:, 2] = np.where(codes[:, 2] < 0, np.nan, codes[:, 2])
    logit_B = TreesRunner(trees.ensemble, place="a test").run(codes)[:, 0].astype(np.float64)
    np.testing.assert_allclose(1 / (1 + np.exp(-logit_B)), model.predict_proba(table)[:, 1], rtol=1e-5)
    assert_identical(model.get_booster())


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_a_file_is_registered_and_serves(tmp_path: Path, suffix: str) -> None:
    booster = trained("multi:softprob")
    file = tmp_path / f"model.{suffix}"
    booster.save_model(file)
    register(file, name="delays", repository=tmp_path / "models", created_at=PROVENANCE.created_at)
    model = load_model(tmp_path / "models", "delays", options=RunOptions())
    assert [feature.name for feature in model.signature.features] == ["a", "b", "colour", "zone"]
    assert model.signature.features[2] == Feature("colour", "category", tuple(COLOURS), nullable=True)
    assert model.signature.features[3].categories == tuple(str(10 * zone) for zone in range(40))
    assert (model.signature.task, model.signature.output_dim) == ("multiclass", 3)
    x_BF = rows_of(booster)
    expected_BO = booster.predict(native_matrix(converted(booster)[0], x_BF))
    scores = model.forward(model.prepare(x_BF))
    np.testing.assert_allclose(scores.values_BO, expected_BO, rtol=1e-5, atol=1e-6)


def rows_of(booster: xgboost.Booster) -> FloatArray:
    x_BF = make_rows(converted(booster)[1].ensemble, 64)
    x_BF[:, 2] = np.where(np.isnan(x_BF[:, 2]), np.nan, np.abs(x_BF[:, 2]) % 6 // 1)
    x_BF[:, 3] = np.where(np.isnan(x_BF[:, 3]), np.nan, np.abs(x_BF[:, 3]) % 40 // 1)
    return x_BF


@pytest.mark.parametrize("objective", ["reg:logistic", "count:poisson", "reg:squarederror"])
def test_values_are_served_in_the_unit_of_the_target(tmp_path: Path, objective: str) -> None:
    booster = trained(objective)
    publish_candidate(read_xgboost(booster, HINTS), repository=tmp_path, name="delays", provenance=PROVENANCE)
    model = load_model(tmp_path, "delays", options=RunOptions())
    x_BF = rows_of(booster)
    expected_B = booster.predict(native_matrix(converted(booster)[0], x_BF))
    values_BO = model.forward(model.prepare(x_BF)).values_BO
    np.testing.assert_allclose(values_BO[:, 0], expected_B, rtol=1e-5, atol=1e-6)


def test_a_preprocessing_and_a_signature_of_ones_own_are_used(tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=5, n_jobs=1).fit(frame()[["a", "b"]].to_numpy(), target(frame()))
    hints = Hints(
        "delays",
        signature=Signature((Feature("x", nullable=True), Feature("y")), (2,), "regression", 1),
        preprocessing=Preprocessing((Impute(2, (0,), (0.25,)),)),
    )
    publish_candidate(read_xgboost(model, hints), repository=tmp_path, name="delays", provenance=PROVENANCE)
    served = load_model(tmp_path, "delays", options=RunOptions())
    rows = np.array([[np.nan, 1.0]], np.float32)
    expected = model.predict(np.array([[0.25, 1.0]], np.float32))
    np.testing.assert_allclose(served.forward(served.prepare(rows)).values_BO[:, 0], expected, rtol=1e-5)


def test_columns_without_names_are_numbered() -> None:
    model = xgboost.XGBRegressor(n_estimators=2, n_jobs=1).fit(frame()[["a", "b"]].to_numpy(), target(frame()))
    assert [feature.name for feature in read_xgboost(model, HINTS).signature.features] == ["f0", "f1"]


def fitted(**params: Any) -> xgboost.XGBRegressor:
    y = params.pop("y", target(frame()))
    return xgboost.XGBRegressor(n_estimators=2, n_jobs=1, **params).fit(frame()[["a", "b"]].fillna(0), y)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: fitted(objective="binary:hinge", y=target(frame()) > 1), "the objective is binary:hinge; allowed is"),
        (lambda: fitted(booster="gblinear"), "the booster is gblinear"),
        (lambda: fitted(missing=0.0), r"missing is 0\.0; allowed is NaN"),
        (xgboost.XGBClassifier, "XGBClassifier is not a fitted XGBoost model: need to call fit"),
        (lambda: 3, "builtins.int is not an XGBoost model"),
        (
            lambda: fitted(objective="binary:logistic", y=np.stack([target(frame()) > 1] * 2, axis=1)),
            "there are 2 binary targets",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(model: Callable[[], object], message: str) -> None:
    with pytest.raises(ModelError, match=f"^model 'delays': {message}") as caught:
        read_xgboost(model(), HINTS)
    assert caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"{}", b'{"learner": {}}', b"tree\nversion=v4"])
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "model.json"
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.json is not a fitted XGBoost model"):
        read_xgboost(file, HINTS)


def test_hints_that_contradict_the_model_are_refused() -> None:
    model = fitted()
    for hints, message in (
        (Hints("delays", task="binary"), "task"),
        (Hints("delays", outputs="probabilities"), "outputs stated: probabilities; reg:squarederror gives values"),
        (Hints("delays", features=(Feature("a"),)), "features"),
    ):
        with pytest.raises(ModelError, match=message):
            read_xgboost(model, hints)
