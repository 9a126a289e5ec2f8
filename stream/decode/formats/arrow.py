"""Arrow IPC: a record is a stream, or a file, of batches of rows, and each row is an event.

`ArrowFormat.read` turns records into rows, by schema; `ArrowRows` returns their columns. A row alone is a payload too: a
stream of one row, as dead letters have it. Shapes: B rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.types as types

from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.core.record_sizes import record_bytes
from forebay.stream.core.records import Record
from forebay.stream.core.rows import RowOrigin, RowRecords
from forebay.stream.decode.formats.arrow_messages import (
    DICTIONARY,
    RECORD_BATCH,
    ArrowLimits,
    Message,
    messages,
)
from forebay.stream.decode.formats.arrow_types import check_schema, is_text, is_view, storage_type, without_views
from forebay.stream.decode.formats.arrow_values import column_of, column_of_objects, objects
from forebay.stream.decode.formats.document_columns import lookup
from forebay.stream.decode.formats.media_types import ARROW_FILE, ARROW_STREAM, media_type_of
from forebay.stream.decode.formats.payload import (
    NO_ROLES,
    Column,
    FieldRoles,
    InvalidPayload,
    ParsedColumns,
    Path,
)

ORIGIN: Final = b"forebay.origin"
"""Metadata of the schema of a row alone, which is a copy: `<topic>-<partition>-<offset>-<row>` of the original row."""

# With its first conversion, pyarrow imports pandas if that is installed: here, and not when the first record is read.
pa.array([0]).to_numpy()

_DEFAULT_LIMITS: Final = ArrowLimits()
_MAX_SCHEMAS: Final = 128
_MAX_SCHEMA_BYTES: Final = 1 << 16
_ROWS_ONE_BY_ONE: Final = 8


class ArrowRows:
    """The format of rows with one schema."""

    name: Final = "arrow"
    has_schema: Final = True

    def __init__(self, schema: Any, reader: ArrowFormat) -> None:
        self.sent_schema = schema
        self.schema = without_views(schema)
        self._reader = reader
        self.roles = _roles(schema)
        self.has_dictionaries = any(types.is_dictionary(field.type) for field in schema)
        self.texts = [
            index for index, field in enumerate(schema) if types.is_dictionary(field.type) or is_view(field.type)
        ]
        origin = (schema.metadata or {}).get(ORIGIN, b"")
        place, _, row = origin.decode("utf-8", "replace").rpartition("-")
        self.origin = RowOrigin(place, int(row)) if place and row.isascii() and row.isdigit() else None

    def document(self, payload: bytes) -> dict[str, object]:
        """Return a payload of one row as a document. Raises InvalidPayload."""
        return self._reader.document(payload)

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return None: rows have no values of their own. See `columns_of_rows`."""
        return None

    def columns_of_rows(self, rows: RowRecords, paths: Sequence[Path]) -> ParsedColumns:
        """Return the columns of rows that have this schema."""
        sources: Sequence[ArrowSource] = rows.sources
        table = pa.Table.from_batches([source.batch for source in sources], self.schema)
        starts_S = np.cumsum([0, *(source.num_rows for source in sources[:-1])])
        index_B = starts_S[rows.source_B] + rows.row_B
        chosen = _Columns(table, None if len(index_B) == table.num_rows else pa.array(index_B))
        columns = {path: _column(chosen, path, len(rows)) for path in paths}
        return ParsedColumns(columns, np.zeros(len(rows), dtype=np.bool_))


class _Columns:
    """The columns of some rows of a table. rows: their indices; None for all."""

    def __init__(self, table: Any, rows: Any) -> None:
        self.names: list[str] = table.column_names
        self._table = table
        self._rows = rows
        self._arrays: dict[str, Any] = {}

    def array(self, name: str) -> Any:
        """Return a column as one array; None if there is none of this name."""
        array = self._arrays.get(name)
        if array is None and name in self._table.schema.names:
            array = self._table.column(name).combine_chunks()
            if isinstance(array, pa.ChunkedArray):
                array = array.chunk(0)
            if self._rows is not None:
                array = array.take(self._rows)
            self._arrays[name] = array
        return array


class ArrowSource:
    """A record with rows: one batch. See `core.rows.RowSource`."""

    __slots__ = (
        "_columns",
        "_num_documents",
        "batch",
        "format",
        "headers",
        "key",
        "num_rows",
        "offset",
        "origin",
        "place",
        "row_bytes",
        "timestamp",
    )

    def __init__(self, record: Record, batch: Any, row_format: ArrowRows, place: str) -> None:
        self.offset = record.offset
        self.timestamp = record.timestamp
        self.key = record.key
        self.headers = _headers_of_rows(record.headers)
        self.batch = batch
        self.num_rows: int = batch.num_rows
        self.row_bytes = max(1, record_bytes(record) // self.num_rows)
        self.format = row_format
        self.origin = row_format.origin
        self.place = place
        self._columns: Mapping[str, list[Any]] | None = None
        self._num_documents = 0

    def document_of(self, row: int) -> dict[str, object]:
        """Return a row as a document."""
        if self._columns is None:
            self._num_documents += 1
            if self._num_documents <= _ROWS_ONE_BY_ONE:
                return document_of(self.batch.slice(row, 1))
            names = self.format.schema.names
            self._columns = {name: objects(column) for name, column in zip(names, self.batch.columns, strict=True)}
        return {name: values[row] for name, values in self._columns.items()}

    def value_of(self, row: int) -> bytes:
        """Return a row alone as an IPC stream, which has the same id as here."""
        one = self.batch.slice(row, 1)
        columns = [column.dictionary_decode() if types.is_dictionary(column.type) else column for column in one.columns]
        fields = [field.with_type(column.type) for field, column in zip(one.schema, columns, strict=True)]
        place, number = self.origin or (self.place, row)
        metadata = {**(one.schema.metadata or {}), ORIGIN: f"{place}-{number}".encode()}
        schema = pa.schema(fields, metadata=metadata)
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=schema))
        return bytes(sink.getvalue())


class RowsOfSchema(NamedTuple):
    """Rows of one partition that have one schema, in order."""

    format: ArrowRows
    rows: RowRecords


class ArrowFormat:
    """Reads records of any schema."""

    name: Final = "arrow"
    has_schema: Final = True
    roles: FieldRoles = NO_ROLES

    def __init__(self, limits: ArrowLimits = _DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._schemas: dict[bytes, ArrowRows] = {}

    def document(self, payload: bytes) -> dict[str, object]:
        """Return a payload of one row as a document. Raises InvalidPayload."""
        _, batch = self.batch(payload)
        if batch.num_rows != 1:
            raise InvalidPayload(
                FailureKind.INVALID_PAYLOAD,
                f"the value has {batch.num_rows} rows, which are an event each; one is expected",
            )
        return document_of(batch)

    def first_documents(self, payload: bytes, count: int) -> tuple[int, list[dict[str, object]]]:
        """Return the number of rows, and the first of them as documents. Raises InvalidPayload."""
        _, batch = self.batch(payload)
        return batch.num_rows, [document_of(batch.slice(row, 1)) for row in range(min(count, batch.num_rows))]

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return None: a payload has several rows. See `read`."""
        return None

    def read(self, records: Sequence[Record], place: str) -> tuple[list[RowsOfSchema], list[Record]]:
        """Return the rows of records, by schema, and the records that cannot be read.

        place: `<topic>-<partition>` of the records.
        """
        by_schema: dict[ArrowRows, list[ArrowSource]] = {}
        unreadable: list[Record] = []
        for record in records:
            try:
                row_format, batch = self.batch(record.value or b"")
            except InvalidPayload:
                unreadable.append(record)
                continue
            source = ArrowSource(record, batch, row_format, f"{place}-{record.offset}")
            by_schema.setdefault(row_format, []).append(source)
        return [RowsOfSchema(row_format, _all_rows(sources)) for row_format, sources in by_schema.items()], unreadable

    def batch(self, value: bytes) -> tuple[ArrowRows, Any]:
        """Return the rows of a value as one batch, and their format. Raises InvalidPayload."""
        found = messages(value, self._limits)
        try:
            row_format = self._rows_of(value[found[0].start : found[0].end])
            batch = self._read(value, found, row_format)
        except InvalidPayload:
            raise
        except Exception as error:  # pyarrow raises errors of many types
            raise InvalidPayload(FailureKind.INVALID_PAYLOAD, f"not an Arrow IPC stream: {_line(error)}") from None
        if batch.num_rows == 0:
            raise InvalidPayload(FailureKind.EMPTY_VALUE, "the value has no rows")
        return row_format, batch

    def _rows_of(self, message: bytes) -> ArrowRows:
        known = self._schemas.get(message)
        if known is None:
            schema = ipc.read_schema(pa.py_buffer(message))
            check_schema(schema)
            known = ArrowRows(schema, self)
            if len(message) <= _MAX_SCHEMA_BYTES and known.origin is None:
                if len(self._schemas) >= _MAX_SCHEMAS:
                    self._schemas.clear()
                self._schemas[message] = known
        return known

    def _read(self, value: bytes, found: list[Message], row_format: ArrowRows) -> Any:
        if row_format.has_dictionaries or any(message.kind == DICTIONARY for message in found):
            batches = list(ipc.open_stream(pa.py_buffer(memoryview(value)[found[0].start : found[-1].end])))
        else:
            view = memoryview(value)
            batches = [
                ipc.read_record_batch(pa.py_buffer(view[message.start : message.end]), row_format.sent_schema)
                for message in found
                if message.kind == RECORD_BATCH
            ]
        for batch in batches:
            batch.validate(full=True)
        batches = [batch for batch in batches if batch.num_rows] or batches[:1]
        if not batches:
            raise InvalidPayload(FailureKind.EMPTY_VALUE, "the value has no rows")
        if len(batches) == 1:
            batch = batches[0]
        else:
            (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
        if row_format.texts:
            self._check_texts(batch, row_format.texts)
        return batch if row_format.schema is row_format.sent_schema else batch.cast(row_format.schema)

    def _check_texts(self, batch: Any, columns: Sequence[int]) -> None:
        """Raise InvalidPayload if values that share their memory would be too large without that."""
        for index in columns:
            array = batch.column(index)
            if types.is_dictionary(array.type):
                if not is_text(storage_type(array.type.value_type)):
                    continue
                own = pc.binary_length(array.dictionary).fill_null(0).cast(pa.int64())
                num_bytes = pc.sum(own.take(array.indices)).as_py() or 0
            else:
                # A view has 16 bytes, which begin with its length.
                lengths = np.frombuffer(array.buffers()[1], dtype="<i4")[::4]
                num_bytes = int(lengths[array.offset : array.offset + len(array)].sum(dtype=np.int64))
            if num_bytes > self._limits.max_bytes:
                raise InvalidPayload(
                    FailureKind.TOO_LARGE, f"more than {self._limits.max_bytes} bytes of text; send fewer rows"
                )


def _headers_of_rows(headers: Sequence[tuple[str, bytes]]) -> Sequence[tuple[str, bytes]]:
    """Return the headers of rows of a record. A row alone is a stream, also if the record is a file."""
    if not any(
        name.lower() == names.CONTENT_TYPE and media_type_of(content) == ARROW_FILE for name, content in headers
    ):
        return headers
    return tuple((name, ARROW_STREAM if name.lower() == names.CONTENT_TYPE else content) for name, content in headers)


def _column(chosen: _Columns, path: Path, count: int) -> Column:
    """Return the column at a path. count: number of rows."""
    absent = Column(np.zeros(count), np.ones(count, dtype=np.bool_))
    if not path:
        values = [objects(chosen.array(name)) for name in chosen.names]
        return column_of_objects([dict(zip(chosen.names, row, strict=True)) for row in zip(*values, strict=True)])
    array, inner = chosen.array(path[0]), path[1:]
    if array is None:
        return absent
    while inner and types.is_struct(array.type):
        place = array.type.get_field_index(inner[0])
        if place < 0:
            return absent
        array, inner = array.flatten()[place], inner[1:]
    if inner:
        return column_of_objects([lookup(value, inner) for value in objects(array)])
    return column_of(array)


def document_of(batch: Any) -> dict[str, object]:
    """Return a batch of one row as a document."""
    return {name: objects(column)[0] for name, column in zip(batch.schema.names, batch.columns, strict=True)}


def _all_rows(sources: Sequence[ArrowSource]) -> RowRecords:
    counts = np.array([source.num_rows for source in sources], dtype=np.int64)
    source_B = np.repeat(np.arange(len(sources), dtype=np.int64), counts)
    row_B = np.arange(len(source_B), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    return RowRecords(sources, source_B, row_B)


def _roles(schema: Any) -> FieldRoles:
    """Return what the metadata of the fields says: `forebay.feature` and `forebay.role`."""
    features: dict[str, Path] = {}
    roles: dict[str, Path] = {}
    for field in schema:
        metadata = field.metadata or {}
        for key, found in ((b"forebay.feature", features), (b"forebay.role", roles)):
            if key in metadata:
                found[metadata[key].decode("utf-8", "replace")] = (field.name,)
    return FieldRoles(features, roles) if features or roles else NO_ROLES


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
