"""Decodes records in other formats than plain JSON: grouped by format, each group as columns, in offset order again.

Shapes: B records of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter, methodcaller
from typing import Any, Final, NamedTuple, cast

import numpy as np

from forebay.stream.core.record_columns import RecordColumns, any_headers, headers_of, keys_of, values_of
from forebay.stream.core.record_sizes import records_bytes
from forebay.stream.core.records import Chunk, Epoch, Record, TopicPartition, Unreadable
from forebay.stream.core.rows import (
    RowRecord,
    RowRecords,
    as_rows,
    distinct_records,
    of_each,
    position_of,
    selected,
)
from forebay.stream.decode.event_formats import REQUEST_TOPIC, EventFormats
from forebay.stream.decode.features import InvalidFeatures
from forebay.stream.decode.formats.choice import Choice
from forebay.stream.decode.formats.document_columns import lookup
from forebay.stream.decode.formats.payload import Format, InvalidPayload, RowReader, RowsFormat
from forebay.stream.decode.mapping.documents import layout_of
from forebay.stream.decode.mapping.event_columns import EventColumns, MappedEvents
from forebay.stream.decode.mapping.feature_columns import feature_shape
from forebay.stream.decode.merged_chunks import merge_by_model
from forebay.stream.decode.models import ModelChoice, RowFormat
from forebay.stream.decode.shared_topic import SharedTopicDecoder
from forebay.stream.decode.validator import EventLimits, media_type_and_model

DecodePlain = Callable[[TopicPartition, Sequence[Record], Epoch, bool], list[Chunk]]
"""Decodes records that need no format. The last argument says whether they are raw float32."""

_MAX_PLANS: Final = 10_000
_MAX_TRIED: Final = 3
"""The number of records that are tried to learn where the events of a topic have their features."""

_FIRST_BYTE: Final = itemgetter(0)


class _Group(NamedTuple):
    choice: Choice
    records: Sequence[Record]


class FormattedTopicDecoder:
    """Decodes the records of one partition for several models.

    The fast path accepts only events that the validator would accept with the same result and for the same model.
    """

    def __init__(
        self,
        models: ModelChoice,
        formats: EventFormats,
        limits: EventLimits,
        *,
        shared: SharedTopicDecoder,
        decode_plain: DecodePlain,
    ) -> None:
        self._models = models
        self._refs = [row_format.ref for row_format in models.formats]
        self._formats = formats
        self._limits = limits
        self._shared = shared
        self._decode_plain = decode_plain
        # With the format, so that the identity of another one is never the same.
        self._plans: dict[tuple[str, int, bool, RowFormat], tuple[Format, EventColumns | None]] = {}

    def decode(self, partition: TopicPartition, records: Sequence[Record], epoch: Epoch) -> list[Chunk]:
        """Return a chunk for each model that has records, in the order of the models."""
        rows: list[tuple[Format, RowRecords]] = []
        if isinstance(records, RowRecords):
            rows, records = _rows_by_format(records)
        groups, exact = self._groups(records, partition.topic) if records else ([], [])
        chunks: list[Chunk] = []
        for choice, members in groups:
            if choice.format is None:
                chunks += self._decode_plain(partition, members, epoch, choice.is_raw)
            elif hasattr(choice.format, "read") and partition.topic == REQUEST_TOPIC:
                exact += members  # an entry of a request is one event
            elif hasattr(choice.format, "read"):
                reader = cast("RowReader", choice.format)
                read, unreadable = reader.read(members, f"{partition.topic}-{partition.partition}")
                rows += read
                exact += unreadable
            else:
                chunks += self._decode_group(choice, members, partition, exact=exact, epoch=epoch)
        for row_format, members_of_schema in rows:
            chunks += self._decode_group(Choice(row_format), members_of_schema, partition, exact=exact, epoch=epoch)
        if exact:
            exact.sort(key=position_of)
            chunks += self._decode_exactly(exact, partition, epoch)
        return merge_by_model(chunks, self._refs)

    def _groups(self, records: Sequence[Record], topic: str) -> tuple[list[_Group], list[Record]]:
        """Return the records by format, and those that only the validator can decide about."""
        usable, exact = self._divide_by_limits(records)
        if not usable:
            return [], exact
        common = self._common_choice(usable, topic)
        if common is not None:
            return [_Group(common, usable)], exact
        groups: dict[tuple[int, int, bool, bool], tuple[Choice, list[Record]]] = {}
        for record in usable:
            try:
                choice = self._formats.choice.choose(record, topic)
            except InvalidPayload:
                exact.append(record)
                continue
            key = (id(choice.format), choice.start, choice.is_raw, choice.is_ce_binary)
            groups.setdefault(key, (choice, []))[1].append(record)
        return [_Group(choice, members) for choice, members in groups.values()], exact

    def _divide_by_limits(self, records: Sequence[Record]) -> tuple[Sequence[Record], list[Record]]:
        max_bytes, max_key_bytes = self._limits.max_event_bytes, self._limits.max_key_bytes
        values: list[Any] = values_of(records)
        keys = keys_of(records)
        if (
            all(values)
            and max(map(len, values)) <= max_bytes
            and max(map(len, filter(None, keys)), default=0) <= max_key_bytes
            and (isinstance(records, RecordColumns) or Unreadable not in set(map(type, records)))
        ):
            return records, []
        usable: list[Record] = []
        exact: list[Record] = []
        for record in records:
            value, key = record.value, record.key
            if (
                not value
                or len(value) > max_bytes
                or (key is not None and len(key) > max_key_bytes)
                or isinstance(record, Unreadable)
            ):
                exact.append(record)
            else:
                usable.append(record)
        return usable, exact

    def _common_choice(self, records: Sequence[Record], topic: str) -> Choice | None:
        """Return the choice for all records, if they have the same headers and the same prefix; None otherwise."""
        first = records[0]
        if any_headers(records) and list(headers_of(records)).count(first.headers) < len(records):
            return None
        try:
            choice = self._formats.choice.choose(first, topic)
        except InvalidPayload:
            return None
        value = first.value or b""
        # An unframed value does not begin with byte 0, which announces a schema.
        prefix = value[: choice.start]
        if choice.start:
            is_same = all(map(methodcaller("startswith", prefix), values_of(records)))
        else:
            values: list[Any] = values_of(records)
            is_same = choice.is_raw or 0 not in set(map(_FIRST_BYTE, values))
        return choice if is_same else None

    def _decode_group(
        self,
        choice: Choice,
        records: Sequence[Record],
        partition: TopicPartition,
        *,
        exact: list[Record],
        epoch: Epoch,
    ) -> list[Chunk]:
        """Return the chunks of records of one format. Those that are not plainly valid are appended to `exact`."""
        topic = partition.topic
        chunks: list[Chunk] = []
        pending = self._by_header(records, topic, exact)
        done: set[RowFormat] = set()
        while pending:
            row_format, members = pending.popitem()
            plan = self._plan(choice, row_format, members, topic)
            events = None if plan is None else _parse(choice, plan, members, partition)
            if events is None:
                exact += members
                continue
            done.add(row_format)
            is_own_B = ~events.unsure_B
            if events.models is not None:
                others: dict[RowFormat, list[int]] = {}
                for index, name in enumerate(events.models):
                    if name is None or name == row_format.ref.name:
                        continue
                    is_own_B[index] = False
                    other = self._models.by_name.get(name)
                    events.unsure_B[index] = is_lost = other is None or other in done
                    if other is not None and not is_lost:
                        others.setdefault(other, []).append(index)
                for other, indexes in others.items():
                    pending[other] = _joined(pending.get(other), selected(members, indexes))
            unsure = np.flatnonzero(events.unsure_B).tolist()
            if 2 * len(unsure) > len(members):
                self._plans.pop(_plan_key(choice, row_format, topic), None)  # the next poll looks again
            exact += [members[index] for index in unsure]
            if is_own_B.any():
                chunks.append(_chunk(events, members, row_format, is_own_B=is_own_B, at=(partition, epoch)))
        return chunks

    def _by_header(
        self, records: Sequence[Record], topic: str, exact: list[Record]
    ) -> dict[RowFormat, Sequence[Record]]:
        """Return the records by the model that their header or their topic names."""
        of_topic = self._models.of_topic(topic)
        if not any_headers(distinct_records(records)):
            return {of_topic: records}
        headers = of_each(records, lambda record: media_type_and_model(record.headers)[1])
        if headers.count(None) == len(headers):
            return {of_topic: records}
        groups: dict[RowFormat, list[int]] = {}
        for index, header in enumerate(headers):
            row_format = of_topic if header is None else self._models.by_header.get(header)
            if row_format is None:
                exact.append(records[index])  # a field may name another model
            else:
                groups.setdefault(row_format, []).append(index)
        return {row_format: selected(records, indexes) for row_format, indexes in groups.items()}

    def _plan(
        self, choice: Choice, row_format: RowFormat, records: Sequence[Record], topic: str
    ) -> EventColumns | None:
        """Return where the events have their parts, as the first readable one shows; None if only the exact path fits."""
        key = _plan_key(choice, row_format, topic)
        known = self._plans.get(key)
        if known is not None:
            return known[1]
        payload_format = choice.format
        assert payload_format is not None
        layouts = self._formats.layouts(topic, choice)
        for record in records[:_MAX_TRIED]:
            try:
                document = (
                    record.source.document_of(record.row)
                    if isinstance(record, RowRecord)
                    else payload_format.document((record.value or b"")[choice.start :])
                )
                sources = layout_of(document, layouts)
            except (InvalidPayload, InvalidFeatures):
                continue
            shape = feature_shape(lookup(document, sources.features), sources, row_format)
            plan = (
                None
                if shape is None
                else EventColumns(row_format, sources, shape, max_key_bytes=self._limits.max_key_bytes)
            )
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            if plan is not None:
                self._plans[key] = (payload_format, plan)
            return plan
        return None

    def _decode_exactly(self, records: Sequence[Record], partition: TopicPartition, epoch: Epoch) -> list[Chunk]:
        chunks = []
        for columns in self._shared.validate(records, partition.topic, partition=partition.partition):
            x_BF = columns.matrix()
            assert x_BF is not None, "the validator has checked all rows"
            chunk = columns.chunk(partition, epoch, x_BF, records_bytes(columns.records))
            if any(type(record) is RowRecord for record in chunk.records):
                chunk = replace(chunk, records=as_rows(chunk.records))
            chunks.append(chunk)
        return chunks


def _rows_by_format(records: RowRecords) -> tuple[list[tuple[Format, RowRecords]], list[Record]]:
    """Return rows that were read before by their format, and the events that are not rows."""
    rows: dict[Format, list[Record]] = {}
    others: list[Record] = []
    for record in records:
        if isinstance(record, RowRecord):
            rows.setdefault(record.source.format, []).append(record)
        else:
            others.append(record)
    return [(row_format, as_rows(members)) for row_format, members in rows.items()], others


def _joined(records: Sequence[Record] | None, more: Sequence[Record]) -> Sequence[Record]:
    """Return events of the same format in the order of the log."""
    if records is None:
        return more
    joined = sorted((*records, *more), key=position_of)
    return as_rows(joined) if isinstance(more, RowRecords) else joined


def _plan_key(choice: Choice, row_format: RowFormat, topic: str) -> tuple[str, int, bool, RowFormat]:
    return (topic, id(choice.format), choice.is_ce_binary, row_format)


def _parse(
    choice: Choice, plan: EventColumns, records: Sequence[Record], partition: TopicPartition
) -> MappedEvents | None:
    assert choice.format is not None
    if isinstance(records, RowRecords):
        rows_format = cast("RowsFormat", choice.format)
        return plan.events(rows_format.columns_of_rows(records, plan.paths), records, partition)
    values: list[Any] = values_of(records)
    parsed = choice.format.columns(values, plan.paths, start=choice.start)
    return None if parsed is None else plan.events(parsed, records, partition)


def _chunk(
    events: MappedEvents,
    records: Sequence[Record],
    row_format: RowFormat,
    *,
    is_own_B: Any,
    at: tuple[TopicPartition, Epoch],
) -> Chunk:
    """Return the chunk of the events that are decided. at: the partition and the epoch."""
    ids, timestamps, x_BF = events.ids, events.timestamps, events.x_BF
    keys, deadlines = events.keys, events.deadlines
    if not is_own_B.all():
        kept = np.flatnonzero(is_own_B).tolist()
        places = {index: place for place, index in enumerate(kept)}
        records = selected(records, kept)
        ids, timestamps = [ids[index] for index in kept], [timestamps[index] for index in kept]
        x_BF = x_BF[is_own_B]
        keys = {places[index]: key for index, key in keys.items() if index in places}
        deadlines = {places[index]: ms for index, ms in deadlines.items() if index in places}
    return Chunk(
        *at,
        row_format.ref,
        records=records,
        ids=ids,
        timestamps=timestamps,
        x_BF=x_BF,
        rejections=[],
        num_records=len(records),
        num_bytes=records_bytes(records),
        next_offset=records[-1].offset + 1,
        keys=keys,
        deadlines=deadlines,
    )
