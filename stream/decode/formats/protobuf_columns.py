"""Reads fields of many Protobuf messages at once: the fast path.

Nearly all libraries write fields in the order of their numbers. The reader keeps a position in each payload and goes through
the fields that are asked for in this order: where its tag is at the position, the value is read and the position moves
on; elsewhere the field is absent. Other fields are skipped and checked, so that a payload that the exact path would refuse is
never accepted. A payload whose position is not at its end after the last field is a suspect: it has fields in another order, a
field twice, a group, or is damaged.

Shapes: B payloads; R payloads that have the message being read; P of these with the field being read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from forebay.stream.decode.formats.document_columns import column_of_values, lookup
from forebay.stream.decode.formats.payload import Column, InvalidPayload, ParsedColumns, Path
from forebay.stream.decode.formats.protobuf_documents import (
    MAX_DURATION_S,
    MAX_TIMESTAMP_S,
    MIN_TIMESTAMP_S,
    NANOS,
    Budget,
)
from forebay.stream.decode.formats.protobuf_messages import Messages, Skipped
from forebay.stream.decode.formats.protobuf_plan import NUM_LISTED, Block, Check, Kind, MessagePlan, Slot
from forebay.stream.decode.formats.protobuf_size import LENGTH_DELIMITED
from forebay.stream.decode.formats.protobuf_wire import Positions, WireBuffer, as_numbers

MAX_ROUNDS: Final = 256
"""Payloads with more fields that follow each other and are not read one by one are suspects: each takes a round of its own."""
_SLOT_BYTES: Final = 32
_LONGEST_HEAD: Final = 8  # the tag and the length of a text

Mask = NDArray[np.bool_]


class ColumnReader:
    """Reads the columns of one poll."""

    def __init__(self, plan: MessagePlan, values: Sequence[bytes], start: int) -> None:
        self._buffer = WireBuffer(values, _SLOT_BYTES * (1 + _num_slots(plan)))
        lengths_B = np.fromiter(map(len, values), np.int64, len(values))
        end_B = np.cumsum(lengths_B + 1) - 1
        self._root = Messages(plan, None, end_B - lengths_B + start, end_B)
        self._num_rows = len(values)
        self.suspects_B = self._root.at_R > end_B
        self._root.at_R = np.minimum(self._root.at_R, end_B)
        self._columns: dict[Path, Column] = {}

    def read(self) -> ParsedColumns:
        """Return the columns of all paths of the plan."""
        self._read(self._root)
        return ParsedColumns(self._columns, self.suspects_B)

    def _read(self, messages: Messages) -> None:
        plan = messages.plan
        self._absent(plan.absent)
        if plan.num_oneofs:
            messages.counts_OR = np.zeros((plan.num_oneofs, len(messages.at_R)), np.int8)
        index = 0
        while index < len(plan.slots):
            slot = plan.slots[index]
            if slot.skip_before:
                self._skip(messages)
            block = plan.blocks.get(index)
            if block is not None and self._read_block(messages, block, index):
                index += block.count
                continue
            self._read_slot(messages, slot)
            index += 1
        if not (messages.at_R == messages.end_R).all():
            self._skip(messages)
        bad_R = messages.at_R != messages.end_R
        if messages.counts_OR is not None:
            bad_R |= (messages.counts_OR > 1).any(axis=0)
        self._suspect(messages, np.flatnonzero(bad_R))

    # Outcomes

    def _suspect(self, messages: Messages, at_P: NDArray[np.intp]) -> None:
        if len(at_P):
            self.suspects_B[messages.rows(at_P)] = True

    def _absent(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._columns[path] = Column(np.full(self._num_rows, None, object), np.ones(self._num_rows, bool))

    def _emit(self, messages: Messages, paths: Sequence[Path], column_R: Column) -> None:
        """Add the column of a field of the messages: payloads without the message have no value."""
        if not paths:
            return
        values, missing, rows = column_R.values, column_R.missing_B, messages.rows_R
        if rows is not None:
            all_values = np.zeros((self._num_rows, *values.shape[1:]), values.dtype)
            all_values[rows] = values
            all_missing = np.ones(self._num_rows, bool)
            all_missing[rows] = False if missing is None else missing
            column_R = Column(all_values, all_missing, column_R.unit)
        for path in paths:
            self._columns[path] = column_R

    # Fields that are read

    def _read_block(self, messages: Messages, block: Block, first: int) -> bool:
        """Read adjacent fields at once; return False if a payload does not have all of them."""
        at_R = messages.at_R
        if not len(at_R) or (messages.end_R - at_R).min() < block.width:
            return False
        bytes_RW = self._buffer.rows(at_R, block.width)
        if not (bytes_RW.take(block.tag_at_T, axis=1) == block.tag_T).all():
            return False
        slots = messages.plan.slots[first : first + block.count]
        values_RN = bytes_RW.take(block.value_at_V, axis=1).view(slots[0].dtype)
        for index, slot in enumerate(slots):
            self._emit(messages, slot.paths, self._fixed_column(messages, values_RN[:, index]))
        messages.at_R = at_R + block.width
        return True

    def _read_slot(self, messages: Messages, slot: Slot) -> None:
        at_R = messages.at_R
        has_R = self._buffer.has_tag(at_R, slot.tag)
        if messages is not self._root:
            has_R &= at_R < messages.end_R  # behind a nested message, there may be a tag
        if slot.other_tag:
            has_R |= self._buffer.has_tag(at_R, slot.other_tag) & (at_R < messages.end_R)
        if slot.oneof >= 0 and messages.counts_OR is not None:
            messages.counts_OR[slot.oneof] += has_R
        has_all = bool(has_R.all())
        if slot.kind is Kind.FIXED:
            self._read_fixed(messages, slot, has_R, has_all)
            return
        at_P = np.arange(len(at_R)) if has_all else np.flatnonzero(has_R)
        missing_R = None if has_all or not slot.has_presence else ~has_R
        if slot.kind is Kind.VARINT:
            column = self._read_varints(messages, slot, at_P)
        elif slot.kind in (Kind.TEXT, Kind.BYTES):
            column = self._read_texts(messages, slot, at_P)
        elif slot.kind is Kind.PACKED:
            column = self._read_packed(messages, slot, at_P)
        elif slot.kind is Kind.OBJECT:
            self._read_objects(messages, slot, at_P)
            return
        else:
            self._read_messages(messages, slot, at_P)
            return
        column.missing_B = missing_R
        self._emit(messages, slot.paths, column)

    def _read_fixed(self, messages: Messages, slot: Slot, has_R: Mask, has_all: bool) -> None:
        width = len(slot.tag) + slot.dtype.itemsize
        value_R = self._buffer.view(slot.dtype)[messages.at_R + len(slot.tag)]
        if has_all:
            messages.at_R = messages.at_R + width
        else:
            value_R[~has_R] = 0
            messages.at_R = messages.at_R + has_R * width
        column = self._fixed_column(messages, value_R)
        if slot.has_presence and not has_all:
            column.missing_B = ~has_R
        self._emit(messages, slot.paths, column)

    def _fixed_column(self, messages: Messages, value_R: NDArray[Any]) -> Column:
        if value_R.dtype.kind == "f":
            return Column(value_R)
        if value_R.dtype == np.uint64:
            self._suspect(messages, np.flatnonzero(value_R > np.uint64(2**63 - 1)))
        return Column(value_R.astype(np.int64))

    def _read_varints(self, messages: Messages, slot: Slot, at_P: NDArray[np.intp]) -> Column:
        begin_P = messages.at_R[at_P] + len(slot.tag)
        raw_P, width_P = self._buffer.varints(begin_P)
        messages.advance(at_P, begin_P + width_P)
        value_P, too_large_P = as_numbers(raw_P, slot.varint)
        if too_large_P is not None:
            self._suspect(messages, at_P[too_large_P])
        if slot.names is not None:
            value_P = self._names(messages, slot, at_P, value_P)
        if len(at_P) == len(messages.at_R):
            return Column(value_P)
        value_R = np.full(len(messages.at_R), slot.default if slot.names is not None else 0, value_P.dtype)
        value_R[at_P] = value_P
        return Column(value_R)

    def _names(self, messages: Messages, slot: Slot, at_P: NDArray[np.intp], value_P: NDArray[Any]) -> NDArray[Any]:
        names = slot.names or {}
        numbers_U, index_P = np.unique(value_P, return_inverse=True)
        if slot.is_closed:
            known_U = np.fromiter((number in names for number in numbers_U.tolist()), bool, len(numbers_U))
            self._suspect(messages, at_P[~known_U[index_P]])
        names_U = np.fromiter((names.get(number, number) for number in numbers_U.tolist()), object, len(numbers_U))
        return names_U[index_P]

    def _read_texts(self, messages: Messages, slot: Slot, at_P: NDArray[np.intp]) -> Column:
        begin_P, end_P = self._spans(messages, slot, at_P)
        begins, ends = begin_P.tolist(), end_P.tolist()
        found: list[Any]
        if slot.kind is Kind.TEXT:
            text = self._buffer.text
            found = [text[begin:end] for begin, end in zip(begins, ends, strict=True)]
            if not all(map(str.isascii, found)):
                found = self._decode(messages, at_P, found)
        else:
            raw = self._buffer.raw
            found = [raw[begin:end] for begin, end in zip(begins, ends, strict=True)]
        value_P = np.fromiter(found, object, len(found))
        if len(at_P) == len(messages.at_R):
            return Column(value_P)
        value_R = np.full(len(messages.at_R), slot.default, object)
        value_R[at_P] = value_P
        return Column(value_R)

    def _decode(self, messages: Messages, at_P: NDArray[np.intp], found: list[str]) -> list[str]:
        """Decode texts that are not all ASCII. found: each byte as one character."""
        try:
            return [text if text.isascii() else text.encode("latin-1").decode() for text in found]
        except UnicodeDecodeError:
            bad_P = np.fromiter((not _is_utf8(text.encode("latin-1")) for text in found), bool, len(found))
            self._suspect(messages, at_P[bad_P])
            return [text if bad else text.encode("latin-1").decode() for text, bad in zip(found, bad_P, strict=True)]

    def _spans(self, messages: Messages, slot: Slot, at_P: NDArray[np.intp]) -> tuple[Positions, Positions]:
        """Return where contents begin and end, and move behind them. What is too long is empty, and its payload a suspect."""
        begin_P, end_P = self._buffer.spans(messages.at_R[at_P] + len(slot.tag))
        messages.advance(at_P, end_P)
        limit_P = messages.end_R[at_P]
        if (end_P > limit_P).any():
            begin_P, end_P = np.minimum(begin_P, limit_P), np.where(end_P > limit_P, begin_P, end_P)
            end_P = np.minimum(end_P, limit_P)
        return begin_P, end_P

    def _read_packed(self, messages: Messages, slot: Slot, at_P: NDArray[np.intp]) -> Column:
        begin_P, end_P = self._spans(messages, slot, at_P)
        size_P, item = end_P - begin_P, slot.dtype.itemsize
        self._suspect(messages, at_P[size_P % item != 0])
        if len(at_P) and len(at_P) == len(messages.at_R) and size_P[0] and (size_P == size_P[0]).all():
            length = int(size_P[0]) // item
            if length and (length * item) * len(at_P) <= 4 * len(self._buffer.raw):
                return Column(self._buffer.rows(begin_P, length * item).view(slot.dtype))
        raw, dtype = self._buffer.raw, slot.dtype
        value_R = np.fromiter(([] for _ in messages.at_R), object, len(messages.at_R))
        for index, begin, size in zip(at_P.tolist(), begin_P.tolist(), size_P.tolist(), strict=True):
            value_R[index] = np.frombuffer(raw, dtype, size // item, begin).tolist()
        return Column(value_R)

    def _read_objects(self, messages: Messages, slot: Slot, at_P: NDArray[np.intp]) -> None:
        """Read a field as in documents: a message, or all values of a repeated field or map that follow each other."""
        begin_P = messages.at_R[at_P]
        rest = at_P
        for _ in range(MAX_ROUNDS):
            if not len(rest):
                break
            messages.advance(rest, self._buffer.tokens(messages.at_R[rest])[2])
            if not slot.field.is_repeated:
                break
            at = messages.at_R[rest]
            again = self._buffer.has_tag(at, slot.tag)
            if slot.other_tag:
                again |= self._buffer.has_tag(at, slot.other_tag)
            rest = rest[again & (at < messages.end_R[rest])]
        end_P = np.minimum(messages.at_R[at_P], messages.end_R[at_P])
        documents: list[Any] = [slot.default] * len(messages.at_R)
        bad = []
        for index, begin, end in zip(at_P.tolist(), begin_P.tolist(), end_P.tolist(), strict=True):
            try:
                documents[index] = self._document(messages.plan, slot, self._buffer.raw[begin:end])
            except (DecodeError, InvalidPayload):
                bad.append(index)
        self._suspect(messages, np.array(bad, np.intp))
        for path, rest_of_path in slot.rests:
            self._emit(messages, [path], column_of_values([lookup(document, rest_of_path) for document in documents]))

    @staticmethod
    def _document(plan: MessagePlan, slot: Slot, payload: bytes) -> object:
        budget = Budget()
        budget.depth = plan.depth + 1
        for _, value in plan.message_class.FromString(payload).ListFields():
            return slot.convert(value, budget) if slot.convert is not None else None
        return slot.default

    def _read_messages(self, messages: Messages, slot: Slot, at_P: NDArray[np.intp]) -> None:
        assert slot.child is not None
        begin_P, end_P = self._spans(messages, slot, at_P)
        has_all = len(at_P) == self._num_rows
        inner = Messages(slot.child, None if has_all else messages.rows(at_P), begin_P, end_P)
        if slot.kind is Kind.MESSAGE:
            self._read(inner)
            return
        outer, self._columns = self._columns, {}
        self._read(inner)
        parts, self._columns = self._columns, outer
        is_wrapper = slot.kind is Kind.WRAPPER
        column = parts["value",] if is_wrapper else self._times(slot, parts["seconds",], parts["nanos",].values)
        for path in slot.paths:
            self._columns[path] = column

    def _times(self, slot: Slot, seconds: Column, nanos_B: NDArray[np.int64]) -> Column:
        seconds_B, missing_B = seconds.values, seconds.missing_B
        if slot.kind is Kind.TIMESTAMP:
            valid_B = (
                (seconds_B >= MIN_TIMESTAMP_S) & (seconds_B <= MAX_TIMESTAMP_S) & (nanos_B >= 0) & (nanos_B < NANOS)
            )
        else:
            valid_B = (seconds_B >= -MAX_DURATION_S) & (seconds_B <= MAX_DURATION_S)  # -2^63 has no absolute value
            valid_B &= (nanos_B > -NANOS) & (nanos_B < NANOS)
            valid_B &= (seconds_B == 0) | (nanos_B == 0) | ((seconds_B < 0) == (nanos_B < 0))
        self.suspects_B |= ~valid_B if missing_B is None else ~(valid_B | missing_B)
        if slot.kind is Kind.TIMESTAMP:
            return Column(seconds_B * 1_000_000 + nanos_B // 1000, missing_B, "us")
        return Column(seconds_B + nanos_B / NANOS, missing_B)

    # Fields that are skipped

    def _skip(self, messages: Messages) -> None:
        """Move behind all fields that are not read, up to the next one that is."""
        plan = messages.plan
        rest = np.flatnonzero(messages.at_R < messages.end_R)
        found: list[Skipped] = []
        for _ in range(MAX_ROUNDS):
            if not len(rest):
                break
            at_P = messages.at_R[rest]
            number_P, kind_P, after_P = self._buffer.tokens(at_P)
            skipped_P = (number_P < NUM_LISTED) & plan.skipped_N[np.minimum(number_P, NUM_LISTED - 1)]
            skipped_P &= after_P <= messages.end_R[rest]
            if not skipped_P.all():
                if not skipped_P.any():
                    break
                rest, at_P, after_P = rest[skipped_P], at_P[skipped_P], after_P[skipped_P]
                number_P, kind_P = number_P[skipped_P], kind_P[skipped_P]
            if plan.checks:
                delimited_P = kind_P == LENGTH_DELIMITED
                if delimited_P.any():
                    where = np.flatnonzero(delimited_P)
                    found.append(Skipped(rest[where], number_P[where], at_P[where], after_P[where]))
            messages.advance(rest, after_P)
            rest = rest[after_P < messages.end_R[rest]]
        for skipped in found:
            self._check(messages, skipped)

    def _check(self, messages: Messages, skipped: Skipped) -> None:
        """Check the skipped values of a poll that the exact path may refuse."""
        raw, checks, message_class = self._buffer.raw, messages.plan.checks, messages.plan.message_class
        depth = messages.plan.depth + 1
        bad = []
        for index, number, begin, end in zip(*(part.tolist() for part in skipped), strict=True):
            check = checks.get(number)
            if check is None:
                continue
            token = raw[begin:end]
            if check[0] is Check.TEXT and token[_LONGEST_HEAD:].isascii() and token[:_LONGEST_HEAD].isascii():
                continue
            try:
                for _, value in message_class.FromString(token).ListFields():
                    if check[1] is not None:
                        budget = Budget()
                        budget.depth = depth
                        check[1](value, budget)
            except (DecodeError, InvalidPayload):
                bad.append(index)
        self._suspect(messages, np.array(bad, np.intp))


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _num_slots(plan: MessagePlan) -> int:
    return sum(1 + (_num_slots(slot.child) if slot.child is not None else 0) for slot in plan.slots)
