"""A small graph for each ONNX operator that the backend allows, from the test cases of the package `onnx`.

A graph takes rows, has the operator with its inputs as constants, and gives scores that depend on the operator's outputs.
Inputs of float32 are added to zeros that are computed from the rows, so that the operator runs with every micro-batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from forebay.models.backends.onnx.backend import build_runner
from forebay.models.backends.onnx.inspection import OPSETS
from forebay.models.backends.onnx.operators import ML_DOMAIN, check_node
from forebay.models.backends.onnx.proto import parse_model
from forebay.models.backends.protocol import RunOptions
from forebay.schemas.errors import ModelError
from tests.models.backends.onnx.graphs import constant

MAX_BYTES: Final = 6_000
GRAPHS_OF_AN_OPERATOR: Final = 2
_OLDER_OPSETS: Final = (23, 21, 17)
_BATCH: Final = helper.make_tensor_value_info("batch", TensorProto.FLOAT, ["N", 3])
_PREDICTION: Final = helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["N", 2])


NOT_SERVED: Final = {
    ("", "SwiGLU"): "ONNX Runtime does not have it yet",
    (ML_DOMAIN, "CastMap"): "its input is a dictionary",
    (ML_DOMAIN, "DictVectorizer"): "its input is a dictionary",
}
"""Operators without a graph."""
Operator = tuple[str, str]
"""The domain and the name."""


@dataclass(frozen=True, slots=True)
class Case:
    """A node with the values of its inputs."""

    node: onnx.NodeProto
    inputs: Sequence[Any]
    opset: int = 17
    ml_opset: int = 3

    @property
    def operator(self) -> Operator:
        return self.node.domain, self.node.op_type

    @property
    def size(self) -> int:
        return sum(value.ByteSize() if isinstance(value, TensorProto) else value.nbytes for value in self.inputs)


def allowed_operators() -> list[Operator]:
    """Return the domain and name of each operator that the inspection does not refuse by its name."""
    names = {(schema.domain, schema.name) for schema in defs.get_all_schemas() if schema.domain in OPSETS}
    return sorted(operator for operator in names if not _is_refused(*operator))


def _is_refused(domain: str, name: str) -> bool:
    file = helper.make_model(helper.make_graph([helper.make_node(name, [], ["y"], domain=domain)], "g", [], []))
    (node,) = parse_model(file.SerializeToString()).nodes
    return "not allowed" in (check_node(node, {}) or "")


def operator_graphs(operators: Sequence[Operator], cases: Iterable[Case]) -> dict[Operator, list[bytes]]:
    """Return the files for each operator that ONNX Runtime can run in a graph of this kind, the smallest first."""
    found: dict[Operator, list[bytes]] = {operator: [] for operator in operators}
    for case in sorted(cases, key=lambda case: case.size):
        files = found.get(case.operator)
        if files is None or len(files) == GRAPHS_OF_AN_OPERATOR or case.size > MAX_BYTES:
            continue
        files += next(([file] for file in _files(case) if _runs(file)), [])
    return {operator: files for operator, files in found.items() if files}


def _files(case: Case) -> Iterator[bytes]:
    """The graph of a case in its own opset, and in older ones that ONNX Runtime may know better."""
    for version in (case.opset, *_OLDER_OPSETS):
        if version <= case.opset and version <= OPSETS[""][1]:
            yield make_graph(case, version)


def make_graph(case: Case, opset: int) -> bytes:
    """Return a file with the case's node."""
    names = [name for name in case.node.input if name]
    nodes = [
        helper.make_node("MatMul", ["batch", "coefficients"], ["linear"]),
        helper.make_node("Mul", ["batch", "nought"], ["noughts"]),
        helper.make_node("ReduceSum", ["noughts"], ["nothing"], keepdims=0),
    ]
    constants = [constant("coefficients", np.arange(6).reshape(3, 2) / 10), constant("nought", 0.0)]
    for name, value in zip(names, case.inputs, strict=True):
        tensor = TensorProto()
        tensor.CopyFrom(
            value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value, order="C"))
        )
        tensor.name = name
        if tensor.data_type == TensorProto.FLOAT:
            tensor.name = f"{name}.constant"
            nodes.append(helper.make_node("Add", [tensor.name, "nothing"], [name]))
        constants.append(tensor)
    nodes.append(case.node)
    last = "linear"
    for index, name in enumerate(filter(None, case.node.output)):
        text = case.node.op_type in _GIVES_TEXT and index == 0
        nodes += _added(name, last, text=text)
        last = f"{name}.added"
    nodes.append(helper.make_node("Identity", [last], ["prediction"]))
    graph = helper.make_graph(nodes, "graph", [_BATCH], [_PREDICTION], constants)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ML_DOMAIN, case.ml_opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


_GIVES_TEXT: Final = {"CategoryMapper", "StringConcat", "StringNormalizer", "StringSplit"}


def _added(name: str, last: str, *, text: bool) -> list[onnx.NodeProto]:
    """Return nodes that add a finite number to `last`, which depends on the value `name`."""
    if text:
        first = [helper.make_node("Shape", [name], [f"{name}.shape"])]
        first.append(helper.make_node("Cast", [f"{name}.shape"], [f"{name}.number"], to=TensorProto.FLOAT))
    else:
        first = [helper.make_node("Cast", [name], [f"{name}.float"], to=TensorProto.FLOAT)]
        first.append(helper.make_node("IsNaN", [f"{name}.float"], [f"{name}.nan"]))
        first.append(helper.make_node("Cast", [f"{name}.nan"], [f"{name}.number"], to=TensorProto.FLOAT))
    return [
        *first,
        helper.make_node("ReduceSum", [f"{name}.number"], [f"{name}.sum"], keepdims=0),
        helper.make_node("Add", [last, f"{name}.sum"], [f"{name}.added"]),
    ]


def _runs(file: bytes) -> bool:
    try:
        scores = build_runner(file, "graph", RunOptions()).run(np.ones((2, 3), dtype=np.float32))
    except ModelError:
        return False
    except Exception:  # an exception of ONNX Runtime
        return False
    return scores.shape == (2, 2) and bool(np.isfinite(scores).all())


def all_cases() -> Iterator[Case]:
    """The test cases of the package `onnx`, and `own_cases`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its references overflow
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases()
    for case in cases:
        (inputs, _), *_ = case.data_sets
        (node, *rest) = case.model.graph.node
        are_tensors = all(isinstance(value, TensorProto | np.ndarray | np.generic) for value in inputs)
        if not rest and node.domain in OPSETS and are_tensors and len(inputs) == sum(map(bool, node.input)):
            opsets = {item.domain: item.version for item in case.model.opset_import}
            opset = opsets.get("", 17)
            if node.domain == ML_DOMAIN or not defs.get_schema(node.op_type).deprecated:
                opset = max(13, opset)
            yield Case(node, inputs, opset, opsets.get(ML_DOMAIN, 3))
    yield from own_cases()


def own_cases() -> Iterator[Case]:
    """Nodes of operators that have no test case in the package."""
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3) / 2
    for name, attributes in _ML.items():
        outputs = ["label", "probabilities"] if name.endswith("Classifier") else ["y"]
        names, values = (["x", "z"], [numbers, numbers]) if name == "FeatureVectorizer" else (["x"], [numbers])
        if name == "CategoryMapper":
            values = [np.array([0, 1, 7], dtype=np.int64)]
        yield Case(helper.make_node(name, names, outputs, domain=ML_DOMAIN, **attributes), values)
    image = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    regions = np.array([[0, 0, 0, 3, 3]], dtype=np.float32)
    yield Case(helper.make_node("GlobalLpPool", ["x"], ["y"], p=2), [image])
    yield Case(helper.make_node("MaxRoiPool", ["x", "rois"], ["y"], pooled_shape=[2, 2]), [image, regions])
    for name in ("Erf", "Mish"):  # the package's cases are large
        yield Case(helper.make_node(name, ["x"], ["y"]), [numbers], 18)


_TREES: Final[dict[str, Any]] = {
    "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [1, 0, 0],
    "nodes_values": [0.7, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0],
}  # fmt: skip
_SVM: Final[dict[str, Any]] = {
    "kernel_type": "RBF", "kernel_params": [0.5, 0.0, 3.0], "rho": [0.1],
    "support_vectors": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
}  # fmt: skip
_ML: Final[dict[str, dict[str, Any]]] = {
    "CategoryMapper": {"cats_int64s": [0, 1], "cats_strings": ["a", "b"], "default_string": "c"},
    "FeatureVectorizer": {"inputdimensions": [3, 3]},
    "Imputer": {"imputed_value_floats": [1.0, 2.0, 3.0], "replaced_value_float": 0.5},
    "LinearClassifier": {
        "coefficients": [0.1, 0.2, 0.3, -0.1, -0.2, -0.3], "intercepts": [0.1, -0.1], "classlabels_ints": [0, 1],
        "post_transform": "SOFTMAX",
    },
    "LinearRegressor": {"coefficients": [0.1, 0.2, 0.3], "intercepts": [0.5], "targets": 1},
    "Normalizer": {"norm": "L2"},
    "OneHotEncoder": {"cats_int64s": [0, 1, 2], "zeros": 1},
    "Scaler": {"offset": [0.1, 0.2, 0.3], "scale": [1.0, 2.0, 3.0]},
    "SVMClassifier": {
        **_SVM, "coefficients": [1.0, -1.0], "vectors_per_class": [1, 1], "classlabels_ints": [0, 1],
    },
    "SVMRegressor": {**_SVM, "coefficients": [1.0, -1.0], "n_supports": 2},
    "TreeEnsembleClassifier": {
        **_TREES, "class_treeids": [0, 0], "class_nodeids": [1, 2], "class_ids": [0, 1], "class_weights": [0.3, 0.7],
        "classlabels_int64s": [0, 1], "post_transform": "SOFTMAX",
    },
    "TreeEnsembleRegressor": {
        **_TREES, "target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0],
        "target_weights": [0.3, 0.7], "n_targets": 1,
    },
}  # fmt: skip
