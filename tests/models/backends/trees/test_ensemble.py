"""An ensemble as arrays: it reads back unchanged, damaged arrays are refused, and rows reach the right leaves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy

from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.traversal import leaf_indices, leaf_numbers, sum_leaves
from forebay.models.backends.trees.validation import DTYPES, MAX_DEPTH
from forebay.models.registration.tree_builder import EnsembleBuilder, NativeTree
from forebay.schemas.errors import ModelError
from tests.models.backends.trees.forest import leaf_of, make_ensemble, make_rows, predict_slowly

RULES = EnsembleRules(num_features=4, num_outputs=2)
Arrays = dict[str, npt.NDArray[np.generic]]


def small() -> Arrays:
    """Return the arrays of two trees: one split by number, one by category, and one leaf."""
    return {
        "roots": np.array([0, 5], np.int32),
        "feature": np.array([1, 2, -1, -1, -1, -1], np.int32),
        "threshold": np.array([0.5, 0, 0, 0, 0, 0], np.float64),
        "left": np.array([1, 3, -1, -1, -1, -1], np.int32),
        "right": np.array([2, 4, -1, -1, -1, -1], np.int32),
        "default_left": np.array([1, 0, 0, 0, 0, 0], np.uint8),
        "zero_missing": np.zeros(6, np.uint8),
        "category": np.array([-1, 0, -1, -1, -1, -1], np.int32),
        "category_start": np.array([0], np.int32),
        "category_size": np.array([33], np.int32),
        "category_unknown_left": np.array([0], np.uint8),
        "category_words": np.array([5, 1], np.uint32),
        "values": np.array([[1.0], [2.0], [3.0], [4.0]], np.float64),
        "output": np.array([0, 1], np.int32),
        "base": np.array([0.5, 0.0], np.float64),
    }


@pytest.mark.parametrize("comparison", ["<", "<="])
@pytest.mark.parametrize("whole_leaves", [False, True])
def test_rows_reach_the_leaves_that_a_walk_in_python_reaches(comparison: str, whole_leaves: bool) -> None:
    rules = EnsembleRules(4, 2, comparison=comparison, aggregate="average")  # type: ignore[arg-type]
    ensemble = make_ensemble(rules, whole_leaves=whole_leaves)
    x_BF = make_rows(ensemble, 300)
    found_BT = leaf_indices(ensemble, x_BF)
    expected = [[leaf_of(ensemble, root, row) for root in ensemble.roots_T.tolist()] for row in x_BF.tolist()]
    assert found_BT.dtype == np.int32
    assert found_BT.tolist() == expected
    assert (leaf_numbers(ensemble)[found_BT] >= 0).all()
    np.testing.assert_allclose(sum_leaves(ensemble, x_BF), predict_slowly(ensemble, x_BF), rtol=1e-13, atol=1e-13)


def test_an_ensemble_reads_back_unchanged() -> None:
    ensemble = make_ensemble(RULES)
    loaded = TreeEnsemble.read(ensemble.dump(), RULES, "trees.safetensors")
    for name, array in ensemble.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
    assert EnsembleRules.from_params(RULES.to_params(), "manifest.json") == RULES
    assert TreeEnsemble.from_arrays(small(), RULES, "small").num_trees == 2


def test_codes_and_values_on_thresholds_go_where_the_arrays_say() -> None:
    ensemble = TreeEnsemble.from_arrays(small(), RULES, "small")
    nan = float("nan")
    cases = [  # value of feature 1, value of feature 2, leaf in the first tree
        (0.5, 0.0, 3),
        (0.5, 1.0, 4),
        (0.5, 2.9, 3),  # truncated
        (0.5, 32.0, 3),
        (0.5, 33.0, 4),
        (0.5, -1.0, 4),
        (0.5, np.inf, 4),
        (0.5, nan, 4),
        (nan, 0.0, 3),
        (np.nextafter(np.float32(0.5), np.float32(1)), 0.0, 2),
    ]
    x_BF = np.array([[0, first, second, 0] for first, second, _ in cases], np.float32)
    assert leaf_indices(ensemble, x_BF)[:, 0].tolist() == [leaf for _, _, leaf in cases]


def set_to(name: str, index: int, value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        array = arrays[name].copy()
        array[index] = value
        arrays[name] = array

    return change


def replaced(name: str, array: object) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: np.asarray(array)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("left"), "left is missing"),
        (replaced("more", [1]), "more is not expected"),
        (replaced("left", np.zeros(6, np.int64)), "left is int64; allowed is int32"),
        (replaced("left", np.zeros(5, np.int32)), r"left has the shape \[5\]; allowed is \[6\]"),
        (replaced("feature", np.zeros(0, np.int32)), "feature has 0 nodes"),
        (replaced("feature", np.int32(3)), "feature has 0 nodes"),
        (replaced("roots", np.zeros(0, np.int32)), "roots has 0 trees"),
        (replaced("base", np.zeros(3)), r"base has the shape \[3\]; allowed is \[2\]"),
        (replaced("values", np.zeros((4, 3))), r"values has the shape \[4, 3\]"),
        (replaced("values", np.zeros((3, 1))), "values has 3 rows; allowed is one for each of the 4 leaves"),
        (set_to("feature", 0, 4), r"feature\[0\] is 4; allowed is from -1 to 3"),
        (set_to("feature", 0, -2), r"feature\[0\] is -2"),
        (set_to("feature", 0, -1), r"left\[0\] is 1; allowed is -1 for leaves"),
        (set_to("feature", 2, 0), r"left\[2\] is -1; allowed is -1 for leaves"),
        (set_to("left", 0, 6), r"left\[0\] is 6; allowed is from -1 to 5"),
        (set_to("left", 0, 0), r"left\[0\] is 0; allowed is a node after its parent"),
        (set_to("right", 1, 1), r"right\[1\] is 1; allowed is a node after its parent"),
        (set_to("left", 0, 5), r"left\[0\] is 5; allowed is a node of the same tree"),
        (set_to("left", 1, 2), "node 2 is a child of 2 nodes; allowed is 1"),
        (set_to("roots", 0, 1), r"roots\[0\] is 1; allowed is 0 first"),
        (set_to("roots", 1, 0), r"roots\[1\] is 0; allowed is 0 first"),
        (set_to("roots", 1, 6), r"roots\[1\] is 6; allowed is from 0 to 5"),
        (set_to("roots", 1, 4), r"right\[1\] is 4; allowed is a node of the same tree"),
        (set_to("threshold", 0, np.nan), r"threshold\[0\] is nan; allowed is a finite number"),
        (set_to("threshold", 0, np.inf), r"threshold\[0\] is inf"),
        (set_to("threshold", 1, 1), r"threshold\[1\] is 1.0; allowed is 0"),
        (set_to("default_left", 0, 2), r"default_left\[0\] is 2; allowed is from 0 to 1"),
        (set_to("zero_missing", 1, 1), r"zero_missing\[1\] is 1; allowed is 0"),
        (set_to("category", 1, 1), r"category\[1\] is 1; allowed is from -1 to 0"),
        (set_to("category", 3, 0), r"category\[3\] is 0; allowed is -1"),
        (set_to("category_start", 0, 1), r"category_size\[0\] is 33; allowed is a set that ends within the 2 words"),
        (set_to("category_start", 0, -1), r"category_start\[0\] is -1"),
        (set_to("category_size", 0, 65), r"category_size\[0\] is 65"),
        (set_to("category_size", 0, 0), r"category_size\[0\] is 0"),
        (set_to("values", 2, np.nan), r"values\[2\] is \[nan\]; allowed is finite numbers"),
        (set_to("base", 1, np.inf), r"base\[1\] is inf"),
        (set_to("output", 1, 2), r"output\[1\] is 2; allowed is from 0 to 1"),
    ],
)
def test_damaged_arrays_are_refused(change: Callable[[Arrays], None], message: str) -> None:
    arrays = small()
    change(arrays)
    data = safetensors.numpy.save(arrays)
    with pytest.raises(ModelError, match=f"^folder/trees.safetensors: {message}") as caught:
        TreeEnsemble.read(data, RULES, "folder/trees.safetensors")
    assert caught.value.kind == "trees"
    assert caught.value.remedy


def test_trees_with_leaves_of_all_outputs_have_no_output_of_their_own() -> None:
    arrays = small() | {"values": np.zeros((4, 2))}
    with pytest.raises(ModelError, match=r"output\[1\] is 1; allowed is 0 where leaves have a value for every output"):
        TreeEnsemble.from_arrays(arrays, RULES, "small")


@pytest.mark.parametrize("data", [b"", b"abc", b"\x08\0\0\0\0\0\0\0{}      "])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"^trees\.safetensors: "):
        TreeEnsemble.read(data, RULES, "trees.safetensors")


def chain(depth: int) -> NativeTree:
    """Return a tree whose right branch is `depth` splits long."""
    size = 2 * depth + 1
    nodes = np.arange(size)
    is_split = (nodes % 2 == 0) & (nodes < size - 1)
    return NativeTree(
        feature=np.zeros(size, np.int64),
        threshold=np.arange(size) / size,
        left=np.where(is_split, nodes + 1, -1),
        right=np.where(is_split, nodes + 2, -1),
        default_left=np.zeros(size, np.bool_),
        values=np.arange(size).astype(np.float64),
    )


def test_trees_that_are_too_deep_are_refused() -> None:
    builder = EnsembleBuilder(EnsembleRules(1, 1))
    builder.add(chain(MAX_DEPTH))
    ensemble = builder.build("a chain")
    deeper = {name: array for name, array in ensemble.arrays().items()}
    size = ensemble.num_nodes
    for name, last in (("feature", 0), ("left", size), ("right", size + 1)):
        deeper[name] = np.append(deeper[name], [-1, -1]).astype(DTYPES[name])
        deeper[name][size - 1] = last
    for name in ("threshold", "default_left", "zero_missing", "category"):
        fill = -1 if name == "category" else 0
        deeper[name] = np.append(deeper[name], [fill, fill]).astype(DTYPES[name])
    deeper["values"] = np.zeros((MAX_DEPTH + 2, 1))
    with pytest.raises(ModelError, match=f"chain: a tree is more than {MAX_DEPTH} splits deep"):
        TreeEnsemble.from_arrays(deeper, EnsembleRules(1, 1), "chain")
    with pytest.raises(ModelError, match=f"more than {MAX_DEPTH} splits deep"):
        builder.add(chain(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"comparison": "=="}, "comparison"),
        ({"num_features": 0}, "num_features"),
        ({"num_outputs": 70_000}, "num_outputs is 70000; allowed is from 1 to 65536"),
        ({"link": "probit"}, "link"),
        ({"scale": 0.0}, "scale is 0.0; allowed is a positive number"),
        ({"scale": 2.0}, "scale is 2.0; allowed with the link identity is 1"),
        ({"aggregate": None}, "aggregate"),
        ({"more": 1}, "more"),
    ],
)
def test_wrong_params_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=f"^manifest.json: .*{message}"):
        EnsembleRules.from_params(RULES.to_params() | change, "manifest.json")


def test_a_builder_keeps_the_numbers_of_the_library() -> None:
    builder = EnsembleBuilder(EnsembleRules(1, 1))
    # The root's children are 3 and 1; 2 cannot be reached.
    builder.add(
        NativeTree(
            feature=np.zeros(4, np.int64),
            threshold=np.array([0.5, np.nan, np.nan, np.nan]),
            left=np.array([3, -1, -1, -1]),
            right=np.array([1, -1, -1, -1]),
            default_left=np.ones(4, np.bool_),
            values=np.array([0.0, 10.0, 20.0, 30.0]),
        )
    )
    ensemble = builder.build("a test")
    assert builder.native_ids().tolist() == [0, 3, 1]
    assert ensemble.values_LV[:, 0].tolist() == [30.0, 10.0]
    with pytest.raises(ModelError, match="a test: the model has no trees"):
        EnsembleBuilder(EnsembleRules(1, 1)).build("a test")
