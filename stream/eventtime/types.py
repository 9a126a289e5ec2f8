"""The types of the windows of one partition: the events that go in, and the windows that come out.

Shapes: N events, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from forebay.stream.core.records import FloatMatrix

NO_WATERMARK: Final = -(2**63)
"""The watermark before the first event: nothing is late, nothing closes."""


def row_type(num_features: int) -> np.dtype[np.void]:
    """Return the type of one event in a window: `t`, its event time in ms, and `x`, its features."""
    return np.dtype([("t", "<i8"), ("x", "<f4", (num_features,))])


@dataclass(frozen=True, slots=True)
class Events:
    """Events of one partition, in offset order. timestamps: event times in ms; x_NF: float32 features."""

    offsets: Sequence[int]
    keys: Sequence[bytes]
    timestamps: Sequence[int]
    x_NF: FloatMatrix

    def packed(self) -> bytes:
        """Return the rows as bytes, each of `row_type(F).itemsize` bytes."""
        rows_N = np.empty(len(self.timestamps), dtype=row_type(self.x_NF.shape[1]))
        rows_N["t"] = self.timestamps
        rows_N["x"] = self.x_NF
        return rows_N.tobytes()


WINDOW_BYTES: Final = 350
"""The memory of an open window without its rows and key, measured."""
KEY_COPIES: Final = 4
"""The copies of a key in memory when a window is predicted: in the window, as the record's key, twice in its value."""
SHARED_KEY_BYTES: Final = 64
"""The length above which windows of one key share its bytes."""


class Window:
    """A window and its events.

    rows: packed events in the order in which they came; for sequences only the last ones are kept.
    first_offset: the offset of its first event.
    watermark_before: the watermark just before that event.
    """

    __slots__ = ("dropped", "end", "first_offset", "is_open", "key", "num_events", "rows", "start", "watermark_before")

    def __init__(self, key: bytes, start: int, end: int, first_offset: int, watermark_before: int, row: bytes) -> None:
        self.key = key
        self.start = start
        self.end = end
        self.first_offset = first_offset
        self.watermark_before = watermark_before
        self.rows = bytearray(row)
        self.num_events = 1
        self.dropped = 0
        self.is_open = True

    @property
    def num_bytes(self) -> int:
        """The approximate memory of the window and its prediction."""
        return WINDOW_BYTES + len(self.rows) + KEY_COPIES * len(self.key)


@dataclass(slots=True)
class AddResult:
    """The result of adding events to windows. Events that are neither late nor full were accepted.

    late: indices of the events all of whose windows are closed.
    full: indices of the events all of whose open windows are full.
    closed: windows that have closed, in the order of closing.
    """

    late: list[int] = field(default_factory=list)
    full: list[int] = field(default_factory=list)
    closed: list[Window] = field(default_factory=list)


def columns_of(windows: Sequence[Window], num_features: int) -> tuple[FloatMatrix, npt.NDArray[np.int64]]:
    """Return the features x_NF and the event times t_N of these windows' events, one window after the other."""
    rows_N = np.frombuffer(b"".join(window.rows for window in windows), dtype=row_type(num_features))
    return np.ascontiguousarray(rows_N["x"]), rows_N["t"].astype(np.int64)
