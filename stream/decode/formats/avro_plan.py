"""Compiles a writer's schema, a reader's schema and the paths that are asked for into steps over all payloads of a poll. Pure.

The writer's fields are walked once. Consecutive fields of fixed width, also of nested records, become one gather. What is not
asked for is skipped by the same walk and checked as in `avro_check`, so that both paths agree on which payloads are valid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.stream.decode.formats.avro_branches import Blocks, Matrix, NullableNumber, NullableText, Union
from forebay.stream.decode.formats.avro_check import FIXED_WIDTH, INT_RANGE, RANGES, max_decimal_bytes
from forebay.stream.decode.formats.avro_cursor import MAX_CALLS, Ints, Poll
from forebay.stream.decode.formats.avro_entries import Entries
from forebay.stream.decode.formats.avro_resolution import (
    EPOCH,
    Unresolvable,
    reader_branch,
    reader_fields,
)
from forebay.stream.decode.formats.avro_schema import AvroField, AvroType
from forebay.stream.decode.formats.avro_steps import (
    Call,
    Constant,
    DecimalStep,
    Enumeration,
    Fail,
    FixedRun,
    Integer,
    Step,
    Text,
    as_objects,
    run_all,
)
from forebay.stream.decode.formats.payload import ParsedColumns, Path, TimeUnit

MAX_STEPS: Final = 20_000
MAX_BRANCHES: Final = 64
"""Unions of more branches than bytes of one digit have no columnar path."""
MAX_RAW_BYTES: Final = 1_024
"""A fixed of more bytes that is asked for has no columnar path."""
MAX_RUN_BYTES: Final = 1 << 14
UNITS: Final[dict[str, TimeUnit]] = {"timestamp-millis": "ms", "timestamp-micros": "us"}
DTYPES: Final = {"float": "<f4", "double": "<f8"}


class NoPlan(Exception):
    """There is no columnar path for these paths of this schema."""


@dataclass(slots=True)
class Selection:
    """What is asked for at and below a path. slots: the columns of the path itself."""

    slot: int | None = None
    children: dict[str, Selection] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps for some paths. slots: the column of each path. units: of the columns that are times."""

    steps: Sequence[Step]
    slots: dict[Path, int]
    units: dict[int, TimeUnit]

    def run(self, values: Sequence[bytes], start: int) -> ParsedColumns:
        """Return the columns of a poll. The payload of each value begins at `start`."""
        poll = Poll(values, start)
        cursor = poll.cursor()
        run_all(self.steps, cursor)
        poll.suspects_B |= cursor.pos != poll.end_B
        found = poll.columns(len(self.slots))
        for slot, unit in self.units.items():
            if found[slot].values.dtype == np.int64:  # not if it was never written
                found[slot].unit = unit
        return ParsedColumns({path: found[slot] for path, slot in self.slots.items()}, poll.suspects_B)


def compile_plan(writer: AvroType, reader: AvroType | None, paths: Sequence[Path]) -> Plan | None:
    """Return the plan for these paths; None if there is none."""
    selection = Selection()
    slots: dict[Path, int] = {}
    for path in paths:
        node = selection
        for name in path:
            node = node.children.setdefault(name, Selection())
        if node.slot is None:
            node.slot = len(slots)
        slots[path] = node.slot
    try:
        if selection.slot is not None or writer.kind != "record":
            return None
        compiler = _Compiler()
        steps = compiler.compile(writer, reader, selection)
    except (NoPlan, Unresolvable):
        return None
    return Plan(steps, slots, compiler.units)


class _Compiler:
    """Compiles types to steps. units: of the slots that are times."""

    def __init__(self) -> None:
        self.units: dict[int, TimeUnit] = {}
        self._num_steps = 0
        self._open: list[tuple[AvroType, AvroType | None]] = []
        self._calls: dict[tuple[AvroType, AvroType | None], Call] = {}

    def compile(self, writer: AvroType, reader: AvroType | None, selection: Selection | None) -> list[Step]:
        """Return the steps of a part that begins at positions which are not the same in all payloads."""
        steps: list[Step] = []
        self._add(steps, writer, reader, selection)
        return _frozen(steps)

    def _add(self, steps: list[Step], writer: AvroType, reader: AvroType | None, selection: Selection | None) -> None:
        self._num_steps += 1
        if self._num_steps > MAX_STEPS:
            raise NoPlan
        if writer.kind == "union":
            self._add_union(steps, writer, reader, selection)
            return
        if reader is not None:
            reader = reader_branch(writer, reader)
        if writer.kind == "record":
            self._add_record(steps, writer, reader, selection)
        elif writer.kind in ("array", "map"):
            self._add_blocks(steps, writer, reader, selection)
        else:
            # Paths below a value without parts are absent, so their columns are never written.
            self._add_scalar(steps, writer, reader, None if selection is None else selection.slot)

    def _add_record(
        self, steps: list[Step], writer: AvroType, reader: AvroType | None, selection: Selection | None
    ) -> None:
        if selection is not None and selection.slot is not None:
            raise NoPlan
        if selection is None or not selection.children:
            selection = None
        key = (writer, reader)
        if key in self._open:
            if selection is not None:
                raise NoPlan
            steps.append(self._calls.setdefault(key, Call([], MAX_CALLS)))
            return
        self._open.append(key)
        children = {} if selection is None else selection.children
        pairs, defaults = ({}, []) if reader is None else reader_fields(writer, reader)
        for written in writer.fields:
            member = written if reader is None else pairs.get(written.name)
            if member is None:
                self._add(steps, written.type, None, None)
            else:
                self._add(steps, written.type, None if reader is None else member.type, children.get(member.name))
        for default in defaults:
            if default.name in children:
                _add_default(steps, default, children[default.name])
        self._open.pop()
        if key in self._calls and not self._calls[key].steps:
            self._calls[key].steps.extend(self._body(writer, reader))

    def _body(self, writer: AvroType, reader: AvroType | None) -> list[Step]:
        """Return the steps that skip a recursive record, with calls of themselves."""
        body: list[Step] = []
        self._open.append((writer, reader))
        pairs = {} if reader is None else reader_fields(writer, reader)[0]
        for written in writer.fields:
            member = pairs.get(written.name)
            self._add(body, written.type, None if member is None else member.type, None)
        self._open.pop()
        return _frozen(body)

    def _add_union(
        self, steps: list[Step], writer: AvroType, reader: AvroType | None, selection: Selection | None
    ) -> None:
        if len(writer.branches) > MAX_BRANCHES:
            raise NoPlan
        others = [branch for branch in writer.branches if branch.kind != "null"]
        if selection is not None and len(others) > 1:
            raise NoPlan
        branches = [self._branch(branch, reader, selection) for branch in writer.branches]
        union = Union(branches)
        if len(writer.branches) == 2 and len(others) == 1 and selection is not None and selection.slot is not None:
            steps.append(_nullable(union, writer, others[0], selection.slot) or union)
        else:
            steps.append(union)

    def _branch(self, branch: AvroType, reader: AvroType | None, selection: Selection | None) -> list[Step]:
        try:
            return self.compile(branch, reader, selection)
        except Unresolvable:
            return [Fail()]

    def _add_blocks(
        self, steps: list[Step], writer: AvroType, reader: AvroType | None, selection: Selection | None
    ) -> None:
        item = writer.item_type
        item_reader = None if reader is None else reader.item_type
        if selection is not None:
            if writer.kind == "array":
                steps.append(_matrix(item, item_reader, selection))
            else:
                steps.append(self._entries(item, item_reader, selection))
            return
        width = 0 if writer.kind == "map" else FIXED_WIDTH.get(item.kind, 0)
        if width and item_reader is not None:
            reader_branch(item, item_reader)
        try:
            item_steps = [] if width else self.compile(item, item_reader, None)
        except Unresolvable:
            item_steps = [Fail()]
        if writer.kind == "map":
            item_steps = [Text(None, is_text=True, as_text=False), *item_steps]
        steps.append(Blocks(item_steps, width))

    def _entries(self, item: AvroType, reader: AvroType | None, selection: Selection) -> Entries:
        if selection.slot is not None:
            raise NoPlan
        wanted = {key: self.compile(item, reader, child) for key, child in selection.children.items()}
        return Entries(wanted, self.compile(item, reader, None))

    def _add_scalar(self, steps: list[Step], writer: AvroType, reader: AvroType | None, slot: int | None) -> None:
        if writer.logical == "decimal":
            size = writer.size if writer.kind == "fixed" else None
            step = DecimalStep(slot, size, writer.precision, writer.scale, max_bytes=max_decimal_bytes(writer))
            steps.append(step)
            return
        match writer.kind:
            case "null":
                return
            case "boolean" | "float" | "double" | "fixed":
                self._add_fixed(steps, writer, slot)
            case "string" | "bytes":
                as_text = (writer if reader is None else reader).kind == "string"
                steps.append(Text(slot, is_text=writer.kind == "string" or as_text, as_text=as_text))
            case "enum":
                steps.append(Enumeration(slot, _symbols(writer, reader)))
            case _:
                steps.append(self._integer(writer, reader, slot))

    def _add_fixed(self, steps: list[Step], writer: AvroType, slot: int | None) -> None:
        width = FIXED_WIDTH.get(writer.kind, writer.size if writer.kind == "fixed" else 1)
        run = steps[-1] if steps else None
        if not isinstance(run, FixedRun) or run.width + width > MAX_RUN_BYTES:
            run = FixedRun()
            steps.append(run)
        if writer.kind == "boolean":
            run.booleans.append((slot, run.width))
        elif slot is not None:
            if writer.kind != "fixed":
                run.numbers.append((slot, run.width, DTYPES[writer.kind]))
            elif 0 < width <= MAX_RAW_BYTES:
                run.raw.append((slot, run.width, width))
            else:
                raise NoPlan
        run.width += width

    def _integer(self, writer: AvroType, reader: AvroType | None, slot: int | None) -> Integer:
        allowed = RANGES.get(writer.logical or "", INT_RANGE if writer.kind == "int" else None)
        convert: Callable[[Ints], NDArray[Any]] | None = None
        if slot is not None and writer.logical in UNITS:
            self.units[slot] = UNITS[writer.logical]
        if writer.logical == "date":
            convert = _dates
        elif writer.logical in ("time-millis", "time-micros"):
            convert = partial(_times_of_day, microseconds=1_000 if writer.logical == "time-millis" else 1)
        elif writer.logical is None and reader is not None and reader.kind in DTYPES:
            convert = _as_float
        return Integer(slot, allowed, convert)


def _nullable(union: Union, writer: AvroType, other: AvroType, slot: int) -> Step | None:
    """Return a faster step for a union of null and another type, if there is one for it and the reader takes both."""
    number = writer.branches.index(other)
    steps = union.branches[number]
    if union.branches[1 - number] or len(steps) != 1 or isinstance(steps[0], Fail):
        return None
    tags = {"tag": 2 * number, "null_tag": 2 - 2 * number}
    if other.kind in DTYPES:
        return NullableNumber(slot, DTYPES[other.kind], FIXED_WIDTH[other.kind], **tags)
    if other.kind == "string" and isinstance(steps[0], Text):
        return NullableText(steps[0], union, **tags)
    return None


def _frozen(steps: list[Step]) -> list[Step]:
    for step in steps:
        if isinstance(step, FixedRun):
            step.freeze()
    return steps


def _symbols(writer: AvroType, reader: AvroType | None) -> NDArray[Any]:
    if reader is None:
        return as_objects(list(writer.symbols))
    default = reader.default_symbol or None
    return as_objects([symbol if symbol in reader.symbols else default for symbol in writer.symbols])


def _matrix(item: AvroType, reader: AvroType | None, selection: Selection) -> Matrix:
    if item.logical is not None or item.kind not in ("int", "long", "float", "double"):
        raise NoPlan
    if reader is not None:
        reader = reader_branch(item, reader)
    indexes = []
    for name, child in selection.children.items():
        if child.children or child.slot is None or not (name.isascii() and name.isdigit()):
            raise NoPlan
        if str(int(name[:9])) != name:
            raise NoPlan
        indexes.append((child.slot, int(name)))
    is_float = reader is not None and reader.kind in DTYPES
    allowed = INT_RANGE if item.kind == "int" else None
    return Matrix(selection.slot, indexes, DTYPES.get(item.kind), allowed=allowed, as_float=is_float)


def _add_default(steps: list[Step], member: AvroField, selection: Selection) -> None:
    """Add the default of a field, already as in documents, and of the fields in it that are asked for."""
    todo: list[tuple[object, Selection]] = [(member.default, selection)]
    while todo:
        value, wanted = todo.pop()
        if isinstance(value, (list, dict)) and wanted.slot is not None:
            raise NoPlan
        if isinstance(value, list) and wanted.children:
            raise NoPlan
        if wanted.slot is not None:
            steps.append(Constant(wanted.slot, value))
        if isinstance(value, dict):
            todo += [(value[name], child) for name, child in wanted.children.items() if name in value]


def _dates(days: Ints) -> NDArray[Any]:
    return days.astype("datetime64[D]").astype(object)


def _as_float(values: Ints) -> NDArray[np.float64]:
    return values.astype(np.float64)


def _times_of_day(values: Ints, microseconds: int) -> NDArray[Any]:
    return as_objects([(EPOCH + timedelta(microseconds=value * microseconds)).time() for value in values.tolist()])
