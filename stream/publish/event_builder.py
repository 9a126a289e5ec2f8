"""Conversion of rows to events: fields of a row become the id, the event time and the key; the others become features."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple, Protocol

import orjson

from forebay.models.data.input_row import InputRow
from forebay.schemas.errors import ConfigError
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.row_fault import RowFault
from forebay.stream.publish.values import identifier, json_value, scalar_value

_FEATURE_FIELDS: Final = ("features", "input")
_INFINITE: Final = (math.inf, -math.inf)
_EVENT_REMEDY: Final = "`forebay schemas event` prints the schema of an event; --raw sends lines unchanged"


class Message(NamedTuple):
    """The key and value of a record to send. partition: None if the key decides."""

    key: bytes | None
    value: bytes
    partition: int | None = None


class RowBuilder(Protocol):
    """Builds the records of rows. noun: what the records are, for messages."""

    @property
    def noun(self) -> str: ...

    def build(self, row: InputRow) -> Message:
        """Return the message for a row. Raises RowFault."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of the id, the event time and the key. None: the default name, if there is such a column."""

    id: str | None = None
    timestamp: str | None = None
    key: str | None = None

    def check(self, columns: Collection[str]) -> None:
        """Raise ConfigError if an option names a column that does not exist."""
        for option, name in (
            ("--id-column", self.id),
            ("--timestamp-column", self.timestamp),
            ("--key-column", self.key),
        ):
            if name is not None and name not in columns:
                near = get_close_matches(name, columns, n=1)
                raise ConfigError(
                    f"{option} {name!r}: there is no such column",
                    kind="no_such_column",
                    remedy=f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(list(columns)[:20])}",
                )


class EventBuilder:
    """Builds one event from each row.

    A row with a field `features` (or `input`) is already an event, and only missing fields are added. The columns of any other
    row become features. A missing id becomes `<source>:<row number>`, which is the same in each run. A missing time becomes
    `now_ms()`.

    model: written into every event. deadline_after_ms: sets the deadline of every event, relative to `now_ms()`.
    """

    noun: Final = "event"

    def __init__(
        self,
        source: str,
        *,
        now_ms: Callable[[], int],
        columns: Columns | None = None,
        times: TimeRule | None = None,
        model: str | None = None,
        deadline_after_ms: int | None = None,
    ) -> None:
        self._source = source
        self._now_ms = now_ms
        self._columns = columns or Columns()
        self._times = times or TimeRule()
        self._id = self._columns.id or "id"
        self._timestamp = self._columns.timestamp or "timestamp"
        self._key = self._columns.key or "key"
        self._model = model
        self._deadline_after_ms = deadline_after_ms

    def build(self, row: InputRow) -> Message:
        """Return the message for a row. Raises RowFault."""
        values = row.values
        if values is None:
            return Message(None, row.line or b"")
        features = next((name for name in _FEATURE_FIELDS if name in values), None)
        if features is not None:
            return self._from_event(row, values, features)
        return self._from_columns(row, values)

    def _from_event(self, row: InputRow, values: Mapping[str, object], features_field: str) -> Message:
        features = values[features_field]
        if row.written is not None and isinstance(features, str):
            features = _parse_features(features)
        if not isinstance(features, list | dict):
            raise RowFault(f"{features_field} is neither an array nor an object", _EVENT_REMEDY)
        key = self._record_key(row, values)
        if row.line is not None:
            event_key = values.get("key")
            if event_key is not None and not isinstance(event_key, str):
                raise RowFault(f"key is {event_key!r}; the key of an event must be text", "write it in quotes")
            if self._is_complete(row, values):
                return Message(key, row.line)
            event = {name: value for name, value in values.items() if name not in (self._id, self._timestamp)}
            return Message(key, self._encode(row, values, event))
        # The record already has the key. An invalid key column must not invalidate the row.
        excluded = (self._id, self._timestamp, "key")
        event = {
            name: json_value(name, features if name == features_field else value, self._times)
            for name, value in values.items()
            if name not in excluded and not self._is_bytes_key(name, value)
        }
        return Message(key, self._encode(row, values, event))

    def _is_complete(self, row: InputRow, values: Mapping[str, object]) -> bool:
        """Return whether a line can be sent unchanged. Raises RowFault for an invalid id or time."""
        default_names = self._id == "id" and self._timestamp == "timestamp"
        if not default_names or self._model is not None or self._deadline_after_ms is not None:
            return False
        if values.get("id") is None or values.get("timestamp") is None:
            return False
        event_id = self._event_id(row, values)
        time = values["timestamp"]
        return isinstance(event_id, str) and type(time) in (int, str) and self._event_time(row, values) == time

    def _from_columns(self, row: InputRow, values: Mapping[str, object]) -> Message:
        times = self._times
        if row.written is not None and values.get(self._key) in _INFINITE:
            values = {**values, self._key: row.written[self._key]}  # a name such as INF
        features = {
            name: scalar_value(name, value, times)
            for name, value in values.items()
            if name not in (self._id, self._timestamp) and not self._is_bytes_key(name, value)
        }
        if not features:
            raise RowFault("the row has no features", _EVENT_REMEDY)
        return Message(self._record_key(row, values), self._encode(row, values, {"features": features}))

    def _encode(self, row: InputRow, values: Mapping[str, object], rest: Mapping[str, object]) -> bytes:
        event: dict[str, object] = {
            "id": self._event_id(row, values),
            "timestamp": self._event_time(row, values),
            **rest,
        }
        if self._model is not None:
            event["model"] = self._model
        if self._deadline_after_ms is not None:
            event["deadline_ms"] = self._now_ms() + self._deadline_after_ms
        try:
            return orjson.dumps(event)
        except (TypeError, ValueError) as error:
            raise RowFault(f"the row cannot be written as JSON: {error}", "remove such columns from the file") from None

    def _is_bytes_key(self, name: str, value: object) -> bool:
        """Return whether a field holds the record's key as bytes, which JSON cannot express."""
        return isinstance(value, bytes) and name == self._key

    def _event_id(self, row: InputRow, values: Mapping[str, object]) -> str:
        if isinstance(values.get(self._id), bool) and row.written is None:
            raise RowFault(
                f"{self._id} is {values[self._id]}; it must be text or a whole number", "fix it, or remove it"
            )
        value = _identity(self._id, row, values)
        if value is None:
            return f"{row.file or self._source}:{row.number}"
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise RowFault(f"{self._id} holds bytes that are not UTF-8", "store the ids as text") from None
        if not value:
            raise RowFault(f"{self._id} is empty text", "fill it in, or remove the column to get ids by row number")
        return value

    def _event_time(self, row: InputRow, values: Mapping[str, object]) -> int | str:
        value = values.get(self._timestamp)
        if value is None:
            return self._now_ms()
        return self._times.event_time(self._timestamp, value if row.written is None else row.written[self._timestamp])

    def _record_key(self, row: InputRow, values: Mapping[str, object]) -> bytes | None:
        try:
            value = _identity(self._key, row, values)
        except RowFault:
            if self._columns.key is not None:
                raise
            return None  # a feature whose name is "key" by chance
        return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _identity(name: str, row: InputRow, values: Mapping[str, object]) -> str | bytes | None:
    """Return the exact text or bytes of the field `name`; None if it is missing, or empty in CSV."""
    if row.written is not None:
        return row.written.get(name) or None
    return identifier(name, values.get(name))


def _parse_features(text: str) -> object:
    """Parse features that a CSV file holds as JSON text; return the text itself if it is not JSON."""
    try:
        return orjson.loads(text)
    except ValueError:
        return text
