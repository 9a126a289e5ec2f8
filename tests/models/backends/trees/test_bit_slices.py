"""Bit slices reach the same leaves as a walk in numpy and as ONNX Runtime, for batches of any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forebay.models.backends.trees.bit_slices import MAX_LEVELS, MIN_ROWS, BitSlices, bit_slices
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.numeric_form import numeric_form
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.runner import TreesRunner, Walker, run_leaf_numbers
from forebay.models.backends.trees.traversal import leaf_indices, leaf_numbers
from forebay.models.registration.tree_builder import EnsembleBuilder, NativeTree
from tests.models.backends.trees.forest import make_ensemble, make_rows, predict_slowly


def slices_of(ensemble: TreeEnsemble, *, numbers: bool = True) -> BitSlices | None:
    trees = numeric_form(ensemble, "a test", leaf_numbers_as_outputs=numbers).trees
    assert trees is not None
    return bit_slices(trees)


@pytest.mark.parametrize("seed", range(12))
def test_rows_reach_the_leaves_of_a_walk_in_numpy(seed: int) -> None:
    rules = EnsembleRules(4, 1, comparison="<" if seed % 2 else "<=")
    ensemble = make_ensemble(rules, seed=seed, num_trees=30, depth=1 + seed % 4)
    x_BF = make_rows(ensemble, 3_000, seed=seed)
    if seed % 3 == 0:  # thresholds between two float32; the values stay next to them
        shift = np.where(ensemble.threshold_N == 0, 0, np.random.default_rng(seed).choice([-1e-9, 1e-9]))
        ensemble = replace(ensemble, threshold_N=ensemble.threshold_N * (1 + shift))
    slices = slices_of(ensemble)
    assert slices is not None
    expected_BT = leaf_numbers(ensemble)[leaf_indices(ensemble, x_BF)]
    columns_BE = numeric_form(ensemble, "a test").columns(x_BF)
    np.testing.assert_array_equal(slices.run(columns_BE), expected_BT)
    few_BF = x_BF[: MIN_ROWS - 1]  # by ONNX Runtime
    np.testing.assert_array_equal(run_leaf_numbers(ensemble, few_BF, place="a test"), expected_BT[: MIN_ROWS - 1])


@pytest.mark.parametrize("num_rows", [1, 63, 64, 65, 511, 512, 513, 1025])
def test_batches_of_any_size(num_rows: int) -> None:
    ensemble = make_ensemble(EnsembleRules(4, 1))
    slices = slices_of(ensemble)
    assert slices is not None
    x_BF = make_rows(ensemble, num_rows)
    found_BT = slices.run(numeric_form(ensemble, "a test").columns(x_BF))
    np.testing.assert_array_equal(found_BT, leaf_numbers(ensemble)[leaf_indices(ensemble, x_BF)])


@pytest.mark.parametrize("threshold", [0.0, -0.0, 1e-46, -1e-46, 3.5e38, -3.5e38, 1e300, -1e300])
@pytest.mark.parametrize("comparison", ["<", "<="])
def test_thresholds_beyond_float32(comparison: str, threshold: float) -> None:
    ensemble = make_ensemble(EnsembleRules(1, 1, comparison=comparison), num_trees=3, depth=3)  # type: ignore[arg-type]
    threshold_N = np.where(ensemble.feature_N < 0, 0.0, threshold)
    ensemble = replace(ensemble, threshold_N=threshold_N, zero_missing_N=np.zeros_like(ensemble.zero_missing_N))
    tiny, huge = np.float32(1e-45), np.finfo(np.float32).max
    values = [0.0, -0.0, tiny, -tiny, huge, -huge, np.inf, -np.inf, np.nan]
    x_BF = np.array(values, np.float32)[:, None]
    slices = slices_of(ensemble)
    assert slices is not None
    expected_BT = leaf_numbers(ensemble)[leaf_indices(ensemble, x_BF)]
    np.testing.assert_array_equal(slices.run(x_BF.astype(np.float64)), expected_BT)


def test_full_trees_of_the_greatest_depth() -> None:
    random = np.random.default_rng(0)
    inner = 2**MAX_LEVELS - 1
    size = 2 * inner + 1
    nodes = np.arange(size)
    builder = EnsembleBuilder(EnsembleRules(3, 1, comparison="<"))
    for _ in range(20):
        builder.add(
            NativeTree(
                feature=random.integers(0, 3, size),
                threshold=random.normal(size=size).round(1),
                left=np.where(nodes < inner, 2 * nodes + 1, -1),
                right=np.where(nodes < inner, 2 * nodes + 2, -1),
                default_left=random.random(size) < 0.5,
                values=random.normal(size=size),
            )
        )
    ensemble = builder.build("a test")
    slices = slices_of(ensemble)
    assert slices is not None
    x_BF = make_rows(ensemble, 3_000)
    found_BT = slices.run(numeric_form(ensemble, "a test").columns(x_BF))
    np.testing.assert_array_equal(found_BT, leaf_numbers(ensemble)[leaf_indices(ensemble, x_BF)])


def test_sums_of_several_outputs_in_any_order_of_trees() -> None:
    ensemble = make_ensemble(EnsembleRules(4, 3), num_trees=66, depth=3)
    output_T = np.tile(np.array([2, 0, 2, 2, 0, 0, 2, 0, 2, 0, 0], np.int32), 6)  # none for output 1
    ensemble = replace(ensemble, output_T=output_T)
    x_BF = make_rows(ensemble, MIN_ROWS)
    walker = Walker(ensemble, place="a test", threads=1)
    assert walker.uses_slices(len(x_BF)) and not walker.uses_slices(len(x_BF) - 1)
    out_BO = TreesRunner(ensemble, place="a test").run(x_BF)
    np.testing.assert_allclose(out_BO, predict_slowly(ensemble, x_BF), rtol=1e-6, atol=1e-9)


def test_deeper_trees_are_left_to_onnx_runtime() -> None:
    assert slices_of(make_ensemble(EnsembleRules(4, 1), depth=MAX_LEVELS + 3)) is None
