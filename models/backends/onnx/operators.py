"""Which operators a served graph may have, and with which constants.

ONNX Runtime checks types and most attributes itself. Refused here is what it would run: results that differ from run to run,
and constants with which an operator loops for ever, divides by zero or allocates much more than the model's size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.models.backends.onnx.proto import Node, Tensor
from forebay.models.backends.onnx.tree_ensembles import check_tree_ensemble

MAX_ELEMENTS: Final = 1 << 28
"""The most elements that a constant may make a tensor have: 1 GiB of float32."""
MAX_WINDOW: Final = 65_536
"""The largest stride, dilation, kernel and padding."""
MAX_SCALE: Final = 4_096

ML_DOMAIN: Final = "ai.onnx.ml"

_RANDOM: Final = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_SUBGRAPHS: Final = ("If", "Loop", "Scan", "SequenceMap")
_SEQUENCES: Final = (
    "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt", "SequenceConstruct",
    "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SplitToSequence",
)  # fmt: skip
_REFUSED: Final = MappingProxyType(
    {
        **{op: "its result differs from run to run" for op in _RANDOM},
        **{op: "subgraphs (Loop, Scan, If) are not allowed in a served model" for op in _SUBGRAPHS},
        **{op: "sequences and optional values are not allowed in a served model" for op in _SEQUENCES},
        "ImageDecoder": "it parses files of other formats",
        "ZipMap": "it makes dictionaries; convert the classifier with options={id(model): {'zipmap': False}}",
    }
)
_POOLS_AND_CONVOLUTIONS: Final = frozenset(
    {
        "AveragePool", "Col2Im", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "LpPool", "MaxPool", "MaxUnpool",
        "QLinearConv",
    }
)  # fmt: skip
# Attributes of these, with the least allowed number.
_WINDOWS: Final = {
    "kernel_shape": 1, "strides": 1, "dilations": 1, "group": 1, "offset_group": 1, "pads": 0, "output_padding": 0,
    "output_shape": 1,
}  # fmt: skip
# Single numbers by operator and attribute: the least and the largest allowed.
_NUMBERS: Final = {
    ("DepthToSpace", "blocksize"): (1, MAX_WINDOW),
    ("SpaceToDepth", "blocksize"): (1, MAX_WINDOW),
    ("GatherND", "batch_dims"): (0, 16),  # ONNX Runtime ends the process for some negative numbers
    ("LRN", "size"): (1, MAX_WINDOW),
    ("GRU", "hidden_size"): (1, MAX_ELEMENTS),
    ("LSTM", "hidden_size"): (1, MAX_ELEMENTS),
    ("RNN", "hidden_size"): (1, MAX_ELEMENTS),
    ("TfIdfVectorizer", "max_gram_length"): (1, MAX_WINDOW),
    ("Split", "num_outputs"): (1, MAX_WINDOW),
    ("BatchNormalization", "training_mode"): (0, 0),
    ("GroupNormalization", "num_groups"): (1, MAX_WINDOW),
    ("Unique", "sorted"): (0, 1),
}

Constants = Mapping[str, Tensor]
Problem = str | None


def check_node(node: Node, constants: Constants) -> Problem:
    """Return why the node is not allowed; None if it is.

    constants: the initialisers, and the outputs of nodes `Constant`, by name.
    """
    reason = _REFUSED.get(node.op_type)
    if reason is not None:
        return f"{node.op_type} is not allowed: {reason}"
    for name in node.attributes:
        problem = _check_attribute(node, name)
        if problem is not None:
            return f"{node.op_type}: {name} {problem}"
    if node.domain == ML_DOMAIN and node.op_type.startswith("TreeEnsemble"):
        return check_tree_ensemble(node)
    check = _SIZES.get(node.op_type)
    problem = None if check is None else check(node, constants)
    return None if problem is None else f"{node.op_type}: {problem}"


def _check_attribute(node: Node, name: str) -> Problem:
    attribute = node.attributes[name]
    if node.op_type in _POOLS_AND_CONVOLUTIONS and name in _WINDOWS:
        found = np.append(attribute.get("ints", _NOTHING), attribute.get("i", _WINDOWS[name]))
        return _within(found, _WINDOWS[name], MAX_WINDOW)
    limits = _NUMBERS.get((node.op_type, name))
    return None if limits is None else _within(np.array([attribute.get("i", 0)]), *limits)


_NOTHING: Final[npt.NDArray[np.int64]] = np.zeros(0, dtype=np.int64)


def _within(found: npt.NDArray[np.int64], least: int, largest: int) -> Problem:
    wrong = found[(found < least) | (found > largest)]
    return f"is {wrong[0]}; allowed is from {least} to {largest}" if len(wrong) else None


def _integers(node: Node, index: int, constants: Constants) -> npt.NDArray[np.int64]:
    """Return an input that is a constant of whole numbers, else nothing."""
    name = node.inputs[index] if index < len(node.inputs) else ""
    found = constants[name].integers() if name in constants else None
    return _NOTHING if found is None else found


def _check_product(found: npt.NDArray[np.int64]) -> Problem:
    total = 1
    for size in found.tolist()[:64]:
        total *= max(1, abs(size))
        if total > MAX_ELEMENTS:
            return f"the constant {found.tolist()[:8]} gives more than {MAX_ELEMENTS} elements"
    return None


def _check_shape(index: int) -> Callable[[Node, Constants], Problem]:
    return lambda node, constants: _check_product(_integers(node, index, constants))


def _check_pads(node: Node, constants: Constants) -> Problem:
    attribute = node.attributes.get("pads", {}).get("ints", _NOTHING)
    problem = _within(np.append(_integers(node, 1, constants), attribute), -MAX_WINDOW, MAX_WINDOW)
    return None if problem is None else f"a padding {problem}"


def _check_depth(node: Node, constants: Constants) -> Problem:
    return _check_product(_integers(node, 1, constants))


def _check_range(node: Node, constants: Constants) -> Problem:
    numbers = [_integers(node, index, constants) for index in range(3)]
    if any(len(number) != 1 for number in numbers):
        return None
    start, limit, delta = (int(number[0]) for number in numbers)
    if delta == 0 or abs(limit - start) // abs(delta) > MAX_ELEMENTS:
        return f"from {start} to {limit} by {delta} are more than {MAX_ELEMENTS} elements"
    return None


def _check_scales(node: Node, constants: Constants) -> Problem:
    for name in node.inputs:
        scales = constants[name].floats() if name in constants else None
        if scales is not None and len(scales) and not (scales <= MAX_SCALE).all():
            return f"a scale is {scales.max()}; allowed is at most {MAX_SCALE}"
    return _check_product(_integers(node, 3, constants))


_SIZES: Final[Mapping[str, Callable[[Node, Constants], Problem]]] = MappingProxyType(
    {
        "CenterCropPad": _check_shape(1),
        "ConstantOfShape": _check_shape(0),
        "Expand": _check_shape(1),
        "MaxUnpool": _check_shape(2),
        "OneHot": _check_depth,
        "Pad": _check_pads,
        "Range": _check_range,
        "Resize": _check_scales,
        "Tile": _check_shape(1),
        "Upsample": _check_scales,
    }
)
