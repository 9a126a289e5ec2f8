"""Rows of files as Arrow IPC: one record for a group of rows, whose columns are those of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import pyarrow as pa

from forebay.models.data.input_row import InputRow, InputRows, InvalidRow
from forebay.stream.publish.event_builder import Message
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.row_fault import RowFault
from forebay.stream.publish.values import json_value

ROWS: Final = "rows"
"""The value of a grouped row that holds the rows of the file."""
DEFAULT_ROWS: Final = 256
MAX_SHOWN_ROWS: Final = 20


class ArrowValues:
    """Encodes groups of rows as one record batch each. times: how times are read; they become milliseconds."""

    name: Final = "arrow"
    headers: Final = (("content-type", b"application/vnd.apache.arrow.stream"),)

    def __init__(self, times: TimeRule, rows_per_record: int = DEFAULT_ROWS) -> None:
        self._times = times
        self.rows_per_record = rows_per_record

    def encode(self, rows: Iterable[Mapping[str, object]]) -> bytes:
        """Return the value of a record. Raises RowFault."""
        plain = [{name: json_value(name, value, self._times) for name, value in row.items()} for row in rows]
        columns: dict[str, pa.Array] = {}
        for name in dict.fromkeys(name for row in plain for name in row):
            try:
                columns[name] = pa.array([row.get(name) for row in plain])
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise RowFault(
                    f"column {name} has values of several types in {len(plain)} rows: {error}",
                    "--type and --text-column say how a CSV column is read",
                ) from None
        batch = pa.RecordBatch.from_pydict(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())

    def decode(self, value: bytes) -> object:
        """Return what a value says, to be shown."""
        table = pa.ipc.open_stream(value).read_all()
        return {"num_rows": table.num_rows, "rows": table.slice(0, MAX_SHOWN_ROWS).to_pylist()}


class ArrowRowsBuilder:
    """Builds a record of each group of rows that `grouped` made."""

    noun: Final = "record"

    def __init__(self, values: ArrowValues) -> None:
        self._values = values

    def build(self, row: InputRow) -> Message:
        """Return the message for a group. Raises RowFault."""
        rows = (row.values or {}).get(ROWS)
        if not isinstance(rows, list):
            raise RowFault("the line is not parsed", "remove --raw")
        return Message(None, self._values.encode(rows))


def grouped(rows: InputRows, size: int) -> Iterator[InputRow | InvalidRow | None]:
    """Yield groups of at most `size` rows as one row each, with the place of the first. An invalid row ends a group."""
    group: list[InputRow] = []
    for item in rows:
        if isinstance(item, InputRow):
            group.append(item)
            if len(group) < size:
                continue
        if group:
            yield _group(group)
            group = []
        if not isinstance(item, InputRow):
            yield item
    if group:
        yield _group(group)


def _group(rows: list[InputRow]) -> InputRow:
    values = [row.values for row in rows]
    if None in values:
        return rows[0]
    return rows[0]._replace(values={ROWS: values}, line=None, written=None)
