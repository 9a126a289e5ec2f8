"""Run an ensemble: ONNX Runtime or bit slices walk the trees; everything around that is numpy. Sums are of float64.

Shapes: B rows, F features, T trees, L leaves, O outputs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.trees.bit_slices import MIN_ROWS, MIN_TREES, bit_slices
from forebay.models.backends.trees.ensemble import Float64Array, TreeEnsemble
from forebay.models.backends.trees.numeric_form import numeric_form
from forebay.models.backends.trees.onnx_graph import INPUT, NumericTrees, encode_graph
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.schemas.errors import ModelError

_MAX_GATHERED: Final = 1_048_576
_LOG_ERRORS: Final = 3


class Walker:
    """Adds up the leaves that rows reach: ONNX Runtime row by row, or, for large batches and shallow trees, `BitSlices`."""

    def __init__(
        self,
        ensemble: TreeEnsemble,
        *,
        place: str,
        threads: int,
        leaf_numbers_as_outputs: bool = False,
        min_slice_rows: int | None = MIN_ROWS,
    ) -> None:
        """Prepare the ensemble; see `numeric_form`. Raises ModelError that names `place` if it is too large.

        min_slice_rows: from how many rows bit slices are used; None for never.
        """
        self._min_slice_rows = min_slice_rows
        self._form = numeric_form(ensemble, place, leaf_numbers_as_outputs=leaf_numbers_as_outputs)
        trees = self._form.trees
        self._session = None if trees is None else _session(trees, place, threads)
        is_large = trees is not None and len(trees.root_T) >= MIN_TREES
        self._slices = bit_slices(trees) if trees is not None and is_large and min_slice_rows is not None else None

    def uses_slices(self, num_rows: int) -> bool:
        """Return whether a batch of this size is walked as bit slices."""
        return self._slices is not None and self._min_slice_rows is not None and num_rows >= self._min_slice_rows

    def walk(self, x_BF: FloatArray) -> Float64Array:
        """Return the sums [B, outputs], or the numbers of the leaves [B, T]."""
        if self._session is None:
            return np.tile(self._form.constant_O, (len(x_BF), 1))
        columns_BE = self._form.columns(x_BF)
        total_BO: Float64Array
        if self._slices is not None and self.uses_slices(len(x_BF)):
            total_BO = self._slices.run(columns_BE)
        else:
            (total_BO,) = self._session.run(None, {INPUT: columns_BE})
        total_BO += self._form.constant_O
        return total_BO


class TreesRunner:
    """An ensemble that is ready to run. Implements `Runner`.

    Where a leaf has a value for every output, the walker says which leaf a row reaches in each tree, and their values are added
    up here.
    """

    device: Final = "cpu"

    def __init__(self, ensemble: TreeEnsemble, *, place: str, threads: int = 1) -> None:
        """Prepare the ensemble. Raises ModelError that names `place` if it is too large."""
        self._rules = ensemble.rules
        self._base_O = ensemble.base_O
        self._values_LV = ensemble.values_LV if ensemble.values_LV.shape[1] > 1 else None
        self._divisor_O = output_divisors(ensemble)
        self._walker = Walker(
            ensemble, place=place, threads=threads, leaf_numbers_as_outputs=self._values_LV is not None
        )

    def run(self, x: FloatArray) -> FloatArray:
        """Return the outputs [B, O] for rows [B, F]. Raises ModelError(kind="out_of_memory") if there are too many rows."""
        try:
            return self._run(x)
        except MemoryError:
            problem = f"not enough memory for {len(x)} rows"
        raise ModelError(problem, kind="out_of_memory")

    def _run(self, x_BF: FloatArray) -> FloatArray:
        total_BO = self._walker.walk(x_BF)
        if self._values_LV is not None:
            total_BO = _sum_leaves(self._values_LV, total_BO)
        if self._divisor_O is not None:
            total_BO /= self._divisor_O
        total_BO += self._base_O
        with np.errstate(over="ignore", invalid="ignore"):
            out_BO = apply_link(self._rules, total_BO).astype(np.float32)
        if self._rules.missing == "refused":
            out_BO[np.isnan(x_BF).any(axis=1)] = np.nan
        return out_BO


def run_leaf_numbers(ensemble: TreeEnsemble, x_BF: FloatArray, *, place: str) -> npt.NDArray[np.int64]:
    """Return the index in `values_LV` of the leaf that each row reaches in each tree, [B, T], as the executor walks them.

    For proofs: the runner's own sums do not show which leaves they are of. Raises like `TreesRunner`.
    """
    walker = Walker(ensemble, place=place, threads=1, leaf_numbers_as_outputs=True)
    return walker.walk(x_BF).astype(np.int64)


def apply_link(rules: EnsembleRules, z_BO: Float64Array) -> Float64Array:
    """Return the outputs for the aggregated leaves."""
    match rules.link:
        case "identity":
            return z_BO
        case "exp":
            return np.exp(z_BO)
        case "sigmoid":
            return 1.0 / (1.0 + np.exp(-z_BO))
        case "signed_square":
            return np.sign(z_BO) * np.square(z_BO)
        case "log1p_exp":
            return np.logaddexp(0.0, z_BO)
        case "isolation":
            return np.exp2(-z_BO / rules.scale)


def output_divisors(ensemble: TreeEnsemble) -> Float64Array | None:
    """Return by what the sum of each output is divided; None for sums."""
    if ensemble.rules.aggregate == "sum":
        return None
    if ensemble.values_LV.shape[1] > 1:
        return np.full(ensemble.rules.num_outputs, ensemble.num_trees, dtype=np.float64)
    return np.maximum(np.bincount(ensemble.output_T, minlength=ensemble.rules.num_outputs), 1).astype(np.float64)


def _sum_leaves(values_LV: Float64Array, leaf_BT: Float64Array) -> Float64Array:
    """Return the sums [B, O] of the values of leaves."""
    num_rows, num_trees = leaf_BT.shape
    total_BO = np.empty((num_rows, values_LV.shape[1]))
    step = max(1, _MAX_GATHERED // (num_trees * values_LV.shape[1]))
    for start in range(0, num_rows, step):
        part_BT = leaf_BT[start : start + step].astype(np.intp)
        np.sum(values_LV[part_BT], axis=1, out=total_BO[start : start + step])
    return total_BO


def _session(trees: NumericTrees, place: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(encode_graph(trees), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own types, which depend on the release
        reason = str(error).strip().partition("\n")[0]
    raise ModelError(
        f"{place}: ONNX Runtime does not take these trees: {reason}",
        kind="trees",
        remedy="serve the model with the version of Forebay that it was published with, or publish a smaller one",
    )
