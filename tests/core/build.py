"""Small builders for the values that the stream's stages pass on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from forebay.models.artefacts.signature import Feature, Signature
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_columns import RecordColumns
from forebay.stream.core.records import (
    BatchResult,
    Chunk,
    Epoch,
    MicroBatch,
    Record,
    Rejection,
    RowFailure,
    TopicPartition,
    Unreadable,
)
from forebay.stream.core.rows import RowOrigin, RowRecords, position_of

EPOCH = Epoch(generation=1, member_id="member", instance_id=None, counter=1)
MODEL = ModelRef("m", 1)
P0, P1 = TopicPartition("features", 0), TopicPartition("features", 1)
JULY = 1_372_636_800_000  # 2013-07-01T00:00:00Z


@dataclass(frozen=True)
class FakeRecord:
    offset: int
    value: bytes | None
    timestamp: int = JULY
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = field(default=())


def columns_of(records: Sequence[Record]) -> RecordColumns:
    """Return records as the columns of a poll; each half of them is in its own buffer."""
    parts = []
    for some in (records[: len(records) // 2], records[len(records) // 2 :]):
        buffer, rows = bytearray(b"before"), []
        for record in some:
            row = [record.offset, record.timestamp, 0]
            for text in (record.key, record.value):
                row += [len(buffer), -1 if text is None else len(text)]
                buffer += text or b""
            rows.append(row)
        fields_7N = np.array(rows, dtype=np.int64).reshape(len(rows), 7).T.copy()
        headers = [record.headers for record in some] if any(record.headers for record in some) else None
        parts.append(RecordColumns([bytes(buffer)], fields_7N, headers))
    return RecordColumns.joined(parts)


class ManualClock:
    """A clock that changes only when a test sets or advances it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.now_ms = JULY

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.now_ms += round(seconds * 1000)


def signature(
    num_features: int = 3, *, names: bool = False, task: str = "multiclass", output_dim: int = 2
) -> Signature:
    features = tuple(Feature(f"f{index}") for index in range(num_features)) if names else ()
    return Signature(features, (num_features,), task, output_dim)  # type: ignore[arg-type]


def event(event_id: object = "a", features: object = (1.0, 2.0, 3.0), **more: object) -> bytes:
    return orjson.dumps({"id": event_id, "timestamp": JULY, "features": features, **more})


def chunk(
    offsets: Sequence[int],
    *,
    partition: TopicPartition = P0,
    epoch: Epoch = EPOCH,
    rejected: Sequence[int] = (),
    deadlines: dict[int, int] | None = None,
    size: int = 10,
    headers: Sequence[tuple[str, bytes]] = (),
    model: ModelRef = MODEL,
) -> Chunk:
    """Return a chunk with records at these offsets. rejected: offsets of rejected records. The features equal the offset."""
    good: list[Record] = []
    rejections = []
    for index, offset in enumerate(offsets):
        record = FakeRecord(offset, b"x" * size, timestamp=JULY + offset, key=b"key-%d" % (offset % 3), headers=headers)
        if offset in rejected:
            rejections.append(Rejection(index, record, FailureKind.NOT_JSON, "unexpected character: line 1 column 1"))
        else:
            good.append(record)
    ids = [f"{partition.partition}-{record.offset}" for record in good]
    x_BF = np.array([[record.offset] for record in good], dtype=np.float32).reshape(len(good), 1)
    return Chunk(
        partition,
        epoch,
        model,
        records=good,
        ids=ids,
        timestamps=[JULY + record.offset for record in good],
        x_BF=x_BF,
        rejections=rejections,
        num_records=len(offsets),
        num_bytes=size * len(offsets),
        next_offset=offsets[-1] + 1,
        keys={},
        deadlines=deadlines or {},
    )


@dataclass(frozen=True)
class FakeSource:
    """A record with several rows."""

    offset: int
    num_rows: int
    timestamp: int = JULY
    key: bytes | None = b"key"
    headers: Sequence[tuple[str, bytes]] = field(default=())
    row_bytes: int = 10
    origin: RowOrigin | None = None

    def value_of(self, row: int) -> bytes:
        return b"%d/%d" % (self.offset, row)


def rows_chunk(
    counts: Mapping[int, int],
    *,
    rejected: Sequence[tuple[int, int]] = (),
    model: ModelRef = MODEL,
    partition: TopicPartition = P0,
    headers: Sequence[tuple[str, bytes]] = (),
) -> Chunk:
    """Return a chunk with records that have this number of rows, by offset; 0 stands for a record that is one event.

    rejected: positions of rejected events, with row 0 if the record is one event.
    """
    sources: list[Any] = [
        FakeSource(offset, count, timestamp=JULY + offset, headers=headers)
        if count
        else FakeRecord(offset, b"x" * 10, timestamp=JULY + offset, key=b"key", headers=headers)
        for offset, count in counts.items()
    ]
    source_B = [index for index, count in enumerate(counts.values()) for _ in range(max(1, count))]
    row_B = [row for count in counts.values() for row in (range(count) if count else (-1,))]
    every = RowRecords(sources, np.array(source_B), np.array(row_B))
    bad = [index for index, record in enumerate(every) if position_of(record) in rejected]
    rejections = [Rejection(index, every[index], FailureKind.WRONG_TYPE, "not a number") for index in bad]
    is_good = np.array([index not in bad for index in range(len(every))], dtype=np.bool_)
    records = every.take(is_good)
    x_BF = np.array([[sum(position_of(record))] for record in records], dtype=np.float32).reshape(len(records), 1)
    return Chunk(
        partition,
        EPOCH,
        model,
        records=records,
        ids=["{}-{}".format(*position_of(record)) for record in records],
        timestamps=[JULY + record.offset for record in records],
        x_BF=x_BF,
        rejections=rejections,
        num_records=len(every),
        num_bytes=every.num_bytes(),
        next_offset=max(counts) + 1,
    )


def finish(batch: MicroBatch, failures: dict[int, RowFailure] | None = None) -> BatchResult:
    """Return the result of a model that predicts [1 - x, x], with x in 0 … 1 computed from the feature."""
    x_B = batch.features()[:, 0] % 2 / 4 + 0.5
    values_BO = np.stack([1 - x_B, x_B], axis=1).astype(np.float32)
    return BatchResult(
        batch,
        values_BO=values_BO,
        classes_B=values_BO.argmax(axis=1),
        confidences_B=values_BO.max(axis=1),
        failures=failures or {},
        model_s=0.001,
    )


def unreadable(
    first: int = 10,
    last: int = 19,
    count: int = 5,
    *,
    kind: FailureKind = FailureKind.BATCH_TOO_LARGE,
    value: bytes = b"raw",
) -> Unreadable:
    headers = (("content-type", b"application/x-forebay-kafka-batch"),)
    return Unreadable(
        offset=last,
        timestamp=JULY,
        key=None,
        value=value,
        headers=headers,
        first_offset=first,
        count=count,
        kind=kind,
        message="too large",
    )
