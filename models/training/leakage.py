"""Find signs that the metrics of the validation and test rows are better than those of new rows will be.

Shapes: N rows, F features, R sampled rows.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Task
from forebay.models.training.metrics import roc_auc
from forebay.models.training.split import Split
from forebay.models.training.table_coding import CodedTable

SAMPLE_ROWS: Final = 200_000
NEARLY_PERFECT: Final = 0.999
"""From this ROC AUC, or absolute rank correlation, a single feature is suspected to hold the label."""
MIN_ROWS: Final = 30
"""Of each of two classes, or of values. Among fewer rows, a feature that knows little separates them by chance."""


def find_leakage(table: CodedTable, split: Split, *, split_by: str, time_name: str | None) -> tuple[str, ...]:
    """Return a warning for each sign: shared keys, identical rows, the order of time, and features that give the label away.

    Large parts are sampled, evenly; the warnings then say so.
    """
    warnings: list[str] = []
    warnings += _shared_keys(table, split)
    warnings += _identical_rows(table, split)
    if table.times_N is not None and split_by != "time":
        warnings += _time_order(table.times_N, split, time_name or "time")
    if table.signature.window is None:
        warnings += _telling_features(table, split)
    return tuple(warnings)


def _shared_keys(table: CodedTable, split: Split) -> list[str]:
    if table.keys_N is None:
        return []
    warnings = []
    training_keys = np.unique(table.keys_N[split.training])
    for name in ("validation", "test"):
        rows = split.parts()[name]
        if not len(rows):
            continue
        shared = np.intersect1d(training_keys, np.unique(table.keys_N[rows]), assume_unique=True)
        if len(shared):
            share = float(np.isin(table.keys_N[rows], shared).mean())
            warnings.append(
                f"{len(shared):,} keys have rows in training and in {name} ({share:.1%} of the {name} rows): "
                'for new keys the model may be worse; split.by = "key" keeps them apart'
            )
    return warnings


def _identical_rows(table: CodedTable, split: Split) -> list[str]:
    known, is_sampled = _digests(table.x_NF, split.training)
    warnings = []
    for name in ("validation", "test"):
        rows = split.parts()[name]
        if not len(rows):
            continue
        digests, is_part_sampled = _digests(table.x_NF, rows)
        share = float(np.isin(digests, known).mean())
        # Rows of few categories repeat by nature; a tenth is more than chance in most tables.
        if share >= 0.1:
            sample = " of a sample" if is_sampled or is_part_sampled else ""
            warnings.append(
                f"{share:.1%} of the {name} rows{sample} have the same features as a training row: "
                "remove duplicates, or split by the key that they share"
            )
    return warnings


def _time_order(times_N: npt.NDArray[np.int64], split: Split, name: str) -> list[str]:
    ends = [(part, times_N[rows]) for part, rows in split.parts().items() if len(rows)]
    for (_, before), (later, after) in pairwise(ends):
        share = float((after < before.max()).mean())
        if share > 0:
            return [
                f"the split ignores {name}: {share:.1%} of the {later} rows are older than the newest training row, and a "
                'worker predicts newer ones; split.by = "time" measures that'
            ]
    return []


def _telling_features(table: CodedTable, split: Split) -> list[str]:
    signature = table.signature
    training, validation = _spread(split.training), _spread(split.validation)
    y_R, y_V = np.asarray(table.y_N[training]), np.asarray(table.y_N[validation])
    warnings = []
    for place, feature in enumerate(signature.column_features):
        x_R, x_V = np.asarray(table.x_NF[training, place]), np.asarray(table.x_NF[validation, place])
        score = association(x_R, y_R, x_V, y_V, task=signature.task, is_text=feature.is_text)
        if score >= NEARLY_PERFECT:
            warnings.append(
                f"the feature {feature.name!r} alone predicts the label almost perfectly ({score:.4f}): is it known when the "
                "model is asked? If not, add it to data.exclude"
            )
    return warnings


def association(
    x_R: FloatArray, y_R: FloatArray, x_V: FloatArray, y_V: FloatArray, *, task: Task, is_text: bool
) -> float:
    """Return from 0.5 (nothing) to 1 how well one feature predicts the label on the validation rows V.

    Classes: the largest ROC AUC of a class against the others; values: the absolute rank correlation. A text is replaced by
    the mean label of its training rows R. Classes with few rows are left out.
    """
    best = 0.0
    targets = (
        [(y_R, y_V)]
        if task == "regression"
        else [((y_R == label).astype(np.float32), (y_V == label).astype(np.float32)) for label in np.unique(y_R)]
    )
    for target_R, target_V in targets:
        if is_text:
            present_R = ~np.isnan(x_R)
            codes_R = x_R[present_R].astype(np.int64)
            size = int(max(x_R[present_R].max(initial=0), np.nan_to_num(x_V).max(initial=0))) + 1
            counts = np.bincount(codes_R, minlength=size)
            sums = np.bincount(codes_R, weights=target_R[present_R], minlength=size)
            means = np.where(counts > 0, sums / np.maximum(counts, 1), target_R.mean())
            score_V = np.where(np.isnan(x_V), target_R.mean(), means[np.nan_to_num(x_V).astype(np.int64)])
        else:
            score_V = x_V.astype(np.float64)
        is_present_V = ~np.isnan(score_V)
        if is_present_V.mean() < 0.5:
            continue
        score_V, label_V = score_V[is_present_V], target_V[is_present_V].astype(np.float64)
        if _num_rows(label_V, task) < MIN_ROWS:
            continue
        if task == "regression":
            best = max(best, _rank_correlation(score_V, label_V))
        else:
            area = roc_auc(label_V, score_V)
            best = max(best, 0.0 if area is None else max(area, 1 - area))
    return best


def _num_rows(label_V: npt.NDArray[np.float64], task: Task) -> int:
    """Return the number of rows of the smaller class, or of all rows."""
    if task == "regression":
        return len(label_V)
    ones = int(label_V.sum())
    return min(ones, len(label_V) - ones)


def _rank_correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    rank_a, rank_b = (np.unique(values, return_inverse=True)[1].astype(np.float64) for values in (a, b))
    if rank_a.std() == 0 or rank_b.std() == 0:
        return 0.0
    return abs(float(np.corrcoef(rank_a, rank_b)[0, 1]))


def _digests(x_NF: FloatArray, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], bool]:
    sampled = _spread(rows)
    x_RF = np.ascontiguousarray(x_NF[sampled])
    x_RF[x_RF == 0] = 0  # -0 and 0 are one value
    digests = np.array([xxhash.xxh3_64_intdigest(row) for row in x_RF], dtype=np.uint64)
    return digests, len(sampled) < len(rows)


def _spread(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return at most `SAMPLE_ROWS` of the rows, evenly over all of them."""
    count = min(SAMPLE_ROWS, len(rows))
    return rows[np.arange(count) * len(rows) // max(1, count)]
