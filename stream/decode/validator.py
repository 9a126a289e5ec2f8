"""The exact validation of single events: the slow path for events that the fast path does not accept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from forebay.schemas import headers as names
from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Record, Unreadable
from forebay.stream.core.time_units import guess_unit, whole_milliseconds
from forebay.stream.decode.features import FeaturePacker, InvalidFeatures, describe

RAW_F32 = names.F32_CONTENT_TYPE.encode()
JSON_CONTENT_TYPES = (names.JSON_CONTENT_TYPE.encode(), b"text/json")

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidEvent(Exception):
    """A record is not a valid event. kind and message say why."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class Event:
    """A valid event. row: its features, F little-endian float32. Times are ms since the Unix epoch."""

    id: str
    timestamp: int
    row: bytes
    key: bytes | None = None
    deadline_ms: int | None = None


@dataclass(frozen=True, slots=True)
class EventLimits:
    """Limits of the value and the key of an event, in bytes."""

    max_event_bytes: int
    max_key_bytes: int


def content_type(record: Record) -> bytes | None:
    """Return the media type of the record's `content-type` header, in lower case and without parameters."""
    for name, value in record.headers:
        if name.lower() == names.CONTENT_TYPE:
            return (value or b"").split(b";")[0].strip().lower()
    return None


class EventValidator:
    """Validates single records for one model."""

    def __init__(self, packer: FeaturePacker, *, model_name: str, limits: EventLimits) -> None:
        self._packer = packer
        self._model_name = model_name
        self._max_event_bytes = limits.max_event_bytes
        self._max_key_bytes = limits.max_key_bytes

    def validate(self, record: Record) -> Event:
        """Decode a record. Raises InvalidEvent."""
        if isinstance(record, Unreadable):
            raise InvalidEvent(record.kind, record.description)
        value = record.value
        self._check_key(record.key)
        if not value:
            raise InvalidEvent(
                FailureKind.EMPTY_VALUE, "the record is a tombstone" if value is None else "the value has no bytes"
            )
        if len(value) > self._max_event_bytes:
            raise InvalidEvent(
                FailureKind.TOO_LARGE, f"{len(value)} bytes; input.max_event_bytes is {self._max_event_bytes}"
            )
        kind = content_type(record)
        try:
            if kind is None or kind in JSON_CONTENT_TYPES:
                return self._validate_json(value)
            if kind == RAW_F32:
                return self._validate_f32(record, value)
        except InvalidFeatures as fault:
            raise InvalidEvent(fault.kind, fault.message) from None
        raise InvalidEvent(
            FailureKind.UNSUPPORTED_CONTENT_TYPE, f"content-type {kind[:80].decode('utf-8', 'replace')!r}"
        )

    def _validate_json(self, value: bytes) -> Event:
        try:
            event = orjson.loads(value)
        except ValueError as error:
            message = str(error)[:200]
            # The parser refuses 1e400 like invalid syntax, although it is valid JSON.
            kind = FailureKind.OUT_OF_RANGE if message.startswith("number is infinity") else FailureKind.NOT_JSON
            raise InvalidEvent(kind, message) from None
        if not isinstance(event, dict):
            raise InvalidEvent(FailureKind.NOT_AN_OBJECT, f"the value is {describe(event)}")
        event_id = _id(_required(event, "id"))
        timestamp = _timestamp(_required(event, "timestamp"))
        if "features" in event:
            features = event["features"]
        elif "input" in event:
            features = event["input"]
        else:
            raise InvalidEvent(FailureKind.MISSING_FIELD, "no field 'features' (or 'input')")
        key = event.get("key")
        if key is not None and not isinstance(key, str):
            raise InvalidEvent(FailureKind.WRONG_TYPE, f"key is {describe(key)}; a string is expected")
        model = event.get("model")
        if model is not None and not isinstance(model, str):
            raise InvalidEvent(FailureKind.WRONG_TYPE, f"model is {describe(model)}; a string is expected")
        self._check_model(model)
        deadline = event.get("deadline_ms")
        if deadline is not None:
            deadline = _milliseconds(deadline, "deadline_ms")
        row = self._packer.exact(features)
        own_key = None if key is None else key.encode()
        self._check_key(own_key)
        return Event(event_id, timestamp, row, own_key, deadline)

    def _validate_f32(self, record: Record, value: bytes) -> Event:
        headers = {name.lower(): content or b"" for name, content in record.headers}
        raw_id = headers.get(names.ID, record.key)
        if raw_id is None:
            raise InvalidEvent(FailureKind.MISSING_FIELD, "no id: neither a header 'forebay-id' nor a record key")
        event_id = _id(_text(raw_id, "the id"))
        timestamp = _header_ms(headers, names.TIMESTAMP)
        deadline = _header_ms(headers, names.DEADLINE_MS)
        model = headers.get(names.MODEL)
        self._check_model(None if model is None else _text(model, "forebay-model"))
        if len(value) != self._packer.row_bytes:
            raise InvalidEvent(
                FailureKind.WRONG_LENGTH,
                f"{len(value)} bytes; the model takes {self._packer.num_features} float32 = {self._packer.row_bytes}",
            )
        self._packer.check_raw(value)
        if timestamp is None:
            if record.timestamp < 0:
                raise InvalidEvent(
                    FailureKind.MISSING_FIELD, "no time: neither a header 'forebay-timestamp' nor a record timestamp"
                )
            timestamp = _milliseconds(record.timestamp, "the record's timestamp")
        return Event(event_id, timestamp, value, None, deadline)

    def _check_key(self, key: bytes | None) -> None:
        if key is not None and len(key) > self._max_key_bytes:
            raise InvalidEvent(
                FailureKind.KEY_TOO_LARGE, f"a key of {len(key)} bytes; input.max_key_bytes is {self._max_key_bytes}"
            )

    def _check_model(self, model: str | None) -> None:
        if model is not None and model != self._model_name:
            raise InvalidEvent(
                FailureKind.UNKNOWN_MODEL, f"model {model[:80]!r} is not served here; {self._model_name!r} is"
            )


def _required(event: dict[str, object], name: str) -> object:
    if name not in event:
        raise InvalidEvent(FailureKind.MISSING_FIELD, f"no field {name!r}")
    return event[name]


def _id(value: object) -> str:
    if isinstance(value, str):
        if not value:
            raise InvalidEvent(FailureKind.WRONG_TYPE, "id is an empty string")
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidEvent(FailureKind.WRONG_TYPE, f"id is {describe(value)}; a string or an integer is expected")


def _timestamp(value: object) -> int:
    if isinstance(value, str):
        if not _RFC3339.fullmatch(value):
            raise InvalidEvent(
                FailureKind.WRONG_TYPE,
                f"timestamp {value[:40]!r} is neither an RFC 3339 time with an offset nor milliseconds",
            )
        try:
            moment = datetime.fromisoformat(value.upper())
            milliseconds = whole_milliseconds(moment - _EPOCH)
        except (ValueError, OverflowError):
            raise InvalidEvent(FailureKind.OUT_OF_RANGE, f"timestamp {value[:40]!r} is not a date") from None
        return _milliseconds(milliseconds, "timestamp")
    return _milliseconds(value, "timestamp")


def _milliseconds(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidEvent(
            FailureKind.WRONG_TYPE, f"{name} is {describe(value)}; integer milliseconds since the epoch are expected"
        )
    if not 0 <= value <= MAX_TIMESTAMP_MS:
        raise InvalidEvent(
            FailureKind.OUT_OF_RANGE, f"{name} {value} is not between 1970 and 9999 in milliseconds{guess_unit(value)}"
        )
    return value


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidEvent(FailureKind.WRONG_TYPE, f"{name} is not UTF-8") from None


def _header_ms(headers: dict[str, bytes], name: str) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 19:
        raise InvalidEvent(FailureKind.WRONG_TYPE, f"header {name} is not integer milliseconds")
    return _milliseconds(int(value), name)
