"""Rows into events: which field is the id, the time, the key, and what is left are the features."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

import orjson

from forebay.schemas.errors import ConfigError
from forebay.stream.publish.event_times import TimeRule
from forebay.stream.publish.input_row import InputRow, RowFault
from forebay.stream.publish.values import identifier, json_value, scalar_value

_FEATURE_FIELDS: Final = ("features", "input")
_INFINITE: Final = (math.inf, -math.inf)
_EVENT_REMEDY: Final = "`forebay schemas event` prints what an event is; --raw sends lines as they are"


class Message(NamedTuple):
    """What is sent: the record's key and value."""

    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Columns:
    """Which fields of a row have a meaning of their own. None: the usual name, where it is there."""

    id: str | None = None
    timestamp: str | None = None
    key: str | None = None

    def check(self, columns: Collection[str]) -> None:
        """Raise ConfigError where a column was asked for by name that is not there."""
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
    """Makes one event of one row.

    A row with a field `features` (or `input`) is an event already and only gets what it lacks; of any other row the columns
    are the features. An id that is missing becomes `<source>:<row number>`, the same each time; a missing time is
    `now_ms()`. `model` is written into every event; so is `deadline_after_ms`, counted from `now_ms()`.
    """

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
        """The message for a row. Raises RowFault."""
        values = row.values
        if values is None:
            return Message(None, row.line or b"")
        features = next((name for name in _FEATURE_FIELDS if name in values), None)
        if features is not None:
            return self._complete(row, values, features)
        return self._from_columns(row, values)

    def _complete(self, row: InputRow, values: Mapping[str, object], features_field: str) -> Message:
        features = values[features_field]
        if row.written is not None and isinstance(features, str):
            features = _parsed(features)
        if not isinstance(features, list | dict):
            raise RowFault(f"{features_field} is neither an array nor an object", _EVENT_REMEDY)
        key = self._record_key(row, values)
        if row.line is not None:
            own = values.get("key")
            if own is not None and not isinstance(own, str):
                raise RowFault(f"key is {own!r}; in an event it is a text", "put it in quotes")
            if self._is_whole(row, values):
                return Message(key, row.line)
            event = {name: value for name, value in values.items() if name not in (self._id, self._timestamp)}
            return Message(key, self._encode(row, values, event))
        # The record has the key already. A column that is no field of an event must not cost the row.
        left_out = (self._id, self._timestamp, "key")
        event = {
            name: json_value(name, features if name == features_field else value, self._times)
            for name, value in values.items()
            if name not in left_out and not self._is_bytes_key(name, value)
        }
        return Message(key, self._encode(row, values, event))

    def _is_whole(self, row: InputRow, values: Mapping[str, object]) -> bool:
        """Whether a line can be sent as it stands. Raises RowFault for an id or a time that is none."""
        usual = self._id == "id" and self._timestamp == "timestamp"
        if not usual or self._model is not None or self._deadline_after_ms is not None:
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
            raise RowFault(f"the row cannot be written as JSON: {error}", "leave such columns out") from None

    def _is_bytes_key(self, name: str, value: object) -> bool:
        """Whether a field can be the record's key but nothing in JSON."""
        return isinstance(value, bytes) and name == self._key

    def _event_id(self, row: InputRow, values: Mapping[str, object]) -> str:
        if isinstance(values.get(self._id), bool) and row.written is None:
            raise RowFault(
                f"{self._id} is {values[self._id]}; a text or a whole number is expected", "fix it, or leave it out"
            )
        value = _identity(self._id, row, values)
        if value is None:
            return f"{self._source}:{row.number}"
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise RowFault(f"{self._id} holds bytes that are not UTF-8", "store the ids as text") from None
        if not value:
            raise RowFault(f"{self._id} is an empty text", "fill it in, or leave the column out for ids by row number")
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
            return None  # a feature that happens to be called key
        return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _identity(name: str, row: InputRow, values: Mapping[str, object]) -> str | bytes | None:
    """What the field `name` holds as exact text; None for an empty field of CSV."""
    if row.written is not None:
        return row.written.get(name) or None
    return identifier(name, values.get(name))


def _parsed(text: str) -> object:
    """Features that a CSV file holds as JSON text; the text itself where it is not JSON."""
    try:
        return orjson.loads(text)
    except ValueError:
        return text
