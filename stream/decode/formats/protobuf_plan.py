"""Plans for reading fields of Protobuf messages in columns: which tags to expect in which order, and what to check in between.

Built once for each message type and set of paths. Pure; without NumPy's data, only its types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from forebay.stream.decode.formats.payload import Path
from forebay.stream.decode.formats.protobuf_documents import (
    WRAPPERS,
    Convert,
    Converters,
    default_of,
    is_well_known,
    json_names,
)
from forebay.stream.decode.formats.protobuf_orders import Orders, in_order
from forebay.stream.decode.formats.protobuf_size import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT

NUM_LISTED: Final = 4096
"""Fields with higher numbers are read if they are asked for. Payloads with others of them are suspects."""

MIN_BLOCK: Final = 4
_FEW: Final = 4

_F = FieldDescriptor
_FIXED: Final = {
    _F.TYPE_FLOAT: "<f4",
    _F.TYPE_DOUBLE: "<f8",
    _F.TYPE_FIXED32: "<u4",
    _F.TYPE_SFIXED32: "<i4",
    _F.TYPE_FIXED64: "<u8",
    _F.TYPE_SFIXED64: "<i8",
}


class Kind(Enum):
    """How the value of a field is read."""

    FIXED = auto()
    VARINT = auto()
    TEXT = auto()
    BYTES = auto()
    MESSAGE = auto()
    TIMESTAMP = auto()
    DURATION = auto()
    WRAPPER = auto()
    PACKED = auto()
    OBJECT = auto()  # as in documents, payload by payload


class Check(Enum):
    """What has to hold for a field that is skipped, because the exact path would refuse the payload otherwise."""

    TEXT = auto()
    PARSE = auto()
    CONVERT = auto()


@dataclass(slots=True)
class Slot:
    """A field that is read.

    tag: the bytes before each value. paths: those that end at this field.
    rests: for objects, each path with what follows the field in it.
    default: the value if it is absent and has no presence.
    dtype: of fixed and packed numbers. varint: the type of a varint.
    oneof: the index of its oneof within the plan, or -1.
    """

    field: FieldDescriptor
    kind: Kind
    tag: bytes
    paths: tuple[Path, ...] = ()
    rests: tuple[tuple[Path, Path], ...] = ()
    has_presence: bool = False
    default: Any = None
    dtype: Any = None
    varint: int = 0
    names: dict[int, str] | None = None
    is_closed: bool = False
    child: MessagePlan | None = None
    convert: Convert | None = None
    other_tag: bytes = b""
    oneof: int = -1
    skip_before: bool = False


@dataclass(slots=True)
class Block:
    """Adjacent fields of one fixed width, which are read at once where a payload has all of them.

    tag_at_T, tag_T: where bytes of tags are, and which. value_at_V: where bytes of values are.
    """

    count: int
    width: int
    tag_at_T: NDArray[np.intp]
    tag_T: NDArray[np.uint8]
    value_at_V: NDArray[np.intp]


@dataclass(slots=True)
class MessagePlan:
    """How messages of one type are read.

    slots: in the order in which they are written, usually that of their numbers.
    blocks: by the index of their first slot.
    skipped_N: by field number, whether a field is not read and therefore skipped.
    checks: by field number, what to check in skipped fields. depth: how deeply the message is nested.
    num_few: up to this number of payloads are read faster one by one.
    """

    message_class: Any
    depth: int
    slots: list[Slot] = field(default_factory=list)
    blocks: dict[int, Block] = field(default_factory=dict)
    skipped_N: NDArray[np.bool_] = field(default_factory=lambda: np.ones(NUM_LISTED, bool))
    checks: dict[int, tuple[Check, Convert | None]] = field(default_factory=dict)
    num_oneofs: int = 0
    num_few: int = 0
    absent: list[Path] = field(default_factory=list)

    def paths(self) -> list[Path]:
        """Return all paths that lead into the message."""
        found = list(self.absent)
        for slot in self.slots:
            found += [*slot.paths, *(path for path, _ in slot.rests)]
            if slot.child is not None:
                found += slot.child.paths()
        return found


def tag_of(number: int, wire_type: int) -> bytes:
    """Return the bytes before a value of a field."""
    rest, written = number << 3 | wire_type, bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*written, rest))


class Planner:
    """Builds plans. orders: of types whose fields are not written in the order of their numbers."""

    def __init__(self, converters: Converters, orders: Orders = MappingProxyType({})) -> None:
        self._converters = converters
        self._orders = orders
        self._strict: dict[str, bool] = {}

    def plan(self, descriptor: Descriptor, wanted: Sequence[tuple[Path, Path]], depth: int = 0) -> MessagePlan:
        """Return the plan for paths. wanted: each path, with the part of it that is relative to the message."""
        plan = MessagePlan(message_factory.GetMessageClass(descriptor), depth)
        by_name = {name: descriptor.fields_by_name[name] for name in descriptor.fields_by_name}
        for other, name in json_names(descriptor).items():
            by_name.setdefault(other, by_name[name])
        asked: dict[int, list[tuple[Path, Path]]] = {}
        for path, rest in wanted:
            if rest[0] in by_name:
                asked.setdefault(by_name[rest[0]].number, []).append((path, rest[1:]))
            else:
                plan.absent.append(path)
        oneofs = self._oneofs(descriptor, asked.keys())
        plan.num_oneofs = len(oneofs)
        is_after_skipped = False
        for item in in_order(descriptor.fields, self._orders.get(descriptor.full_name)):
            oneof = oneofs.get(item.containing_oneof.full_name, -1) if item.containing_oneof else -1
            is_read = item.number in asked or oneof >= 0 or self._is_timestamp(item)
            if is_read:
                slot = self._slot(item, asked.get(item.number, []), plan)
                slot.oneof, slot.skip_before = oneof, is_after_skipped
                plan.slots.append(slot)
                is_after_skipped = False
                if item.number < NUM_LISTED:
                    plan.skipped_N[item.number] = False
            else:
                is_after_skipped = True
                self._add_check(item, plan)
        plan.skipped_N[0] = False  # not a valid number
        _add_blocks(plan)
        in_blocks = sum(block.count for block in plan.blocks.values())
        plan.num_few = _FEW + (len(plan.slots) - in_blocks) // 2
        return plan

    @staticmethod
    def _oneofs(descriptor: Descriptor, asked: Any) -> dict[str, int]:
        """Return the oneofs with fields that are asked for: of these all fields are read, since the last one counts."""
        found: dict[str, int] = {}
        for oneof in descriptor.oneofs:
            if len(oneof.fields) > 1 and any(item.number in asked for item in oneof.fields):
                found[oneof.full_name] = len(found)
        return found

    @staticmethod
    def _is_timestamp(item: FieldDescriptor) -> bool:
        """Return whether a field is read in any case, because that is the fastest check."""
        message = item.message_type
        return (
            message is not None
            and not item.is_repeated
            and is_well_known(message)
            and message.full_name == "google.protobuf.Timestamp"
        )

    def _slot(self, item: FieldDescriptor, asked: Sequence[tuple[Path, Path]], plan: MessagePlan) -> Slot:
        ends = tuple(path for path, rest in asked if not rest)
        deeper = tuple((path, rest) for path, rest in asked if rest)
        slot = Slot(item, Kind.OBJECT, tag_of(item.number, LENGTH_DELIMITED), ends, has_presence=item.has_presence)
        if item.is_repeated:
            if not deeper and item.is_packed and item.type in (_F.TYPE_FLOAT, _F.TYPE_DOUBLE):
                slot.kind, slot.dtype = Kind.PACKED, np.dtype(_FIXED[item.type])
                return slot
            return self._object(slot, asked)
        if item.type == _F.TYPE_GROUP:
            return self._object(slot, asked)
        if item.message_type is None:
            plan.absent += [path for path, _ in deeper]
            return self._scalar(slot)
        name = item.message_type.full_name
        if not is_well_known(item.message_type):
            if ends or not deeper:
                return self._object(slot, asked)
            slot.kind, slot.child = Kind.MESSAGE, self.plan(item.message_type, deeper, plan.depth + 1)
        elif name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
            slot.kind = Kind.TIMESTAMP if name.endswith("Timestamp") else Kind.DURATION
            slot.child = self.plan(item.message_type, [(("seconds",),) * 2, (("nanos",),) * 2], plan.depth + 1)
            plan.absent += [path for path, _ in deeper]
        elif name in WRAPPERS:
            slot.kind, slot.child = Kind.WRAPPER, self.plan(item.message_type, [(("value",),) * 2], plan.depth + 1)
            plan.absent += [path for path, _ in deeper]
        else:
            return self._object(slot, asked)
        return slot

    def _object(self, slot: Slot, asked: Sequence[tuple[Path, Path]]) -> Slot:
        item = slot.field
        slot.paths, slot.rests = (), tuple(asked)
        slot.convert = self._converters.field(item)
        if item.is_repeated:
            is_map = item.message_type is not None and item.message_type.GetOptions().map_entry
            slot.default = {} if is_map else []
            if item.message_type is None and item.type not in (_F.TYPE_STRING, _F.TYPE_BYTES):
                slot.other_tag = tag_of(item.number, _wire_type(item))  # packed and not packed are equally valid
        return slot

    def _scalar(self, slot: Slot) -> Slot:
        item = slot.field
        slot.tag = tag_of(item.number, _wire_type(item))
        if not item.has_presence:
            slot.default = default_of(item, self._converters)
        if item.type in _FIXED:
            slot.kind, slot.dtype = Kind.FIXED, np.dtype(_FIXED[item.type])
        elif item.type in (_F.TYPE_STRING, _F.TYPE_BYTES):
            slot.kind = Kind.TEXT if item.type == _F.TYPE_STRING else Kind.BYTES
        else:
            slot.kind, slot.varint = Kind.VARINT, item.type
            if item.enum_type is not None:
                slot.names, slot.is_closed = self._converters.enum(item.enum_type), item.enum_type.is_closed
        return slot

    def _add_check(self, item: FieldDescriptor, plan: MessagePlan) -> None:
        if item.type == _F.TYPE_STRING:
            plan.checks[item.number] = Check.TEXT, None
        elif item.message_type is not None:
            needs = self._is_strict(item.message_type)
            convert = self._converters.field(item) if needs else None
            plan.checks[item.number] = (Check.CONVERT if needs else Check.PARSE), convert
        elif item.is_repeated and item.type != _F.TYPE_BYTES:
            plan.checks[item.number] = Check.PARSE, None

    def _is_strict(self, descriptor: Descriptor) -> bool:
        """Return whether the exact path may refuse messages of a type that the library parses."""
        known = self._strict.get(descriptor.full_name)
        if known is None:
            self._strict[descriptor.full_name] = True  # a type that contains itself may be nested too deeply
            known = is_well_known(descriptor)
            for item in descriptor.fields:
                if item.message_type is not None:
                    known = self._is_strict(item.message_type) or known
                elif item.type == _F.TYPE_STRING:
                    known = known or _accepts_any_bytes(item)
            self._strict[descriptor.full_name] = known
        return known


def _accepts_any_bytes(item: FieldDescriptor) -> bool:
    """Return whether the library parses a string that is not UTF-8, as in proto2."""
    try:
        message_factory.GetMessageClass(item.containing_type).FromString(
            tag_of(item.number, LENGTH_DELIMITED) + b"\x01\xff"
        )
    except DecodeError:
        return False
    return True


def _wire_type(item: FieldDescriptor) -> int:
    if item.type in (_F.TYPE_FLOAT, _F.TYPE_FIXED32, _F.TYPE_SFIXED32):
        return FIXED32
    if item.type in _FIXED:
        return FIXED64
    if item.type in (_F.TYPE_STRING, _F.TYPE_BYTES, _F.TYPE_MESSAGE):
        return LENGTH_DELIMITED
    return VARINT


def _add_blocks(plan: MessagePlan) -> None:
    """Find adjacent fields of one fixed type."""
    first = 0
    while first < len(plan.slots):
        last = first
        while last < len(plan.slots) and _fits(plan.slots[first], plan.slots[last], last > first):
            last += 1
        if last - first >= MIN_BLOCK:
            plan.blocks[first] = _block(plan.slots[first:last])
        first = max(last, first + 1)


def _fits(first: Slot, slot: Slot, is_later: bool) -> bool:
    same = slot.kind is Kind.FIXED and slot.dtype == first.dtype and slot.oneof < 0
    return same and not (is_later and slot.skip_before)


def _block(slots: Sequence[Slot]) -> Block:
    tag_at: list[int] = []
    value_at: list[int] = []
    position = 0
    for slot in slots:
        tag_at += range(position, position + len(slot.tag))
        position += len(slot.tag)
        value_at += range(position, position + slot.dtype.itemsize)
        position += slot.dtype.itemsize
    tags = np.frombuffer(b"".join(slot.tag for slot in slots), np.uint8)
    return Block(len(slots), position, tag_at_T=np.array(tag_at), tag_T=tags, value_at_V=np.array(value_at))
