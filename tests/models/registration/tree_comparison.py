"""Compare a converted ensemble with its original: the leaves that rows reach, the outputs, and the classes.

Shapes: B rows, F features, T trees, L leaves, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import lightgbm
import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.signature import Task
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.runner import TreesRunner, run_leaf_numbers
from forebay.models.backends.trees.traversal import leaf_indices, leaf_numbers, sum_leaves
from forebay.models.registration.candidate import Candidate
from forebay.models.serving.scoring import scores_of

LeafArray = npt.NDArray[np.int64]

_RELATIVE = 1e-6


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
    if isinstance(model, lightgbm.LGBMModel):
        leaves = model.booster_.predict(x_BF, pred_leaf=True)
    elif isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        leaves = _hist_leaves(model, x_BF)
    else:
        leaves = model.apply(x_BF)
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


def count_other_leaves(found_BT: LeafArray, native_BT: LeafArray) -> int:
    """Return the number of rows and trees with another leaf, for the only pairing of leaves that may be meant.

    The numbers differ between libraries. A pair of leaves belongs together if most rows say so.
    """
    different = 0
    for found_B, native_B in zip(found_BT.T, native_BT.T, strict=True):
        pairs, counts = np.unique(np.stack((found_B, native_B)), axis=1, return_counts=True)
        by_size = np.argsort(-counts)
        taken: tuple[set[int], set[int]] = (set(), set())
        for pair in by_size:
            found, native = (int(leaf) for leaf in pairs[:, pair])
            if found in taken[0] or native in taken[1]:
                different += int(counts[pair])
            taken[0].add(found)
            taken[1].add(native)
    return different


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
    """What was found. flips: rows with another class; ties: those where the original's best two are equal within 1e-6."""

    rows: int
    trees: int
    other_leaves: int
    largest_error: float
    flips: int
    ties: int

    @property
    def is_exact(self) -> bool:
        return not self.other_leaves and self.largest_error <= _RELATIVE and self.flips == self.ties


def compare(model: Any, candidate: Candidate, x_BF: FloatArray, execution: Execution) -> Comparison:
    """Compare on these rows. The largest error is relative to a float64 sum of the leaves that the original reaches."""
    ensemble = ensemble_of(candidate)
    native_BT = native_leaves(model, x_BF)
    found_BT = execution.leaves(ensemble, x_BF)
    outputs_BO = execution.outputs(ensemble, x_BF)
    task = candidate.signature.task
    assert candidate.expected is not None
    flips, ties = (0, 0) if task == "regression" else _flips(candidate, outputs_BO, candidate.expected(x_BF), task)
    return Comparison(
        rows=len(x_BF),
        trees=ensemble.num_trees,
        other_leaves=count_other_leaves(found_BT, native_BT),
        largest_error=_largest_error(ensemble, found_BT, outputs_BO),
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
