"""Read an ONNX file without the package `onnx`: graph, nodes, attributes, tensors and declared types.

The schema is the part of onnx.proto (IR version 3 to 14) that a model for serving needs. Everything else is refused, by name
where it is a known part of the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forebay.models.backends.onnx.wire import Field, WireError, WireReader

FLOAT: Final = 1
"""The number of float32 among the data types."""
STRING: Final = 8
INT4: Final = 22
"""Two values in a byte; 21 is the same without a sign."""

# Bits of an element in `raw_data`, by data type; and the field that has one entry for each element otherwise.
_TENSOR_BITS: Final = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 21: 4, 22: 4,
}  # fmt: skip
_VALUE_FIELDS: Final = {
    1: "float_data", 2: "int32_data", 3: "int32_data", 4: "int32_data", 5: "int32_data", 6: "int32_data", 7: "int64_data",
    8: "string_data", 9: "int32_data", 10: "int32_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data",
    16: "int32_data", 21: "int32_data", 22: "int32_data",
}  # fmt: skip
_MAX_RANK: Final = 16
_MAX_DIM: Final = 2**31 - 1
_INTEGER_TYPES: Final[Mapping[int, np.dtype[Any]]] = {6: np.dtype("<i4"), 7: np.dtype("<i8")}


def _int(name: str) -> Field:
    return Field(name, "int")


def _text(name: str) -> Field:
    return Field(name, "text")


def _message(name: str, schema: Mapping[int, Field], *, repeated: bool = False) -> Field:
    return Field(name, "message", repeated, schema)


def _refused(name: str, what: str) -> Field:
    return Field(name, "refused", reason=f"{what} is not allowed in a served model")


_STRING_PAIR: Final = {1: _text("key"), 2: _text("value")}
_METADATA: Final = _message("metadata_props", _STRING_PAIR, repeated=True)
_TENSOR: Final = {
    1: Field("dims", "int", repeated=True),
    2: _int("data_type"),
    3: _refused("segment", "a tensor in segments"),
    4: Field("float_data", "float32", repeated=True),
    5: Field("int32_data", "int", repeated=True),
    6: Field("string_data", "bytes", repeated=True),
    7: Field("int64_data", "int", repeated=True),
    8: _text("name"),
    9: Field("raw_data", "bytes"),
    10: Field("double_data", "float64", repeated=True),
    11: Field("uint64_data", "int", repeated=True),
    12: _text("doc_string"),
    13: _refused("external_data", "external data"),
    14: _int("data_location"),
    16: _METADATA,
}
_DIMENSION: Final = {1: _int("dim_value"), 2: _text("dim_param"), 3: _text("denotation")}
_TENSOR_TYPE: Final = {
    1: _int("elem_type"),
    2: _message("shape", {1: _message("dim", _DIMENSION, repeated=True)}),
}
_TYPE: Final = {
    1: _message("tensor_type", _TENSOR_TYPE),
    4: Field("sequence", "bytes"),
    5: Field("map", "bytes"),
    6: _text("denotation"),
    8: Field("sparse tensor", "bytes"),
    9: Field("optional", "bytes"),
}
_OTHER_TYPES: Final = ("sequence", "map", "sparse tensor", "optional")
_VALUE_INFO: Final = {1: _text("name"), 2: _message("type", _TYPE), 3: _text("doc_string"), 4: _METADATA}
_ATTRIBUTE: Final = {
    1: _text("name"),
    2: Field("f", "float32"),
    3: _int("i"),
    4: Field("s", "bytes"),
    5: _message("t", _TENSOR),
    6: _refused("g", "a subgraph (Loop, Scan, If)"),
    7: Field("floats", "float32", repeated=True),
    8: Field("ints", "int", repeated=True),
    9: Field("strings", "bytes", repeated=True),
    10: _message("tensors", _TENSOR, repeated=True),
    11: _refused("graphs", "a subgraph (Loop, Scan, If)"),
    13: _text("doc_string"),
    14: _refused("tp", "a type as an attribute"),
    15: _refused("type_protos", "a type as an attribute"),
    20: _int("type"),
    21: _refused("ref_attr_name", "an attribute of a function"),
    22: _refused("sparse_tensor", "a sparse tensor"),
    23: _refused("sparse_tensors", "a sparse tensor"),
}
_NODE: Final = {
    1: Field("input", "text", repeated=True),
    2: Field("output", "text", repeated=True),
    3: _text("name"),
    4: _text("op_type"),
    5: _message("attribute", _ATTRIBUTE, repeated=True),
    6: _text("doc_string"),
    7: _text("domain"),
    8: _refused("overload", "an overload of a function"),
    9: _METADATA,
    10: _refused("device_configurations", "a distribution over devices"),
}
_GRAPH: Final = {
    1: _message("node", _NODE, repeated=True),
    2: _text("name"),
    5: _message("initializer", _TENSOR, repeated=True),
    10: _text("doc_string"),
    11: _message("input", _VALUE_INFO, repeated=True),
    12: _message("output", _VALUE_INFO, repeated=True),
    13: _message("value_info", _VALUE_INFO, repeated=True),
    14: _refused("quantization_annotation", "a quantisation annotation"),
    15: _refused("sparse_initializer", "a sparse initialiser"),
    16: _METADATA,
}
_MODEL: Final = {
    1: _int("ir_version"),
    2: _text("producer_name"),
    3: _text("producer_version"),
    4: _text("domain"),
    5: _int("model_version"),
    6: _text("doc_string"),
    7: _message("graph", _GRAPH),
    8: _message("opset_import", {1: _text("domain"), 2: _int("version")}, repeated=True),
    14: _METADATA,
    20: _refused("training_info", "training information"),
    25: _refused("functions", "a local function"),
    26: _refused("configuration", "a distribution over devices"),
}


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """The declared type of an input, an output or an intermediate value.

    kind: "tensor", or what it is instead, such as "sequence".
    shape: sizes, None for those that are free; None if the file declares no shape.
    """

    name: str
    kind: str
    elem_type: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A constant. Its values are as many as its shape states."""

    name: str
    dims: tuple[int, ...]
    data_type: int
    fields: Mapping[str, Any]

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.dims)

    def integers(self) -> npt.NDArray[np.int64] | None:
        """Return the elements of an int32 or int64 tensor, else None."""
        if self.data_type not in _INTEGER_TYPES:
            return None
        if "raw_data" in self.fields:
            raw = np.frombuffer(self.fields["raw_data"], _INTEGER_TYPES[self.data_type])
            return np.asarray(raw, dtype=np.int64)
        found = self.fields.get(_VALUE_FIELDS[self.data_type], ())
        return np.asarray(found, dtype=np.int64)

    def floats(self) -> npt.NDArray[np.float32] | None:
        """Return the elements of a float32 tensor, else None."""
        if self.data_type != FLOAT:
            return None
        if "raw_data" in self.fields:
            return np.frombuffer(self.fields["raw_data"], np.dtype("<f4"))
        return np.asarray(self.fields.get("float_data", ()), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Node:
    """An operation. attributes: the fields of each attribute by its name; a tensor in `t` is a `Tensor`."""

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """The content of an ONNX file. opsets: versions by domain. metadata: of the model."""

    ir_version: int
    opsets: Mapping[str, int]
    metadata: Mapping[str, str]
    nodes: tuple[Node, ...]
    initialisers: Mapping[str, Tensor]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    value_infos: tuple[ValueInfo, ...]


def parse_model(data: bytes) -> OnnxModel:
    """Return the content of an ONNX file. Raises WireError, which names the place, for everything that is not allowed."""
    fields = WireReader().read(memoryview(data), _MODEL)
    if "graph" not in fields:
        raise WireError("there is no graph: this is not an ONNX model")
    graph = fields["graph"]
    tensors = [
        _tensor(tensor, f"graph.initializer[{index}]") for index, tensor in enumerate(graph.get("initializer", ()))
    ]
    opsets = [(opset.get("domain", ""), opset.get("version", 0)) for opset in fields.get("opset_import", ())]
    metadata = [(pair.get("key", ""), pair.get("value", "")) for pair in fields.get("metadata_props", ())]
    return OnnxModel(
        fields.get("ir_version", 0),
        opsets=_unique(list(dict.fromkeys(opsets)), "opset_import: the domain"),  # skl2onnx repeats entries
        metadata=_unique(metadata, "metadata_props: the key"),
        nodes=tuple(_node(node, f"graph.node[{index}]") for index, node in enumerate(graph.get("node", ()))),
        initialisers=_unique([(tensor.name, tensor) for tensor in tensors], "graph.initializer: the name"),
        inputs=_value_infos(graph, "input"),
        outputs=_value_infos(graph, "output"),
        value_infos=_value_infos(graph, "value_info"),
    )


def _node(fields: Mapping[str, Any], place: str) -> Node:
    attributes = []
    for attribute in fields.get("attribute", ()):
        name = attribute.get("name", "")
        found = dict(attribute)
        if "t" in found:
            found["t"] = _tensor(found["t"], f"{place}, attribute {name[:80]!r}")
        found["tensors"] = [_tensor(tensor, f"{place}, attribute {name[:80]!r}") for tensor in found.get("tensors", ())]
        attributes.append((name, found))
    return Node(
        fields.get("op_type", ""),
        fields.get("domain", ""),
        fields.get("name", ""),
        inputs=tuple(fields.get("input", ())),
        outputs=tuple(fields.get("output", ())),
        attributes=_unique(attributes, f"{place}: the attribute"),
    )


def _tensor(fields: Mapping[str, Any], place: str) -> Tensor:
    """Return the tensor after checking that it holds as many values as its shape states."""
    name, data_type = fields.get("name", ""), fields.get("data_type", 0)
    place = f"{place} ({name[:80]!r})"
    dims = tuple(int(dim) for dim in fields.get("dims", ())[: _MAX_RANK + 1])
    if len(dims) > _MAX_RANK or not all(0 <= dim <= _MAX_DIM for dim in dims):
        raise WireError(f"{place}: the shape is {list(dims)}; allowed are up to {_MAX_RANK} sizes from 0 to {_MAX_DIM}")
    if fields.get("data_location", 0) != 0:
        raise WireError(f"{place}: external data is not allowed in a served model")
    if data_type not in _VALUE_FIELDS:
        raise WireError(f"{place}: the data type is {data_type}; allowed are {', '.join(map(str, _VALUE_FIELDS))}")
    size, value_field = prod(dims), _VALUE_FIELDS[data_type]
    present = [name for name in (*set(_VALUE_FIELDS.values()), "raw_data") if name in fields]
    if len(present) > 1 or not {"raw_data", value_field}.issuperset(present):
        raise WireError(f"{place}: values of data type {data_type} are in {' and '.join(sorted(present))}")
    if present == ["raw_data"]:
        bits = _TENSOR_BITS.get(data_type)
        found, stated = len(fields["raw_data"]), None if bits is None else (size * bits + 7) // 8
        if found != stated:
            raise WireError(f"{place}: there are {found} bytes of values; the shape {list(dims)} needs {stated}")
    else:
        found = len(fields.get(value_field, ()))
        if found != size:
            raise WireError(f"{place}: there are {found} values; the shape {list(dims)} needs {size}")
    return Tensor(name, dims, data_type, fields)


def _value_infos(graph: Mapping[str, Any], field: str) -> tuple[ValueInfo, ...]:
    found = [_value_info(info) for info in graph.get(field, ())]
    _unique([(info.name, info) for info in found], f"graph.{field}: the name")
    return tuple(found)


def _value_info(fields: Mapping[str, Any]) -> ValueInfo:
    declared = fields.get("type", {})
    kinds = [kind for kind in _OTHER_TYPES if kind in declared]
    if "tensor_type" not in declared or kinds:
        return ValueInfo(fields.get("name", ""), kinds[0] if kinds else "value without a type", 0, None)
    tensor = declared["tensor_type"]
    shape = None
    if "shape" in tensor:
        shape = tuple(_size(dimension) for dimension in tensor["shape"].get("dim", ()))
    return ValueInfo(fields.get("name", ""), "tensor", tensor.get("elem_type", 0), shape)


def _size(dimension: Mapping[str, Any]) -> int | None:
    if "dim_value" in dimension and "dim_param" in dimension:
        raise WireError("a dimension has both a size and a name")
    size: int | None = dimension.get("dim_value")
    return size


def _unique(items: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise WireError(f"{what} {key[:80]!r} occurs twice")
        found[key] = value
    return found
