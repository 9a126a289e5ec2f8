"""A columnar reader of JSON lines: Arrow parses blocks of lines, and the row reader those that Arrow might read differently.

As in `csv_table`, the row reader decides what is right.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final, NamedTuple, cast

import pyarrow as pa
import pyarrow.json as pajson

from forebay.models.data import line_readers
from forebay.models.data.blocks import ParsedBlock, Task
from forebay.models.data.columns import Expected
from forebay.models.data.encoding import BOM, check_encoding
from forebay.models.data.event_columns import EVENT_ROWS, FEATURE_FIELDS, flat_event
from forebay.models.data.input_row import InputRow, InvalidRow
from forebay.models.data.line_readers import json_rows, read_lines
from forebay.models.data.object_columns import ObjectColumns, infer_schema
from forebay.models.data.table_options import TableOptions
from forebay.models.data.text_lines import BlockReader
from forebay.models.data.time_columns import TIMESTAMP
from forebay.schemas.errors import DataError

BLOCK_BYTES: Final = 2 << 20
_BLANK_LINE: Final = re.compile(rb"(?:\A|\n)[ \t\r]*\n")


class _Block(NamedTuple):
    """Whole lines, and the number of lines before them; no bytes for one line that is too long."""

    data: bytes
    lines_before: int


class JsonTable:
    """An open file of JSON lines. See `CsvTable` for the arguments.

    In events, the features become columns beside the other fields: see `flat_event`.
    """

    def __init__(self, stream: BinaryIO, place: str, options: TableOptions, expected: Expected | None) -> None:
        self._reader = BlockReader(stream)
        self._place = place
        self._lines = 0
        self._ignores_others = options.columns is not None
        self._first = self._next_block()
        if self._first is None:
            raise DataError(f"{place}: the file is empty", kind="empty", remedy="write one JSON object per line")
        sample = [row.values for row in self._rows(self._first) if isinstance(row, InputRow) and row.values]
        if not sample:
            raise DataError(
                f"{place}: none of the first lines holds a JSON object with values",
                kind="empty",
                remedy="write one JSON object per line",
            )
        self.schema: pa.Schema = expected.schema if expected is not None else _infer_schema(sample, place, options)
        self._columns = ObjectColumns(self.schema, self._ignores_others)
        # The fields that Arrow parses: features are in an object, None if they are not always there.
        self._features = next((field for field in FEATURE_FIELDS if field in sample[0]), None)
        self._parsed = self._nested_schema(sample)

    def tasks(self) -> Iterator[Task]:
        """Yield what parses the blocks of the file, in order."""
        block, self._first = self._first, None
        while block is not None or (block := self._next_block()) is not None:
            yield self._task(block)
            block = None

    def _nested_schema(self, sample: list[Mapping[str, object]]) -> pa.Schema | None:
        """Return the schema of the lines before `flat_event`; None if Arrow cannot parse them by it."""
        if TIMESTAMP in self.schema.types:
            return None  # Arrow reads other texts as times than the row reader
        if self._features is None:
            return self.schema
        if self._features in self.schema.names:
            return self.schema
        inner_names: set[str] = set()
        outer_names: set[str] = set()
        for values in sample:
            features = values.get(self._features)
            if not isinstance(features, dict):
                return None
            inner_names.update(features)
            outer_names.update(values)
        outer = [field for field in self.schema if field.name in outer_names - inner_names]
        inner = [field for field in self.schema if field.name not in outer_names - inner_names]
        return pa.schema([*outer, pa.field(self._features, pa.struct(inner))])

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
            self._lines += 1
            return _Block(self._long_line(), before)
        taken = reader.take(end)
        self._lines += taken.count(b"\n")
        return _Block(taken.removeprefix(BOM) if before == 0 else taken, before)

    def _long_line(self) -> bytes:
        """Read one line; return nothing if it is too long."""
        limit = line_readers.MAX_LINE_BYTES
        line = self._reader.readline(limit + 2)
        if len(line.removesuffix(b"\n").removesuffix(b"\r")) <= limit:
            return line
        while not line.endswith(b"\n") and (line := self._reader.readline(limit)):
            pass  # the rest of the line
        return b""

    def _rows(self, block: _Block) -> list[InputRow | InvalidRow]:
        if not block.data:
            return [line_readers.too_long(f"{self._place}, line {block.lines_before + 1}")]
        lines = (
            numbered if numbered is None else (numbered[0] + block.lines_before, numbered[1])
            for numbered in read_lines(io.BytesIO(block.data))
        )
        return cast("list[InputRow | InvalidRow]", list(json_rows(lines, self._place)))

    def _parse(self, block: _Block) -> ParsedBlock:
        data = block.data
        # Arrow accepts NaN and Infinity, and objects that are not one per line.
        num_lines = data.count(b"\n") + (not data.endswith(b"\n"))
        is_plain = not (b"NaN" in data or b"Inf" in data or _BLANK_LINE.search(data))
        is_plain = is_plain and data.count(b"\n{") + data.startswith(b"{") == num_lines
        if data and is_plain and self._parsed is not None:
            try:
                batch = self._parse_fast(data, self._parsed)
                if batch.num_rows == num_lines:
                    return ParsedBlock(batch, [])
            except pa.ArrowException:
                pass
        return self._parse_rows(self._rows(block))

    def _parse_fast(self, data: bytes, schema: pa.Schema) -> pa.RecordBatch:
        table = pajson.read_json(
            pa.BufferReader(data),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pajson.ParseOptions(
                explicit_schema=schema,
                unexpected_field_behavior="ignore" if self._ignores_others else "error",
            ),
        )
        table.validate(full=True)  # the parser does not check that text is UTF-8
        found = dict(zip(table.column_names, table.columns, strict=True))
        if schema is not self.schema:
            features = found.pop(self._features).combine_chunks()
            if features.null_count:
                raise pa.ArrowInvalid("an event without features, or not an event")
            found |= dict(zip(features.type.names, features.flatten(), strict=True))
        arrays = [found[name] for name in self.schema.names]
        arrays = [array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array for array in arrays]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _parse_rows(self, rows: list[InputRow | InvalidRow]) -> ParsedBlock:
        invalid: list[InvalidRow] = []
        good: list[Mapping[str, object]] = []
        for row in rows:
            if isinstance(row, InvalidRow):
                invalid.append(row)
                continue
            values = flat_event(row.values or {})
            problem = self._columns.misfit(f"{self._place}, line {row.number}", values)
            if problem is not None:
                invalid.append(problem)
            else:
                good.append(values)
        return ParsedBlock(self._columns.batch(good), invalid)


def _infer_schema(sample: list[Mapping[str, object]], place: str, options: TableOptions) -> pa.Schema:
    flat = [flat_event(values) for values in sample]
    schema = infer_schema(flat, place, options)
    return schema.with_metadata(EVENT_ROWS) if flat[0] is not sample[0] else schema
