"""Build ONNX files for tests, with the package `onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.arange(6, dtype=np.float32).reshape(3, 2) / 10
ROWS = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 3])
SCORES = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])


def constant(name: str, values: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def make_model(
    nodes: Sequence[onnx.NodeProto] | None = None,
    initialisers: Sequence[onnx.TensorProto] | None = None,
    *,
    inputs: Sequence[onnx.ValueInfoProto] = (ROWS,),
    outputs: Sequence[onnx.ValueInfoProto] = (SCORES,),
    opsets: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """Return a model; without arguments, scores = rows @ weights."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["scores"])] if nodes is None else nodes,
        "graph",
        list(inputs),
        list(outputs),
        [numpy_helper.from_array(WEIGHTS, "weights")] if initialisers is None else initialisers,
    )
    versions = {"": 20} if opsets is None else opsets
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*item) for item in versions.items()], ir_version=10
    )


def with_node(node: onnx.NodeProto, initialisers: Sequence[onnx.TensorProto] = ()) -> bytes:
    """Return a file with one more node, whose result is not used."""
    nodes = [node, helper.make_node("MatMul", ["rows", "weights"], ["scores"])]
    model = make_model(nodes, [numpy_helper.from_array(WEIGHTS, "weights"), *initialisers])
    return bytes(model.SerializeToString())
