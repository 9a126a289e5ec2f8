"""The values that travel through the pipeline, from a polled record to a finished micro-batch.

Shapes: B = rows of a micro-batch, F = features of a row as decoded, O = outputs of the model.

A `Chunk` is a run of records of one partition, in offset order, decoded to columns; rows of a record (`core.rows`) count as
records. A `MicroBatch` is a list of parts, usually chunks, whose rows go through the model together. Positions travel with
their data: a chunk contains its partition, its number of records and the offset at which reading resumes after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from forebay.schemas.failures import FailureKind
from forebay.stream.core.device_call import DeviceCall
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_sizes import record_bytes, records_bytes, records_within

FloatMatrix = npt.NDArray[np.float32]


class TopicPartition(NamedTuple):
    """A partition of a topic. Equal to the Kafka client's tuple with the same two fields."""

    topic: str
    partition: int


class Committed(NamedTuple):
    """A committed offset of the group, and the metadata that was committed with it ("" for none)."""

    offset: int
    metadata: str


class PartitionLag(NamedTuple):
    """How far a partition is read.

    position: offset of the next record to read.
    stable_offset: last stable offset, up to which records may be read.
    """

    position: int
    stable_offset: int

    @property
    def lag(self) -> int:
        """Number of records that can be read and were not."""
        return max(0, self.stable_offset - self.position)


class WindowStatus(NamedTuple):
    """The status of a partition's event-time windows, for display.

    buffered_rows: events in open windows.
    watermark_ms: None before the first event.
    replaying: offset up to which windows are being rebuilt, or None.
    """

    open_windows: int
    buffered_rows: int
    watermark_ms: int | None
    replaying: int | None


class Record(Protocol):
    """A polled record as the pipeline uses it, such as one parsed by the Kafka client."""

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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One or more unreadable records, represented as one record among the readable ones.

    offset, first_offset, count: offsets of the last and first record; their number, since compaction leaves gaps.
    value: their bytes as in the log. The headers contain the content type for this.
    timestamp: -1 if unknown.
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
        """Why the records cannot be read, with their offsets if there are several."""
        if self.offset == self.first_offset:
            return self.message
        return f"offsets {self.first_offset} to {self.offset} ({self.count:,} records): {self.message}"

    def from_offset(self, position: int) -> Unreadable:
        """Return the records from `position` on."""
        if position <= self.first_offset:
            return self
        return replace(self, first_offset=position, count=min(self.count, self.offset - position + 1))


@dataclass(frozen=True, slots=True)
class Epoch:
    """The group membership under which records were read.

    counter: local number that increases with each assignment and rewind, to distinguish records read before and after it.
    The other fields belong to the group and are captured once, at the assignment.
    """

    generation: int
    member_id: str
    instance_id: str | None
    counter: int


class BatchPart(Protocol):
    """Records of one partition in a micro-batch, and the rows that the model is given for them.

    A `Chunk` has one row for each valid record; with windows over event time the rows are windows (`eventtime.window_chunk`).

    model: the model that the rows are for.
    first_offset: where reading began; positions below it do not depend on this part.
    size: size for the limit `max_batch_size`, in records or rows.
    can_end_commit: False if a later part holds more rows of the same records and must be committed with this one.
    is_last_part: False if a later part holds more rows of the same records.
    """

    @property
    def partition(self) -> TopicPartition: ...
    @property
    def epoch(self) -> Epoch: ...
    @property
    def model(self) -> ModelRef: ...
    @property
    def first_offset(self) -> int: ...
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
    """A record that is not a valid event.

    index: its index among the chunk's records.
    count: number of records in the log that it represents (see `Unreadable`).
    """

    index: int
    record: Record
    kind: FailureKind
    message: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Decoded records of one partition for one model. `records`, `ids`, `timestamps` and `x_BF` contain only the valid rows.

    timestamps: event times, ms since the Unix epoch.
    x_BF: float32 [rows, F], NaN for missing values.
    num_records: number of all records, including rejected ones.
    num_bytes: size of their keys, values and headers.
    keys: by row, the key field of events without a record key.
    deadlines: by row, ms since the Unix epoch.
    ends_record: False if later rows of its last record are in another part; `next_offset` is then that record's offset.
    """

    partition: TopicPartition
    epoch: Epoch
    model: ModelRef
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
    ends_record: bool = True

    @property
    def first_offset(self) -> int:
        """The offset of the first record, valid or not."""
        heads = [*self.records[:1], *(rejection.record for rejection in self.rejections[:1])]
        return min(head.first_offset if isinstance(head, Unreadable) else head.offset for head in heads)

    @property
    def num_rows(self) -> int:
        return len(self.records)

    @property
    def num_rejected(self) -> int:
        return len(self.rejections)

    @property
    def num_passed(self) -> int:
        """Number of records in the log before the next position: more than `num_records` if one represents several."""
        return self.num_records + sum(rejection.count - 1 for rejection in self.rejections)

    @property
    def size(self) -> int:
        """Size for the limit of a micro-batch: all records, so that micro-batches close even if no record is valid."""
        return self.num_records

    @property
    def can_end_commit(self) -> bool:
        return self.ends_record

    @property
    def is_last_part(self) -> bool:
        return self.ends_record

    @property
    def end_offset(self) -> int:
        """The offset after the last record, also if only some of its rows are here."""
        return self.next_offset if self.ends_record else self.next_offset + 1

    def size_within(self, num_bytes: int) -> int:
        """Return how many of the records, from the first, fit into `num_bytes`."""
        if not self.rejections:
            return records_within(self.records, num_bytes)
        rejected = {rejection.index: rejection.record for rejection in self.rejections}
        valid = iter(self.records)
        records = [rejected[index] if index in rejected else next(valid) for index in range(self.num_records)]
        return records_within(records, num_bytes)

    def split(self, count: int) -> tuple[Chunk, Chunk]:
        """Split into the first `count` records and the rest. 0 < count < num_records."""
        head_rejections = [r for r in self.rejections if r.index < count]
        tail_rejections = [replace(r, index=r.index - count) for r in self.rejections if r.index >= count]
        rows = count - len(head_rejections)
        records = self.records[:rows]
        head_bytes = records_bytes(records)
        head_bytes += sum(record_bytes(r.record) for r in head_rejections)
        last = max(record.offset for record in (*records[-1:], *(r.record for r in head_rejections[-1:])))
        tail = self._rows(
            range(rows, self.num_rows),
            rejections=tail_rejections,
            num_records=self.num_records - count,
            num_bytes=self.num_bytes - head_bytes,
        )
        ends_record = tail.first_offset > last
        head = self._rows(
            range(rows),
            rejections=head_rejections,
            num_records=count,
            num_bytes=head_bytes,
            next_offset=last + 1 if ends_record else last,
            ends_record=ends_record,
        )
        return head, tail

    def _rows(self, rows: range, **others: Any) -> Chunk:
        """Return the chunk with some of its rows. others: the other fields."""
        start, where = rows.start, slice(rows.start, rows.stop)
        fields: dict[str, Any] = {"next_offset": self.next_offset, "ends_record": self.ends_record, **others}
        return Chunk(
            self.partition,
            self.epoch,
            self.model,
            records=self.records[where],
            ids=self.ids[where],
            timestamps=self.timestamps[where],
            x_BF=self.x_BF[where],
            keys={row - start: key for row, key in self.keys.items() if row in rows} if self.keys else {},
            deadlines={row - start: ms for row, ms in self.deadlines.items() if row in rows} if self.deadlines else {},
            **fields,
        )


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Parts of one epoch and one model whose rows go through the model together.

    seq: sequence number in the order of closing.
    reason: why it was closed (see `pipeline.micro_batcher`).
    opened_s: monotonic time of arrival of its first record.
    """

    seq: int
    chunks: tuple[BatchPart, ...]
    reason: str
    opened_s: float

    @property
    def epoch(self) -> Epoch:
        return self.chunks[0].epoch

    @property
    def model(self) -> ModelRef:
        return self.chunks[0].model

    @property
    def num_records(self) -> int:
        return sum(chunk.num_records for chunk in self.chunks)

    @property
    def num_rows(self) -> int:
        return sum(chunk.num_rows for chunk in self.chunks)

    @property
    def num_bytes(self) -> int:
        return sum(chunk.num_bytes for chunk in self.chunks)

    def row_parts(self) -> list[FloatMatrix]:
        """Return the rows as they lie in memory: float32 [b, F] for each part with rows."""
        return [chunk.x_BF for chunk in self.chunks if chunk.num_rows]

    def features(self) -> FloatMatrix:
        """Return x_BF of all rows, float32 [B, F]; no copy if they are in one part."""
        parts = self.row_parts()
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return self.chunks[0].x_BF[:0]
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why one row of a micro-batch has no prediction. stack: the stack trace if the model raised."""

    kind: FailureKind
    message: str
    stack: str | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A micro-batch with the outcome of every row: rows in `failures` failed, the others are predicted.

    With several models, parts of a micro-batch may be committed separately, as results with the same sequence number.

    values_BO, classes_B, confidences_B: float32 [B, O]; int64 [B] or None; float32 [B] or None.
    decisions_B: uint8 [B], codes of `core.decisions`, or None. The entries of failed rows are undefined in all four arrays.
    started_s, model_s: monotonic time at which the device began; duration there, including prepare_s for the preprocessing.
    cpu_s: CPU time of its thread.
    is_last_part: False if other parts of it are committed later. device_call: None if it did not overlap on a device.
    """

    batch: MicroBatch
    values_BO: FloatMatrix
    classes_B: npt.NDArray[np.int64] | None
    confidences_B: npt.NDArray[np.float32] | None
    failures: dict[int, RowFailure]
    model_s: float
    started_s: float = 0.0
    prepare_s: float = 0.0
    cpu_s: float = 0.0
    is_last_part: bool = True
    decisions_B: npt.NDArray[np.uint8] | None = None
    device_call: DeviceCall | None = None

    @property
    def model(self) -> ModelRef:
        return self.batch.model
