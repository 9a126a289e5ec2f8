"""Count what one row costs in an ONNX graph: multiplications, elements, and visited nodes of trees.

Sources of the counts: a matrix product of [M, K] and [K, N] has M·K·N multiplications, a convolution one for each output
element and weight of its filter, a recurrent layer one for each weight and step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, shape_inference

from forebay.models.edge.unit_costs import OperationCounts

Shapes = Mapping[str, tuple[int, ...]]

_DENSE: Final = frozenset({"Gemm", "MatMul"})
_DENSE_INT8: Final = frozenset({"MatMulInteger", "QLinearMatMul"})
_CONVOLUTIONS: Final = frozenset({"Conv", "ConvTranspose"})
_CONVOLUTIONS_INT8: Final = frozenset({"ConvInteger", "QLinearConv"})
_RECURRENT: Final = frozenset({"GRU", "LSTM", "RNN"})
_FREE: Final = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that ONNX Runtime removes, or that only rename memory."""


def count_operations(graph: bytes) -> OperationCounts:
    """Return the counts of one row for an ONNX file whose only input is rows [B, F]."""
    model = onnx.load_model_from_string(graph)
    shapes = _shapes(model)
    quantised = _quantised_values(model)
    multiplications: dict[str, float] = defaultdict(float)
    elements = visits = 0.0
    nodes = tree_nodes = 0
    for node in model.graph.node:
        if node.op_type in _FREE or _is_quantisation(node, quantised):
            continue
        nodes += 1
        name, number = _multiplications(node, shapes, quantised)
        if name:
            multiplications[name] += number
        elif node.op_type.startswith("TreeEnsemble"):
            count, expected = _trees(node)
            tree_nodes, visits = tree_nodes + count, visits + expected
        else:
            elements += sum(prod(shapes.get(output, (1,))) for output in node.output)
    weight_bytes = sum(_num_bytes(tensor) for tensor in model.graph.initializer)
    return OperationCounts(
        nodes, dict(multiplications), elements, tree_visits=visits, weight_bytes=weight_bytes, tree_nodes=tree_nodes
    )


def _shapes(model: ModelProto) -> Shapes:
    """Return the shapes of values for one row. Sizes that are not known count as 1."""
    single = ModelProto()
    single.CopyFrom(model)
    for info in single.graph.input:
        info.type.tensor_type.shape.dim[0].Clear()
        info.type.tensor_type.shape.dim[0].dim_value = 1
    del single.graph.value_info[:]
    inferred = shape_inference.infer_shapes(single, data_prop=True).graph
    shapes = {
        info.name: tuple(dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim)
        for info in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    return {**shapes, **{tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}}


def _quantised_values(model: ModelProto) -> frozenset[str]:
    """Return the values that are whole numbers of 8 bits or fewer before they are converted: QDQ graphs."""
    return frozenset(
        output for node in model.graph.node if node.op_type == "DequantizeLinear" for output in node.output
    )


def _is_quantisation(node: NodeProto, quantised: frozenset[str]) -> bool:
    """Return whether ONNX Runtime merges a node with a product of whole numbers beside it."""
    return node.op_type in ("DequantizeLinear", "QuantizeLinear") and bool(quantised)


def _multiplications(node: NodeProto, shapes: Shapes, quantised: frozenset[str]) -> tuple[str, float]:
    """Return the class of a node and its multiplications; an empty class for others."""
    kind, inputs = node.op_type, node.input
    is_int8 = len(inputs) > 1 and all(name in quantised for name in inputs[:2])
    if kind in _DENSE | _DENSE_INT8:
        weight = inputs[3] if kind == "QLinearMatMul" else inputs[1]
        left = shapes.get(inputs[0], (1,))
        is_transposed = kind == "Gemm" and _attribute(node, "transA", 0)
        rows = left[-1] if is_transposed else prod(left[:-1])
        name = "dense_int8" if is_int8 or kind in _DENSE_INT8 else "dense"
        return name, float(rows * prod(shapes.get(weight, (1,))))
    if kind in _CONVOLUTIONS | _CONVOLUTIONS_INT8:
        weight = shapes.get(inputs[3] if kind == "QLinearConv" else inputs[1], (1,))
        output = shapes.get(node.output[0], (1,))
        places = prod(output[2:]) if kind != "ConvTranspose" else prod(shapes.get(inputs[0], (1,))[2:])
        name = "convolution_int8" if is_int8 or kind in _CONVOLUTIONS_INT8 else "convolution"
        return name, float(places * prod(weight))
    if kind in _RECURRENT:
        steps = shapes.get(inputs[0], (1,))[0]
        return "recurrent", float(steps * sum(prod(shapes.get(name, (1,))) for name in inputs[1:3]))
    return "", 0.0


def _attribute(node: NodeProto, name: str, default: int) -> int:
    found = [attribute.i for attribute in node.attribute if attribute.name == name]
    return found[0] if found else default


def _trees(node: NodeProto) -> tuple[int, float]:
    """Return the number of nodes, leaves included, and the expected number of nodes on the paths of a row.

    A row is expected at each child of a node with the same probability.
    """
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type != "TreeEnsemble":  # the older operators list the nodes of each tree with the leaves
        tree_ids = np.asarray(attributes.get("nodes_treeids", []))
        depth = sum(np.log2(np.bincount(tree_ids)[np.unique(tree_ids)] + 1)) if len(tree_ids) else 0.0
        return len(tree_ids), float(depth)
    true_leaf, false_leaf = (np.asarray(attributes[f"nodes_{side}leafs"]) for side in ("true", "false"))
    children = [np.asarray(attributes[f"nodes_{side}nodeids"]) for side in ("true", "false")]
    reach = _reach(np.asarray(attributes["tree_roots"]), children, (true_leaf, false_leaf))
    return len(true_leaf) + len(attributes["leaf_targetids"]), float(reach)


def _reach(
    roots: npt.NDArray[np.int64], children: Sequence[npt.NDArray[np.int64]], leaves: Sequence[npt.NDArray[np.int64]]
) -> float:
    """Return the sum over all nodes of the probability that a row passes them, level by level."""
    total, level, weight = 0.0, roots, np.ones(len(roots))
    while len(level):
        total += float(weight.sum())
        parts = [
            (child[level][leaf[level] == 0], weight[leaf[level] == 0] / 2)
            for child, leaf in zip(children, leaves, strict=True)
        ]
        level = np.concatenate([part for part, _ in parts])
        weight = np.concatenate([part for _, part in parts])
    return total


def _num_bytes(tensor: TensorProto) -> int:
    count = int(prod(tensor.dims))
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return count // 2
    return count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
