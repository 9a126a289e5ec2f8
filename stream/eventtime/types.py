"""The values that go into the windows of one partition, and the windows that come out.

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
"""Before the first event: nothing is late, nothing closes."""


def row_type(num_features: int) -> np.dtype[np.void]:
    """One event as windows keep it: `t`, its event time in ms, and `x`, its features."""
    return np.dtype([("t", "<i8"), ("x", "<f4", (num_features,))])


@dataclass(frozen=True, slots=True)
class Events:
    """Events of one partition, in offset order. timestamps: event times, ms; x_NF: float32."""

    offsets: Sequence[int]
    keys: Sequence[bytes]
    timestamps: Sequence[int]
    x_NF: FloatMatrix

    def packed(self) -> bytes:
        """The rows one after the other, each of `row_type(F).itemsize` bytes."""
        rows_N = np.empty(len(self.timestamps), dtype=row_type(self.x_NF.shape[1]))
        rows_N["t"] = self.timestamps
        rows_N["x"] = self.x_NF
        return rows_N.tobytes()


WINDOW_BYTES: Final = 350
"""What an open window takes beside its rows and its key, measured."""
KEY_COPIES: Final = 4
"""How often a key is in memory while a window's prediction is made: in the window, as the record's key, twice in its value."""
SHARED_KEY_BYTES: Final = 64
"""Windows of one key share it where it is longer."""


class Window:
    """A window while it is open. rows: packed, in the order in which they came; for sequences only the last ones are kept.

    first_offset: of its first event; watermark_before: the watermark just before that event.
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
        """About what the window and its prediction take in memory."""
        return WINDOW_BYTES + len(self.rows) + KEY_COPIES * len(self.key)


@dataclass(slots=True)
class Verdict:
    """What became of events: by their places among those that were given. All others were accepted.

    closed: windows that are over, in the order in which they closed.
    """

    late: list[int] = field(default_factory=list)
    full: list[int] = field(default_factory=list)
    closed: list[Window] = field(default_factory=list)


def columns_of(windows: Sequence[Window], num_features: int) -> tuple[FloatMatrix, npt.NDArray[np.int64]]:
    """The events of these windows, one window after the other: x_NF, and their event times."""
    rows_N = np.frombuffer(b"".join(window.rows for window in windows), dtype=row_type(num_features))
    return np.ascontiguousarray(rows_N["x"]), rows_N["t"].astype(np.int64)
