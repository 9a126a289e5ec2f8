"""A strict reader of the protobuf wire format, for messages from untrusted files.

protobuf's own parsers skip unknown fields, merge repeated messages and take the last of several values. Two parsers may then
see different messages in the same bytes. This one refuses all of these, so that what is inspected is what is run later.
It reads only the fields of a schema that does not refer to itself, which bounds its depth. It counts its steps, which bounds
its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

MAX_STEPS: Final = 2_000_000
"""The number of fields that are read one by one. Arrays that are packed, and runs of float32, count as one field."""

Scalar = Literal["int", "float32", "float64", "text", "bytes", "message", "refused"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES: Final = {"int": _VARINT, "float32": _FIXED32, "float64": _FIXED64}
_FLOATS: Final[Mapping[str, np.dtype[Any]]] = {"float32": np.dtype("<f4"), "float64": np.dtype("<f8")}
_MAX_VARINT_BYTES: Final = 10
_FIRST_SCAN: Final = 64


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    repeated: whether it may occur several times; its value is then an array (numbers) or a list.
    schema: the fields of a "message", by number.
    reason: why a "refused" field is not allowed.
    """

    name: str
    scalar: Scalar
    repeated: bool = False
    schema: Mapping[int, Field] = field(default_factory=lambda: MappingProxyType({}))
    reason: str = ""


Schema = Mapping[int, Field]


class WireError(Exception):
    """The bytes are not a message of the schema. path: names of the fields down to the place, outermost first."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []

    def __str__(self) -> str:
        """Return the place and the problem."""
        return f"{'.'.join(self.path)}: {self.problem}" if self.path else self.problem


class WireReader:
    """Reads messages within one budget of steps."""

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self._steps_left = max_steps

    def read(self, data: memoryview, schema: Schema) -> dict[str, Any]:
        """Return the values of the message's fields by name; fields that do not occur are left out. Raises WireError.

        Texts are str, "bytes" are parts of `data`, repeated numbers are int64, float32 or float64 arrays.
        """
        values: dict[str, Any] = {}
        position = 0
        while position < len(data):
            self._step()
            tag, start = read_varint(data, position)
            number, wire_type = tag >> 3, tag & 7
            spec = schema.get(number)
            if spec is None:
                raise WireError(f"there is no field {number} in this message (at byte {position} of it)")
            if spec.scalar == "refused":
                raise _at(WireError(spec.reason), spec.name)
            try:
                if spec.repeated and spec.scalar in _WIRE_TYPES:
                    position = self._read_numbers(data, (position, start), wire_type, spec=spec, values=values)
                    continue
                value, position = self._read_value(data, start, wire_type, spec)
            except WireError as error:
                index = f"[{len(values.get(spec.name, ()))}]" if spec.repeated else ""
                raise _at(error, f"{spec.name}{index}") from None
            if spec.repeated:
                values.setdefault(spec.name, []).append(value)
            elif spec.name in values:
                raise _at(WireError("this field occurs twice"), spec.name)
            else:
                values[spec.name] = value
        for spec in schema.values():
            if spec.repeated and spec.scalar in _WIRE_TYPES and spec.name in values:
                values[spec.name] = np.concatenate(values[spec.name])
        return values

    def _step(self) -> None:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise WireError(f"the file has more than {MAX_STEPS} fields that must be read one by one")

    def _read_value(self, data: memoryview, start: int, wire_type: int, spec: Field) -> tuple[Any, int]:
        _check_wire_type(wire_type, _WIRE_TYPES.get(spec.scalar, _BYTES))
        if spec.scalar == "int":
            value, end = read_varint(data, start)
            return _signed(value), end
        if spec.scalar in _FLOATS:
            dtype = _FLOATS[spec.scalar]
            content, end = _take(data, start, dtype.itemsize)
            return float(np.frombuffer(content, dtype)[0]), end
        content, end = _take_sized(data, start)
        if spec.scalar == "text":
            try:
                return str(content, "utf-8"), end
            except UnicodeDecodeError:
                raise WireError("this text is not UTF-8") from None
        if spec.scalar == "message":
            return self.read(content, spec.schema), end
        return content, end

    def _read_numbers(
        self, data: memoryview, places: tuple[int, int], wire_type: int, *, spec: Field, values: dict[str, Any]
    ) -> int:
        """Read one or more values of a repeated number, packed or not; return the position after them.

        places: of the field's tag and of what follows it.
        """
        parts = values.setdefault(spec.name, [])
        tag_start, start = places
        if wire_type == _BYTES:
            content, end = _take_sized(data, start)
            parts.append(_unpack(content, spec.scalar))
            return end
        _check_wire_type(wire_type, _WIRE_TYPES[spec.scalar])
        if spec.scalar == "int":
            numbers, position = self._read_run_of_ints(data, tag_start, start)
            parts.append(np.array(numbers, dtype=np.int64))
            return position
        dtype = _FLOATS[spec.scalar]
        _take(data, start, dtype.itemsize)
        record = np.dtype([("tag", f"V{start - tag_start}"), ("value", dtype)])
        count = _run_length(data[tag_start:], bytes(data[tag_start:start]), record.itemsize)
        run = np.frombuffer(data[tag_start : tag_start + count * record.itemsize], record)
        parts.append(np.array(run["value"]))
        return tag_start + count * record.itemsize

    def _read_run_of_ints(self, data: memoryview, tag_start: int, start: int) -> tuple[list[int], int]:
        tag = bytes(data[tag_start:start])
        value, position = read_varint(data, start)
        numbers = [_signed(value)]
        while data[position : position + len(tag)] == tag:
            self._step()
            value, position = read_varint(data, position + len(tag))
            numbers.append(_signed(value))
        return numbers, position


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the unsigned number at the position, and the position after it. Raises WireError."""
    value = shift = 0
    for byte in data[position : position + _MAX_VARINT_BYTES]:
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
        shift += 7
    raise WireError("the file ends within a number, or the number has more than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _take(data: memoryview, start: int, size: int) -> tuple[memoryview, int]:
    if size > len(data) - start:
        raise WireError(f"{size} bytes are announced, but only {len(data) - start} follow")
    return data[start : start + size], start + size


def _take_sized(data: memoryview, start: int) -> tuple[memoryview, int]:
    size, start = read_varint(data, start)
    return _take(data, start, size)


def _check_wire_type(found: int, allowed: int) -> None:
    if found != allowed:
        raise WireError(f"the wire type is {found}; allowed is {allowed}")


def _unpack(content: memoryview, scalar: Scalar) -> npt.NDArray[Any]:
    if scalar != "int":
        dtype = _FLOATS[scalar]
        if len(content) % dtype.itemsize:
            raise WireError(f"the array has {len(content)} bytes, which is not a multiple of {dtype.itemsize}")
        return np.array(np.frombuffer(content, dtype))
    octets = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(octets < 0x80)
    if len(octets) and (not len(ends) or ends[-1] != len(octets) - 1):
        raise WireError("the array ends within a number")
    starts = np.concatenate(([0], ends[:-1] + 1))[: len(ends)]
    lengths = ends - starts + 1
    longest = int(lengths.max(initial=0))
    if longest > _MAX_VARINT_BYTES or (octets[ends[lengths == _MAX_VARINT_BYTES]] > 1).any():
        raise WireError("a number of the array has more than 64 bits")
    numbers = np.zeros(len(ends), dtype=np.uint64)
    for index in range(longest):
        has_more = lengths > index
        part = (octets[starts[has_more] + index] & 0x7F).astype(np.uint64)
        numbers[has_more] |= part << np.uint64(7 * index)
    return numbers.view(np.int64)


def _run_length(data: memoryview, tag: bytes, size: int) -> int:
    """Return how many records of `size` bytes that begin with `tag` are at the start of `data`. The first is known to be one.

    It scans ever longer parts, so that the time is proportional to the length of the run.
    """
    octets = np.frombuffer(data, dtype=np.uint8)[: len(data) // size * size].reshape(-1, size)
    wanted = np.frombuffer(tag, dtype=np.uint8)
    count, block = 1, _FIRST_SCAN
    while count < len(octets):
        differs = (octets[count : count + block, : len(tag)] != wanted).any(axis=1)
        if differs.any():
            return count + int(differs.argmax())
        count += len(differs)
        block *= 2
    return count


def _at(error: WireError, name: str) -> WireError:
    error.path.insert(0, name)
    return error
