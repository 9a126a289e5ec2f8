"""Draw random tables and recipes, and compare the training rows with what a worker computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from forebay.models.artefacts.preprocessing import Preprocessing, RowsRejected
from forebay.models.artefacts.signature import Feature
from forebay.models.preparation.preparation import FittedPreparation, read_preparation
from forebay.models.preparation.training_rows import TrainingRows
from forebay.schemas.errors import ModelError

NAMES = tuple("abcdef")
MAX_SINGLE_ROWS = 12
COLOUR = Feature("colour", "category", ("red", "green"), nullable=True)
_CHOICES = {"constant": ["keep", "drop"], "empty": ["keep", "drop"]}
OPTIONS: dict[str, dict[str, list[Any]]] = {
    "drop_duplicates": {"columns": ["*", ["a"], ["a", "b"]]},
    "drop_missing": {"columns": ["*", "numbers", ["a"]]},
    "infinite": {"action": ["null", "clip", "reject"]},
    "missing_indicator": {"columns": ["*", ["b"]]},
    "impute": {"strategy": ["mean", "median", "mode"]},
    "outliers": {
        "method": ["iqr", "z_score"],
        "action": ["clip", "null", "flag", "reject", "drop"],
        "factor": [0.5, 1.5],
    },
    "standardise": {"ddof": [0, 1], **_CHOICES},
    "min_max": {"low": [-1.0, 0.0], "clip": [True, False], **_CHOICES},
    "robust": _CHOICES,
    "quantile": {"distribution": ["uniform", "normal"], "quantiles": [10, 1000], **_CHOICES},
    "power": {"method": ["yeo-johnson"], "standardise": [True, False], **_CHOICES},
    "log": {"function": ["log", "log1p"], "outside": ["null", "clip", "reject"]},
    "clip": {"minimum": [-1.0, 0.0], "upper_quantile": [0.9, 1.0]},
    "bin": {"method": ["equal_width", "quantile"], "bins": [2, 5], "encode": ["index", "one_hot"]},
    "combine": {
        "left": ["a", "b"],
        "right": ["b", "c"],
        "operation": ["add", "subtract", "multiply"],
        "name": ["new", "newer"],
    },
    "products": {"columns": [["a", "b"], ["b", "c"]], "squares": [True, False]},
    "cyclic": {"columns": [["a"], ["b", "c"]], "period": [7.0, 24.0], "keep": [True, False]},
    "select": {"method": ["variance", "correlation"], "threshold": [0.1, 0.9]},
    "drop_columns": {"columns": [["d"], ["e", "f"]]},
    "rename": {"names": [{"c": "see"}, {"a": "b", "b": "a"}]},
    "cast": {"to": ["integer", "rounded", "floor", "boolean"]},
}
DIVISION = {"step": "combine", "left": "a", "right": "b", "operation": "divide", "name": "ratio"}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Draw one table of a recipe."""
    step = draw(st.sampled_from(sorted(OPTIONS)))
    if step == "combine" and draw(st.booleans()):
        return DIVISION | {"at_zero": draw(st.sampled_from([0.0, -1.0, "missing"]))}
    return {"step": step} | {key: draw(st.sampled_from(values)) for key, values in OPTIONS[step].items()}


def draw_rows(random: np.random.Generator, num_rows: int) -> TrainingRows:
    """Return rows with six numbers of different kinds, some of them missing, and a text."""
    kinds = [
        random.normal(size=num_rows),
        random.lognormal(2, 2, size=num_rows),
        random.integers(-2, 3, size=num_rows),
        np.full(num_rows, random.integers(-1, 2)),
        random.normal(1.7e9, 1e4, size=num_rows),
        random.choice([0.0, -1e-6, 1e6], size=num_rows),
    ]
    x_NF = np.stack([kinds[kind] for kind in random.permutation(6)], axis=1).astype(np.float32)
    x_NF[random.random(x_NF.shape) < random.choice([0.0, 0.1, 0.5])] = np.nan
    colour_N = random.choice([0.0, 1.0, np.nan], size=num_rows).astype(np.float32)
    return TrainingRows((*NAMES, "colour"), np.column_stack([x_NF, colour_N]), texts={"colour": COLOUR}, is_raw=True)


def check_recipe(recipe: list[dict[str, Any]], seed: int) -> bool:
    """Check a recipe on random rows. Returns False if the recipe cannot be fitted to them, which is reported.

    The training rows equal what the frozen steps give to the same rows: all at once, one at a time, and with the columns in
    another order. Rows are rejected by these steps or dropped, and only those.
    """
    random = np.random.default_rng(seed)
    rows = draw_rows(random, int(random.integers(1, 60)))
    before_NF = rows.x_NF.copy()
    preparation = read_preparation(recipe, "recipe.toml")
    assert read_preparation(preparation.to_dict(), "again.toml") == preparation
    try:
        fitted = preparation.fit(rows)
    except ModelError as error:
        assert error.kind == "fit", error
        assert error.message.startswith("recipe.toml: "), error
        assert error.remedy, error
        return False
    np.testing.assert_array_equal(rows.x_NF, before_NF, "the rows are unchanged")
    frozen = Preprocessing.from_dict(fitted.preprocessing.to_dict())
    kept_KF = rows.x_NF[fitted.keep_N]
    same(frozen.apply(kept_KF, checked=True), fitted.x_KG)
    for row in range(min(len(kept_KF), MAX_SINGLE_ROWS)):
        same(frozen.apply(kept_KF[row : row + 1], checked=True), fitted.x_KG[row : row + 1])
    check_rejected(fitted, frozen, rows)
    check_permuted(recipe, fitted, rows, random)
    return True


def check_rejected(fitted: FittedPreparation, frozen: Preprocessing, rows: TrainingRows) -> None:
    """Check that a row that the worker rejects is not a training row, and that others give numbers like them."""
    for row in np.flatnonzero(~fitted.keep_N):
        try:
            given = frozen.apply(rows.x_NF[row : row + 1], checked=True)
        except RowsRejected:
            continue
        assert not np.isposinf(given).all()


def check_permuted(
    recipe: list[dict[str, Any]], fitted: FittedPreparation, rows: TrainingRows, random: np.random.Generator
) -> None:
    """Check that the order of the features does not matter, for steps that do not keep the first of several columns."""
    if any(table["step"] == "select" for table in recipe):
        return
    order = random.permutation(rows.width)
    permuted = replace(rows, names=tuple(rows.names[place] for place in order), x_NF=rows.x_NF[:, order])
    other = read_preparation(recipe, "recipe.toml").fit(permuted)
    np.testing.assert_array_equal(other.keep_N, fitted.keep_N)
    assert sorted(map(canonical, other.names)) == sorted(map(canonical, fitted.names))
    places = [list(map(canonical, other.names)).index(canonical(name)) for name in fitted.names]
    same(other.x_KG[:, places], fitted.x_KG)
    kept_KF = permuted.x_NF[fitted.keep_N]
    same(other.preprocessing.apply(kept_KF, checked=True)[:, places], fitted.x_KG)


def canonical(name: str) -> str:
    """Return the name of a column independent of the order in which products name their factors."""
    return "*".join(sorted(name.split("*")))


def same(found: Any, expected: Any) -> None:
    """Check that two matrices agree to 1e-6 and are missing at the same places."""
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
