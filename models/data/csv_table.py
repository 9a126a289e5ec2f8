"""A columnar reader of CSV: Arrow parses blocks of whole records, and the row reader those that Arrow might read differently.

The row reader decides what is right. A block goes to Arrow only if its quotes are unambiguous, and comes back to the row
reader if Arrow refuses it: that finds the lines and values that are wrong.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from forebay.models.data.blocks import ParsedBlock, Task
from forebay.models.data.columns import (
    ARROW_TYPES,
    Expected,
    check_types,
    describe_type,
    misfit_remedy,
    selected_columns,
)
from forebay.models.data.csv_rows import INTEGER, NUMBER, WORDS, CsvHeader, CsvOptions, read_header, read_value
from forebay.models.data.input_row import InvalidRow
from forebay.models.data.table_options import TableOptions
from forebay.models.data.text_lines import BlockReader, TextLines, count_lines
from forebay.models.data.time_columns import TIMESTAMP, times_of_texts
from forebay.models.data.times import time_of
from forebay.schemas.errors import DataError

BLOCK_BYTES: Final = 2 << 20

_QUOTE: Final = 34
_LINE_ENDS: Final = (10, 13)
_TRUE: Final = tuple(word for word, value in WORDS.items() if value is True)
_FALSE: Final = tuple(word for word, value in WORDS.items() if value is False)
_INFINITE: Final = tuple(word for word, value in WORDS.items() if isinstance(value, float))

Record = tuple[int, list[str]]


class _Block(NamedTuple):
    """Whole records: as bytes with the number of lines before them, or as the row reader has read them."""

    data: bytes
    lines_before: int
    records: list[Record | InvalidRow] | None


class CsvTable:
    """An open CSV file. place: as messages show it. expected: what the first file gave, None for the first."""

    def __init__(self, stream: BinaryIO, place: str, options: TableOptions, expected: Expected | None) -> None:
        self._reader = BlockReader(stream)
        self._place = place
        self._csv = options.csv
        lines = TextLines(self._reader.readline)
        header = read_header(lines, place, options.csv)
        if header is None:
            raise DataError(
                f"{place}: the file is empty", kind="empty", remedy="write the column names in the first line"
            )
        self._header: CsvHeader = header
        self._reader.put_back(lines.take_pending())
        self._lines = lines.number
        self._first: _Block | None = None
        if expected is None:
            names = selected_columns(place, header.columns, options.columns)
            check_types(place, header.columns, options.types)
            self._first = self._next_block()
            schema = self._infer(names, options)
        else:
            expected.check(place, header.columns, chosen=options.columns is not None)
            schema = expected.schema
        self.schema: pa.Schema = schema
        self._indices = [header.columns.index(name) for name in schema.names]
        self._nulls = [
            _nulls_of(name, kind, options.csv) for name, kind in zip(schema.names, schema.types, strict=True)
        ]

    def tasks(self) -> Iterator[Task]:
        """Yield what parses the blocks of the file, in order."""
        block, self._first = self._first, None
        while block is not None or (block := self._next_block()) is not None:
            yield self._task(block)
            block = None

    def _task(self, block: _Block) -> Task:
        return lambda: self._parse(block)

    def _next_block(self) -> _Block | None:
        reader = self._reader
        data = reader.peek(BLOCK_BYTES)
        if not data:
            return None
        before = self._lines
        end = end_of_records(data, ord(self._header.delimiter), reader.ended)
        if end:
            taken = reader.take(end)
            self._lines += count_lines(taken)
            if not taken.endswith((b"\n", b"\r")):
                self._lines += 1
            return _Block(taken, before, None)
        lines = TextLines(reader.readline, before)
        records, start = [], reader.position
        for record in self._header.records(lines, self._place):
            records.append(record)
            if reader.position - start >= BLOCK_BYTES and lines.is_between_lines:
                break
        self._lines = lines.number
        return _Block(b"", before, records)

    def _records(self, block: _Block) -> list[Record | InvalidRow]:
        if block.records is not None:
            return block.records
        return list(self._header.records(TextLines(io.BytesIO(block.data).readline, block.lines_before), self._place))

    def _infer(self, names: Sequence[str], options: TableOptions) -> pa.Schema:
        stated = {name: ARROW_TYPES[kind] for name, kind in options.types.items()}
        stated |= dict.fromkeys((*options.csv.text_columns, *options.csv.categories), pa.string())
        unknown = [name for name in names if name not in stated]
        texts = self._sample(unknown)
        found = {name: infer_type(texts[name], options.csv.nulls) for name in unknown}
        return pa.schema([(name, stated.get(name) or found[name]) for name in names])

    def _sample(self, names: Sequence[str]) -> dict[str, pa.Array]:
        """Return columns of the first block as text."""
        block = self._first
        if block is None or not names:
            return {name: pa.array([], pa.string()) for name in names}
        if block.records is None:
            try:
                table = self._arrow(block.data, dict.fromkeys(names, pa.string()), ())
                return {name: table[name].combine_chunks() for name in names}
            except pa.ArrowException:
                pass
        good = [record[1] for record in self._records(block) if not isinstance(record, InvalidRow)]
        columns = self._header.columns
        return {name: pa.array([texts[columns.index(name)] for texts in good], pa.string()) for name in names}

    def _arrow(self, data: bytes, types: dict[str, pa.DataType], nulls: Collection[str]) -> pa.Table:
        return pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=list(self._header.columns)
            ),
            parse_options=pacsv.ParseOptions(delimiter=self._header.delimiter, newlines_in_values=b'"' in data),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=list(nulls),
                true_values=list(_TRUE),
                false_values=list(_FALSE),
                timestamp_parsers=[],
            ),
        )

    def _parse(self, block: _Block) -> ParsedBlock:
        # Arrow reads 0x10 as a whole number.
        if block.records is None and not (b"0x" in block.data or b"0X" in block.data):
            try:
                return ParsedBlock(self._parse_fast(block.data), [])
            except pa.ArrowException:
                pass
        return self._parse_records(self._records(block))

    def _parse_fast(self, data: bytes) -> pa.RecordBatch:
        schema = self.schema
        # Arrow reads other texts as times than the row reader.
        types = [pa.string() if kind == TIMESTAMP else kind for kind in schema.types]
        table = self._arrow(data, dict(zip(schema.names, types, strict=True)), self._csv.nulls)
        arrays = []
        for name, kind, nulls in zip(schema.names, schema.types, self._nulls, strict=True):
            array = table[name].combine_chunks()
            if pa.types.is_string(kind) or kind == TIMESTAMP:
                array = pc.if_else(pc.is_in(array, value_set=pa.array(nulls)), pa.scalar(None, pa.string()), array)
            if kind == TIMESTAMP:
                array = times_of_texts(array)
                if array is None:
                    raise pa.ArrowInvalid(f"column {name} has a text that is not a time")
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _parse_records(self, records: list[Record | InvalidRow]) -> ParsedBlock:
        schema, invalid = self.schema, []
        readers = [_reader(kind, frozenset(nulls)) for kind, nulls in zip(schema.types, self._nulls, strict=True)]
        rows = []
        for record in records:
            if isinstance(record, InvalidRow):
                invalid.append(record)
                continue
            line, texts = record
            row = [read(texts[index]) for index, read in zip(self._indices, readers, strict=True)]
            if _MISFIT in row:
                invalid.append(self._misfit(line, row.index(_MISFIT), texts))
            else:
                rows.append(row)
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
        return ParsedBlock(pa.RecordBatch.from_arrays(arrays, schema=schema), invalid)

    def _misfit(self, line: int, position: int, texts: list[str]) -> InvalidRow:
        field = self.schema.field(position)
        text = texts[self._indices[position]]
        shown = text if len(text) <= 60 else text[:59] + "…"
        return InvalidRow(
            f"{self._place}, line {line}",
            f"column {field.name} is {shown!r}, but the column holds {describe_type(field.type)}",
            misfit_remedy(field.name, read_value(text)),
        )


def end_of_records(data: bytes, delimiter: int, is_end: bool) -> int:
    """Return where the last whole record of a block ends; 0 if that is uncertain.

    It is uncertain if a quote is not at the border of a value, and if no record ends in the block. is_end: whether the file
    ends after the block.
    """
    if b'"' not in data:
        return len(data) if is_end else _last_line_end(data, 0, len(data))
    content = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(content == _QUOTE)
    opening, closing = quotes[0::2], quotes[1::2]
    if is_end:
        if len(quotes) % 2:
            return 0
        end = len(data)
    else:
        # Look for a line end outside quotes, from the last gap between two quoted values to the first.
        starts = np.concatenate(([0], closing + 1))[::-1]
        stops = (opening if len(quotes) % 2 else np.append(opening, len(data)))[::-1]
        ends = (_last_line_end(data, start, stop) for start, stop in zip(starts, stops, strict=True))
        end = next(filter(None, ends), 0)
        opening, closing = opening[opening < end], closing[closing < end]
    borders = (delimiter, *_LINE_ENDS)
    opens = np.isin(content[np.maximum(opening - 1, 0)], borders) | (opening == 0)
    opens[1:] |= opening[1:] - 1 == closing[: len(opening) - 1]  # two quotes within quotes are one
    is_last = closing == len(data) - 1
    closes = np.isin(content[np.minimum(closing + 1, len(data) - 1)], (*borders, _QUOTE)) | is_last
    return end if opens.all() and closes.all() else 0


def _last_line_end(data: bytes, start: int, stop: int) -> int:
    """Return the position after the last line end between two positions; 0 if there is none."""
    end = data.rfind(b"\n", start, stop)
    if end == -1:
        # A carriage return at the end of the block may be followed by a line feed.
        end = data.rfind(b"\r", start, min(stop, len(data) - 1))
    return end + 1


def infer_type(texts: pa.Array, nulls: Collection[str]) -> pa.DataType:
    """Return the narrowest type that holds all values of a column: null, bool, int64, float64 or string."""
    given = texts.filter(pc.invert(pc.is_in(texts, value_set=pa.array(list(nulls), pa.string()))))
    if not len(given):
        return pa.null()
    values = pc.utf8_trim_whitespace(given)
    if pc.all(pc.is_in(values, value_set=pa.array((*_TRUE, *_FALSE)))).as_py():
        return pa.bool_()
    if pc.all(_matches(values, INTEGER.pattern)).as_py():
        return pa.int64()
    is_number = pc.or_(_matches(values, NUMBER.pattern), pc.is_in(values, value_set=pa.array(_INFINITE)))
    return pa.float64() if pc.all(is_number).as_py() else pa.string()


def _matches(values: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(values, f"^(?:{pattern})$".replace(r"\d", "[0-9]"))


def _nulls_of(column: str, kind: pa.DataType, options: CsvOptions) -> tuple[str, ...]:
    if not pa.types.is_string(kind):
        return tuple(options.nulls)
    if column in options.text_columns:
        return ("",)
    return tuple(null for null in options.nulls if null not in options.categories.get(column, ()))


_MISFIT: Final = object()


def _same(value: Any) -> object:
    return value


def _reader(kind: pa.DataType, nulls: frozenset[str]) -> Callable[[str], object]:
    """Return the function that converts a text to a value of a type; `_MISFIT` if it is not one."""
    if pa.types.is_string(kind):
        return lambda text: None if text in nulls else text
    if kind == TIMESTAMP:
        return lambda text: None if text in nulls else _MISFIT if (time := time_of(read_value(text))) is None else time
    fits: dict[pa.DataType, Callable[[object], bool]] = {
        pa.int64(): lambda value: type(value) is int,
        pa.float64(): lambda value: type(value) in (int, float),
        pa.bool_(): lambda value: type(value) is bool,
        pa.null(): lambda value: False,
    }
    is_fit = fits[kind]
    # Arrow refuses whole numbers that float64 cannot represent exactly.
    convert: Callable[[Any], object] = float if pa.types.is_floating(kind) else _same

    def read(text: str) -> object:
        if text in nulls:
            return None
        value = read_value(text)
        return convert(value) if is_fit(value) else _MISFIT

    return read
