"""A columnar reader of JSON lines: Arrow parses blocks of lines, and the row reader those that Arrow might read differently.

As in `csv_table`, the row reader decides what is right.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, cast

import pyarrow as pa
import pyarrow.json as pajson

from forebay.models.data import line_readers
from forebay.models.data.blocks import ParsedBlock, Task
from forebay.models.data.columns import (
    ARROW_TYPES,
    Expected,
    check_types,
    describe_type,
    misfit_remedy,
    selected_columns,
)
from forebay.models.data.encoding import BOM, check_encoding
from forebay.models.data.input_row import InputRow, InvalidRow
from forebay.models.data.line_readers import json_rows, read_lines
from forebay.models.data.table_options import TableOptions
from forebay.models.data.text_lines import BlockReader
from forebay.schemas.errors import DataError

BLOCK_BYTES: Final = 2 << 20
_BLANK_LINE: Final = re.compile(rb"(?:\A|\n)[ \t\r]*\n")


class _Block(NamedTuple):
    """Whole lines, and the number of lines before them; no bytes for one line that is too long."""

    data: bytes
    lines_before: int


class JsonTable:
    """An open file of JSON lines. See `CsvTable` for the arguments."""

    def __init__(self, stream: BinaryIO, place: str, options: TableOptions, expected: Expected | None) -> None:
        self._reader = BlockReader(stream)
        self._place = place
        self._lines = 0
        self._ignores_others = options.columns is not None
        self._first = self._next_block()
        if self._first is None:
            raise DataError(f"{place}: the file is empty", kind="empty", remedy="write one JSON object per line")
        self.schema = self._infer(options) if expected is None else expected.schema
        self._columns = dict(zip(self.schema.names, self.schema.types, strict=True))

    def tasks(self) -> Iterator[Task]:
        """Yield what parses the blocks of the file, in order."""
        block, self._first = self._first, None
        while block is not None or (block := self._next_block()) is not None:
            yield self._task(block)
            block = None

    def _task(self, block: _Block) -> Task:
        return lambda: self._parse(block)

    def _next_block(self) -> _Block | None:
        reader, before = self._reader, self._lines
        data = reader.peek(BLOCK_BYTES)
        if not data:
            return None
        if before == 0:
            check_encoding(data[:4096], self._place)
        end = len(data) if reader.ended else data.rfind(b"\n") + 1
        if end == 0:  # one line that is longer than a block
            taken = reader.readline(line_readers.MAX_LINE_BYTES + 2)
            if len(taken) > line_readers.MAX_LINE_BYTES and len(taken.rstrip(b"\r\n")) > line_readers.MAX_LINE_BYTES:
                while not taken.endswith(b"\n") and (taken := reader.readline(line_readers.MAX_LINE_BYTES)):
                    pass  # the rest of the line
                taken = b""
            self._lines += 1
            return _Block(taken, before)
        taken = reader.take(end)
        self._lines += taken.count(b"\n")
        return _Block(taken.removeprefix(BOM) if before == 0 else taken, before)

    def _rows(self, block: _Block) -> list[InputRow | InvalidRow]:
        if not block.data:
            return [line_readers.too_long(f"{self._place}, line {block.lines_before + 1}")]
        lines = (
            numbered if numbered is None else (numbered[0] + block.lines_before, numbered[1])
            for numbered in read_lines(io.BytesIO(block.data))
        )
        return cast("list[InputRow | InvalidRow]", list(json_rows(lines, self._place)))

    def _infer(self, options: TableOptions) -> pa.Schema:
        assert self._first is not None
        values: dict[str, list[object]] = {}
        for row in self._rows(self._first):
            if isinstance(row, InputRow) and row.values is not None:
                for name, value in row.values.items():
                    values.setdefault(name, []).append(value)
        if not values:
            raise DataError(
                f"{self._place}: none of the first lines holds a JSON object with values",
                kind="empty",
                remedy="write one JSON object per line",
            )
        check_types(self._place, values, options.types)
        names = selected_columns(self._place, list(values), options.columns)
        stated = {name: ARROW_TYPES[kind] for name, kind in options.types.items()}
        return pa.schema([(name, stated.get(name) or infer_type(values[name])) for name in names])

    def _parse(self, block: _Block) -> ParsedBlock:
        data = block.data
        # Arrow accepts NaN and Infinity, and objects that are not one per line.
        num_lines = data.count(b"\n") + (not data.endswith(b"\n"))
        is_plain = not (b"NaN" in data or b"Inf" in data or _BLANK_LINE.search(data))
        if data and is_plain and data.count(b"\n{") + data.startswith(b"{") == num_lines:
            try:
                batch = self._parse_fast(data)
                if batch.num_rows == num_lines:
                    return ParsedBlock(batch, [])
            except pa.ArrowException:
                pass
        return self._parse_rows(self._rows(block))

    def _parse_fast(self, data: bytes) -> pa.RecordBatch:
        table = pajson.read_json(
            pa.BufferReader(data),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pajson.ParseOptions(
                explicit_schema=self.schema,
                unexpected_field_behavior="ignore" if self._ignores_others else "error",
            ),
        )
        table.validate(full=True)  # the parser does not check that text is UTF-8
        arrays = [table[name].combine_chunks() for name in self.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _parse_rows(self, rows: Sequence[InputRow | InvalidRow]) -> ParsedBlock:
        invalid: list[InvalidRow] = []
        good: list[Mapping[str, object]] = []
        for row in rows:
            if isinstance(row, InvalidRow):
                invalid.append(row)
            elif (problem := self._misfit(row)) is not None:
                invalid.append(problem)
            else:
                good.append(row.values or {})
        arrays = [pa.array([row.get(name) for row in good], kind) for name, kind in self._columns.items()]
        return ParsedBlock(pa.RecordBatch.from_arrays(arrays, schema=self.schema), invalid)

    def _misfit(self, row: InputRow) -> InvalidRow | None:
        values = row.values or {}
        place = f"{self._place}, line {row.number}"
        for name, value in values.items():
            kind = self._columns.get(name)
            if kind is None:
                if self._ignores_others:
                    continue
                return InvalidRow(
                    place,
                    f"column {name!r} is not in the first lines",
                    f"state its type, such as {name}=float64, or choose the columns to read; "
                    "--skip-bad-lines skips such lines",
                )
            if not fits(value, kind):
                shown = repr(value)
                shown = shown if len(shown) <= 60 else shown[:59] + "…"
                reason = f"column {name} is {shown}, but the column holds {describe_type(kind)}"
                return InvalidRow(place, reason, misfit_remedy(name, value))
        return None


def infer_type(values: Sequence[object]) -> pa.DataType:
    """Return the type of the values of a column, up to the first one that has another type than those before."""
    try:
        kind = pa.infer_type(values)
    except (pa.ArrowException, OverflowError):
        first = next((_kind(value) for value in values if value is not None), None)
        end = next(index for index, value in enumerate(values) if value is not None and _kind(value) != first)
        try:
            kind = pa.infer_type(values[:end])
        except (pa.ArrowException, OverflowError):
            kind = pa.string()
    return kind


def _kind(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def fits(value: object, kind: pa.DataType) -> bool:
    """Return whether a value of JSON is one of a type, or null."""
    of = pa.types
    if value is None:
        return True
    if of.is_boolean(kind):
        return isinstance(value, bool)
    if of.is_integer(kind):
        low = 0 if of.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
        return type(value) is int and low <= value < low + 2**kind.bit_width
    if of.is_floating(kind):
        return type(value) in (int, float)
    if of.is_string(kind):
        return isinstance(value, str)
    if of.is_list(kind):
        return isinstance(value, list) and all(fits(element, kind.value_type) for element in value)
    if of.is_struct(kind) and isinstance(value, dict):
        fields: dict[str, Any] = {field.name: field.type for field in kind}
        return all(name in fields and fits(inner, fields[name]) for name, inner in value.items())
    return False
