"""The proof that converted trees decide as their originals. `python -m tests.models.registration.tree_proof` prints a report.

Models of four libraries on three data sets, with categories and missing values, are compared with their originals on rows on
and around all thresholds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.lightgbm_reader import read_lightgbm
from forebay.models.registration.sklearn_trees import read_sklearn_trees
from forebay.models.registration.xgboost_reader import read_xgboost
from tests.models.registration.tree_comparison import Comparison, Executor, compare, ensemble_of
from tests.models.registration.tree_data import TreeData, diabetes, flights, wine
from tests.models.registration.tree_rows import rows_around_thresholds

LIBRARIES = ("XGBoost", "LightGBM", "RandomForest", "HistGradientBoosting")
DATA = ("flights", "wine", "diabetes")


@dataclass(frozen=True, eq=False)
class Converted:
    """A model and what became of it. takes_codes: whether codes of categories are numbers for it."""

    model: Any
    candidate: Candidate
    takes_codes: bool = False


def load(name: str, limit: int | None = None) -> TreeData:
    """Return a data set; of the flights at most about `limit`."""
    match name:
        case "flights":
            return flights(limit=limit)
        case "wine":
            return wine()
        case _:
            return diabetes()


def train(library: str, data: TreeData, num_trees: int) -> Converted:
    """Train a model and convert it."""
    classifies = data.is_classification
    hints = Hints("proof")
    model: Any
    match library:
        case "XGBoost":
            target = np.unique(data.target_N, return_inverse=True)[1] if classifies else data.target_N
            model = (xgboost.XGBClassifier if classifies else xgboost.XGBRegressor)(
                n_estimators=num_trees, max_depth=6, enable_categorical=True, n_jobs=1, random_state=0
            )
            model.fit(data.frame, target)
            return Converted(model, read_xgboost(model, hints))
        case "LightGBM":
            model = (lightgbm.LGBMClassifier if classifies else lightgbm.LGBMRegressor)(
                n_estimators=num_trees, min_child_samples=5, n_jobs=1, random_state=0, verbose=-1
            )
            model.fit(data.frame, data.target_N)
            return Converted(model, read_lightgbm(model, hints))
        case "RandomForest":
            model = (RandomForestClassifier if classifies else RandomForestRegressor)(
                num_trees, max_depth=10, random_state=0
            )
            model.fit(data.codes_frame, data.target_N)
            return Converted(model, read_sklearn_trees(model, hints), takes_codes=True)
        case _:
            model = (HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor)(
                max_iter=num_trees, min_samples_leaf=5, random_state=0
            )
            model.fit(data.frame, data.target_N)
            return Converted(model, read_sklearn_trees(model, hints))


def prove(library: str, data: TreeData, *, num_rows: int, num_trees: int) -> Comparison:
    """Train, convert and compare."""
    converted = train(library, data, num_trees)
    sizes = (0,) * len(data.sizes) if converted.takes_codes else data.sizes
    x_BF = rows_around_thresholds(ensemble_of(converted.candidate), data.codes_NF, sizes, count=num_rows)
    return compare(converted.model, converted.candidate, x_BF, Executor())


def report(num_rows: int, num_trees: int) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the report, and whether what they say is exact."""
    yield (
        f"{'model':32} {'rows':>9} {'trees':>5} {'leaves':>7} {'on':>9} {'other':>6} {'error':>8} {'native':>8} flips (ties)",
        True,
    )
    for name in DATA:
        data = load(name)
        for library in LIBRARIES:
            started = time.monotonic()
            found = prove(library, data, num_rows=num_rows, num_trees=num_trees)
            line = (
                f"{library + ', ' + name:32} {found.rows:9,} {found.trees:5} {found.reached:7.1%} {found.on_threshold:9,} "
                f"{found.other_leaves:6} {found.largest_error:8.1e} {found.from_native:8.1e} {found.flips} ({found.ties})"
            )
            yield f"{line}   {time.monotonic() - started:.0f} s", found.is_exact


def main(arguments: list[str]) -> int:
    """Print the report. Return 1 if a model is not exact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for each model")
    parser.add_argument("--trees", type=int, default=30, help="trees of a model, for each class")
    options = parser.parse_args(arguments)
    exact = True
    for line, is_exact in report(options.rows, options.trees):
        print(line if is_exact else f"{line}   NOT EXACT", flush=True)
        exact &= is_exact
    print(
        "leaves: share of the leaves that rows reached. on: values exactly on a threshold of their column. other: how often "
        "a row reached another leaf than the original's. error: of an output, relative to a float64 sum of the leaves. native: "
        "difference from the original's own outputs. flips: rows with another class; ties: those where the best two are equal."
    )
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
