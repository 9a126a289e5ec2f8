"""What a poll of one partition comes to where events are gathered into windows: outcomes of events, and windows that closed.

It takes the place of a `Chunk` in the micro-batches: its rows are the windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from forebay.models.artefacts.window_input import WindowInput
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import Epoch, FloatMatrix, Record, TopicPartition
from forebay.stream.eventtime.checkpoint import State, encode
from forebay.stream.eventtime.types import Window, columns_of

_NO_DEADLINES: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that is in no window, or a record that is not an event.

    id: None where there is none; count: how many records of the log it stands for.
    """

    record: Record
    kind: FailureKind
    message: str
    id: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class EventOutcomes:
    """What became of the records of a poll. accepted: the records' timestamps of those that are in windows now."""

    accepted: Sequence[int] = ()
    refused: Sequence[Refused] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """A window as its prediction names it. Times in ms since the Unix epoch."""

    id: str
    key: str
    start: int
    end: int
    first_offset: int
    num_events: int
    dropped: int


def label(window: Window) -> Label:
    """Its names."""
    key = window.key.decode("utf-8", "backslashreplace")
    start, end = window.start, window.end
    return Label(
        id=f"{key}|{start}|{end}",
        key=key,
        start=start,
        end=end,
        first_offset=window.first_offset,
        num_events=window.num_events,
        dropped=window.dropped,
    )


class Closing(NamedTuple):
    """Windows to emit. resume: the state from which they can be rebuilt, where they may be emitted in slices.

    given: how many of those that closed with them came before.
    """

    windows: list[Window]
    resume: State | None
    given: int = 0


@dataclass(frozen=True, slots=True)
class WindowChunk:
    """Records of one partition that were read, and the windows that are over with them.

    windows: they become rows of the model by `window_input`, from events of num_features each; metadata: what is committed with
    next_offset; record_timestamp: that of the last record, or of the last one before.
    num_bytes: of the records, and of the windows with their predictions.
    is_last_part: False where more windows of the same records follow in another part.
    resume: the state from which the windows can be rebuilt after a part of them is committed. Each part is then committed by
    itself, the first with the records. Without it all parts are committed together, the last with the records.
    given: how many windows came in the parts before.
    record_bytes: of num_bytes those of the records.
    """

    partition: TopicPartition
    epoch: Epoch
    windows: Sequence[Window]
    window_input: WindowInput
    num_features: int
    next_offset: int
    metadata: str
    record_timestamp: int
    events: EventOutcomes = field(default=EventOutcomes())
    num_records: int = 0
    num_bytes: int = 0
    is_last_part: bool = True
    resume: State | None = None
    given: int = 0
    record_bytes: int = 0

    @property
    def can_end_commit(self) -> bool:
        """Whether it may be committed by itself."""
        return self.is_last_part or self.resume is not None

    @property
    def num_rows(self) -> int:
        return len(self.windows)

    @property
    def num_rejected(self) -> int:
        """Records that are in no window."""
        return len(self.events.refused)

    @property
    def num_passed(self) -> int:
        """Records of the log that it leads past: more than it holds where one of those stands for several."""
        return self.num_records + sum(refused.count - 1 for refused in self.events.refused)

    @property
    def size(self) -> int:
        """A poll counts as little as one window: it costs the model nothing."""
        return max(1, len(self.windows))

    @property
    def deadlines(self) -> Mapping[int, int]:
        """None: a window is over when it is over."""
        return _NO_DEADLINES

    @property
    def x_BF(self) -> FloatMatrix:
        """The windows as rows, float32 [B, row_width]. Made when it is asked for: the queue holds no such memory."""
        x_NF, t_N = columns_of(self.windows, self.num_features)
        width = 8 + 4 * self.num_features
        lengths_B = np.array([len(window.rows) // width for window in self.windows], dtype=np.int64)
        spans_B = np.array([window.end - window.start for window in self.windows], dtype=np.int64)
        return self.window_input.rows(x_NF, t_N, lengths_B, spans_B)

    def size_within(self, num_bytes: int) -> int:
        """How many of the windows fit in so many bytes; the records go with the last and cannot be parted."""
        for index, window in enumerate(self.windows):
            num_bytes -= window.num_bytes
            if num_bytes < 0:
                return index
        return self.size

    def split(self, size: int) -> tuple[WindowChunk, WindowChunk]:
        """The first `size` windows, and the rest. 0 < size < the number of windows."""
        first, rest = self.windows[:size], self.windows[size:]
        first_bytes = sum(window.num_bytes for window in first)
        if self.resume is None:
            head = replace(
                self, windows=first, events=EventOutcomes(), num_records=0, num_bytes=first_bytes, is_last_part=False
            )
            return head, replace(self, windows=rest, num_bytes=self.num_bytes - first_bytes)
        given, first_bytes = self.given + size, first_bytes + self.record_bytes
        pending = encode(self.resume.given(given))
        head = replace(self, windows=first, num_bytes=first_bytes, metadata=pending, is_last_part=False)
        tail = replace(
            self,
            windows=rest,
            events=EventOutcomes(),
            num_records=0,
            num_bytes=self.num_bytes - first_bytes,
            record_bytes=0,
            given=given,
        )
        return head, tail
