"""Compare executors of tree ensembles: speed, leaves and install size. `python -m benchmarks.trees`.

Needs xgboost and treelite (`pip install treelite`). Everything runs with one thread, on trees of depth 6 over 32 features.

Shapes: B rows, F features, T trees.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnxruntime
import treelite
import xgboost
from treelite import gtil

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.runner import TreesRunner, Walker, run_leaf_numbers
from forebay.models.backends.trees.traversal import sum_leaves
from forebay.models.registration.xgboost_document import BoosterDocument
from forebay.models.registration.xgboost_reader import XGBoostTrees, convert, native_matrix

NUM_FEATURES = 32
TRAINING_ROWS = 20_000
CHECKED_ROWS = 20_000


def train(num_trees: int, random: np.random.Generator) -> tuple[xgboost.Booster, FloatArray]:
    """Return a model of depth 6, and rows that it was not trained on."""
    x_BF = random.normal(size=(TRAINING_ROWS + CHECKED_ROWS, NUM_FEATURES)).astype(np.float32)
    score_B = x_BF @ random.normal(size=NUM_FEATURES) + 3 * np.sin(3 * x_BF[:, 0]) + random.normal(size=len(x_BF))
    matrix = xgboost.DMatrix(x_BF[:TRAINING_ROWS], score_B[:TRAINING_ROWS] > 0)
    booster = xgboost.train({"max_depth": 6, "objective": "binary:logistic", "eta": 0.1}, matrix, num_trees)
    booster.set_param({"nthread": 1})
    return booster, x_BF[TRAINING_ROWS:]


def microseconds_per_row(run: Callable[[FloatArray], object], x_BF: FloatArray, size: int, repeats: int) -> float:
    """Return the time for a row in batches of `size`: the best of several passes over different rows."""
    batches = [np.ascontiguousarray(x_BF[start : start + size]) for start in range(0, len(x_BF) - size + 1, size)]
    batches = batches[: max(4, 4_096 // size)]
    run(batches[0])
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        for batch in batches:
            run(batch)
        best = min(best, time.perf_counter() - start)
    return best / (len(batches) * size) * 1e6


def on_thresholds(trees: XGBoostTrees, x_BF: FloatArray, random: np.random.Generator) -> FloatArray:
    """Return rows in which half of the values are thresholds of their feature."""
    ensemble, rows_BF = trees.ensemble, x_BF.copy()
    for feature in range(NUM_FEATURES):
        thresholds = ensemble.threshold_N[ensemble.feature_N == feature].astype(np.float32)
        if len(thresholds):
            is_on_B = random.random(len(rows_BF)) < 0.5
            rows_BF[is_on_B, feature] = random.choice(thresholds, int(is_on_B.sum()))
    return rows_BF


def differing_leaves(trees: XGBoostTrees, booster: xgboost.Booster, x_BF: FloatArray, document: BoosterDocument) -> int:
    """Return how many leaves are not XGBoost's."""
    native_BT = booster.predict(native_matrix(document, x_BF), pred_leaf=True).astype(np.int64)
    leaf_nodes = np.flatnonzero(trees.ensemble.feature_N < 0)
    found_BT = run_leaf_numbers(trees.ensemble, x_BF, place="the benchmark")
    return int((trees.native_ids[leaf_nodes[found_BT]] != native_BT).sum())


def executors_of(booster: xgboost.Booster, trees: XGBoostTrees) -> dict[str, Callable[[FloatArray], object]]:
    """Return what is compared, by name. Each returns the margins of a batch."""
    general = treelite.frontend.from_xgboost(booster)
    return {
        "forebay": TreesRunner(trees.ensemble, place="the benchmark").run,
        "onnxruntime": Walker(trees.ensemble, place="the benchmark", threads=1, min_slice_rows=None).walk,
        "treelite": lambda x_BF: gtil.predict(general, x_BF, nthread=1, pred_margin=True),
        "numpy": lambda x_BF: sum_leaves(trees.ensemble, x_BF),
        "xgboost": lambda x_BF: booster.inplace_predict(x_BF, predict_type="margin"),
    }


def megabytes(module_file: str | None) -> float:
    """Return the size of a package."""
    assert module_file is not None
    return sum(file.stat().st_size for file in Path(module_file).parent.rglob("*") if file.is_file()) / 1e6


@click.command()
@click.option("--trees", "numbers", multiple=True, type=int, default=(100, 500), help="number of trees")
@click.option("--batch", "sizes", multiple=True, type=int, default=(1, 32, 256, 1024), help="rows in a batch")
@click.option("--repeats", default=5, help="passes; the best one counts")
def main(numbers: tuple[int, ...], sizes: tuple[int, ...], repeats: int) -> None:
    """Print a JSON object for each number of trees: microseconds for a row by executor and batch."""
    for num_trees in numbers:
        random = np.random.default_rng(0)
        booster, x_BF = train(num_trees, random)
        document = BoosterDocument.read(bytes(booster.save_raw("json")), "the benchmark")
        trees = convert(booster, document, "the benchmark")
        executors = executors_of(booster, trees)
        rows_BF = on_thresholds(trees, x_BF, random)
        print(
            json.dumps(
                {
                    "trees": num_trees,
                    "nodes": trees.ensemble.num_nodes,
                    "differing leaves": differing_leaves(trees, booster, rows_BF, document),
                    "of": len(rows_BF) * num_trees,
                    "us a row": {
                        name: {size: round(microseconds_per_row(run, x_BF, size, repeats), 2) for size in sizes}
                        for name, run in executors.items()
                    },
                }
            ),
            flush=True,
        )
    print(
        json.dumps(
            {
                "MB installed": {
                    module.__name__: round(megabytes(module.__file__), 1) for module in (onnxruntime, treelite, xgboost)
                }
            }
        )
    )


if __name__ == "__main__":
    main()
