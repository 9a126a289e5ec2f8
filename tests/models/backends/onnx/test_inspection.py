"""Everything that may not be run is refused before ONNX Runtime sees it, with the place and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from forebay.models.backends.onnx.inspection import OnnxGraph, inspect
from forebay.schemas.errors import ModelError
from tests.models.backends.onnx.graphs import ROWS, SCORES, constant, make_model, with_node

FILE = "models/m/1/model.onnx"


def look(model: onnx.ModelProto | bytes, output: str | None = None) -> OnnxGraph:
    return inspect(model if isinstance(model, bytes) else model.SerializeToString(), FILE, output)


def refusal(model: onnx.ModelProto | bytes, output: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        look(model, output)
    assert caught.value.kind == "onnx"
    assert caught.value.message.startswith(f"{FILE}: ")
    assert caught.value.remedy
    return caught.value.message


def changed(change: Callable[[onnx.ModelProto], Any]) -> onnx.ModelProto:
    model = make_model()
    change(model)
    return model


def test_a_graph_is_described() -> None:
    graph = look(make_model())
    assert (graph.input_name, graph.input_shape) == ("rows", (3,))
    assert (graph.output_name, graph.output_dim, graph.output_names) == ("scores", 2, ("scores",))


def test_initialisers_among_the_inputs_are_not_inputs() -> None:
    weights = helper.make_tensor_value_info("weights", TensorProto.FLOAT, [3, 2])
    assert look(make_model(inputs=[weights, ROWS])).input_name == "rows"


def test_sizes_may_be_free() -> None:
    free = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, None])
    without_shape = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
    graph = look(make_model(inputs=[free], outputs=[without_shape]))
    assert (graph.input_shape, graph.output_dim) == ((None,), None)


def test_one_of_several_outputs_is_named() -> None:
    other = helper.make_tensor_value_info("rows2", TensorProto.FLOAT, ["N", 3])
    nodes = [helper.make_node("MatMul", ["rows", "weights"], ["scores"]), helper.make_node("Neg", ["rows"], ["rows2"])]
    model = make_model(nodes, outputs=[SCORES, other])
    assert look(model, "rows2").output_dim == 3
    assert "there are 2 outputs (scores, rows2); name the one to use" in refusal(model)
    assert "there is no output 'x'; there are scores, rows2" in refusal(model, "x")


def outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def only_location(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def long_values(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**31 - 1


def two_kinds_of_values(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].float_data.extend([0.0] * 6)


def twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def local_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Neg", ["a"], ["b"])
    model.functions.append(helper.make_function("", "f", ["a"], ["b"], [node], [helper.make_opsetid("", 20)]))


MALICIOUS: dict[str, tuple[Callable[[onnx.ModelProto], Any], str]] = {
    "external data": (outside, "graph.initializer[0].external_data: external data is not allowed in a served model"),
    "external location": (only_location, "external data is not allowed"),
    "dims": (long_values, "there are 24 bytes of values; the shape [2147483647, 2] needs 17179869176"),
    "values twice": (two_kinds_of_values, "values of data type 1 are in float_data and raw_data"),
    "negative size": (lambda m: m.graph.initializer[0].dims.__setitem__(0, -1), "the shape is [-1, 2]"),
    "huge size": (lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**62), "the shape is [4611686018427387904, 2]"),
    "rank": (lambda m: m.graph.initializer[0].dims.extend([1] * 100), "allowed are up to 16 sizes"),
    "unknown type": (lambda m: setattr(m.graph.initializer[0], "data_type", 99), "the data type is 99"),
    "duplicate initialiser": (twice, "graph.initializer: the name 'weights' occurs twice"),
    "local function": (local_function, "functions: a local function is not allowed"),
    "training": (lambda m: m.training_info.add(), "training_info: training information is not allowed"),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), "a sparse initialiser is not allowed"),
    "session options": (lambda m: m.metadata_props.add(key="ort_config", value="{}"), "sets options of ONNX Runtime"),
    "future IR": (lambda m: setattr(m, "ir_version", 99), "the IR version is 99; known are 3 to 14"),
    "no IR": (lambda m: m.ClearField("ir_version"), "the IR version is 0"),
    "future opset": (lambda m: setattr(m.opset_import[0], "version", 99), "the opset of ai.onnx is version 99; known"),
    "foreign domain": (lambda m: m.opset_import.add(domain="com.microsoft", version=1), "custom operators are not"),
    "two versions": (lambda m: m.opset_import.add(domain="", version=21), "opset_import: the domain '' occurs twice"),
    "domain twice": (lambda m: m.opset_import.add(domain="ai.onnx", version=20), "must name the domain ai.onnx once"),
    "node domain": (
        lambda m: setattr(m.graph.node[0], "domain", "com.acme"),
        "graph.node[0] ('', 'MatMul'): the domain is 'com.acme'; custom operators are not allowed",
    ),
    "overwritten": (lambda m: m.graph.node[0].output.__setitem__(0, "weights"), "the value 'weights' has two origins"),
    "no graph": (lambda m: m.ClearField("graph"), "there is no graph: this is not an ONNX model"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "problem"), MALICIOUS.values(), ids=MALICIOUS.keys())
def test_a_malicious_file_is_refused(change: Callable[[onnx.ModelProto], Any], problem: str) -> None:
    assert problem in refusal(changed(change))


def nested(depth: int) -> bytes:
    """Return a graph whose node `If` holds a graph whose node `If` … `depth` times, as protobuf writes it."""
    data = b""
    for _ in range(depth):
        for tag in (0x32, 0x2A, 0x0A):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            size, length = len(data), b""
            while True:
                length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
                size >>= 7
                if not size:
                    break
            data = bytes([tag]) + length + data
    return data


@pytest.mark.parametrize("depth", [1, 100, 2_000])
def test_nested_graphs_are_refused_without_going_into_them(depth: int) -> None:
    model = make_model()
    data = nested(depth)
    bare = onnx.ModelProto(ir_version=10, opset_import=model.opset_import).SerializeToString()
    length, size = b"", len(data)
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    message = refusal(bare + b"\x3a" + length + bytes([size]) + data)
    assert "graph.node[0].attribute[0].g: a subgraph (Loop, Scan, If) is not allowed in a served model" in message


@pytest.mark.parametrize("op_type", ["Loop", "If", "Scan"])
def test_operators_with_subgraphs_are_refused_even_without_one(op_type: str) -> None:
    assert f"{op_type} is not allowed: subgraphs" in refusal(with_node(helper.make_node(op_type, ["rows"], ["x"])))


def test_random_results_are_refused() -> None:
    node = helper.make_node("RandomNormalLike", ["rows"], ["x"])
    assert "RandomNormalLike is not allowed: its result differs from run to run" in refusal(with_node(node))


@pytest.mark.parametrize(
    ("node", "constants", "problem"),
    [
        (helper.make_node("ConstantOfShape", ["s"], ["x"]), [constant("s", [2**20, 2**20], np.int64)], "elements"),
        (helper.make_node("Expand", ["rows", "s"], ["x"]), [constant("s", [2**40, 1], np.int64)], "elements"),
        (helper.make_node("Tile", ["rows", "s"], ["x"]), [constant("s", [1, 2**30], np.int64)], "elements"),
        (helper.make_node("Pad", ["rows", "s"], ["x"]), [constant("s", [0, 0, 0, 2**40], np.int64)], "a padding is"),
        (
            helper.make_node("Range", ["a", "b", "c"], ["x"]),
            [constant("a", 0, np.int64), constant("b", 2**40, np.int64), constant("c", 1, np.int64)],
            "elements",
        ),
        (helper.make_node("OneHot", ["rows", "d", "v"], ["x"]), [constant("d", [2**40], np.int64)], "elements"),
        (helper.make_node("Resize", ["rows", "", "k"], ["x"]), [constant("k", [1, 1e9])], "a scale is"),
        (helper.make_node("Conv", ["rows", "w"], ["x"], strides=[0, 1]), [], "Conv: strides is 0; allowed is from 1"),
        (helper.make_node("MaxPool", ["rows"], ["x"], kernel_shape=[2, 2], pads=[0, 0, 0, 2**40]), [], "MaxPool: pads"),
        (helper.make_node("DepthToSpace", ["rows"], ["x"], blocksize=0), [], "blocksize is 0"),
        (helper.make_node("GatherND", ["rows", "x"], ["y"], batch_dims=-(2**63)), [], "batch_dims is -9223372036854775808"),
    ],
)  # fmt: skip
def test_constants_that_would_fill_the_memory_are_refused(
    node: onnx.NodeProto, constants: list[onnx.TensorProto], problem: str
) -> None:
    message = refusal(with_node(node, constants))
    assert node.op_type in message and problem in message


def test_constants_of_nodes_count_as_well() -> None:
    nodes = [
        helper.make_node("Constant", [], ["s"], value_ints=[2**20, 2**20]),
        helper.make_node("ConstantOfShape", ["s"], ["x"]),
        helper.make_node("MatMul", ["rows", "weights"], ["scores"]),
    ]
    assert "gives more than 268435456 elements" in refusal(make_model(nodes))


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ([], "there are 0 inputs"),
        ([ROWS, helper.make_tensor_value_info("b", TensorProto.FLOAT, ["N", 1])], "there are 2 inputs (rows, b); allowed is"),
        ([helper.make_tensor_value_info("rows", TensorProto.DOUBLE, ["N", 3])], "a tensor of float64 ['N', 3]"),
        ([helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, 3])], "for exactly 1 rows; its first dimension"),
        ([helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N"])], "allowed is a tensor of float32 [N, ...]"),
        ([helper.make_tensor_value_info("rows", TensorProto.FLOAT, None)], "without a shape"),
        ([helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 0])], "allowed are positive sizes"),
        ([helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 2**40])], "allowed are at most"),
        ([helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", -7])], "allowed are at most"),
        ([helper.make_tensor_sequence_value_info("rows", TensorProto.FLOAT, None)], "'rows', a sequence; allowed"),
    ],
)  # fmt: skip
def test_another_input_is_refused(inputs: list[onnx.ValueInfoProto], problem: str) -> None:
    assert problem in refusal(make_model(inputs=inputs))


@pytest.mark.parametrize(
    "output",
    [
        helper.make_tensor_value_info("scores", TensorProto.INT64, ["N", 2]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N"]),
        helper.make_tensor_sequence_value_info("scores", TensorProto.FLOAT, None),
    ],
)
def test_another_output_is_refused(output: onnx.ValueInfoProto) -> None:
    assert "allowed is a tensor of float32 [N, outputs]" in refusal(make_model(outputs=[output]))


@pytest.mark.parametrize("data", [b"", b"\x08\x0a", b"not an onnx file", b"PK\x03\x04", b"\0" * 64])
def test_other_files_are_refused(data: bytes) -> None:
    refusal(data)


def test_every_truncation_is_refused() -> None:
    data = make_model().SerializeToString()
    for length in range(len(data)):
        refusal(data[:length])
