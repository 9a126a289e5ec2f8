"""The preparation of a recipe: reading its tables, fitting its steps in order, and the same rows off-line and on-line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.preparation.catalogue import STEPS
from forebay.models.preparation.preparation import read_preparation
from forebay.models.preparation.training_rows import TrainingRows
from forebay.schemas.errors import ModelError, TensorError

NAN = float("nan")
TABLES: list[dict[str, Any]] = [
    {"step": "impute", "strategy": "median", "columns": ["a", "b"]},
    {"step": "standardise", "columns": "numbers", "ddof": 1, "constant": "drop", "empty": "keep"},
]


def training_rows(**others: Any) -> TrainingRows:
    x_NF = np.array([[1, 5, 0], [NAN, 7, 1], [3, NAN, 0], [8, 5, NAN]], dtype=np.float32)
    features = (Feature("a", nullable=True), Feature("b", nullable=True), Feature("c", "category", ("x", "y")))
    return TrainingRows.of(Signature(features, (3,), "regression", 1), x_NF, **others)


def test_each_step_is_fitted_to_what_the_steps_before_it_gave() -> None:
    fitted = read_preparation(TABLES, "recipe.toml").fit(training_rows())
    filled_NF = np.array([[1, 5], [3, 7], [3, 5], [8, 5]], dtype=np.float64)
    expected_NF = (filled_NF - filled_NF.mean(axis=0)) / filled_NF.std(axis=0, ddof=1)
    np.testing.assert_allclose(fitted.x_KG[:, :2], expected_NF, rtol=1e-6)
    np.testing.assert_array_equal(fitted.x_KG[:, 2], [0, 1, 0, NAN], "the text is unchanged")
    assert fitted.names == ("a", "b", "c")
    assert fitted.keep_N.all()
    assert fitted.notes == (
        "recipe.toml: prepare[0] (impute): 2 missing values of 2 columns are replaced (median)",
        "recipe.toml: 1 values of the prepared rows are missing: c",
    )


def test_the_frozen_steps_give_the_training_rows() -> None:
    rows = training_rows()
    fitted = read_preparation(TABLES, "recipe.toml").fit(rows)
    frozen = Preprocessing.from_dict(fitted.preprocessing.to_dict())
    np.testing.assert_array_equal(frozen.apply(rows.x_NF), fitted.x_KG)
    for row in range(4):
        np.testing.assert_array_equal(frozen.apply(rows.x_NF[row : row + 1]), fitted.x_KG[row : row + 1])


def test_tables_are_read_and_written_unchanged() -> None:
    preparation = read_preparation(TABLES, "recipe.toml")
    assert preparation.to_dict() == TABLES
    again = read_preparation(preparation.to_dict(), "other.toml")
    assert again == preparation
    with_defaults = read_preparation([{"step": "standardise"}], "recipe.toml").to_dict()
    assert with_defaults == [
        {"step": "standardise", "columns": "numbers", "ddof": 0, "constant": "keep", "empty": "refuse"}
    ]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"step": "imput"}, "recipe.toml: prepare[0].step is 'imput'; allowed is one of drop_duplicates, "),
        ({}, "recipe.toml: prepare[0].step is missing"),
        (
            {"step": "impute", "strategy": "guess"},
            "recipe.toml: prepare[0].strategy is 'guess'; allowed is one of mean, median, ",
        ),
        ({"step": "impute", "strategi": "mean"}, "prepare[0].strategi is not a known key; did you mean strategy?"),
        ({"step": "impute", "strategy": "constant"}, "prepare[0]: value must be given for the strategy constant"),
        ({"step": "standardise", "columns": "all"}, 'allowed is a list of names, "*", "numbers" or "texts"'),
        ({"step": "standardise", "columns": ["a", "a"]}, "allowed is a list in which no text occurs twice"),
        ({"step": "standardise", "columns": []}, "prepare[0].columns is []; allowed is a list of texts"),
        ({"step": "standardise", "ddof": 1.5}, "prepare[0].ddof is 1.5; allowed is a whole number from 0 upwards"),
        ("impute", "recipe.toml: prepare[0] is 'impute'; allowed is a table"),
    ],
)
def test_faults_in_tables_are_named(table: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_preparation([table], "recipe.toml")
    assert says in caught.value.message
    assert caught.value.kind == "recipe"


@pytest.mark.parametrize(
    ("columns", "says", "remedy"),
    [
        (["bb"], "prepare[0] (standardise): there is no column 'bb' at this step; there are a, b, c", "mean 'b'?"),
        ("*", "prepare[0] (standardise): c holds the codes of texts, and this step takes numbers", '"numbers"'),
    ],
)
def test_columns_that_do_not_fit_are_named(columns: Any, says: str, remedy: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_preparation([{"step": "standardise", "columns": columns}], "recipe.toml").fit(training_rows())
    assert says in caught.value.message
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize("step", STEPS)
def test_each_step_is_documented(step: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "preparation.md").read_text()
    assert any(line.startswith("|") and f"`{step}`" in line for line in page.splitlines())


def test_parts_of_a_time_are_columns_of_their_feature() -> None:
    features = (Feature("a"), Feature("left", "timestamp", parts=("hour", "weekday"), nullable=True))
    rows = TrainingRows.of(Signature(features, (3,), "regression", 1), np.zeros((2, 3), dtype=np.float32))
    assert rows.names == ("a", "left.hour", "left.weekday")
    table = {"step": "drop_missing", "columns": ["left.hour"]}
    fitted = read_preparation([table], "recipe.toml").fit(rows)
    assert [feature.nullable for feature in fitted.features(features)] == [False, False]


def test_rows_of_another_type_or_length_are_refused() -> None:
    with pytest.raises(TensorError, match="float32"):
        TrainingRows(("a",), np.zeros((2, 1)))  # type: ignore[arg-type]
    with pytest.raises(TensorError, match="y_N has 3 values for 4 training rows"):
        training_rows(y_N=np.zeros(3))
