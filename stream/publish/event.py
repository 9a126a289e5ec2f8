"""Rows into events: which field is the id, the time, the key, and what is left are the features."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, NamedTuple

import orjson

from schemas.errors import ConfigError
from stream.publish.row import Row, RowFault

_FEATURE_FIELDS: Final = ("features", "input")
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
        model: str | None = None,
        deadline_after_ms: int | None = None,
    ) -> None:
        self._source = source
        self._now_ms = now_ms
        self._columns = columns or Columns()
        self._id = self._columns.id or "id"
        self._timestamp = self._columns.timestamp or "timestamp"
        self._model = model
        self._deadline_after_ms = deadline_after_ms

    def build(self, row: Row) -> Message:
        """The message for a row. Raises RowFault."""
        values = row.values
        if values is None:
            return Message(None, row.line or b"")
        features = next((name for name in _FEATURE_FIELDS if name in values), None)
        if features is not None:
            return self._complete(row, values, values[features])
        return self._from_columns(row, values)

    def _complete(self, row: Row, values: Mapping[str, object], features: object) -> Message:
        if not isinstance(features, list | dict):
            raise RowFault("features is neither an array nor an object", _EVENT_REMEDY)
        key = self._key(values)
        usual = self._id == "id" and self._timestamp == "timestamp"
        whole = values.get("id") is not None and values.get("timestamp") is not None
        if row.line is not None and usual and whole and self._model is None and self._deadline_after_ms is None:
            self._event_id(row, values)
            self._event_time(values)
            return Message(key, row.line)
        event = {name: value for name, value in values.items() if name not in (self._id, self._timestamp)}
        return Message(key, self._encode(row, values, event))

    def _from_columns(self, row: Row, values: Mapping[str, object]) -> Message:
        features = {
            name: _scalar(name, value) for name, value in values.items() if name not in (self._id, self._timestamp)
        }
        if not features:
            raise RowFault("the row has no features", _EVENT_REMEDY)
        return Message(self._key(values), self._encode(row, values, {"features": features}))

    def _encode(self, row: Row, values: Mapping[str, object], rest: Mapping[str, object]) -> bytes:
        event: dict[str, object] = {"id": self._event_id(row, values), "timestamp": self._event_time(values), **rest}
        if self._model is not None:
            event["model"] = self._model
        if self._deadline_after_ms is not None:
            event["deadline_ms"] = self._now_ms() + self._deadline_after_ms
        try:
            return orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY)
        except (TypeError, ValueError) as error:
            raise RowFault(f"the row cannot be written as JSON: {error}", "leave such columns out") from None

    def _event_id(self, row: Row, values: Mapping[str, object]) -> object:
        value = values.get(self._id)
        if value is None:
            return f"{self._source}:{row.number}"
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise RowFault(f"{self._id} is {value!r}; a text or a whole number is expected", "mend it, or leave it out")

    def _event_time(self, values: Mapping[str, object]) -> object:
        value = values.get(self._timestamp)
        if value is None:
            return self._now_ms()
        if isinstance(value, datetime):
            return _milliseconds(value)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise RowFault(
            f"{self._timestamp} is {value!r}; whole milliseconds since 1970 or an RFC 3339 time is expected",
            "mend it, or leave it out for the time of publishing",
        )

    def _key(self, values: Mapping[str, object]) -> bytes | None:
        name = self._columns.key or "key"
        value = values.get(name)
        if value is None or (self._columns.key is None and not isinstance(value, str)):
            return None
        if isinstance(value, list | dict):
            raise RowFault(f"the key {name} is neither a text nor a number", "name another column with --key-column")
        return str(value).encode("utf-8", "surrogatepass")


def _scalar(name: str, value: object) -> object:
    """A column's value as a feature of JSON."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if math.isinf(value):
                raise RowFault(f"column {name} is infinite", "replace it by a number or leave it empty")
            return None if math.isnan(value) else value
        case Decimal():
            return float(value)
        case datetime():
            return _milliseconds(value)
        case date():
            return _milliseconds(datetime(value.year, value.month, value.day, tzinfo=UTC))
        case _:
            found = (
                "a list"
                if isinstance(value, list)
                else "an object"
                if isinstance(value, dict)
                else type(value).__name__
            )
            raise RowFault(
                f"column {name} is {found}; a number, a boolean, a text or nothing is expected",
                "call a column of lists `features` to send it as all of them",
            )


def _milliseconds(value: datetime) -> int:
    moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
