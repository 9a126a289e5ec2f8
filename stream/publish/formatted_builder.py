"""Builds records in a format other than JSON events from rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol, runtime_checkable

from forebay.models.data.input_row import InputRow
from forebay.stream.publish.event_builder import EventBuilder, Message, RowBuilder
from forebay.stream.publish.row_fault import RowFault
from forebay.stream.publish.values import identifier

Headers = tuple[tuple[str, bytes], ...]


@runtime_checkable
class SchemaValues(Protocol):
    """A format whose schema names the fields."""

    @property
    def name(self) -> str: ...
    @property
    def headers(self) -> Headers: ...
    def fields(self) -> list[str]: ...
    def encode(self, values: Mapping[str, object]) -> bytes: ...
    def decode(self, value: bytes) -> object: ...


class EnvelopeValues(Protocol):
    """A format that holds a whole event."""

    @property
    def name(self) -> str: ...
    @property
    def headers(self) -> Headers: ...
    def encode(self, event: bytes) -> bytes: ...
    def decode(self, value: bytes) -> object: ...
    def event(self, value: bytes) -> object: ...


class SchemaRowBuilder:
    """Builds records whose fields are those of a schema. key: the column of the record keys; None: `key`, if there is one."""

    noun: Final = "event"

    def __init__(self, values: SchemaValues, key: str | None) -> None:
        self._values = values
        self._key = key

    def build(self, row: InputRow) -> Message:
        """Return the message for a row. Raises RowFault."""
        if row.values is None:
            raise RowFault("the line is not parsed", "remove --raw")
        values = row.values
        if row.written is not None:
            # The text of CSV files: the schema says what it is. 00123 stays as it is for a string.
            values = {name: None if value is None else row.written[name] for name, value in values.items()}
        key = identifier(self._key or "key", values.get(self._key or "key"))
        return Message(key.encode() if isinstance(key, str) else key, self._values.encode(nested(values)))

    def unused(self, columns: Collection[str]) -> list[str]:
        """Return the columns that the schema has no field for; nothing if it names no fields."""
        known = set(self._values.fields())
        tops = {name: name.partition(".")[0] for name in columns if name != (self._key or "key")}
        return [name for name, top in tops.items() if name not in known and top not in known] if known else []


class EnvelopeBuilder:
    """Builds records that hold a whole event, which `events` builds."""

    noun: Final = "event"

    def __init__(self, values: EnvelopeValues, events: EventBuilder) -> None:
        self._values = values
        self._events = events

    def build(self, row: InputRow) -> Message:
        """Return the message for a row. Raises RowFault."""
        message = self._events.build(row)
        return message._replace(value=self._values.encode(message.value))


def format_builder(values: SchemaValues | EnvelopeValues, key: str | None, events: EventBuilder) -> RowBuilder:
    """Return the builder of records in a format. key: the column of the keys. events: builds the events that a format holds."""
    if isinstance(values, SchemaValues):
        return SchemaRowBuilder(values, key)
    return EnvelopeBuilder(values, events)


def nested(values: Mapping[str, object]) -> Mapping[str, object]:
    """Return the columns as nested objects: a.b becomes b within a, unless there is a column a."""
    if not any("." in name for name in values):
        return values
    found: dict[str, object] = {name: value for name, value in values.items() if "." not in name}
    for name, value in values.items():
        top, _, rest = name.partition(".")
        if not rest:
            continue
        if top in values or not top:
            found[name] = value
            continue
        inside = found.setdefault(top, {})
        if isinstance(inside, dict):
            inside[rest] = value
    return {
        name: nested(value) if isinstance(value, dict) and name not in values else value
        for name, value in found.items()
    }
