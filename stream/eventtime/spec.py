"""What windows there are: their kind and lengths, and the digest by which a worker knows whose state it finds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import orjson

from forebay.models.artefacts.window_input import WindowInput


class WindowKind(StrEnum):
    """tumbling: back to back. hopping: of one length, beginning every hop, so that they overlap. session: ends with a gap."""

    TUMBLING = "tumbling"
    HOPPING = "hopping"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Windows of one key. All times in ms; all spans hold their beginning and not their end.

    size_ms: of tumbling and hopping windows, and the longest that a session may be; hop_ms: between the beginnings of two
    windows (the size, for tumbling ones); gap_ms: a session ends so long after its last event.
    out_of_orderness_ms: how much older than the newest an event may be and still be in order: the watermark is the newest event
    time less this. lateness_ms: how long after the watermark has passed its end a window still takes events.
    """

    kind: WindowKind
    size_ms: int
    hop_ms: int
    gap_ms: int
    out_of_orderness_ms: int
    lateness_ms: int

    @property
    def windows_per_event(self) -> int:
        """How many windows an event may be in."""
        return 1 if self.kind is WindowKind.SESSION else -(-self.size_ms // self.hop_ms)

    @property
    def longest_ms(self) -> int:
        """How long after its first event a window may still be open, by event time."""
        return self.size_ms + self.out_of_orderness_ms + self.lateness_ms


def digest(
    spec: WindowSpec, window: WindowInput, num_features: int, *, max_rows_per_window: int, ahead_ms: int, behind_ms: int
) -> str:
    """Eight hexadecimal digits of all that decides what is in a window: state of another digest is not to be continued."""
    said = [
        spec.kind.value,
        spec.size_ms,
        spec.hop_ms,
        spec.gap_ms,
        spec.out_of_orderness_ms,
        spec.lateness_ms,
        window.to_dict(),
        num_features,
        max_rows_per_window,
        ahead_ms,
        behind_ms,
    ]
    return hashlib.sha256(orjson.dumps(said)).hexdigest()[:8]
