"""Inspect an ONNX file before ONNX Runtime sees it: which graph it is, and whether it may be run."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Final

from forebay.models.backends.onnx.operators import MAX_ELEMENTS, ML_DOMAIN, check_node
from forebay.models.backends.onnx.proto import FLOAT, Node, OnnxModel, Tensor, ValueInfo, parse_model
from forebay.models.backends.onnx.wire import WireError
from forebay.schemas.errors import ModelError

IR_VERSIONS: Final = (3, 14)
OPSETS: Final = {"": (7, 27), ML_DOMAIN: (1, 5)}
"""The versions of each allowed domain that are known here."""
MAX_NODES: Final = 20_000
MAX_CONSTANTS: Final = 20_000

_DATA_TYPES: Final = MappingProxyType(
    {
        FLOAT: "float32",
        2: "uint8",
        3: "int8",
        4: "uint16",
        5: "int16",
        6: "int32",
        7: "int64",
        8: "text",
        9: "bool",
        10: "float16",
        11: "float64",
        16: "bfloat16",
        21: "uint4",
        22: "int4",
    }
)
_DEFAULT_DOMAIN: Final = "ai.onnx"  # another name of ""
_SESSION_SETTINGS: Final = "ort_config"
"""The key of the metadata from which ONNX Runtime may read settings of the session."""
_REMEDY: Final = "export the model again without it, or publish it with another backend"


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A graph that may be run.

    input_name, input_shape: of the only input; the shape of a row, with None for sizes that the file leaves free.
    output_name, output_dim: of the output that is used; None if the file does not state the number.
    output_names: all outputs.
    """

    input_name: str
    input_shape: tuple[int | None, ...]
    output_name: str
    output_dim: int | None
    output_names: tuple[str, ...]
    model: OnnxModel


def inspect(data: bytes, place: str, output: str | None = None) -> OnnxGraph:
    """Return the graph in the bytes of an ONNX file.

    output: the name of the output to use; None if there is only one.

    Raises ModelError(kind="onnx") that starts with `place` and names what was found and what is allowed.
    """
    try:
        model = parse_model(data)
        _check_versions(model)
        _check_size(model)
        _check_nodes(model)
        used_input = _find_input(model)
        used_output = _find_output(model, output)
    except WireError as error:
        raise ModelError(f"{place}: {error}", kind="onnx", remedy=_REMEDY) from None
    shape = used_output.shape
    return OnnxGraph(
        used_input.name,
        (used_input.shape or ())[1:],
        output_name=used_output.name,
        output_dim=None if shape is None else shape[1],
        output_names=tuple(info.name for info in model.outputs),
        model=model,
    )


def _check_versions(model: OnnxModel) -> None:
    first, last = IR_VERSIONS
    if not first <= model.ir_version <= last:
        raise WireError(f"the IR version is {model.ir_version}; known are {first} to {last}")
    opsets = {_domain(domain): version for domain, version in model.opsets.items()}
    if len(opsets) < len(model.opsets) or "" not in opsets:
        raise WireError("opset_import must name the domain ai.onnx once")
    for domain, version in opsets.items():
        if domain not in OPSETS:
            raise WireError(f"the file uses the domain {domain[:80]!r}; custom operators are not allowed")
        first, last = OPSETS[domain]
        if not first <= version <= last:
            raise WireError(
                f"the opset of {domain or _DEFAULT_DOMAIN} is version {version}; known are {first} to {last}"
            )
    if _SESSION_SETTINGS in model.metadata:
        raise WireError(
            f"the metadata has {_SESSION_SETTINGS}, which sets options of ONNX Runtime; this is not allowed"
        )


def _check_size(model: OnnxModel) -> None:
    if len(model.nodes) > MAX_NODES:
        raise WireError(f"there are {len(model.nodes)} nodes; allowed are {MAX_NODES}")
    if len(model.initialisers) > MAX_CONSTANTS:
        raise WireError(f"there are {len(model.initialisers)} initialisers; allowed are {MAX_CONSTANTS}")
    for info in (*model.inputs, *model.outputs, *model.value_infos):
        if info.kind == "tensor" and info.shape is not None:
            sizes = [1 if size is None else size for size in info.shape]
            if min(sizes, default=0) < 0 or len(sizes) > 16 or prod(sizes) > MAX_ELEMENTS:
                raise WireError(
                    f"{info.name[:80]!r} has the shape {sizes[:16]}; allowed are at most {MAX_ELEMENTS} elements for a row"
                )


def _check_nodes(model: OnnxModel) -> None:
    constants: dict[str, Tensor] = dict(model.initialisers)
    known = {info.name for info in model.inputs} | constants.keys()
    for index, node in enumerate(model.nodes):
        domain, place = _domain(node.domain), f"graph.node[{index}] ({node.name[:80]!r}, {node.op_type[:80]!r})"
        if domain not in OPSETS:
            raise WireError(f"{place}: the domain is {node.domain[:80]!r}; custom operators are not allowed")
        for name in filter(None, node.outputs):
            if name in known:
                raise WireError(f"{place}: the value {name[:80]!r} has two origins")
            known.add(name)
        if node.op_type == "Constant" and node.outputs:
            constant = _constant(node)
            if constant is not None:
                constants[node.outputs[0]] = constant
        problem = check_node(node, constants)
        if problem is not None:
            raise WireError(f"{place}: {problem}")


def _constant(node: Node) -> Tensor | None:
    value = node.attributes.get("value", {}).get("t")
    if isinstance(value, Tensor):
        return value
    for name, field in (("value_ints", "ints"), ("value_int", "i")):
        if name in node.attributes:
            found = node.attributes[name].get(field, ())
            numbers = found if field == "ints" else [found]
            return Tensor(name, (len(numbers),), 7, {"int64_data": numbers})
    return None


def _find_input(model: OnnxModel) -> ValueInfo:
    inputs = [info for info in model.inputs if info.name not in model.initialisers]  # older files list both
    if len(inputs) != 1:
        names = ", ".join(info.name[:40] for info in inputs[:10])
        raise WireError(f"there are {len(inputs)} inputs ({names}); allowed is one, with all features in it")
    (info,) = inputs
    if info.kind != "tensor" or info.elem_type != FLOAT or info.shape is None or len(info.shape) < 2:
        raise WireError(f"the input is {describe(info)}; allowed is a tensor of float32 [N, ...]")
    if info.shape[0] is not None:
        raise WireError(
            f"the input is {describe(info)}, for exactly {info.shape[0]} rows; its first dimension must be free (dynamic)"
        )
    if not all(size is None or size >= 1 for size in info.shape[1:]):
        raise WireError(f"the input is {describe(info)}; allowed are positive sizes")
    return info


def _find_output(model: OnnxModel, name: str | None) -> ValueInfo:
    if name is None and len(model.outputs) != 1:
        names = ", ".join(info.name[:40] for info in model.outputs[:10])
        raise WireError(f"there are {len(model.outputs)} outputs ({names}); name the one to use (params.output)")
    found = [info for info in model.outputs if name in (None, info.name)]
    if not found:
        names = ", ".join(info.name[:40] for info in model.outputs[:10])
        raise WireError(f"there is no output {name!r}; there are {names}")
    if not is_usable_output(found[0]):
        raise WireError(f"the output is {describe(found[0])}; allowed is a tensor of float32 [N, outputs]")
    return found[0]


def is_usable_output(info: ValueInfo) -> bool:
    """Return whether an output can be a model's scores: float32 [N, O]. Files may leave out the shape."""
    if info.kind != "tensor" or info.elem_type != FLOAT:
        return False
    return info.shape is None or (len(info.shape) == 2 and (info.shape[1] is None or info.shape[1] >= 1))


def describe(info: ValueInfo) -> str:
    """Return a description of a value for messages."""
    if info.kind != "tensor":
        return f"{info.name[:80]!r}, a {info.kind}"
    shape = (
        "without a shape" if info.shape is None else str(["N" if size is None else size for size in info.shape[:16]])
    )
    return f"{info.name[:80]!r}, a tensor of {_DATA_TYPES.get(info.elem_type, f'data type {info.elem_type}')} {shape}"


def _domain(name: str) -> str:
    return "" if name == _DEFAULT_DOMAIN else name
