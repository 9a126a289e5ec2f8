"""The exact validation of single events: the slow path for events that the fast path does not accept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from forebay.schemas import headers as names
from forebay.schemas.definitions import MAX_TIMESTAMP_MS
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Record, TopicPartition, Unreadable
from forebay.stream.core.rows import RowRecord
from forebay.stream.core.time_units import guess_unit, whole_milliseconds
from forebay.stream.decode.event_formats import EventFormats, plain_formats
from forebay.stream.decode.features import InvalidFeatures, describe
from forebay.stream.decode.formats.base64_f32 import decode_base64_f32
from forebay.stream.decode.formats.choice import CE_VERSION
from forebay.stream.decode.formats.json_documents import json_object
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.decode.mapping.documents import layout_of, model_name_of, parts_of, row_of
from forebay.stream.decode.models import ModelChoice, RowFormat
from forebay.stream.schema_registry.framing import VALUE_SCHEMA_HEADER

RAW_F32 = names.F32_CONTENT_TYPE.encode()
JSON_CONTENT_TYPES = (names.JSON_CONTENT_TYPE.encode(), b"text/json")

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidEvent(Exception):
    """A record is not a valid event. kind and message say why.

    model: the model that the record counts for: the one that it names if that is served, else its topic's.
    """

    def __init__(self, kind: FailureKind, message: str, model: ModelRef) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.model = model


class OtherFormat(Exception):
    """A record has another format than JSON with Forebay's fields or raw float32, and the caller reads only these."""


class _Fault(Exception):
    """What is wrong with a record."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class _Target(NamedTuple):
    """The model that a record counts for. fault: what is wrong with its own choice of a model, if anything."""

    model: RowFormat
    fault: _Fault | None

    def check(self) -> None:
        """Raise the fault, if there is one."""
        if self.fault is not None:
            raise self.fault


@dataclass(frozen=True, slots=True)
class Event:
    """A valid event. row: its features, F little-endian float32. Times are ms since the Unix epoch.

    names_model: whether it has a field `model`.
    """

    id: str
    timestamp: int
    row: bytes
    model: ModelRef
    names_model: bool
    key: bytes | None = None
    deadline_ms: int | None = None


@dataclass(frozen=True, slots=True)
class EventLimits:
    """Limits of the value and the key of an event, in bytes."""

    max_event_bytes: int
    max_key_bytes: int


def media_type_and_model(headers: Iterable[tuple[str, bytes | None]]) -> tuple[bytes | None, bytes | None]:
    """Return what the headers `content-type` and `forebay-model` say, None for each that is missing.

    The media type is in lower case and without parameters. Of several headers, the first `content-type` and the last
    `forebay-model` count.
    """
    media_type, model, _ = read_headers(headers)
    return media_type, model


def read_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[bytes | None, bytes | None, bool]:
    """Return the same as `media_type_and_model`, and whether other headers may say that the value is not plain JSON."""
    media_type = model = None
    is_ce = has_schema = False
    for name, value in headers:
        lower = name.lower()
        if lower == names.CONTENT_TYPE:
            if media_type is None:
                media_type = (value or b"").split(b";")[0].strip().lower()
        elif lower == names.MODEL:
            model = value or b""
        elif lower == CE_VERSION:
            is_ce = True
        elif lower == VALUE_SCHEMA_HEADER:
            has_schema = True
    return media_type, model, is_ce or (has_schema and media_type is None)


class EventValidator:
    """Validates single records for the models of a decoder."""

    def __init__(self, models: ModelChoice, limits: EventLimits, formats: EventFormats | None = None) -> None:
        self._models = models
        self._max_event_bytes = limits.max_event_bytes
        self._max_key_bytes = limits.max_key_bytes
        self._formats = plain_formats() if formats is None else formats

    def validate(self, record: Record, topic: str, *, partition: int | None = None) -> Event:
        """Decode a record of a topic. Raises InvalidEvent.

        partition: the partition of the topic. Without it, only plain JSON and raw float32 are read, and OtherFormat is
        raised for a record in another format.
        """
        media_type, header = media_type_and_model(record.headers)
        target = self._target(topic, None, header)
        try:
            self._check(record)
            choice = self._formats.choice.choose(record, topic)
            if choice.is_raw:
                return self._f32_event(record, target)
            if choice.format is None:
                document = _json_document(record.value or b"", media_type)
                target = self._target(topic, document.get("model"), header)
                return self._json_event(document, target)
            if partition is None:
                raise OtherFormat
            document = (
                record.source.document_of(record.row)
                if isinstance(record, RowRecord)
                else choice.format.document((record.value or b"")[choice.start :])
            )
            sources = layout_of(document, self._formats.layouts(topic, choice))
            target = self._target(topic, model_name_of(document, record, sources), header)
            parts = parts_of(document, record, TopicPartition(topic, partition), sources)
            target.check()
            row = row_of(document, sources, target.model.packer)
            self._check_key(parts.key)
            return Event(
                parts.id,
                parts.timestamp,
                row,
                target.model.ref,
                names_model=False,
                key=parts.key,
                deadline_ms=parts.deadline_ms,
            )
        except (_Fault, InvalidFeatures, InvalidPayload) as fault:
            raise InvalidEvent(fault.kind, fault.message, target.model.ref) from None

    def _target(self, topic: str, name: object, header: bytes | None) -> _Target:
        """Return the model for an event of a topic. name, header: the values of its field and its header, or None."""
        model = None
        if name is not None:
            if not isinstance(name, str):
                fault = _Fault(FailureKind.WRONG_TYPE, f"model is {describe(name)}; a string is expected")
                return _Target(self._models.of_topic(topic), fault)
            model = self._models.by_name.get(name)
        elif header is not None:
            model = self._models.by_header.get(header)
            try:
                name = header.decode()
            except UnicodeDecodeError:
                fault = _Fault(FailureKind.WRONG_TYPE, f"{names.MODEL} is not UTF-8")
                return _Target(self._models.of_topic(topic), fault)
        else:
            return _Target(self._models.of_topic(topic), None)
        if model is not None:
            return _Target(model, None)
        message = f"model {name[:80]!r} is not served here; {self._models.describe()}"
        return _Target(self._models.of_topic(topic), _Fault(FailureKind.UNKNOWN_MODEL, message))

    def _check(self, record: Record) -> None:
        """Raise _Fault for a record that no format can read."""
        if isinstance(record, Unreadable):
            raise _Fault(record.kind, record.description)
        self._check_key(record.key)
        if isinstance(record, RowRecord):
            return  # its record is within the limits
        value = record.value
        if not value:
            raise _Fault(
                FailureKind.EMPTY_VALUE, "the record is a tombstone" if value is None else "the value has no bytes"
            )
        if len(value) > self._max_event_bytes:
            raise _Fault(FailureKind.TOO_LARGE, f"{len(value)} bytes; input.max_event_bytes is {self._max_event_bytes}")

    def _json_event(self, document: dict[str, object], target: _Target) -> Event:
        event_id = _id(_required(document, "id"))
        timestamp = _timestamp(_required(document, "timestamp"))
        if "features" in document:
            features = document["features"]
        elif "input" in document:
            features = document["input"]
        else:
            raise _Fault(FailureKind.MISSING_FIELD, "no field 'features' (or 'input')")
        key = document.get("key")
        if key is not None and not isinstance(key, str):
            raise _Fault(FailureKind.WRONG_TYPE, f"key is {describe(key)}; a string is expected")
        target.check()
        deadline = document.get("deadline_ms")
        if deadline is not None:
            deadline = _milliseconds(deadline, "deadline_ms")
        packer = target.model.packer
        row = packer.exact_raw(decode_base64_f32(features)) if isinstance(features, str) else packer.exact(features)
        own_key = None if key is None else key.encode()
        self._check_key(own_key)
        return Event(
            event_id,
            timestamp,
            row,
            target.model.ref,
            names_model="model" in document,
            key=own_key,
            deadline_ms=deadline,
        )

    def _f32_event(self, record: Record, target: _Target) -> Event:
        value = record.value or b""
        headers = {name.lower(): content or b"" for name, content in record.headers}
        raw_id = headers.get(names.ID, record.key)
        if raw_id is None:
            raise _Fault(FailureKind.MISSING_FIELD, "no id: neither a header 'forebay-id' nor a record key")
        event_id = _id(_text(raw_id, "the id"))
        timestamp = _header_ms(headers, names.TIMESTAMP)
        deadline = _header_ms(headers, names.DEADLINE_MS)
        target.check()
        target.model.packer.exact_raw(value)
        if timestamp is None:
            if record.timestamp < 0:
                raise _Fault(
                    FailureKind.MISSING_FIELD, "no time: neither a header 'forebay-timestamp' nor a record timestamp"
                )
            timestamp = _milliseconds(record.timestamp, "the record's timestamp")
        return Event(event_id, timestamp, value, target.model.ref, names_model=False, deadline_ms=deadline)

    def _check_key(self, key: bytes | None) -> None:
        if key is not None and len(key) > self._max_key_bytes:
            raise _Fault(
                FailureKind.KEY_TOO_LARGE, f"a key of {len(key)} bytes; input.max_key_bytes is {self._max_key_bytes}"
            )


def _json_document(value: bytes, media_type: bytes | None) -> dict[str, object]:
    if media_type is not None and media_type not in JSON_CONTENT_TYPES:
        raise _Fault(
            FailureKind.UNSUPPORTED_CONTENT_TYPE, f"content-type {media_type[:80].decode('utf-8', 'replace')!r}"
        )
    try:
        return json_object(value)
    except InvalidPayload as fault:
        document = _with_large_integers(value) if fault.kind is FailureKind.OUT_OF_RANGE else None
        if document is None:
            raise
        return document


def _with_large_integers(value: bytes) -> dict[str, object] | None:
    """Return an event that has integers beyond float64 among its features, which the parser of the fast path reads too."""
    try:
        document = msgspec.json.decode(value)
    except Exception:  # also RecursionError
        return None
    if not isinstance(document, dict):
        return None
    others = (part for name, part in document.items() if name not in ("features", "input"))
    return None if any(isinstance(part, int) and part.bit_length() > 64 for part in others) else document


def _required(event: dict[str, object], name: str) -> object:
    if name not in event:
        raise _Fault(FailureKind.MISSING_FIELD, f"no field {name!r}")
    return event[name]


def _id(value: object) -> str:
    if isinstance(value, str):
        if not value:
            raise _Fault(FailureKind.WRONG_TYPE, "id is an empty string")
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _Fault(FailureKind.WRONG_TYPE, f"id is {describe(value)}; a string or an integer is expected")


def _timestamp(value: object) -> int:
    if isinstance(value, str):
        if not _RFC3339.fullmatch(value):
            raise _Fault(
                FailureKind.WRONG_TYPE,
                f"timestamp {value[:40]!r} is neither an RFC 3339 time with an offset nor milliseconds",
            )
        try:
            moment = datetime.fromisoformat(value.upper())
            milliseconds = whole_milliseconds(moment - _EPOCH)
        except (ValueError, OverflowError):
            raise _Fault(FailureKind.OUT_OF_RANGE, f"timestamp {value[:40]!r} is not a date") from None
        return _milliseconds(milliseconds, "timestamp")
    return _milliseconds(value, "timestamp")


def _milliseconds(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Fault(
            FailureKind.WRONG_TYPE, f"{name} is {describe(value)}; integer milliseconds since the epoch are expected"
        )
    if not 0 <= value <= MAX_TIMESTAMP_MS:
        raise _Fault(
            FailureKind.OUT_OF_RANGE, f"{name} {value} is not between 1970 and 9999 in milliseconds{guess_unit(value)}"
        )
    return value


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _Fault(FailureKind.WRONG_TYPE, f"{name} is not UTF-8") from None


def _header_ms(headers: dict[str, bytes], name: str) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 19:
        raise _Fault(FailureKind.WRONG_TYPE, f"header {name} is not integer milliseconds")
    return _milliseconds(int(value), name)
