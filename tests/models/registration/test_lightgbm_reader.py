"""LightGBM: every objective, boosting type and kind of missing value is converted exactly, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Feature
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.lightgbm_reader import read_lightgbm
from forebay.models.registration.lightgbm_text import parse_lightgbm
from forebay.schemas.errors import ModelError
from tests.models.registration.synthetic import CLASSES, CODES, FOUR_CLASSES, FRAME, SCORE, SIZES, VALUES
from tests.models.registration.tree_comparison import Executor, Traversal, compare, ensemble_of
from tests.models.registration.tree_rows import rows_around_thresholds

SMALL: dict[str, Any] = {"n_estimators": 6, "num_leaves": 8, "verbose": -1, "n_jobs": 1, "random_state": 0}
HINTS = Hints("m")


def fit(target: Any, **settings: Any) -> Any:
    cls = lgb.LGBMRegressor if np.asarray(target).dtype.kind == "f" else lgb.LGBMClassifier
    return cls(**{**SMALL, **settings}).fit(FRAME, target)


def fit_numbers(**settings: Any) -> Any:
    return lgb.LGBMRegressor(**{**SMALL, **settings}).fit(CODES, VALUES)


def check(model: Any, rows: FloatArray | None = None) -> Candidate:
    """Convert the model, and compare leaves, outputs and classes on rows around all thresholds."""
    candidate = read_lightgbm(model, HINTS)
    x = rows_around_thresholds(ensemble_of(candidate), CODES, SIZES, count=2000) if rows is None else rows
    for execution in (Traversal(), Executor()):
        found = compare(model, candidate, x, execution)
        assert found.is_exact, found
    assert candidate.expected is not None
    expected = candidate.expected(x)
    outputs = Executor().outputs(ensemble_of(candidate), x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    return candidate


@pytest.mark.parametrize(
    "objective",
    ["regression", "regression_l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie"],
)
def test_regression(objective: str) -> None:
    candidate = check(fit(VALUES, objective=objective))
    assert (candidate.signature.task, candidate.outputs, candidate.signature.labels) == ("regression", "values", ())


def test_regression_of_square_roots() -> None:
    assert check(fit(VALUES, reg_sqrt=True)).params["link"] == "signed_square"


@pytest.mark.parametrize(("objective", "outputs"), [("cross_entropy", "logits"), ("cross_entropy_lambda", "values")])
def test_probabilities_as_targets(objective: str, outputs: str) -> None:
    assert check(fit((CLASSES == "yes").astype(float), objective=objective)).outputs == outputs


@pytest.mark.parametrize("settings", [{}, {"sigmoid": 2.5}, {"is_unbalance": True}], ids=str)
def test_two_classes(settings: dict[str, Any]) -> None:
    model = fit(CLASSES, **settings)
    candidate = check(model)
    assert (candidate.signature.task, candidate.outputs, candidate.signature.labels) == (
        "binary",
        "logits",
        ("no", "yes"),
    )
    assert candidate.expected is not None
    probability = 1 / (1 + np.exp(-candidate.expected(CODES)[:, 0].astype(float)))
    np.testing.assert_allclose(probability, model.predict_proba(FRAME)[:, 1], rtol=1e-5)


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_many_classes(objective: str) -> None:
    candidate = check(fit(FOUR_CLASSES, objective=objective))
    assert (candidate.signature.task, candidate.signature.labels) == ("multiclass", ("0", "10", "20", "30"))
    assert candidate.outputs == ("logits" if objective == "multiclass" else "probabilities")


@pytest.mark.parametrize("target", [CLASSES, FOUR_CLASSES, VALUES], ids=["binary", "multiclass", "regression"])
@pytest.mark.parametrize(
    "settings",
    [{"boosting_type": "dart"}, {"boosting_type": "rf", "subsample": 0.6, "subsample_freq": 1}],
    ids=["dart", "rf"],
)
def test_boosting_types(target: Any, settings: dict[str, Any]) -> None:
    model = fit(target, **settings)
    candidate = check(model)
    assert candidate.expected is not None
    if target is CLASSES:
        probability = 1 / (1 + np.exp(-candidate.expected(CODES)[:, 0].astype(float)))
        np.testing.assert_allclose(probability, model.predict_proba(FRAME)[:, 1], rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"zero_as_missing": True}, {"use_missing": False}], ids=str)
def test_missing_values_and_values_close_to_zero(settings: dict[str, Any]) -> None:
    tiny = np.float32(1e-35)
    near = np.array(
        [0.0, -0.0, tiny, -tiny, np.nextafter(tiny, np.float32(1)), -np.nextafter(tiny, np.float32(1)), 1e-38, np.nan],
        dtype=np.float32,
    )
    rows = np.repeat(CODES, 4, axis=0)
    chosen = np.random.default_rng(1).random(rows.shape) < 0.4
    chosen[:, [2, 3]] = False
    rows[chosen] = np.random.default_rng(2).choice(near, int(chosen.sum()))
    check(fit(CLASSES, **settings), rows)


def test_a_threshold_within_the_range_of_zero_is_moved_out_of_it() -> None:
    text = fit_numbers(n_estimators=1).booster_.model_to_string()
    for threshold in ("0", "-1e-36", "5e-36", "-1.0000000180025095e-35"):
        lines = [
            "threshold=" + " ".join([threshold] * (line.count(" ") + 1)) if line.startswith("threshold=") else line
            for line in text.splitlines()
        ]
        changed = "\n".join(line for line in lines if not line.startswith("tree_sizes"))
        booster = lgb.Booster(model_str=changed)
        tiny = np.nextafter(np.float32(1e-35), np.float32(1))
        rows = np.repeat(np.array([[0.0, -1e-36, 1e-36, -1e-35, 1e-35, tiny, -tiny, np.nan]], np.float32).T, 5, axis=1)
        found = Traversal().outputs(ensemble_of(read_lightgbm(booster, HINTS)), rows)
        np.testing.assert_allclose(found[:, 0], booster.predict(rows), rtol=1e-12)


def test_the_signature_has_names_categories_and_missing_values() -> None:
    candidate = read_lightgbm(fit(CLASSES, n_estimators=30), HINTS)
    assert candidate.signature.features == (
        Feature("a", nullable=True),
        Feature("b", nullable=True),  # no tree compares it
        Feature("c", "category", ("w", "x", "y", "z"), nullable=True),
        Feature("d", "category", ("1", "3", "7", "40")),
        Feature("e"),
    )
    assert [note.part for note in candidate.notes] == ["features d, e"]


def test_a_text_file_and_a_booster_give_the_same(tmp_path: Path) -> None:
    model = fit(CLASSES)
    model.booster_.save_model(tmp_path / "m.txt")
    found = [
        read_lightgbm(given, HINTS) for given in (model, model.booster_, tmp_path / "m.txt", str(tmp_path / "m.txt"))
    ]
    assert len({candidate.files["trees.safetensors"] for candidate in found}) == 1
    assert found[3].signature.labels == ()
    assert read_lightgbm(tmp_path / "m.txt", Hints("m", labels=("no", "yes"))).signature.labels == ("no", "yes")


def test_the_best_iteration_is_converted() -> None:
    half, target = len(FRAME) // 2, (CLASSES == "yes").astype(int)
    model = lgb.LGBMClassifier(**{**SMALL, "n_estimators": 200, "learning_rate": 0.5}).fit(
        FRAME[:half],
        target[:half],
        eval_X=FRAME[half:],
        eval_y=target[half:],
        callbacks=[lgb.early_stopping(3, verbose=False)],
    )
    assert 0 < model.best_iteration_ < 200
    candidate = check(model)
    assert ensemble_of(candidate).num_trees == model.best_iteration_


def test_rankers() -> None:
    grades = np.digitize(SCORE, [0, 1, 2])
    model = lgb.LGBMRanker(**SMALL).fit(FRAME, grades, group=[50] * 30)
    candidate = check(model)
    assert (candidate.signature.task, candidate.outputs) == ("regression", "values")


def test_codes_of_a_column_of_numbers() -> None:
    x = CODES.copy()
    x[:, 3] = np.array([5, 70, 33, 31])[x[:, 3].astype(int)]
    model = lgb.LGBMRegressor(**SMALL).fit(x, VALUES, categorical_feature=[3])
    candidate = read_lightgbm(model, HINTS)
    assert candidate.signature.features[3] == Feature("Column_3")
    rows = np.repeat(x[:200], 2, axis=0)
    rows[::2, 3] = np.random.default_rng(0).choice(np.array([0, 31, 32, 33.7, 63, 64, 99, 1e6, -3, np.nan]), 200)
    assert compare(model, candidate, rows, Traversal()).is_exact


def test_a_model_without_splits() -> None:
    check(fit(VALUES, min_child_samples=2000), CODES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fit_numbers(linear_tree=True), "linear models"),
        (lambda: fit(VALUES, objective=lambda y, z: (z - y, np.ones_like(z))), "custom objective"),
        (lambda: lgb.LGBMClassifier(), "not fitted"),
        (lambda: object(), "this is a object"),
        (
            lambda: lgb.LGBMClassifier(**SMALL).fit(FRAME.assign(d=FRAME.d.cat.as_ordered()), CLASSES),
            "whose categories",
        ),
        (
            lambda: lgb.LGBMRegressor(**SMALL).fit(FRAME.assign(d=pd.Categorical(FRAME.b / 2)), VALUES),
            "a category of d is -0.5",
        ),
    ],
    ids=["linear", "custom", "not-fitted", "other-object", "ordered", "category"],
)
def test_refusals(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        read_lightgbm(make(), HINTS)
    assert error.value.remedy


def test_a_custom_objective_is_converted_if_its_outputs_are_stated() -> None:
    model = fit(VALUES, objective=lambda y, z: (z - y, np.ones_like(z)))
    candidate = read_lightgbm(model, Hints("m", task="regression", outputs="values"))
    assert candidate.expected is not None
    found = Traversal().outputs(ensemble_of(candidate), CODES)
    np.testing.assert_allclose(found, candidate.expected(CODES), rtol=1e-6)


def test_stated_categories_must_be_those_of_the_model() -> None:
    model = fit(CLASSES)
    own = read_lightgbm(model, HINTS).signature
    for feature, message in (
        (Feature("c", "category", ("z", "y", "x", "w")), "in the same order: w, x, y, z"),
        (Feature("c"), "stated as a number"),
    ):
        stated = replace(own, features=(*own.features[:2], feature, *own.features[3:]))
        with pytest.raises(ModelError, match=message):
            read_lightgbm(model, Hints("m", signature=stated))
    assert read_lightgbm(model, Hints("m", signature=own)).signature == own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "the first line"),
        (lambda text: "{}", "the first line"),
        (lambda text: text[: len(text) // 2], "truncated"),
        (lambda text: text.replace("num_leaves=", "num_leaves=1", 1), "there must be"),
        (lambda text: text.replace("leaf_value=", "leaf_value=x", 1), "cannot be read"),
        (lambda text: text.replace("objective=binary", "objective=secret"), "'secret'"),
        (lambda text: text.replace("split_feature=", "split_feature=9 9 ", 1), "there must be"),
    ],
    ids=["empty", "json", "truncated", "leaves", "number", "objective", "features"],
)
def test_damaged_texts_are_refused(change: Callable[[str], str], message: str, tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text(change(fit(CLASSES).booster_.model_to_string()))
    with pytest.raises(ModelError, match=message) as error:
        read_lightgbm(tmp_path / "m.txt", HINTS)
    assert error.value.remedy


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_lightgbm(tmp_path / "m.txt", HINTS)


def test_the_text_of_a_tree_is_parsed() -> None:
    parsed = parse_lightgbm(fit(CLASSES, n_estimators=1).booster_.model_to_string(), "m")
    (tree,) = parsed.trees
    assert parsed.feature_names == tuple("abcde")
    assert parsed.pandas_categories == (["w", "x", "y", "z"], [1, 3, 7, 40])
    assert len(tree.leaf_values) == len(tree.feature_S) + 1 == 8
    assert sum(tree.is_categorical_S) == len(tree.categories)
