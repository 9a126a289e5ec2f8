"""Time the frozen preparation of 32 columns, 8 of them texts, in batches of 1 and 512 rows.

python -m benchmarks.preparation
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.preprocessing import OneHot, Preprocessing
from forebay.models.artefacts.signature import Feature
from forebay.models.preparation.preparation import read_preparation
from forebay.models.preparation.training_rows import TrainingRows
from forebay.models.preparation.whole_rows import fit_isolation_forest

NUM_NUMBERS: Final = 24
NUM_TEXTS: Final = 8
NUM_CATEGORIES: Final = 10
BATCH_SIZES: Final = (1, 512)
NUM_ROUNDS: Final = 15
ROUND_S: Final = 0.02

USUAL: Final[list[dict[str, Any]]] = [
    {"step": "outliers", "method": "iqr", "action": "clip"},
    {"step": "impute", "strategy": "median"},
    {"step": "standardise"},
]
"""What most recipes do with numbers."""

STEPS: Final[list[dict[str, Any]]] = [
    {"step": "impute", "strategy": "mean"},
    {"step": "missing_indicator"},
    {"step": "outliers", "method": "iqr", "action": "clip"},
    {"step": "outliers", "method": "iqr", "action": "null"},
    {"step": "outliers", "method": "iqr", "action": "flag"},
    {"step": "outliers", "method": "iqr", "action": "reject"},
    {"step": "standardise"},
    {"step": "min_max", "clip": True},
    {"step": "robust"},
    {"step": "quantile"},
    {"step": "quantile", "distribution": "normal"},
    {"step": "power"},
    {"step": "log"},
    {"step": "bin"},
    {"step": "cyclic", "columns": "numbers", "period": 24},
    {"step": "cast", "to": "boolean"},
]


def microseconds(function: Callable[[FloatArray], object], x_BF: FloatArray) -> float:
    """Return the time of a call in the fastest of several rounds: other processes only make a round slower."""
    function(x_BF)
    calls, started_s = 0, time.perf_counter()
    while time.perf_counter() - started_s < ROUND_S:
        function(x_BF)
        calls += 1
    rounds = []
    for _ in range(NUM_ROUNDS):
        started_s = time.perf_counter()
        for _ in range(calls):
            function(x_BF)
        rounds.append((time.perf_counter() - started_s) / calls)
    return min(rounds) * 1e6


def training_rows(random: np.random.Generator, num_rows: int, num_texts: int) -> TrainingRows:
    """Return rows with positive numbers, a tenth of them missing, and codes of texts."""
    x_NF = random.lognormal(1, 0.5, size=(num_rows, NUM_NUMBERS)).astype(np.float32)
    x_NF[random.random(x_NF.shape) < 0.1] = np.nan
    codes_NK = random.integers(0, NUM_CATEGORIES, size=(num_rows, num_texts)).astype(np.float32)
    categories = tuple(f"category {number}" for number in range(NUM_CATEGORIES))
    texts = {f"text_{number}": Feature(f"text_{number}", "category", categories) for number in range(num_texts)}
    names = (*(f"number_{number}" for number in range(NUM_NUMBERS)), *texts)
    return TrainingRows(names, np.column_stack([x_NF, codes_NK]), texts=texts)


def one_hot_texts(rows: TrainingRows, before: Preprocessing) -> Preprocessing:
    """Return the preprocessing, followed by the encoding of the texts."""
    columns = rows.choose("texts")
    return Preprocessing((*before.steps, OneHot(rows.width, columns, (NUM_CATEGORIES,) * len(columns))))


def report(label: str, preprocessing: Preprocessing, rows: TrainingRows) -> None:
    """Print the time of each batch size."""
    times = [microseconds(preprocessing.apply, rows.x_NF[:batch_size].copy()) for batch_size in BATCH_SIZES]
    print(f"{label:58s}" + "".join(f"{time_us:10.1f}" for time_us in times), flush=True)


def main() -> None:
    """Print a table of microseconds a batch."""
    random = np.random.default_rng(1)
    numbers, mixed = training_rows(random, 2000, 0), training_rows(random, 2000, NUM_TEXTS)
    print(f"{'µs a batch':58s}" + "".join(f"{f'{size} rows':>10s}" for size in BATCH_SIZES))
    usual = read_preparation(USUAL, "recipe")
    report(f"clip, impute, standardise: {NUM_NUMBERS} numbers", usual.fit(numbers).preprocessing, numbers)
    with_texts = one_hot_texts(mixed, usual.fit(mixed).preprocessing)
    report(f"the same, and one-hot: {NUM_NUMBERS} numbers, {NUM_TEXTS} texts", with_texts, mixed)
    for table in STEPS:
        label = ", ".join(str(value) for value in table.values())
        report(
            f"  {label}: {NUM_NUMBERS} numbers", read_preparation([table], "recipe").fit(numbers).preprocessing, numbers
        )
    complete = replace(numbers, x_NF=np.nan_to_num(numbers.x_NF, nan=1.0))
    forest = fit_isolation_forest(complete, complete.choose("numbers"), None)
    times = [microseconds(forest.rejected, complete.x_NF[:batch_size].copy()) for batch_size in BATCH_SIZES]
    print(
        f"{f'  rows that isolation_forest rejects: {NUM_NUMBERS} numbers':58s}"
        + "".join(f"{time_us:10.1f}" for time_us in times)
    )


if __name__ == "__main__":
    main()
