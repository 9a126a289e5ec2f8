"""Check the arrays of TreeEnsembleClassifier and TreeEnsembleRegressor: every tree ends in leaves that exist."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.models.backends.onnx.proto import Node

_CHECKED: Final = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_LEAF: Final = b"LEAF"
_MODES: Final = frozenset(
    {_LEAF, b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ"}
)
_MAX_NODES: Final = 1_000_000

Integers = npt.NDArray[np.int64]


def check_tree_ensemble(node: Node) -> str | None:
    """Return what is wrong with the trees; None if nothing is.

    ONNX Runtime follows the ids of children without looking whether they lead back to a parent.
    """
    if node.op_type not in _CHECKED:
        return f"{node.op_type} is not allowed; allowed are {' and '.join(_CHECKED)}"
    problem = _check_nodes(node)
    return None if problem is None else f"{node.op_type}: {problem}"


def _check_nodes(node: Node) -> str | None:
    modes = _values(node, "nodes_modes", "strings", [])
    names = ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids")
    arrays: list[Integers] = [_values(node, name, "ints", np.zeros(0, dtype=np.int64)) for name in names]
    for name, array in zip(names, arrays, strict=True):
        if len(array) != len(modes):
            return f"{name} has {len(array)} entries; nodes_modes has {len(modes)}"
    if not 1 <= len(modes) <= _MAX_NODES:
        return f"there are {len(modes)} nodes; allowed are from 1 to {_MAX_NODES}"
    unknown = {bytes(mode) for mode in modes} - _MODES
    if unknown:
        return f"a node has the mode {sorted(unknown)[0][:40]!r}; allowed are {sorted(_MODES)}"
    tree_ids, node_ids, _, *children = arrays
    if max(array.max() for array in arrays) > _MAX_NODES or min(array.min() for array in arrays) < 0:
        return f"an id is not from 0 to {_MAX_NODES}"
    positions = {key: index for index, key in enumerate(zip(tree_ids.tolist(), node_ids.tolist(), strict=True))}
    if len(positions) != len(modes):
        return "a node occurs twice"
    is_branch = np.array([bytes(mode) != _LEAF for mode in modes])
    return _check_children(tree_ids, children, is_branch, positions) or _check_leaves(node, positions)


def _check_children(
    tree_ids: Integers,
    children: list[Integers],
    is_branch: npt.NDArray[np.bool_],
    positions: dict[tuple[int, int], int],
) -> str | None:
    """Return a problem unless every child exists and has one parent, and each tree has one root that reaches all its nodes."""
    has_parent = np.zeros(len(tree_ids), dtype=np.bool_)
    successors: dict[int, tuple[int, int]] = {}
    for index in np.flatnonzero(is_branch).tolist():
        tree = int(tree_ids[index])
        found = [positions.get((tree, int(child[index]))) for child in children]
        for child in found:
            if child is None:
                return f"a branch of tree {tree} leads to a node that does not exist"
            if has_parent[child]:
                return f"a node of tree {tree} has two parents"
            has_parent[child] = True
        successors[index] = (found[0] or 0, found[1] or 0)
    roots = np.flatnonzero(~has_parent)
    if len(roots) != len(np.unique(tree_ids)) or len(np.unique(tree_ids[roots])) != len(roots):
        return "a tree has no root, or more than one"
    # Every node but the roots has one parent, so a node that no root reaches is on a cycle.
    stack, reached = roots.tolist(), 0
    while stack:
        reached += 1
        stack.extend(successors.get(stack.pop(), ()))
    return None if reached == len(tree_ids) else "branches lead back to a parent"


def _check_leaves(node: Node, positions: dict[tuple[int, int], int]) -> str | None:
    """Return a problem unless every leaf value is of a node that exists, and for an output that exists."""
    prefix, ids = ("class", "class_ids") if node.op_type == "TreeEnsembleClassifier" else ("target", "target_ids")
    none: Integers = np.zeros(0, dtype=np.int64)
    trees = _values(node, f"{prefix}_treeids", "ints", none)
    nodes = _values(node, f"{prefix}_nodeids", "ints", none)
    outputs = _values(node, ids, "ints", none)
    weights = _values(node, f"{prefix}_weights", "floats", none)
    if not len(trees) == len(nodes) == len(outputs) == len(weights):
        return f"the arrays {prefix}_* have different lengths"
    if any(key not in positions for key in zip(trees.tolist(), nodes.tolist(), strict=True)):
        return "a value is for a leaf that does not exist"
    if prefix == "target":
        num_outputs = int(_values(node, "n_targets", "i", 1))
    else:
        labels = [
            _values(node, f"classlabels_{kind}", field, ())
            for kind, field in (("strings", "strings"), ("int64s", "ints"))
        ]
        num_outputs = max(map(len, labels))
    if not 1 <= num_outputs <= _MAX_NODES or (len(outputs) and not 0 <= outputs.min() <= outputs.max() < num_outputs):
        return f"a value is for an output that does not exist; there are {num_outputs}"
    return None


def _values(node: Node, name: str, field: str, default: Any) -> Any:
    return node.attributes.get(name, {}).get(field, default)
