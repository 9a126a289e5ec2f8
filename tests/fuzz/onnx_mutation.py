"""Mutate an ONNX file as the message that it is, so that most mutations get past the reader to the checks and the operators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, defs, helper

NUMBERS = [0, 1, 2, 3, 7, -1, -2, -7, 64, 65_536, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63)]
SMALL_NUMBERS = [0, 1, 2, 3, 4, 7, -1, 2**31 - 1, -(2**31)]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e38, -1e38, 1e-45, float("nan"), float("inf"), -float("inf")]
OPERATORS = sorted({schema.name for schema in defs.get_all_schemas() if schema.domain in ("", "ai.onnx.ml")})


def mutate_graph(content: bytes, rng: random.Random) -> bytes | None:
    """Return the file with one change of a field, a message or an attribute; None if it is not an ONNX file."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return None
    for _ in range(20):
        try:
            if rng.choice(_CHANGES)(model, rng):
                break
        except (TypeError, ValueError):  # a text that is not UTF-8, after an earlier mutation
            return None
    return model.SerializeToString()


def _change_field(model: onnx.ModelProto, rng: random.Random) -> bool:
    message, name, value = rng.choice(list(_fields(model)))
    if isinstance(value, Message):
        message.ClearField(name)
    elif _is_single(value):
        _set(message, name, _changed(value, model, rng))
    elif not len(value):
        return False
    elif isinstance(value[0], Message):
        _change_messages(value, rng)
    else:
        at = rng.randrange(len(value))
        match rng.randrange(5):
            case 0:
                del value[at]
            case 1:
                value.append(value[at])
            case _:
                items = list(value)
                items[at] = _changed(items[at], model, rng)
                try:
                    del value[:]
                    value.extend(items)
                except ValueError:  # a number that the field cannot hold
                    value.extend([1] * len(items))
    return True


def _change_messages(messages: Any, rng: random.Random) -> None:
    at, other = rng.randrange(len(messages)), rng.randrange(len(messages))
    match rng.randrange(3):
        case 0:
            del messages[at]
        case 1:
            messages.add().CopyFrom(messages[at])
        case _:
            messages[at].CopyFrom(messages[other])


def _change_constant(model: onnx.ModelProto, rng: random.Random) -> bool:
    """Change a number in an initialiser, or its shape and data type."""
    if not model.graph.initializer:
        return False
    tensor = rng.choice(model.graph.initializer)
    match rng.randrange(6):
        case 0:
            tensor.data_type = rng.choice([*range(17), 100])
        case 1:
            tensor.ClearField("dims")
        case 2:
            size = 1
            for dim in tensor.dims:
                size *= dim
            tensor.ClearField("dims")
            tensor.dims.extend(rng.choice([[size], [1, size], [size, 1], [1, 1, size], [size, 0]]))
        case _:
            width = {TensorProto.FLOAT: 4, TensorProto.INT32: 4, TensorProto.INT64: 8}.get(tensor.data_type, 1)
            if len(tensor.raw_data) < width:
                return False
            at = rng.randrange(len(tensor.raw_data) // width) * width
            number = rng.choice(NUMBERS) % 256**width
            raw = bytearray(tensor.raw_data)
            raw[at : at + width] = number.to_bytes(width, "little")
            tensor.raw_data = bytes(raw)
    return True


def _change_operator(model: onnx.ModelProto, rng: random.Random) -> bool:
    if not model.graph.node:
        return False
    rng.choice(model.graph.node).op_type = rng.choice(OPERATORS)
    return True


def _change_attribute(model: onnx.ModelProto, rng: random.Random) -> bool:
    """Give a node an attribute of its operator."""
    nodes = [node for node in model.graph.node if _attributes(node)]
    if not nodes:
        return False
    node = rng.choice(nodes)
    attributes = _attributes(node)
    name = rng.choice(sorted(attributes))
    kind = int(attributes[name].type)
    number, floating = rng.choice(NUMBERS), rng.choice(FLOATS)
    values = {
        onnx.AttributeProto.INT: number,
        onnx.AttributeProto.FLOAT: floating,
        onnx.AttributeProto.STRING: rng.choice(["", "x", "linear", "SAME_UPPER", "NOTSET", "a->b"]),
        onnx.AttributeProto.INTS: rng.choices([*SMALL_NUMBERS, number], k=rng.randrange(6)),
        onnx.AttributeProto.FLOATS: rng.choices(FLOATS, k=rng.randrange(6)),
        onnx.AttributeProto.STRINGS: rng.choices(["", "x", "Tanh", "BRANCH_LEQ", "LEAF"], k=rng.randrange(4)),
    }
    if kind not in values:
        return False
    for index, attribute in enumerate(node.attribute):
        if attribute.name == name:
            del node.attribute[index]
            break
    node.attribute.append(helper.make_attribute(name, values[kind], attr_type=kind))
    return True


def _change_wiring(model: onnx.ModelProto, rng: random.Random) -> bool:
    """Exchange an input of a node for another value, leave it out, or add one."""
    node = rng.choice(model.graph.node) if model.graph.node else None
    if node is None or not node.input:
        return False
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    at = rng.randrange(len(node.input) + 1)
    if at == len(node.input):
        node.input.append(rng.choice(names))
    else:
        node.input[at] = rng.choice([*names, ""])
    return True


_CHANGES = [
    _change_field, _change_field, _change_constant, _change_constant, _change_operator, _change_attribute,
    _change_attribute, _change_wiring,
]  # fmt: skip


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    if not defs.has(node.op_type, node.domain):
        return {}
    return dict(defs.get_schema(node.op_type, domain=node.domain).attributes)


def _fields(message: Any) -> Iterator[tuple[Any, str, Any]]:
    for field, value in message.ListFields():
        yield message, field.name, value
        for child in [value] if isinstance(value, Message) else [] if _is_single(value) else value:
            if isinstance(child, Message):
                yield from _fields(child)


def _is_single(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | bytes | Message)


def _changed(value: Any, model: onnx.ModelProto, rng: random.Random) -> Any:
    if isinstance(value, int):
        return rng.choice([*NUMBERS, value + 1, value - 1])
    if isinstance(value, float):
        return rng.choice(FLOATS)
    if isinstance(value, bytes):
        at = rng.randrange(len(value) + 1)
        return rng.choice([value[:at], value + value[:at], value[:at] + rng.randbytes(1) + value[at + 1 :]])
    texts = [text for _, _, text in _fields(model) if isinstance(text, str)]
    return rng.choice([*texts, "", value + "x"])


def _set(message: Any, name: str, value: Any) -> None:
    try:
        setattr(message, name, value)
    except ValueError:  # a number that the field cannot hold
        setattr(message, name, 1)
