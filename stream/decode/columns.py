"""The columns of the decoded records of one partition: one set for each model."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.stream.core.records import Chunk, Epoch, FloatMatrix, Record, Rejection, TopicPartition, Unreadable
from forebay.stream.core.rows import selected
from forebay.stream.decode.models import RowFormat
from forebay.stream.decode.validator import Event, InvalidEvent


class Columns:
    """The columns of one model, filled in the order of its records.

    records: the model's records, to which records may be appended after each row or rejection.
    rows: the rows as bytes, each entry one row or a block of consecutive ones.
    any_named: whether the validator found events that name their model.
    any_raw: whether there are raw float32 rows, which may contain NaN or infinity, unlike JSON.
    """

    __slots__ = (
        "any_named",
        "any_raw",
        "deadlines",
        "format",
        "ids",
        "keys",
        "records",
        "rejections",
        "rows",
        "timestamps",
    )

    def __init__(self, row_format: RowFormat, records: Sequence[Record]) -> None:
        self.format = row_format
        self.records = records
        self.rows: list[bytes | FloatMatrix] = []
        self.ids: list[str] = []
        self.timestamps: list[int] = []
        self.rejections: list[Rejection] = []
        self.keys: dict[int, bytes] = {}
        self.deadlines: dict[int, int] = {}
        self.any_named = self.any_raw = False

    def add(self, record: Record, event: Event) -> None:
        """Add a valid event as a row."""
        row = len(self.ids)
        if event.key is not None and record.key is None:
            self.keys[row] = event.key
        if event.deadline_ms is not None:
            self.deadlines[row] = event.deadline_ms
        self.rows.append(event.row)
        self.ids.append(event.id)
        self.timestamps.append(event.timestamp)

    def add_block(self, x_BF: FloatMatrix, ids: list[str], timestamps: list[int]) -> None:
        """Add consecutive rows, which are not changed later."""
        if ids:
            self.rows.append(x_BF)
            self.ids += ids
            self.timestamps += timestamps

    def reject(self, record: Record, fault: InvalidEvent) -> None:
        """Add an invalid record, which comes after all rows and rejections until now."""
        index = len(self.ids) + len(self.rejections)
        count = record.count if isinstance(record, Unreadable) else 1
        self.rejections.append(Rejection(index, record, kind=fault.kind, message=fault.message, count=count))

    def matrix(self) -> FloatMatrix | None:
        """Return x_BF; None if raw rows contain invalid values, so that the validator has to decide about all."""
        x_BF = self.format.matrix(self.rows)
        # This is rare, so one check covers all rows.
        return None if self.any_raw and self.format.has_invalid_values(x_BF) else x_BF

    def chunk(self, partition: TopicPartition, epoch: Epoch, x_BF: FloatMatrix, num_bytes: int) -> Chunk:
        """Return the chunk of these columns. x_BF: their matrix. num_bytes: the size of the records."""
        return Chunk(
            partition,
            epoch,
            self.format.ref,
            records=self._valid_records(),
            ids=self.ids,
            timestamps=self.timestamps,
            x_BF=x_BF,
            rejections=self.rejections,
            num_records=len(self.records),
            num_bytes=num_bytes,
            next_offset=self.records[-1].offset + 1,
            keys=self.keys,
            deadlines=self.deadlines,
        )

    def _valid_records(self) -> Sequence[Record]:
        if not self.rejections:
            return self.records
        rejected = {rejection.index for rejection in self.rejections}
        return selected(self.records, [index for index in range(len(self.records)) if index not in rejected])
