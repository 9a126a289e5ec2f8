"""Small graphs that show what operations cost on a device. Pure.

Shapes: B rows, W columns of the input, N inner nodes of all trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from forebay.models.backends.trees.onnx_graph import NumericTrees, encode_graph
from forebay.models.edge.graph_writer import ML_DOMAIN, GraphWriter
from forebay.models.edge.single_graph import INPUT, OUTPUTS, SCORES

WIDTH: Final = 16
"""The number of columns of the input of every graph."""

_OPSET, _ML_OPSET, _IR_VERSION = 21, 5, 10
_CHAIN: Final = 24
_ELEMENTS: Final = 65_536
_HIDDEN: Final = 512
_LAYERS: Final = 4
_IMAGE, _CHANNELS = 16, 16
_STEPS: Final = 16
_TREES, _DEPTH = 200, 7
_SCALE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Probe:
    """A graph that is dominated by one cost. cost: the field of `UnitCosts` that it shows."""

    cost: str
    graph: bytes


def probes() -> Iterator[Probe]:
    """Yield the graphs. The cost of each can be computed with those before it."""
    yield Probe("call_us", _finished(GraphWriter("p/"), INPUT))
    yield Probe("node_us", _chain())
    yield Probe("element_ns", _wide())
    yield Probe("dense_ns", _dense(quantised=False))
    yield Probe("convolution_ns", _convolutions(quantised=False))
    yield Probe("recurrent_ns", _recurrent())
    yield Probe("dense_int8_ns", _dense(quantised=True))
    yield Probe("convolution_int8_ns", _convolutions(quantised=True))
    yield Probe("tree_visit_ns", _trees())


def _chain() -> bytes:
    """Return nodes on few values, of the operators that preparations mostly use."""
    graph, x = GraphWriter("p/"), INPUT
    one = graph.constant(np.ones((1, WIDTH)), np.float32)
    for _ in range(_CHAIN):
        x = graph.add("Where", graph.add("IsNaN", x), one, graph.add("Sub", x, one))
    return _finished(graph, x)


def _wide() -> bytes:
    graph = GraphWriter("p/")
    x = graph.add("Mul", graph.columns(INPUT, [0]), graph.constant(np.ones((1, _ELEMENTS)), np.float32))
    for _ in range(_LAYERS):
        x = graph.add("Relu", graph.add("Mul", x, graph.constant(0.5, np.float32)))
    return _finished(graph, graph.columns(x, range(WIDTH)))


def _dense(*, quantised: bool) -> bytes:
    graph, random = GraphWriter("p/"), np.random.default_rng(0)
    x = graph.add("MatMul", INPUT, graph.constant(random.normal(size=(WIDTH, _HIDDEN)), np.float32))
    x = _quantised(graph, x) if quantised else x
    for _ in range(_LAYERS):
        weights = random.normal(scale=_HIDDEN**-0.5, size=(_HIDDEN, _HIDDEN)).astype(np.float32)
        x = graph.add("MatMul", x, _int8_weights(graph, weights) if quantised else graph.constant(weights, np.float32))
        x = _quantised(graph, x) if quantised else graph.add("Relu", x)
    return _finished(graph, graph.columns(x, range(WIDTH)))


def _convolutions(*, quantised: bool) -> bytes:
    graph, random = GraphWriter("p/"), np.random.default_rng(0)
    x = graph.add("MatMul", INPUT, graph.constant(random.normal(size=(WIDTH, _CHANNELS * _IMAGE**2)), np.float32))
    x = graph.add("Reshape", x, graph.constant([-1, _CHANNELS, _IMAGE, _IMAGE], np.int64))
    x = _quantised(graph, x) if quantised else x
    for _ in range(_LAYERS):
        weights = random.normal(scale=1 / 12, size=(_CHANNELS, _CHANNELS, 3, 3)).astype(np.float32)
        filters = _int8_weights(graph, weights) if quantised else graph.constant(weights, np.float32)
        x = graph.add("Conv", x, filters, pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        x = _quantised(graph, x) if quantised else graph.add("Relu", x)
    return _finished(graph, graph.columns(graph.add("Flatten", x), range(WIDTH)))


def _quantised(graph: GraphWriter, x: str) -> str:
    """Return values rounded to int8 and back, as graphs of ONNX Runtime's quantiser have it between operators."""
    scale, zero = graph.constant(_SCALE, np.float32), graph.constant(0, np.int8)
    return graph.add("DequantizeLinear", graph.add("QuantizeLinear", x, scale, zero), scale, zero)


def _int8_weights(graph: GraphWriter, weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
    scale = float(np.abs(weights).max()) / 127
    values = graph.constant(np.rint(weights / scale), np.int8)
    return graph.add("DequantizeLinear", values, graph.constant(scale, np.float32), graph.constant(0, np.int8))


def _recurrent() -> bytes:
    graph, random, size = GraphWriter("p/"), np.random.default_rng(0), 64
    x = graph.add("MatMul", INPUT, graph.constant(random.normal(size=(WIDTH, _STEPS * size)), np.float32))
    x = graph.add("Reshape", x, graph.constant([_STEPS, -1, size], np.int64))
    weights = [graph.constant(random.normal(scale=0.1, size=(1, 3 * size, size)), np.float32) for _ in range(2)]
    hidden = graph.add("GRU", x, *weights, hidden_size=size)
    x = graph.add("Reshape", hidden, graph.constant([-1, _STEPS * size], np.int64))
    return _finished(graph, graph.columns(x, range(WIDTH)))


def _trees() -> bytes:
    """Return full trees of one depth, whose splits are drawn."""
    random, inner = np.random.default_rng(0), 2**_DEPTH - 1
    place = np.arange(inner)
    is_last_M = np.tile(place >= inner // 2, _TREES)
    tree_M = np.repeat(np.arange(_TREES), inner)
    left, right = 2 * place + 1, 2 * place + 2
    # Children of the last level are leaves, which are counted by themselves.
    left_M, right_M = (
        np.where(
            is_last_M, tree_M * (inner + 1) + np.tile(child - inner, _TREES), tree_M * inner + np.tile(child, _TREES)
        )
        for child in (left, right)
    )
    trees = NumericTrees(
        num_inputs=WIDTH,
        num_targets=1,
        root_T=np.arange(_TREES) * inner,
        feature_M=random.integers(0, WIDTH, inner * _TREES),
        threshold_M=random.normal(size=inner * _TREES),
        mode_M=np.zeros(inner * _TREES, dtype=np.uint8),
        missing_left_M=np.ones(inner * _TREES, dtype=np.bool_),
        left_M=left_M,
        right_M=right_M,
        left_is_leaf_M=is_last_M,
        right_is_leaf_M=is_last_M,
        weight_L=random.normal(size=(inner + 1) * _TREES),
        target_L=np.zeros((inner + 1) * _TREES, dtype=np.int64),
    )
    (node,) = onnx.load_model_from_string(encode_graph(trees)).graph.node
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    graph = GraphWriter("p/")
    total = graph.add(node.op_type, graph.to_float64(INPUT), domain=node.domain, **attributes)
    return _finished(graph, graph.to_float32(total))


def _finished(graph: GraphWriter, x: str) -> bytes:
    for name in (OUTPUTS, SCORES):
        graph.alias(x, name)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "probe",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["B", WIDTH])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", None]) for name in (OUTPUTS, SCORES)],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(ML_DOMAIN, _ML_OPSET)],
        ir_version=_IR_VERSION,
    )
    return bytes(model.SerializeToString())
