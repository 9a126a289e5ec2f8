"""Records of a topic as rows of a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson

from forebay.models.data.event_columns import flat_event
from forebay.models.data.input_row import InvalidRow
from forebay.stream.core.records import Record, TopicPartition, Unreadable
from forebay.stream.core.time_units import whole_milliseconds

_REMEDY: Final = "--skip-bad-lines skips such records; `forebay schemas event` prints the schema of an event"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_DATA: Final = ("model", "deadline_ms")


class EventRow(NamedTuple):
    """The columns of an event. place: its topic, partition and offset, as messages show them."""

    place: str
    values: Mapping[str, object]


def read_event(partition: TopicPartition, record: Record) -> EventRow | InvalidRow:
    """Return the columns of the event in a record, or why it is not an event. Never raises."""
    place = f"{partition.topic}-{partition.partition}@{record.offset}"
    if isinstance(record, Unreadable):
        return InvalidRow(place, record.description, _REMEDY)
    if record.value is None:
        return InvalidRow(place, "the record has no value", _REMEDY)
    try:
        event = orjson.loads(record.value)
    except ValueError as error:
        return InvalidRow(place, f"not JSON: {error}", _REMEDY)
    if not isinstance(event, dict):
        return InvalidRow(place, "the JSON value is not an object", _REMEDY)
    features = event.get("features", event.get("input"))
    if not isinstance(features, dict | list):
        return InvalidRow(place, "the event has no features", _REMEDY)
    try:
        key = event.get("key") if record.key is None else record.key.decode()
        columns: dict[str, object] = {
            "id": None if event.get("id") is None else str(event["id"]),
            "timestamp": _milliseconds(event.get("timestamp", record.timestamp)),
            "key": key,
            **{name: value for name, value in event.items() if name not in ("id", "timestamp", "key", *_NOT_DATA)},
        }
    except UnicodeDecodeError:
        return InvalidRow(place, "the record's key is not UTF-8", _REMEDY)
    except (ValueError, OverflowError) as error:
        return InvalidRow(place, f"timestamp cannot be read: {error}", _REMEDY)
    return EventRow(place, flat_event(columns))


def _milliseconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    moment = datetime.fromisoformat(value.upper())
    if moment.tzinfo is None:
        raise ValueError(f"{value[:40]!r} has no offset")
    return whole_milliseconds(moment - _EPOCH)
