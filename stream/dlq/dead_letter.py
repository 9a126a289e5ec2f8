"""A record of the dead-letter topic as what it is: an event's own record, and why it has no prediction. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import orjson

from forebay.schemas import headers as names
from forebay.schemas.failures import FAILURES, FailureKind, FailureSpec
from forebay.stream.core.records import Record, TopicPartition
from forebay.stream.terminal.record_format import bytes_as_text, headers_as_json, with_value

Headers = tuple[tuple[str, bytes | None], ...]

_POSITION: Final = re.compile(r"(?P<topic>.+)[-:](?P<partition>\d{1,10})[@:](?P<offset>\d{1,19})", re.ASCII)
_MOST_DIGITS: Final = 19
_OURS: Final = (names.ERROR_PREFIX, names.REPLAY_COUNT, names.REPLAY_FROM)


class Position(NamedTuple):
    """One record's place."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """From `topic-partition@offset` or `topic:partition:offset`; None where it is neither."""
        match = _POSITION.fullmatch(text)
        return None if match is None else cls(match["topic"], int(match["partition"]), int(match["offset"]))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter.

    position, timestamp: of the letter's own record; source, source_timestamp: of the event's record (times in ms since the
    Unix epoch). headers: the event's, without those that say why. truncated: the header of that name, where the value is not
    whole; window: its start and end, where a window of events failed and not one event. replay_count: how many times the event
    was replayed before this letter, the last time from `replay_from`. count: how many records it stands for, where they could
    not be read; they lie from the source's offset to `last_offset`.
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

    @property
    def is_raw(self) -> bool:
        """Whether the value is what Kafka's log held, a record or a whole batch, and not an event's value."""
        return self.spec is not None and self.spec.is_raw

    @property
    def spec(self) -> FailureSpec | None:
        """What the table of failures says of it; None for a kind that only a later version knows."""
        try:
            return FAILURES[FailureKind(self.kind)]
        except ValueError:
            return None

    @property
    def is_f32(self) -> bool:
        """Whether the value is raw float32."""
        given = self.header(names.CONTENT_TYPE) or ""
        return given.split(";")[0].strip().lower() == names.F32_CONTENT_TYPE

    @property
    def event_id(self) -> str | None:
        """The event's id, where it can be told."""
        if self.is_f32:
            return self.header(names.ID) or (None if self.key is None else bytes_as_text(self.key))
        try:
            found = orjson.loads(self.value or b"")["id"]
        except (ValueError, LookupError, TypeError):
            return None
        return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else None

    def header(self, name: str) -> str | None:
        """One of the event's headers; the last, where it is there twice."""
        return next((_text(value) for each, value in reversed(self.headers) if each.lower() == name), None)

    def to_json(self) -> bytes:
        """One JSON object."""
        document = {
            "topic": self.position.topic,
            "partition": self.position.partition,
            "offset": self.position.offset,
            "timestamp": self.timestamp,
            "stage": self.stage,
            "kind": self.kind,
            "message": self.message,
            "source": {**self.source._asdict(), "timestamp": self.source_timestamp},
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
        return with_value(document, self.value)


def parse_dead_letter(partition: TopicPartition, record: Record) -> DeadLetter | None:
    """The letter that a record is; None for a record that is none. Total: no bytes at all make it raise."""
    original: list[tuple[str, bytes | None]] = []
    why: dict[str, str] = {}
    for name, value in record.headers:
        lower = name.lower()
        if lower.startswith(_OURS):
            why[lower] = value.decode("utf-8", "backslashreplace") if value else ""
        if not lower.startswith(names.ERROR_PREFIX):
            original.append((name, value))
    topic, kind, stage = why.get(names.ERROR_TOPIC), why.get(names.ERROR_KIND), why.get(names.ERROR_STAGE)
    place, offset = _integer(why.get(names.ERROR_PARTITION)), _integer(why.get(names.ERROR_OFFSET))
    if not topic or not kind or stage is None or place is None or offset is None or place < 0 or offset < 0:
        return None
    return DeadLetter(
        position=Position(partition.topic, partition.partition, record.offset),
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(original),
        stage=stage,
        kind=kind,
        message=why.get(names.ERROR_MESSAGE, ""),
        source=Position(topic, place, offset),
        source_timestamp=_timestamp(why.get(names.ERROR_TIMESTAMP)),
        model=why.get(names.ERROR_MODEL),
        version=_integer(why.get(names.ERROR_VERSION)),
        truncated=why.get(names.ERROR_TRUNCATED),
        replay_count=max(0, _integer(why.get(names.REPLAY_COUNT)) or 0),
        replay_from=why.get(names.REPLAY_FROM),
        window=why.get(names.ERROR_WINDOW),
        last_offset=_integer(why.get(names.ERROR_LAST_OFFSET)),
        count=max(1, _integer(why.get(names.ERROR_COUNT)) or 1),
    )


def _text(value: bytes | None) -> str:
    return bytes_as_text(value or b"")


def _timestamp(text: str | None) -> int | None:
    found = _integer(text)
    return None if found is None or found < 0 else found  # Kafka's -1 is no time


def _integer(text: str | None) -> int | None:
    if text is None or len(text) > _MOST_DIGITS or not text.isascii():
        return None
    return int(text) if text.removeprefix("-").isdigit() else None
