"""The values that travel through the pipeline, from a polled record to a finished micro-batch.

Shapes: B = rows of a micro-batch, F = features of a row as decoded, O = outputs of the model.

A `Chunk` is a run of records of one partition, in offset order, decoded to columns. A `MicroBatch` is a list of
parts, mostly chunks, whose rows go through the model together. Positions travel with the data that they belong to: whoever
holds a chunk knows which partition it came from, how many records it passed, and where reading would resume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from forebay.schemas.failures import FailureKind

FloatMatrix = npt.NDArray[np.float32]


class TopicPartition(NamedTuple):
    """A topic's partition. Equal to the Kafka client's own tuple of the same two fields."""

    topic: str
    partition: int


class Committed(NamedTuple):
    """A position that the group has committed, and what was committed with it ("" for nothing)."""

    offset: int
    metadata: str


class PartitionLag(NamedTuple):
    """Where reading stands in a partition.

    position: offset of the next record to read.
    stable_offset: end of what may be read.
    """

    position: int
    stable_offset: int

    @property
    def lag(self) -> int:
        """Number of records that may be read and have not been."""
        return max(0, self.stable_offset - self.position)


class WindowStatus(NamedTuple):
    """Windows over event time of a partition as people look at them. buffered_rows: events that the open ones hold;
    watermark_ms: None before the first event; replaying: up to which offset they are being made again, or None."""

    open_windows: int
    buffered_rows: int
    watermark_ms: int | None
    replaying: int | None


class Record(Protocol):
    """What the pipeline needs of a polled record; the Kafka client's parsed records have it."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


HEADER_OBJECT_BYTES: Final = 150
"""What a header takes in memory beside its name and value. In the log it may take two bytes, of which few unpack to many."""


def headers_size(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Return about how many bytes a record's headers take in memory."""
    return sum(HEADER_OBJECT_BYTES + len(name) + len(value or b"") for name, value in headers)


def record_bytes(record: Record) -> int:
    """Return what a record counts towards limits of bytes: its key, value and headers."""
    size = len(record.value or b"") + len(record.key or b"")
    return size + headers_size(record.headers) if record.headers else size


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One or more records that cannot be read, in their place among the others, as though they were one record.

    offset: of the last one; first_offset, count: where they begin, and how many they are (compaction leaves gaps); value: their
    bytes as the log holds them, and headers the content type that says so; timestamp: -1 where there is none.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    first_offset: int
    count: int
    kind: FailureKind
    message: str

    @property
    def description(self) -> str:
        """Which records they are, where there are several, and why they cannot be read."""
        if self.offset == self.first_offset:
            return self.message
        return f"offsets {self.first_offset} to {self.offset} ({self.count:,} records): {self.message}"

    def from_offset(self, position: int) -> Unreadable:
        """The part of it that lies at `position` or after it."""
        if position <= self.first_offset:
            return self
        return replace(self, first_offset=position, count=min(self.count, self.offset - position + 1))


@dataclass(frozen=True, slots=True)
class Epoch:
    """Under which membership of the group records were read.

    `counter` is local: it goes up at every assignment and every rewind, so that what was read before one
    is told from what was read after it. The other three are the group's, captured once at the assignment.
    """

    generation: int
    member_id: str
    instance_id: str | None
    counter: int


class BatchPart(Protocol):
    """Records of one partition in a micro-batch, and the rows that the model is given for them.

    A `Chunk` has one row for each valid record; with windows over event time the rows are windows (`eventtime.window_chunk`).

    size: what counts towards `max_batch_size`.
    can_end_commit: False if a later part holds more rows of the same records and must be committed with this one.
    is_last_part: False if a later part holds more rows of the same records.
    """

    @property
    def partition(self) -> TopicPartition: ...
    @property
    def epoch(self) -> Epoch: ...
    @property
    def num_records(self) -> int: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def next_offset(self) -> int: ...
    @property
    def num_rejected(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def can_end_commit(self) -> bool: ...
    @property
    def is_last_part(self) -> bool: ...
    @property
    def x_BF(self) -> FloatMatrix: ...
    @property
    def deadlines(self) -> Mapping[int, int]: ...
    def split(self, size: int) -> tuple[BatchPart, BatchPart]: ...
    def size_within(self, num_bytes: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that is not an event.

    index: its place among the chunk's records; count: how many records of the log it stands for (see `Unreadable`).
    """

    index: int
    record: Record
    kind: FailureKind
    message: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one partition, decoded. `records`, `ids`, `timestamps` and `x_BF` hold the good rows only.

    ids: the events' ids; timestamps: event times, ms; x_BF: float32 [rows, F], NaN where a value is missing.
    keys: the keys that events without a record key carry in themselves, by row; deadlines: ms since the Unix epoch, by row.
    num_records counts every record, rejected ones too; num_bytes is the size of their keys, values and headers.
    """

    partition: TopicPartition
    epoch: Epoch
    records: Sequence[Record]
    ids: Sequence[str]
    timestamps: Sequence[int]
    x_BF: FloatMatrix
    rejections: Sequence[Rejection]
    num_records: int
    num_bytes: int
    next_offset: int
    keys: dict[int, bytes] = field(default_factory=dict)
    deadlines: dict[int, int] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Records that are rows."""
        return len(self.records)

    @property
    def num_rejected(self) -> int:
        """Records that are not."""
        return len(self.rejections)

    @property
    def num_passed(self) -> int:
        """Records of the log that it leads past: more than it holds where one of those stands for several."""
        return self.num_records + sum(rejection.count - 1 for rejection in self.rejections)

    @property
    def size(self) -> int:
        """What counts towards a micro-batch's size: every record, so that a topic of garbage also closes its batches."""
        return self.num_records

    @property
    def can_end_commit(self) -> bool:
        return True

    @property
    def is_last_part(self) -> bool:
        return True

    def size_within(self, num_bytes: int) -> int:
        """How many of the records fit in so many bytes."""
        rejected = {rejection.index: rejection.record for rejection in self.rejections}
        good = iter(self.records)
        for index in range(self.num_records):
            record = rejected[index] if index in rejected else next(good)
            num_bytes -= record_bytes(record)
            if num_bytes < 0:
                return index
        return self.num_records

    def split(self, count: int) -> tuple[Chunk, Chunk]:
        """The first `count` records, and the rest. 0 < count < num_records."""
        head_rejections = [r for r in self.rejections if r.index < count]
        rows = count - len(head_rejections)
        tail_rejections = [replace(r, index=r.index - count) for r in self.rejections if r.index >= count]
        head_bytes = sum(map(record_bytes, self.records[:rows]))
        head_bytes += sum(record_bytes(r.record) for r in head_rejections)
        last = max(
            self.records[rows - 1].offset if rows else -1,
            head_rejections[-1].record.offset if head_rejections else -1,
        )
        head = Chunk(
            self.partition,
            self.epoch,
            records=self.records[:rows],
            ids=self.ids[:rows],
            timestamps=self.timestamps[:rows],
            x_BF=self.x_BF[:rows],
            rejections=head_rejections,
            num_records=count,
            num_bytes=head_bytes,
            next_offset=last + 1,
            keys={row: key for row, key in self.keys.items() if row < rows},
            deadlines={row: ms for row, ms in self.deadlines.items() if row < rows},
        )
        tail = Chunk(
            self.partition,
            self.epoch,
            records=self.records[rows:],
            ids=self.ids[rows:],
            timestamps=self.timestamps[rows:],
            x_BF=self.x_BF[rows:],
            rejections=tail_rejections,
            num_records=self.num_records - count,
            num_bytes=self.num_bytes - head_bytes,
            next_offset=self.next_offset,
            keys={row - rows: key for row, key in self.keys.items() if row >= rows},
            deadlines={row - rows: ms for row, ms in self.deadlines.items() if row >= rows},
        )
        return head, tail


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Chunks whose rows go through the model together, all of one epoch.

    seq: the order in which micro-batches were closed; reason: why this one was; opened_s: monotonic time of its
    first record.
    """

    seq: int
    chunks: tuple[BatchPart, ...]
    reason: str
    opened_s: float

    @property
    def epoch(self) -> Epoch:
        return self.chunks[0].epoch

    @property
    def num_records(self) -> int:
        return sum(chunk.num_records for chunk in self.chunks)

    @property
    def num_rows(self) -> int:
        return sum(chunk.num_rows for chunk in self.chunks)

    @property
    def num_bytes(self) -> int:
        return sum(chunk.num_bytes for chunk in self.chunks)

    def features(self) -> FloatMatrix:
        """x_BF of all rows, float32 [B, F]. No copy where they are of one chunk."""
        parts = [chunk.x_BF for chunk in self.chunks if chunk.num_rows]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return self.chunks[0].x_BF[:0]
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why one row of a micro-batch has no prediction. `stack` is the stack trace, where the model raised."""

    kind: FailureKind
    message: str
    stack: str | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A micro-batch with every row's outcome decided: `failures` by row, the others predicted.

    values_BO: float32 [B, O]; classes_B: int64 [B] or None; confidences_B: float32 [B] or None. The entries of failed rows
    mean nothing. started_s: monotonic time at which the device took it; model_s, and of it prepare_s for the preprocessing: how
    long it took.
    """

    batch: MicroBatch
    values_BO: FloatMatrix
    classes_B: npt.NDArray[np.int64] | None
    confidences_B: npt.NDArray[np.float32] | None
    failures: dict[int, RowFailure]
    model_s: float
    started_s: float = 0.0
    prepare_s: float = 0.0
