"""The specification of windows: their kind and lengths, and the digest by which a worker recognises its own state."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import orjson

from forebay.models.artefacts.window_input import WindowInput


class WindowKind(StrEnum):
    """The kinds of windows.

    Tumbling windows follow each other without gaps. Hopping windows have one length and begin every hop, so they overlap.
    A session ends when no event comes for the length of a gap.
    """

    TUMBLING = "tumbling"
    HOPPING = "hopping"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """The windows of one key. All times are in ms; all spans include their start and exclude their end.

    size_ms: length of tumbling and hopping windows, and the maximum length of a session.
    hop_ms: time between the starts of two windows; for tumbling windows their size.
    gap_ms: time after its last event at which a session ends.
    out_of_orderness_ms: how much older than the newest event an event may be and still be in order: the watermark is the
        newest event time minus this.
    lateness_ms: how long a window still takes events after the watermark has passed its end.
    """

    kind: WindowKind
    size_ms: int
    hop_ms: int
    gap_ms: int
    out_of_orderness_ms: int
    lateness_ms: int

    @property
    def windows_per_event(self) -> int:
        """The maximum number of windows that an event is in."""
        return 1 if self.kind is WindowKind.SESSION else -(-self.size_ms // self.hop_ms)

    @property
    def longest_ms(self) -> int:
        """The longest time, in event time, that a window may stay open after its first event."""
        return self.size_ms + self.out_of_orderness_ms + self.lateness_ms


def digest(
    spec: WindowSpec, window: WindowInput, num_features: int, *, max_rows_per_window: int, ahead_ms: int, behind_ms: int
) -> str:
    """Return eight hexadecimal digits over all that decides the content of a window.

    A worker does not continue state of another digest.
    """
    decisive = [
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
    return hashlib.sha256(orjson.dumps(decisive)).hexdigest()[:8]
