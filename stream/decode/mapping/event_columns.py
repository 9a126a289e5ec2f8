"""The fast path: the columns of a poll become the ids, times, keys, deadlines and rows of events of one model.

What is not plainly valid makes its event unsure, and the exact path decides (`documents.py`).

Shapes: B events, F columns of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.stream.config.input_mapping import ValueSource
from forebay.stream.core.record_columns import keys_of, timestamps_of
from forebay.stream.core.records import FloatMatrix, Record, TopicPartition
from forebay.stream.core.rows import key_ids, of_each, position_ids
from forebay.stream.decode.features import InvalidFeatures
from forebay.stream.decode.formats.payload import Column, ParsedColumns, Path
from forebay.stream.decode.mapping.documents import header_of
from forebay.stream.decode.mapping.feature_columns import FeatureColumns, FeatureShape
from forebay.stream.decode.mapping.sources import EventSources
from forebay.stream.decode.mapping.times import milliseconds_of, milliseconds_of_column
from forebay.stream.decode.models import RowFormat

Bools = NDArray[np.bool_]


@dataclass(slots=True)
class MappedEvents:
    """The events of a poll. Entries of unsure events are undefined.

    models: the names of models that events ask for by a field; None if no event does.
    keys, deadlines: of the events that have some, by index.
    """

    ids: list[Any]
    timestamps: list[int]
    x_BF: FloatMatrix
    models: list[Any] | None
    keys: dict[int, bytes]
    deadlines: dict[int, int]
    unsure_B: Bools


class EventColumns:
    """Where the parts of the events of one model are, as columns. max_key_bytes: longer keys are unsure."""

    def __init__(
        self, row_format: RowFormat, sources: EventSources, shape: FeatureShape, *, max_key_bytes: int
    ) -> None:
        self._sources = sources
        self._features = FeatureColumns(row_format, sources, shape)
        self._max_key_bytes = max_key_bytes
        self.paths: list[Path] = list(dict.fromkeys([*self._features.paths, *sources.source_paths(), *sources.absent]))

    def events(self, parsed: ParsedColumns, records: Sequence[Record], partition: TopicPartition) -> MappedEvents:
        """Return the events of the records that were parsed."""
        columns, unsure_B = parsed.columns, parsed.suspects_B.copy()
        for path in self._sources.absent:
            missing_B = columns[path].missing_B
            unsure_B |= True if missing_B is None else ~missing_B
        x_BF, unsure_rows_B = self._features.matrix(columns, len(records))
        unsure_B |= unsure_rows_B
        reader = _Sources(self._sources, parsed, records, unsure_B=unsure_B)
        ids = reader.ids(partition)
        timestamps = reader.timestamps()
        return MappedEvents(
            ids,
            timestamps,
            x_BF,
            models=reader.models(),
            keys=reader.keys(self._max_key_bytes),
            deadlines=reader.deadlines(),
            unsure_B=unsure_B,
        )


class _Sources:
    """Reads the parts of events from their sources, and notes which events are unsure."""

    def __init__(
        self, sources: EventSources, parsed: ParsedColumns, records: Sequence[Record], *, unsure_B: Bools
    ) -> None:
        self._sources = sources
        self._columns = parsed.columns
        self._records = records
        self._unsure_B = unsure_B

    def ids(self, partition: TopicPartition) -> list[Any]:
        ids: list[Any] = [None] * len(self._records)
        rest: Sequence[int] | None = None
        place = f"{partition.topic}-{partition.partition}"
        may_fall_back = len(self._sources.id) > 1
        for source in self._sources.id:
            if source.kind == "field":
                found = self._id_field(self._columns[source.path])
            elif source.kind == "position":
                found = position_ids(self._records, place)
            elif source.kind == "key":
                keys = map(partial(_decoded, lenient=may_fall_back), keys_of(self._records))
                found = key_ids(self._records, list(keys))
            else:
                found = of_each(self._records, partial(_header_text, name=source.header))
            ids = found if rest is None else _filled(ids, found, rest)
            if None not in ids:
                break
            rest = [index for index in (range(len(ids)) if rest is None else rest) if ids[index] is None]
            if not rest:
                break
        if None in ids or "" in ids:
            self._unsure_B |= np.fromiter((not event_id for event_id in ids), dtype=np.bool_, count=len(ids))
        return ids

    def _id_field(self, column: Column) -> list[Any]:
        values = column.values.tolist()
        if column.values.dtype == np.int64 and column.values.ndim == 1 and column.unit is None:
            texts: list[Any] = list(map(str, values))
        elif column.values.dtype == object:
            texts = values
            if set(map(type, values)) != {str}:
                # "" stands for what cannot be an id: such events are unsure.
                texts = [_id_text(value) for value in values]
        else:
            texts = [""] * len(values)
        if column.missing_B is not None:
            texts = [None if missing else text for text, missing in zip(texts, column.missing_B.tolist(), strict=True)]
        return texts

    def timestamps(self) -> list[int]:
        count = len(self._records)
        ms_B = np.zeros(count, dtype=np.int64)
        open_B = np.ones(count, dtype=np.bool_)
        for source in self._sources.timestamp:
            found_B, unsure_B, missing_B = self._times(source)
            taken_B = open_B if missing_B is None else open_B & ~missing_B
            ms_B = np.where(taken_B, found_B, ms_B)
            self._unsure_B |= taken_B & unsure_B
            if missing_B is None:
                return list(ms_B.tolist())
            open_B = open_B & missing_B
            if not open_B.any():
                return list(ms_B.tolist())
        self._unsure_B |= open_B
        return list(ms_B.tolist())

    def deadlines(self) -> dict[int, int]:
        source = self._sources.deadline
        if source is None:
            return {}
        ms_B, unsure_B, missing_B = self._times(source)
        has_B = np.ones(len(ms_B), dtype=np.bool_) if missing_B is None else ~missing_B
        self._unsure_B |= has_B & unsure_B
        return {index: int(ms_B[index]) for index in np.flatnonzero(has_B).tolist()}

    def _times(self, source: ValueSource) -> tuple[NDArray[np.int64], Bools, Bools | None]:
        """Return times, which are unsure, and which are missing (None for none)."""
        if source.kind == "field":
            column = self._columns[source.path]
            return *milliseconds_of_column(column, self._sources.unit), column.missing_B
        if source.kind == "record":
            ms_B = timestamps_of(self._records)
            return ms_B, ms_B > MAX_TIMESTAMP_MS, ms_B < 0
        texts = of_each(self._records, lambda record: header_of(record, source.header))
        ms_B, unsure_B = np.zeros(len(texts), dtype=np.int64), np.zeros(len(texts), dtype=np.bool_)
        for index, text in enumerate(texts):
            if text is not None:
                try:
                    ms_B[index] = milliseconds_of(text.decode(), "", self._sources.unit)
                except (InvalidFeatures, UnicodeDecodeError):
                    unsure_B[index] = True
        return ms_B, unsure_B, np.fromiter((text is None for text in texts), np.bool_, count=len(texts))

    def models(self) -> list[Any] | None:
        return self._optional(self._sources.model, lambda value: value if type(value) is str else "")

    def keys(self, max_bytes: int) -> dict[int, bytes]:
        found = self._optional(self._sources.key, _key_bytes)
        keys: dict[int, bytes] = {}
        if found is None:
            return keys
        for index, (key, of_record) in enumerate(zip(found, keys_of(self._records), strict=True)):
            if key is None:
                continue
            if len(key) > max_bytes:
                self._unsure_B[index] = True
            elif of_record is None:
                keys[index] = key
        return keys

    def _optional(self, source: ValueSource | None, convert: Callable[[Any], Any]) -> list[Any] | None:
        """Return a value for each event, None where there is none; None if no event has one. Others are unsure."""
        if source is None:
            return None
        if source.kind == "field":
            column = self._columns[source.path]
            if column.missing_B is not None and column.missing_B.all():
                return None
            values = column.values.tolist() if column.unit is None else [_NO_KEY] * len(self._records)
            if column.missing_B is not None:
                values = [
                    None if gone else value for value, gone in zip(values, column.missing_B.tolist(), strict=True)
                ]
        else:
            values = of_each(self._records, partial(_header_text_or_no_key, name=source.header))
        found: list[Any] = [None] * len(values)
        for index, value in enumerate(values):
            if value is not None:
                try:
                    found[index] = convert(value)
                except (TypeError, ValueError):
                    self._unsure_B[index] = True
        return found


_NO_KEY = object()


def _header_text(record: Record, name: str) -> str | None:
    return _decoded(header_of(record, name))


def _header_text_or_no_key(record: Record, name: str) -> object:
    """Return the text of a header, which may be empty; None if there is none, and `_NO_KEY` if it is not UTF-8."""
    content = header_of(record, name)
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        return _NO_KEY


def _id_text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    return ""


def _key_bytes(value: Any) -> bytes:
    if type(value) is str:
        return value.encode()
    if type(value) is int:
        return str(value).encode()
    if type(value) is bytes:
        return value
    raise TypeError


def _decoded(value: bytes | None, *, lenient: bool = False) -> str | None:
    """Return the text; None if there is none, and "" if it is not UTF-8. lenient: None for both."""
    if value is None:
        return None
    try:
        return (value.decode() or None) if lenient else value.decode()
    except UnicodeDecodeError:
        return None if lenient else ""


def _filled(values: list[Any], others: Sequence[Any], indexes: Sequence[int]) -> list[Any]:
    for index in indexes:
        values[index] = others[index]
    return values
