"""Compare a converted ensemble with its original: the leaves that rows reach, the outputs, and the classes.

Shapes: B rows, F features, T trees, L leaves, O outputs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import lightgbm
import numpy as np
import numpy.typing as npt
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Task
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.runner import TreesRunner, run_leaf_numbers
from forebay.models.backends.trees.traversal import leaf_indices, leaf_numbers, sum_leaves
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.sklearn_forests import named
from forebay.models.serving.scoring import scores_of
from tests.models.registration.tree_rows import count_on_threshold

LeafArray = npt.NDArray[np.int64]

_RELATIVE = 1e-6
_CHUNK_ROWS = 100_000


class Execution(Protocol):
    """Runs an ensemble."""

    def leaves(self, ensemble: TreeEnsemble, x_BF: FloatArray) -> LeafArray:
        """Return the index in `values_LV` of the leaf that each row reaches in each tree, [B, T]."""

    def outputs(self, ensemble: TreeEnsemble, x_BF: FloatArray) -> npt.NDArray[np.floating]:
        """Return the outputs [B, O]."""


class Executor:
    """Runs an ensemble as a worker does. Implements `Execution`."""

    def leaves(self, ensemble: TreeEnsemble, x_BF: FloatArray) -> LeafArray:
        return run_leaf_numbers(ensemble, x_BF, place="a test")

    def outputs(self, ensemble: TreeEnsemble, x_BF: FloatArray) -> npt.NDArray[np.floating]:
        return TreesRunner(ensemble, place="a test").run(x_BF)


class Traversal:
    """Walks the trees in numpy, which is easy to check. Implements `Execution`."""

    def leaves(self, ensemble: TreeEnsemble, x_BF: FloatArray) -> LeafArray:
        return leaf_numbers(ensemble)[leaf_indices(ensemble, x_BF)].astype(np.int64)

    def outputs(self, ensemble: TreeEnsemble, x_BF: FloatArray) -> npt.NDArray[np.floating]:
        return link_of(ensemble, sum_leaves(ensemble, x_BF))


def ensemble_of(candidate: Candidate) -> TreeEnsemble:
    """Return the ensemble that a candidate stores."""
    rules = EnsembleRules.from_params(candidate.params, "a test")
    return TreeEnsemble.read(candidate.files["trees.safetensors"], rules, "a test")


def native_leaves(model: Any, x_BF: FloatArray) -> LeafArray:
    """Return the leaf that each row reaches in each tree, with the library's own numbers, [B, T]."""
    if isinstance(model, xgboost.XGBModel):
        booster = model.get_booster()
        columns = booster.feature_names, booster.feature_types
        leaves = booster.predict(
            xgboost.DMatrix(x_BF, feature_names=columns[0], feature_types=columns[1]), pred_leaf=True
        )
    elif isinstance(model, lightgbm.LGBMModel):
        leaves = model.booster_.predict(x_BF, pred_leaf=True)
    elif isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        leaves = _hist_leaves(model, x_BF)
    else:
        leaves = model.apply(named(model, x_BF))
    return np.asarray(leaves, dtype=np.int64).reshape(len(x_BF), -1)


def _hist_leaves(model: Any, x_BF: FloatArray) -> LeafArray:
    """Let the library predict with trees whose leaves hold their own numbers, which it has no function for."""
    is_category = np.zeros(x_BF.shape[1], dtype=np.bool_) if model.is_categorical_ is None else model.is_categorical_
    order = np.concatenate((np.flatnonzero(is_category), np.flatnonzero(~is_category)))
    encoded = np.ascontiguousarray(x_BF[:, order], dtype=np.float64)
    known, positions = model._bin_mapper.make_known_categories_bitsets()
    columns = []
    for predictor in (predictor for stage in model._predictors for predictor in stage):
        nodes = predictor.nodes.copy()
        nodes["value"] = np.arange(len(nodes))
        numbered = type(predictor)(nodes, predictor.binned_left_cat_bitsets, predictor.raw_left_cat_bitsets)
        columns.append(numbered.predict(encoded, known, positions, 1))
    return np.column_stack(columns).astype(np.int64)


class LeafPairs:
    """Counts which leaf of the original and which of the converted trees rows reach."""

    def __init__(self, num_trees: int) -> None:
        self._counts: list[Counter[tuple[int, int]]] = [Counter() for _ in range(num_trees)]

    def add(self, found_BT: LeafArray, native_BT: LeafArray) -> None:
        """Count the leaves of some rows."""
        for counts, found_B, native_B in zip(self._counts, found_BT.T, native_BT.T, strict=True):
            keys, numbers = np.unique((found_B << 32) + native_B, return_counts=True)
            for key, number in zip(keys.tolist(), numbers.tolist(), strict=True):
                counts[key >> 32, key & 0xFFFFFFFF] += number

    def count_others(self) -> int:
        """Return how often a row reached another leaf than the original's.

        Libraries number leaves differently. A pair of leaves is the same leaf if most rows that reach one reach the other.
        """
        others = 0
        for counts in self._counts:
            found_leaves: set[int] = set()
            native_leaves: set[int] = set()
            for (found, native), number in counts.most_common():
                if found in found_leaves or native in native_leaves:
                    others += number
                found_leaves.add(found)
                native_leaves.add(native)
        return others

    @property
    def num_leaves(self) -> int:
        """The number of leaves that rows reached."""
        return sum(len({found for found, _ in counts}) for counts in self._counts)


def link_of(ensemble: TreeEnsemble, z_BO: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Apply the link of the ensemble."""
    match ensemble.rules.link:
        case "exp":
            return np.exp(z_BO)
        case "sigmoid":
            return 1 / (1 + np.exp(-z_BO))
        case "signed_square":
            return np.sign(z_BO) * z_BO**2
        case "log1p_exp":
            return np.log1p(np.exp(z_BO))
        case "isolation":
            return 2 ** (-z_BO / ensemble.rules.scale)
        case "identity":
            return z_BO


@dataclass(frozen=True)
class Comparison:
    """What was found.

    reached: the share of the leaves that rows reached.
    on_threshold: values that are exactly on a threshold of their column.
    other_leaves: how often a row reached another leaf than the original's.
    largest_error: of the outputs, relative to a float64 sum of the leaves.
    from_native: the largest difference from the original's own outputs, relative to the largest of them.
    flips: rows with another class than the original's.
    ties: flips where the original's best two are equal within 1e-6.
    """

    rows: int
    trees: int
    reached: float
    on_threshold: int
    other_leaves: int
    largest_error: float
    from_native: float
    flips: int
    ties: int

    @property
    def is_exact(self) -> bool:
        return not self.other_leaves and self.largest_error <= _RELATIVE and self.flips == self.ties


def compare(model: Any, candidate: Candidate, x_BF: FloatArray, execution: Execution) -> Comparison:
    """Compare on these rows."""
    ensemble = ensemble_of(candidate)
    task = candidate.signature.task
    pairs = LeafPairs(ensemble.num_trees)
    largest_error = difference = size = 0.0
    flips = ties = 0
    assert candidate.expected is not None
    for start in range(0, len(x_BF), _CHUNK_ROWS):
        part_BF = x_BF[start : start + _CHUNK_ROWS]
        found_BT = execution.leaves(ensemble, part_BF)
        pairs.add(found_BT, native_leaves(model, part_BF))
        outputs_BO = execution.outputs(ensemble, part_BF)
        largest_error = max(largest_error, _largest_error(ensemble, found_BT, outputs_BO))
        native_BO = candidate.expected(part_BF)
        difference = max(difference, float(np.abs(outputs_BO - native_BO).max()))
        size = max(size, float(np.abs(native_BO).max()))
        if task != "regression":
            found_flips, found_ties = _flips(candidate, outputs_BO, native_BO, task)
            flips, ties = flips + found_flips, ties + found_ties
    return Comparison(
        rows=len(x_BF),
        trees=ensemble.num_trees,
        reached=pairs.num_leaves / len(ensemble.values_LV),
        on_threshold=count_on_threshold(ensemble, x_BF),
        other_leaves=pairs.count_others(),
        largest_error=largest_error,
        from_native=difference / max(size, 1e-30),
        flips=flips,
        ties=ties,
    )


def _largest_error(ensemble: TreeEnsemble, leaf_BT: LeafArray, outputs_BO: npt.NDArray[np.floating]) -> float:
    """Return the largest error of the outputs relative to sums of leaves, or to 1e-6 of the leaves where these cancel out."""
    total_BO = np.zeros(outputs_BO.shape)
    size_BO = np.zeros(outputs_BO.shape)
    for tree, output in enumerate(ensemble.output_T.tolist()):
        columns = slice(None) if ensemble.values_LV.shape[1] > 1 else slice(output, output + 1)
        value_BV = ensemble.values_LV[leaf_BT[:, tree]]
        total_BO[:, columns] += value_BV
        size_BO[:, columns] += np.abs(value_BV)
    if ensemble.rules.aggregate == "average":
        total_BO /= ensemble.num_trees / (1 if ensemble.values_LV.shape[1] > 1 else outputs_BO.shape[1])
    total_BO += ensemble.base_O
    expected_BO = link_of(ensemble, total_BO)
    return float((np.abs(outputs_BO - expected_BO) / np.maximum(np.abs(expected_BO), 1e-6 * size_BO + 1e-30)).max())


def _flips(
    candidate: Candidate, outputs_BO: npt.NDArray[np.floating], native_BO: FloatArray, task: Task
) -> tuple[int, int]:
    kind = candidate.outputs or "logits"
    found_B = scores_of(outputs_BO.astype(np.float32), task, kind).classes_B
    native_B = scores_of(native_BO, task, kind).classes_B
    assert found_B is not None and native_B is not None
    is_flip_B = found_B != native_B
    if task == "binary":
        gap_B = np.abs(native_BO[:, 0] - (0.5 if kind == "probabilities" else 0.0))
    else:
        best_BO = np.sort(native_BO, axis=1)
        gap_B = best_BO[:, -1] - best_BO[:, -2]
    return int(is_flip_B.sum()), int((is_flip_B & (gap_B <= _RELATIVE)).sum())
