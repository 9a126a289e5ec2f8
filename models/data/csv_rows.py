"""A reader of CSV and TSV: features become numbers, and ids and keys keep the text as written."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from forebay.models.data.encoding import check_encoding
from forebay.models.data.input_row import InputRow, InputRows, InvalidRow
from forebay.models.data.text_lines import TextLines
from forebay.models.data.times import time_of
from forebay.models.data.values import Instant, Unreadable
from forebay.schemas.errors import DataError

NULLS: Final = ("", "NA", "NaN", "nan", "null")
DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}

BOM: Final = "\ufeff"
BAD_LINE_REMEDY: Final = "fix the line; --skip-bad-lines skips such lines"
NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
WORDS: Final[dict[str, object]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("inf", "+inf", "Inf", "+Inf", "INF", "Infinity", "+Infinity", "infinity"), math.inf),
    **dict.fromkeys(("-inf", "-Inf", "-INF", "-Infinity", "-infinity"), -math.inf),
}

CheckColumns = Callable[[Collection[str]], None]


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """How to read CSV.

    delimiter: one character; None for `usual_delimiter`, and a header that seems to use another one is then refused.
    nulls: texts that mean a missing value; in a text column, only an empty field does.
    text_columns: columns that stay text as written.
    categories: the categories that the model knows, by column of text; these columns stay as written, and a category is
        never null.
    types: types that were stated for other columns; a value that is not of its type is `Unreadable`.
    """

    delimiter: str | None = None
    usual_delimiter: str = ","
    nulls: Collection[str] = NULLS
    text_columns: Collection[str] = ()
    categories: Mapping[str, Collection[str]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """The header of a CSV file: its columns, and the delimiter of the file."""

    columns: tuple[str, ...]
    delimiter: str

    def records(self, lines: TextLines, name: str) -> Iterator[tuple[int, list[str]] | InvalidRow]:
        """Yield the records below the header, each with the number of its last line. Blank lines are left out."""
        last_line = lines.number
        for record in _records(csv.reader(lines, delimiter=self.delimiter, strict=True)):
            first_line, last_line = last_line + 1, lines.number
            if not record:
                continue
            if isinstance(record, list) and len(record) == len(self.columns) and _is_utf8(record):
                yield last_line, record
                continue
            # An unclosed quote joins many lines into one record: report all the lines that would be skipped.
            is_one = first_line == last_line
            place = f"{name}, line {last_line}" if is_one else f"{name}, lines {first_line} to {last_line}"
            yield self._invalid(place, record)

    def _invalid(self, place: str, record: list[str] | csv.Error) -> InvalidRow:
        if isinstance(record, csv.Error):
            return InvalidRow(place, f"not CSV: {record}", BAD_LINE_REMEDY)
        if len(record) != len(self.columns):
            values, columns = _quantity(len(record), "value"), _quantity(len(self.columns), "column")
            return InvalidRow(place, f"the line has {values}, the header {columns}", BAD_LINE_REMEDY)
        return InvalidRow(place, "the line is not UTF-8", "convert the file, for example with iconv -t UTF-8")


def csv_rows(
    stream: BinaryIO, name: str, options: CsvOptions | None = None, check_columns: CheckColumns = lambda columns: None
) -> InputRows:
    """Yield one row per record below the header line, with its values by column, parsed and as written.

    check_columns: receives the header's names and can raise. Raises DataError for a header that cannot be used.
    """
    options = options or CsvOptions()
    lines = TextLines(stream.readline)
    header = read_header(lines, name, options)
    if header is None:
        return
    check_columns(header.columns)
    columns = header.columns
    readers = [value_reader(column, options) for column in columns]
    for number, record in enumerate(header.records(lines, name), start=1):
        if isinstance(record, InvalidRow):
            yield record
            continue
        line_number, texts = record
        values = {column: read(value) for column, value, read in zip(columns, texts, readers, strict=True)}
        written = dict(zip(columns, texts, strict=True))
        yield InputRow(number=number, values=values, line=None, written=written, line_number=line_number)


def read_header(lines: TextLines, name: str, options: CsvOptions) -> CsvHeader | None:
    """Read the header of a file; None if the file is empty. Raises DataError for a header that cannot be used."""
    delimiter = options.delimiter or options.usual_delimiter
    try:
        first = next(lines, None)
        if first is None:
            return None
        check_encoding(first.encode("utf-8", "surrogateescape"), name)
        header = next(
            csv.reader(itertools.chain([first.removeprefix(BOM)], lines), delimiter=delimiter, strict=True), []
        )
    except csv.Error as error:
        raise _bad_header(name, f"the header is not CSV: {error}", "write the column names in the first line") from None
    if options.delimiter is None:
        _check_delimiter(name, header, delimiter)
    _check_names(name, header)
    return CsvHeader(tuple(header), delimiter)


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _check_delimiter(name: str, header: Sequence[str], delimiter: str) -> None:
    """Raise DataError for a header with one column that another delimiter would split."""
    if len(header) != 1:
        return
    other = next((other for other in DELIMITERS if other != delimiter and other in header[0]), None)
    if other is not None:
        raise _bad_header(
            name,
            f"the header has one column, {header[0][:60]!r}; the file seems to be separated by {DELIMITERS[other]}, "
            f"not by {DELIMITERS[delimiter]}",
            f"set the delimiter: --delimiter {'tab' if other == chr(9) else repr(other)}",
        )


def _check_names(name: str, header: Sequence[str]) -> None:
    repeated = [column for column, count in Counter(header).items() if count > 1]
    if repeated or any(not column for column in header):
        problem = f"several columns have the name {min(repeated)!r}" if repeated else "a column has no name"
        remedy = "give each column a different name" if repeated else "give each column a name"
        if not repeated and not header[0]:
            remedy += (
                "; a first column without a name is usually the index of pandas: write with to_csv(..., index=False)"
            )
        raise _bad_header(name, f"the header cannot be used: {problem}", remedy)
    if not _is_utf8(header):
        raise _bad_header(name, "the header is not UTF-8", "convert the file, for example with iconv -t UTF-8")


def _bad_header(name: str, problem: str, remedy: str) -> DataError:
    return DataError(f"{name}, line 1: {problem}", kind="header", remedy=remedy)


def value_reader(column: str, options: CsvOptions) -> Callable[[str], object]:
    """Return the function that converts the text of a column to values."""
    if column in options.text_columns:
        return _text_reader(frozenset(("",)))
    nulls = frozenset(options.nulls)
    categories = options.categories.get(column)
    if categories is not None:
        return _text_reader(nulls - set(categories))
    if column in options.types:
        return _typed_reader(options.types[column], nulls)
    return lambda value: None if value in nulls else read_value(value)


def _typed_reader(kind: str, nulls: frozenset[str]) -> Callable[[str], object]:
    """Return the reader of a column whose type was stated."""
    allowed: dict[str, tuple[tuple[type, ...], str]] = {
        "int64": ((int,), "a whole number"),
        "float64": ((int, float), "a number"),
        "bool": ((bool,), "true or false"),
        "timestamp": ((), "a time (ISO 8601, or milliseconds since 1970)"),
    }
    types, wanted = allowed[kind]

    def read(text: str) -> object:
        if text in nulls:
            return None
        value = read_value(text)
        if kind == "timestamp" and (time := time_of(value)) is not None:
            return Instant(time // 1000)
        return value if type(value) in types else Unreadable(f"{text[:60]!r}, not {wanted}")

    return read


def _text_reader(nulls: frozenset[str]) -> Callable[[str], object]:
    return lambda value: None if value in nulls else value


def _quantity(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def _is_utf8(record: Sequence[str]) -> bool:
    try:
        "".join(record).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_value(value: str) -> object:
    """Return a number or boolean if the text reads as one, otherwise the text. Numbers beyond float64 become infinite."""
    stripped = value.strip()
    if INTEGER.fullmatch(stripped):
        return int(stripped)
    if NUMBER.fullmatch(stripped):
        return float(stripped)
    return WORDS.get(stripped, value)
