"""Dead letters as the worker writes them."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import TopicPartition
from forebay.stream.dlq.dead_letter import DeadLetter, parse_dead_letter
from forebay.stream.output.encoder import dead_letter
from tests.core.build import JULY, FakeRecord

DEAD_0, DEAD_1 = TopicPartition("dead-letters", 0), TopicPartition("dead-letters", 1)
FEATURES_1 = TopicPartition("features", 1)
EVENT = b'{"id":"e1","timestamp":1,"features":[1,2]}'


def dead_letter_record(
    offset: int,
    *,
    kind: FailureKind = FailureKind.NOT_JSON,
    message: str = "no JSON",
    source: TopicPartition = FEATURES_1,
    source_offset: int = 42,
    source_timestamp: int = JULY - 1000,
    timestamp: int = JULY,
    key: bytes | None = b"k",
    value: bytes | None = EVENT,
    headers: Sequence[tuple[str, bytes]] = (),
    model: str | None = None,
    max_bytes: int = 100_000,
) -> FakeRecord:
    event = FakeRecord(source_offset, value, timestamp=source_timestamp, key=key, headers=headers)
    encoded = dead_letter(event, source, kind, message, max_bytes=max_bytes, model=model, version=model and 2)  # type: ignore[arg-type]
    key, value, added_headers = encoded
    return FakeRecord(offset, value, timestamp=timestamp, key=key, headers=added_headers)


def make_dead_letter(
    offset: int = 7,
    *,
    at: TopicPartition = DEAD_0,
    kind: FailureKind = FailureKind.NOT_JSON,
    message: str = "no JSON",
    source: TopicPartition = FEATURES_1,
    source_timestamp: int = JULY - 1000,
    timestamp: int = JULY,
    key: bytes | None = b"k",
    value: bytes | None = EVENT,
    headers: Sequence[tuple[str, bytes]] = (),
    model: str | None = None,
    max_bytes: int = 100_000,
) -> DeadLetter:
    record = dead_letter_record(
        offset,
        kind=kind,
        message=message,
        source=source,
        source_timestamp=source_timestamp,
        timestamp=timestamp,
        key=key,
        value=value,
        headers=headers,
        model=model,
        max_bytes=max_bytes,
    )
    parsed = parse_dead_letter(at, record)
    assert parsed is not None
    return parsed
