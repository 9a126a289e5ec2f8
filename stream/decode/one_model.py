"""The fast path for records of one model. It accepts only events that the validator would accept with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.stream import native
from forebay.stream.core.records import Record
from forebay.stream.decode.columns import Columns
from forebay.stream.decode.validator import (
    JSON_CONTENT_TYPES,
    RAW_F32,
    EventLimits,
    EventValidator,
    InvalidEvent,
    read_headers,
)

MAX_BLOCK_BYTES: Final = 64 * 2**20
"""The compiled reader gets a matrix with a row for each value: at most this size at a time, as not all values become rows."""


class OtherModel(Exception):
    """A record is for another model than was assumed."""


class OneModelDecoder:
    """Decodes records that are all for one model, most likely. Raises OtherModel at the first one that is not."""

    def __init__(self, validator: EventValidator, limits: EventLimits) -> None:
        self._validator = validator
        self._max_event_bytes = limits.max_event_bytes
        self._max_key_bytes = limits.max_key_bytes

    def decode_values(
        self,
        values: Sequence[bytes | None],
        columns: Columns,
        topic: str,
        *,
        parse: Callable[[bytes], Any],
        reader: native.RowReader | None = None,
    ) -> None:
        """Decode records without headers and within the limits. Most polls contain only these, so this is minimal.

        values: those of the records of the columns.
        parse: a parser for the model of the columns. It refuses events for other models.
        reader: reads those events that `parse` accepts, or some of them, with the same result.
        """
        if reader is None:
            self._decode_each(enumerate(values), columns, topic, parse=parse)
            return
        num_rows = max(1, MAX_BLOCK_BYTES // columns.format.packer.row_bytes)
        for start in range(0, len(values), num_rows):
            self._read_block(values[start : start + num_rows], start, columns, topic, parse=parse, reader=reader)

    def _read_block(
        self,
        values: Sequence[bytes | None],
        start: int,
        columns: Columns,
        topic: str,
        *,
        parse: Callable[[bytes], Any],
        reader: native.RowReader,
    ) -> None:
        """Read consecutive values with the compiled reader. start: the index of the first one's record."""
        x_BF = np.empty((len(values), columns.format.packer.num_features), dtype="<f4")
        ids, timestamps, others = reader.read(values, x_BF)
        row = position = 0
        while position < len(others):
            first = last = others[position]
            end = first - position  # the number of rows before this value
            columns.add_block(x_BF[row:end], ids[row:end], timestamps[row:end])
            while position < len(others) and others[position] == last:  # up to the next row
                last, position = last + 1, position + 1
            run = zip(range(start + first, start + last), values[first:last], strict=True)
            self._decode_each(run, columns, topic, parse=parse)
            row = end
        if others:
            x_BF, ids, timestamps = x_BF[row : len(ids)], ids[row:], timestamps[row:]
        columns.add_block(x_BF, ids, timestamps)

    def _decode_each(
        self,
        values: Iterable[tuple[int, bytes | None]],
        columns: Columns,
        topic: str,
        *,
        parse: Callable[[bytes], Any],
    ) -> None:
        """Decode values one by one. values: by the index of their record."""
        packer, records = columns.format.packer, columns.records
        pack, arrange, parse_other = packer.pack, packer.arrange, columns.format.parse_other
        rows, ids, timestamps = columns.rows, columns.ids, columns.timestamps
        for index, value in values:
            try:
                try:
                    event = parse(value)  # type: ignore[arg-type]  # a tombstone raises like all others
                except msgspec.ValidationError:
                    event = parse_other(value)  # type: ignore[arg-type]
                features = event.features
                row = pack(*(features if type(features) is tuple else arrange(features)))
            except Exception:  # the validator finds the reason
                self._add_validated(records[index], columns, topic)
                continue
            rows.append(row)
            ids.append(event.id)
            timestamps.append(event.timestamp)

    def decode_records(self, columns: Columns, topic: str, *, default: bytes | None = None) -> None:
        """Decode records of any kind: those of the columns. default: the media type of those that name none."""
        row_format = columns.format
        parse, pack, arrange = row_format.parse, row_format.packer.pack, row_format.packer.arrange
        max_bytes, max_key_bytes = self._max_event_bytes, self._max_key_bytes
        own_header, raw_bytes = row_format.header, row_format.raw_bytes
        for record in columns.records:
            key, value, headers = record.key, record.value, record.headers
            try:
                if not value or len(value) > max_bytes or (key is not None and len(key) > max_key_bytes):
                    raise ValueError
                media_type, header, is_other = read_headers(headers) if headers else (None, None, False)
                if is_other or (header is not None and header != own_header):
                    raise ValueError
                if media_type is None:
                    media_type = default
                if media_type is None or media_type in JSON_CONTENT_TYPES:
                    try:
                        event = parse(value)
                    except msgspec.ValidationError:
                        event = row_format.parse_other(value)
                    features = event.features
                    row = pack(*(features if type(features) is tuple else arrange(features)))
                    event_id, timestamp = event.id, event.timestamp
                elif (
                    media_type == RAW_F32
                    and len(value) == raw_bytes
                    and len(headers) == (default is None) + (header is not None)
                    and key
                ):
                    columns.any_raw = True
                    event_id, timestamp, row = key.decode(), record.timestamp, value
                    if not 0 <= timestamp <= MAX_TIMESTAMP_MS:
                        raise ValueError
                else:
                    raise ValueError
            except Exception:  # the validator finds the reason
                self._add_validated(record, columns, topic)
                continue
            columns.rows.append(row)
            columns.ids.append(event_id)
            columns.timestamps.append(timestamp)

    def _add_validated(self, record: Record, columns: Columns, topic: str) -> None:
        """Add a record as a row or as a rejection, as the validator decides. Raises OtherModel if it is for another model."""
        try:
            event = self._validator.validate(record, topic)
        except InvalidEvent as fault:
            if fault.model != columns.format.ref:
                raise OtherModel from None
            columns.reject(record, fault)
            return
        if event.model != columns.format.ref:
            raise OtherModel
        columns.any_named |= event.names_model
        columns.add(record, event)
