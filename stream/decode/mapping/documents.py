"""The exact path: one document becomes the parts of an event, or the reason why it is invalid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from forebay.schemas.failures import FailureKind
from forebay.stream.config.input_mapping import ValueSource
from forebay.stream.core.field_path import format_field_path
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.core.rows import key_id, position_id
from forebay.stream.decode.features import FeaturePacker, InvalidFeatures, describe
from forebay.stream.decode.formats.base64_f32 import decode_base64_f32
from forebay.stream.decode.formats.document_columns import lookup
from forebay.stream.decode.formats.payload import Path, ShapedFeatures
from forebay.stream.decode.mapping.sources import EventSources, Layouts
from forebay.stream.decode.mapping.times import milliseconds_of


class EventParts(NamedTuple):
    """The parts of an event besides its model and its features."""

    id: str
    timestamp: int
    key: bytes | None
    deadline_ms: int | None


def layout_of(document: dict[str, object], layouts: Layouts) -> EventSources:
    """Return the sources that apply to a document. Raises InvalidFeatures if it has no features."""
    candidates = layouts.candidates
    for sources in candidates[:-1] if layouts.takes_any else candidates:
        if lookup(document, sources.features) is not None:
            return sources
    if layouts.takes_any:
        return candidates[-1]
    raise InvalidFeatures(
        FailureKind.MISSING_FIELD, "no field 'features' (or 'input'); [input.mapping] says where the features are"
    )


def model_name_of(document: dict[str, object], record: Record, sources: EventSources) -> object:
    """Return the name of the model that the event asks for by its mapped field or header; None for none."""
    return None if sources.model is None else value_of(document, record, sources.model)


def parts_of(
    document: dict[str, object], record: Record, partition: TopicPartition, sources: EventSources
) -> EventParts:
    """Return the parts of an event. Raises InvalidFeatures."""
    event_id = _id(document, record, partition, sources.id)
    timestamp = _timestamp(document, record, sources)
    key = None if sources.key is None else _key(value_of(document, record, sources.key))
    deadline = None if sources.deadline is None else value_of(document, record, sources.deadline)
    deadline_ms = None if deadline is None else milliseconds_of(deadline, "the deadline", sources.unit)
    return EventParts(event_id, timestamp, key, deadline_ms)


def row_of(document: dict[str, object], sources: EventSources, packer: FeaturePacker) -> bytes:
    """Return the row of the features, as `FeaturePacker.exact`. Raises InvalidFeatures, or InvalidPayload for images."""
    features = lookup(document, sources.features)
    if sources.fields:
        features = _with_fields(document, features, sources, packer)
    elif features is None:
        raise InvalidFeatures(FailureKind.MISSING_FIELD, f"no field {format_field_path(sources.features)!r}")
    if isinstance(features, str):
        features = decode_base64_f32(features)
    if isinstance(features, bytes):
        return packer.exact_raw(features)
    if isinstance(features, ShapedFeatures):
        if packer.has_texts:
            raise InvalidFeatures(FailureKind.UNSUPPORTED_CONTENT_TYPE, "the model takes texts or times, not images")
        return features.row(packer.shape)
    if isinstance(features, dict):
        return packer.exact({name: plain_value(features.get(name)) for name in packer.names if name in features})
    if isinstance(features, list):
        return packer.exact([plain_value(value) for value in features])
    return packer.exact(features)


def plain_value(value: object) -> object:
    """Return a value of a document as JSON would have it: times as text, decimals as numbers."""
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() else math.nan
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def _with_fields(
    document: dict[str, object], features: object, sources: EventSources, packer: FeaturePacker
) -> dict[str, object]:
    """Return the features by name, each from its own paths if it has some."""
    by_name = features if isinstance(features, dict) else {}
    found: dict[str, object] = {}
    for name in packer.names:
        paths: Sequence[Path] = sources.fields.get(name, ())
        values = [value for path in paths if (value := lookup(document, path)) is not None]
        if values:
            found[name] = values[0]
        elif not paths and name in by_name:
            found[name] = by_name[name]
    return found


def value_of(document: dict[str, object], record: Record, source: ValueSource) -> object:
    """Return the value of a field, of a header as text, or of the record; None if there is none."""
    if source.kind == "field":
        return lookup(document, source.path)
    if source.kind == "header":
        content = header_of(record, source.header)
        return None if content is None else _text(content, f"the header {source.header}")
    if source.kind == "record":
        return record.timestamp if record.timestamp >= 0 else None
    return record.key


def header_of(record: Record, name: str) -> bytes | None:
    """Return the content of the last header of this name, in any case; None if there is none."""
    content = None
    for header, value in record.headers:
        if header.lower() == name:
            content = value
    return content


def _id(document: dict[str, object], record: Record, partition: TopicPartition, sources: Sequence[ValueSource]) -> str:
    for source in sources:
        if source.kind == "position":
            return position_id(record, f"{partition.topic}-{partition.partition}")
        value = value_of(document, record, source)
        if value is None:
            continue
        if isinstance(value, bytes):
            if source.kind == "key" and len(sources) > 1 and not _is_text(value):
                continue  # the default falls back to the position
            value = _text(value, "the id")
            if source.kind == "key":
                value = value and key_id(record, value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str):
            if value:
                return value
            raise InvalidFeatures(FailureKind.WRONG_TYPE, "id is an empty string")
        raise InvalidFeatures(FailureKind.WRONG_TYPE, f"id is {describe(value)}; a string or an integer is expected")
    raise InvalidFeatures(FailureKind.MISSING_FIELD, f"no id: {describe_sources(sources)} is missing")


def _timestamp(document: dict[str, object], record: Record, sources: EventSources) -> int:
    for source in sources.timestamp:
        value = value_of(document, record, source)
        if value is not None:
            unit = "ms" if source.kind == "record" else sources.unit
            return milliseconds_of(value, "timestamp", unit)
    raise InvalidFeatures(FailureKind.MISSING_FIELD, f"no timestamp: {describe_sources(sources.timestamp)} is missing")


def _key(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value).encode()
    if isinstance(value, str):
        return value.encode()
    raise InvalidFeatures(FailureKind.WRONG_TYPE, f"key is {describe(value)}; a string is expected")


def describe_sources(sources: Sequence[ValueSource]) -> str:
    """Return the sources in words, for messages."""
    words = {"key": "the record key", "record": "the record's timestamp", "position": "the position"}
    return " or ".join(
        words.get(source.kind)
        or (f"the header {source.header!r}" if source.kind == "header" else f"field {format_field_path(source.path)!r}")
        for source in sources
    )


def _is_text(value: bytes) -> bool:
    try:
        return bool(value.decode())
    except UnicodeDecodeError:
        return False


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidFeatures(FailureKind.WRONG_TYPE, f"{name} is not UTF-8") from None
