"""The path for topics whose events name their models in any way: one parser for all models, and the columns of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.stream.core.records import Record
from forebay.stream.decode.columns import Columns
from forebay.stream.decode.features import shared_features_type
from forebay.stream.decode.models import ModelChoice, RowFormat
from forebay.stream.decode.parsers import named_event_parser
from forebay.stream.decode.validator import (
    JSON_CONTENT_TYPES,
    RAW_F32,
    EventLimits,
    EventValidator,
    InvalidEvent,
    read_headers,
)


class SharedColumns(Columns):
    """The columns of one model, whose records are appended as they are found.

    arrange, pack: the packer's, for features that were parsed for all models.
    in_order: the type of features that need not be arranged.
    """

    __slots__ = ("arrange", "in_order", "pack")
    records: list[Record]

    def __init__(self, row_format: RowFormat) -> None:
        super().__init__(row_format, [])
        packer = row_format.packer
        self.pack, self.arrange, self.in_order = packer.pack, packer.arrange_shared, packer.in_order

    def parts(self) -> tuple[Any, ...]:
        """Return what the loop over most events needs, in the order in which it needs it."""
        return self.pack, self.in_order, self.arrange, self.rows, self.ids, self.timestamps, self.records


class ColumnsByModel(dict[str | None, SharedColumns]):
    """The columns of one partition by the name of the model, None for events that name none. Created when first used."""

    def __init__(self, models: ModelChoice, topic: str) -> None:
        super().__init__()
        self._models = models
        self.topic = topic

    def __missing__(self, name: str | None) -> SharedColumns:
        if name is None:
            name = self._models.of_topic(self.topic).ref.name
            self[None] = columns = self[name]
        else:
            self[name] = columns = SharedColumns(self._models.by_name[name])
        return columns

    def used(self) -> list[SharedColumns]:
        """Return the columns that have records, in the order of the models."""
        return [self[name] for name in self._models.by_name if name in self and self[name].records]


class SharedTopicDecoder:
    """Decodes the records of one partition for several models.

    The fast path accepts only events that the validator would accept with the same result and for the same model.
    """

    def __init__(self, models: ModelChoice, validator: EventValidator, limits: EventLimits) -> None:
        self._models = models
        self._validator = validator
        self._max_event_bytes = limits.max_event_bytes
        self._max_key_bytes = limits.max_key_bytes
        self._parse = named_event_parser(
            shared_features_type([row_format.packer for row_format in models.formats]), list(models.by_name)
        )

    def decode(
        self, records: Sequence[Record], values: Sequence[bytes | None] | None, topic: str
    ) -> list[SharedColumns]:
        """Return the columns of the models that have records.

        values: the values, if no record has headers and all are within the limits.
        """
        by_name = ColumnsByModel(self._models, topic)
        if values is None:
            self._decode_records(records, by_name)
        else:
            self._decode_values(values, records, by_name)
        return by_name.used()

    def validate(self, records: Sequence[Record], topic: str, *, partition: int | None = None) -> list[SharedColumns]:
        """Return the same as `decode`, without the fast path. partition: only with it, any format is read."""
        by_name = ColumnsByModel(self._models, topic)
        for record in records:
            self._add_validated(record, by_name, partition)
        return by_name.used()

    def _decode_values(
        self, values: Sequence[bytes | None], records: Sequence[Record], by_name: ColumnsByModel
    ) -> None:
        """Decode records without headers and within the limits.

        Local variables are faster than attributes, and a plain dictionary is faster than `by_name`.
        """
        parse = self._parse
        parts_by_name: dict[str | None, tuple[Any, ...]] = {}
        for value, record in zip(values, records, strict=True):
            try:
                event = parse(value)  # type: ignore[arg-type]  # a tombstone raises like all others
                try:
                    parts = parts_by_name[event.model]
                except KeyError:
                    parts = parts_by_name[event.model] = by_name[event.model].parts()
                pack, in_order, arrange, rows, ids, timestamps, own_records = parts
                features = event.features
                row = pack(*(features if type(features) is in_order else arrange(features)))
            except Exception:  # the validator finds the reason
                self._add_validated(record, by_name)
                continue
            rows.append(row)
            ids.append(event.id)
            timestamps.append(event.timestamp)
            own_records.append(record)

    def _decode_records(self, records: Sequence[Record], by_name: ColumnsByModel) -> None:
        """Decode records of any kind."""
        parse, by_header = self._parse, self._models.by_header
        max_bytes, max_key_bytes = self._max_event_bytes, self._max_key_bytes
        for record in records:
            key, value, headers = record.key, record.value, record.headers
            try:
                if not value or len(value) > max_bytes or (key is not None and len(key) > max_key_bytes):
                    raise ValueError
                media_type, header, is_other = read_headers(headers)
                if is_other:
                    raise ValueError
                if media_type is None or media_type in JSON_CONTENT_TYPES:
                    event = parse(value)
                    name, features = event.model, event.features
                    if name is None and header is not None:
                        name = by_header[header].ref.name
                    columns = by_name[name]
                    row = columns.pack(*(features if type(features) is columns.in_order else columns.arrange(features)))
                    event_id, timestamp = event.id, event.timestamp
                elif media_type == RAW_F32 and len(headers) == 1 + (header is not None) and key:
                    columns = by_name[None if header is None else by_header[header].ref.name]
                    columns.any_raw = True
                    event_id, timestamp, row = key.decode(), record.timestamp, value
                    if len(value) != columns.format.raw_bytes or not 0 <= timestamp <= MAX_TIMESTAMP_MS:
                        raise ValueError
                else:
                    raise ValueError
            except Exception:  # the validator finds the reason
                self._add_validated(record, by_name)
                continue
            columns.rows.append(row)
            columns.ids.append(event_id)
            columns.timestamps.append(timestamp)
            columns.records.append(record)

    def _add_validated(self, record: Record, by_name: ColumnsByModel, partition: int | None = None) -> None:
        try:
            event = self._validator.validate(record, by_name.topic, partition=partition)
        except InvalidEvent as fault:
            columns = by_name[fault.model.name]
            columns.reject(record, fault)
        else:
            columns = by_name[event.model.name]
            columns.add(record, event)
        columns.records.append(record)
