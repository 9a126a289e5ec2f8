"""The result of a poll of one partition when events are gathered into windows: outcomes of events, and closed windows.

It replaces `Chunk` in micro-batches; its rows are the windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from forebay.models.artefacts.window_input import WindowInput
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Epoch, FloatMatrix, Record, TopicPartition
from forebay.stream.eventtime.checkpoint import CommittedState, encode
from forebay.stream.eventtime.types import Window, columns_of

_NO_DEADLINES: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that is in no window, or a record that is not an event.

    id: the event's id; None if it is unknown.
    count: number of records in the log that it stands for.
    """

    record: Record
    kind: FailureKind
    message: str
    id: str | None = None
    count: int = 1


class AcceptedEvents(NamedTuple):
    """Events that were added to windows. timestamps: of the events, ms."""

    records: Sequence[Record]
    ids: Sequence[str]
    timestamps: Sequence[int]


@dataclass(frozen=True, slots=True)
class EventOutcomes:
    """The outcomes of the records of a poll.

    accepted: the record timestamps of the events that were added to windows.
    events: these events; None unless the plan keeps them.
    """

    accepted: Sequence[int] = ()
    refused: Sequence[RefusedEvent] = ()
    events: AcceptedEvents | None = None


@dataclass(frozen=True, slots=True)
class WindowLabel:
    """The description of a window in its prediction. Times are in ms since the Unix epoch."""

    id: str
    key: str
    start: int
    end: int
    first_offset: int
    num_events: int
    dropped: int


def window_label(window: Window) -> WindowLabel:
    """Return the description of a window."""
    key = window.key.decode("utf-8", "backslashreplace")
    start, end = window.start, window.end
    return WindowLabel(
        id=f"{key}|{start}|{end}",
        key=key,
        start=start,
        end=end,
        first_offset=window.first_offset,
        num_events=window.num_events,
        dropped=window.dropped,
    )


class ClosedWindows(NamedTuple):
    """Closed windows to emit.

    resume: the state from which they can be rebuilt if they may be emitted in slices; else None.
    emitted: number of windows that closed with them and were emitted before.
    """

    windows: list[Window]
    resume: CommittedState | None
    emitted: int = 0


@dataclass(frozen=True, slots=True)
class WindowChunk:
    """Records of one partition that were read, and the windows that they closed.

    first_offset: where reading began, and the windows' state before this chunk. Without records it is next_offset, or one less
        if the windows are committed together.
    windows: the model's rows, made by `window_input` from events with num_features features each.
    metadata: the metadata to commit with next_offset.
    record_timestamp: the timestamp of the last record, or of the last one before if there are no records.
    num_bytes: size of the records, and of the windows with their predictions.
    is_last_part: False if more windows of the same records follow in another part.
    resume: the state from which the windows can be rebuilt after some of them are committed. With it each part is committed
        by itself, the first with the records; without it all parts are committed together, the last with the records.
    emitted: number of windows in the parts before.
    record_bytes: the part of num_bytes that belongs to the records.
    """

    partition: TopicPartition
    epoch: Epoch
    model: ModelRef
    windows: Sequence[Window]
    window_input: WindowInput
    num_features: int
    first_offset: int
    next_offset: int
    metadata: str
    record_timestamp: int
    events: EventOutcomes = field(default=EventOutcomes())
    num_records: int = 0
    num_bytes: int = 0
    is_last_part: bool = True
    resume: CommittedState | None = None
    emitted: int = 0
    record_bytes: int = 0

    @property
    def can_end_commit(self) -> bool:
        """Whether the chunk may be committed by itself."""
        return self.is_last_part or self.resume is not None

    @property
    def num_rows(self) -> int:
        return len(self.windows)

    @property
    def num_rejected(self) -> int:
        """The number of records that are in no window."""
        return len(self.events.refused)

    @property
    def num_passed(self) -> int:
        """The number of records in the log that the chunk covers; more than it holds if one of them stands for several."""
        return self.num_records + sum(refused.count - 1 for refused in self.events.refused)

    @property
    def size(self) -> int:
        """The number of windows, at least 1: a poll without windows still counts, although it costs the model nothing."""
        return max(1, len(self.windows))

    @property
    def deadlines(self) -> Mapping[int, int]:
        """An empty mapping: windows have no deadlines."""
        return _NO_DEADLINES

    @property
    def x_BF(self) -> FloatMatrix:
        """The windows as rows, float32 [B, row_width]. Computed at each access, so that queued chunks need no memory for it."""
        x_NF, t_N = columns_of(self.windows, self.num_features)
        width = 8 + 4 * self.num_features
        lengths_B = np.array([len(window.rows) // width for window in self.windows], dtype=np.int64)
        spans_B = np.array([window.end - window.start for window in self.windows], dtype=np.int64)
        return self.window_input.rows(x_NF, t_N, lengths_B, spans_B)

    def size_within(self, num_bytes: int) -> int:
        """Return how many of the windows fit in this number of bytes; the records belong to the last and are not divided."""
        for index, window in enumerate(self.windows):
            num_bytes -= window.num_bytes
            if num_bytes < 0:
                return index
        return self.size

    def split(self, size: int) -> tuple[WindowChunk, WindowChunk]:
        """Return the first `size` windows and the others; 0 < size < number of windows."""
        first, rest = self.windows[:size], self.windows[size:]
        first_bytes = sum(window.num_bytes for window in first)
        if self.resume is None:
            head = replace(
                self, windows=first, events=EventOutcomes(), num_records=0, num_bytes=first_bytes, is_last_part=False
            )
            return head, replace(self, windows=rest, num_bytes=self.num_bytes - first_bytes)
        emitted, first_bytes = self.emitted + size, first_bytes + self.record_bytes
        pending = encode(self.resume.with_emitted(emitted))
        head = replace(self, windows=first, num_bytes=first_bytes, metadata=pending, is_last_part=False)
        tail = replace(
            self,
            first_offset=self.next_offset,  # the first part is committed with the records
            windows=rest,
            events=EventOutcomes(),
            num_records=0,
            num_bytes=self.num_bytes - first_bytes,
            record_bytes=0,
            emitted=emitted,
        )
        return head, tail
