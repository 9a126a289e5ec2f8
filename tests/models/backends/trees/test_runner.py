"""The runner of trees gives the sums of the leaves that each row reaches."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.numeric_form import numeric_form
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.runner import TreesRunner, run_leaf_numbers
from forebay.models.backends.trees.traversal import leaf_indices, leaf_numbers
from forebay.models.backends.trees.validation import MAX_DEPTH
from forebay.models.registration.tree_builder import CategorySet, EnsembleBuilder, NativeTree
from forebay.schemas.errors import ModelError
from tests.models.backends.trees.forest import make_ensemble, make_rows, predict_slowly
from tests.models.backends.trees.test_ensemble import chain

BATCH_SIZES = (1, 3, 32, 200)


def assert_right(ensemble: TreeEnsemble, num_rows: int) -> None:
    x_BF = make_rows(ensemble, num_rows)
    before = x_BF.copy()
    found_BO = TreesRunner(ensemble, place="a test").run(x_BF)
    assert found_BO.dtype == np.float32
    np.testing.assert_allclose(found_BO, predict_slowly(ensemble, x_BF), rtol=1.2e-7, atol=1e-12)
    np.testing.assert_array_equal(x_BF, before)


@pytest.mark.parametrize("num_rows", BATCH_SIZES)
@pytest.mark.parametrize("comparison", ["<", "<="])
@pytest.mark.parametrize("aggregate", ["sum", "average"])
@pytest.mark.parametrize("whole_leaves", [False, True])
def test_outputs_are_those_of_a_walk_in_python(
    comparison: str, aggregate: str, whole_leaves: bool, num_rows: int
) -> None:
    rules = EnsembleRules(4, 3, comparison=comparison, aggregate=aggregate)  # type: ignore[arg-type]
    assert_right(make_ensemble(rules, seed=num_rows, whole_leaves=whole_leaves), num_rows)


@pytest.mark.parametrize("link", ["identity", "exp", "sigmoid", "signed_square", "log1p_exp", "isolation"])
@pytest.mark.parametrize("missing", ["default", "refused"])
def test_links_and_missing_values(link: str, missing: str) -> None:
    scale = 3.7 if link == "isolation" else 1.0
    rules = EnsembleRules(4, 1, missing=missing, link=link, scale=scale)  # type: ignore[arg-type]
    assert_right(make_ensemble(rules), 200)


@pytest.mark.parametrize("seed", range(8))
def test_every_row_reaches_the_same_leaf_as_in_numpy(seed: int) -> None:
    rules = EnsembleRules(3 + seed % 3, 1, comparison="<" if seed % 2 else "<=")
    ensemble = make_ensemble(rules, seed=seed, num_trees=20, depth=3 + seed)
    x_BF = make_rows(ensemble, 2_000, seed=seed)
    expected_BT = leaf_numbers(ensemble)[leaf_indices(ensemble, x_BF)]
    np.testing.assert_array_equal(run_leaf_numbers(ensemble, x_BF, place="a test"), expected_BT)


def test_trees_without_splits_are_constants() -> None:
    builder = EnsembleBuilder(EnsembleRules(1, 2))
    leaf = NativeTree(
        feature=np.zeros(1, np.int64),
        threshold=np.zeros(1),
        left=np.array([-1]),
        right=np.array([-1]),
        default_left=np.zeros(1),
        values=np.array([1.5]),
    )
    builder.add(leaf, 0)
    builder.add(leaf, 1)
    builder.add(leaf, 0)
    assert_right(builder.build("leaves only", [0.25, 0.5]), 3)
    builder.add(chain(3), 1)
    assert_right(builder.build("one tree with splits", [0.25, 0.5]), 3)


def test_the_deepest_tree_runs_in_a_thread_with_a_small_stack() -> None:
    builder = EnsembleBuilder(EnsembleRules(1, 1))
    builder.add(chain(MAX_DEPTH))
    ensemble = builder.build("a chain")
    found: list[object] = []

    def run() -> None:
        x_BF = np.linspace(-0.1, 1.1, 50, dtype=np.float32)[:, None]
        np.testing.assert_allclose(
            TreesRunner(ensemble, place="a chain").run(x_BF), predict_slowly(ensemble, x_BF), rtol=1e-7
        )
        found.append(True)

    before = threading.stack_size(1_048_576)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    threading.stack_size(before)
    assert found


def test_a_leaf_with_values_of_both_signs_keeps_its_digits() -> None:
    """Sums in float32 would lose the small leaves."""
    builder = EnsembleBuilder(EnsembleRules(1, 1, comparison="<"))
    for value in (1e9, 1e-3, -1e9):
        builder.add(
            NativeTree(
                feature=np.zeros(3, np.int64),
                threshold=np.zeros(3),
                left=np.array([1, -1, -1]),
                right=np.array([2, -1, -1]),
                default_left=np.zeros(3),
                values=np.array([0.0, value, 0.0]),
            )
        )
    out_BO = TreesRunner(builder.build("a test"), place="a test").run(np.array([[-1.0]], np.float32))
    assert abs(out_BO[0, 0] - 1e-3) < 1e-6


def test_tables_of_categories_that_are_too_large_are_refused() -> None:
    builder = EnsembleBuilder(EnsembleRules(1, 1))
    random = np.random.default_rng(0)
    for _ in range(60):
        builder.add(
            NativeTree(
                feature=np.zeros(3, np.int64),
                threshold=np.zeros(3),
                left=np.array([1, -1, -1]),
                right=np.array([2, -1, -1]),
                default_left=np.zeros(3),
                values=np.zeros(3),
                categories={0: CategorySet(random.random(1_200_000) < 0.5)},
            )
        )
    with pytest.raises(ModelError, match=r"^trees\.safetensors: the categorical splits need tables of 72000120 values"):
        numeric_form(builder.build("a test"), "trees.safetensors")
