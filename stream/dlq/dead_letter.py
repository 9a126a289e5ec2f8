"""A dead letter: a record of the dead-letter topic, parsed into the original event and the reason for its failure. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import FAILURES, FailureKind, FailureSpec
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.decode.json_values import to_json
from forebay.stream.decode.value_reader import F32, JSON, ReadValue
from forebay.stream.terminal.record_format import bytes_as_text, headers_as_json, with_value

Headers = tuple[tuple[str, bytes | None], ...]

_POSITION: Final = re.compile(r"(?P<topic>.+)[-:](?P<partition>\d{1,10})[@:](?P<offset>\d{1,19})", re.ASCII)
_MAX_DIGITS: Final = 19
_PARSED_HEADERS: Final = (names.ERROR_PREFIX, names.REPLAY_COUNT, names.REPLAY_FROM)


class Position(NamedTuple):
    """The topic, partition and offset of a record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse `topic-partition@offset` or `topic:partition:offset`; return None for any other text."""
        match = _POSITION.fullmatch(text)
        return None if match is None else cls(match["topic"], int(match["partition"]), int(match["offset"]))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event without a prediction, and the reason.

    position, timestamp: of the dead letter's own record. Timestamps are in ms since the Unix epoch.
    source, source_timestamp: of the event's record.
    headers: the event's headers, without `forebay.error.*`.
    truncated: the header of this name; set if the value was cut.
    window: start and end; set if a window of events failed, not one event.
    replay_count: number of replays of the event before this dead letter, as its header states.
    replay_from: the dead letter that the last of these replays published.
    count: number of unreadable records that it represents, from the source's offset to `last_offset`.
    source_row: the event's row in its record; None if the record is one event.
    """

    position: Position
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    stage: str
    kind: str
    message: str
    source: Position
    source_timestamp: int | None = None
    model: str | None = None
    version: int | None = None
    truncated: str | None = None
    replay_count: int = 0
    replay_from: str | None = None
    window: str | None = None
    last_offset: int | None = None
    count: int = 1
    source_row: int | None = None

    @property
    def is_raw(self) -> bool:
        """Whether the value is a raw record or record batch of Kafka's log, not an event's value."""
        return self.spec is not None and self.spec.is_raw

    @property
    def spec(self) -> FailureSpec | None:
        """The entry for the kind in the table of failures; None for a kind of a later version."""
        try:
            return FAILURES[FailureKind(self.kind)]
        except ValueError:
            return None

    @property
    def is_f32(self) -> bool:
        """Whether the value is raw float32."""
        content_type = self.header(names.CONTENT_TYPE) or ""
        return content_type.split(";")[0].strip().lower() == names.F32_CONTENT_TYPE

    @property
    def event_id(self) -> str | None:
        """The event's id; None if the event has none or cannot be decoded."""
        if self.is_f32:
            return self.header(names.ID) or (None if self.key is None else bytes_as_text(self.key))
        try:
            event_id = orjson.loads(self.value or b"")["id"]
        except (ValueError, LookupError, TypeError):
            return None
        return str(event_id) if isinstance(event_id, str | int) and not isinstance(event_id, bool) else None

    def header(self, name: str) -> str | None:
        """Return the value of an event's header, the last if there are several; None if it is missing."""
        values = (value for other, value in reversed(self.headers) if other.lower() == name)
        return next((_text(value) for value in values), None)

    def to_json(self, read: ReadValue | None = None) -> bytes:
        """Return the dead letter as a JSON object. read: what its value says, if that is not JSON."""
        row = {} if self.source_row is None else {"row": self.source_row}
        document = {
            "topic": self.position.topic,
            "partition": self.position.partition,
            "offset": self.position.offset,
            "timestamp": self.timestamp,
            "stage": self.stage,
            "kind": self.kind,
            "message": self.message,
            "source": {**self.source._asdict(), **row, "timestamp": self.source_timestamp},
            "model": self.model,
            "version": self.version,
            "truncated": self.truncated,
            "replay_count": self.replay_count,
            "replay_from": self.replay_from,
            "window": self.window,
            "last_offset": self.last_offset,
            "count": self.count,
            "id": self.event_id,
            "key": None if self.key is None else bytes_as_text(self.key),
            "headers": headers_as_json(self.headers),
        }
        if read is None:
            return with_value(document, self.value)
        decoded = read.reason is None and read.format not in (JSON, F32)
        return with_value({**document, **read.about()}, to_json(read.document) if decoded else self.value)


def parse_dead_letter(partition: TopicPartition, record: Record) -> DeadLetter | None:
    """Parse a record as a dead letter; return None if it is not one. Never raises."""
    event_headers: list[tuple[str, bytes | None]] = []
    reason: dict[str, str] = {}
    for name, value in record.headers:
        lower = name.lower()
        if lower.startswith(_PARSED_HEADERS):
            reason[lower] = value.decode("utf-8", "backslashreplace") if value else ""
        if not lower.startswith(names.ERROR_PREFIX):
            event_headers.append((name, value))
    topic, kind, stage = reason.get(names.ERROR_TOPIC), reason.get(names.ERROR_KIND), reason.get(names.ERROR_STAGE)
    number, offset = _integer(reason.get(names.ERROR_PARTITION)), _integer(reason.get(names.ERROR_OFFSET))
    if not topic or not kind or stage is None or number is None or offset is None or number < 0 or offset < 0:
        return None
    return DeadLetter(
        position=Position(partition.topic, partition.partition, record.offset),
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(event_headers),
        stage=stage,
        kind=kind,
        message=reason.get(names.ERROR_MESSAGE, ""),
        source=Position(topic, number, offset),
        source_timestamp=_timestamp(reason.get(names.ERROR_TIMESTAMP)),
        model=reason.get(names.ERROR_MODEL),
        version=_integer(reason.get(names.ERROR_VERSION)),
        truncated=reason.get(names.ERROR_TRUNCATED),
        replay_count=max(0, _integer(reason.get(names.REPLAY_COUNT)) or 0),
        replay_from=reason.get(names.REPLAY_FROM),
        window=reason.get(names.ERROR_WINDOW),
        last_offset=_integer(reason.get(names.ERROR_LAST_OFFSET)),
        count=max(1, _integer(reason.get(names.ERROR_COUNT)) or 1),
        source_row=_integer(reason.get(names.ERROR_ROW)),
    )


def _text(value: bytes | None) -> str:
    return bytes_as_text(value or b"")


def _timestamp(text: str | None) -> int | None:
    timestamp = _integer(text)
    return None if timestamp is None or timestamp < 0 else timestamp  # Kafka writes -1 for a missing timestamp


def _integer(text: str | None) -> int | None:
    if text is None or len(text) > _MAX_DIGITS or not text.isascii():
        return None
    return int(text) if text.removeprefix("-").isdigit() else None
