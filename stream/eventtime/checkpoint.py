"""A checkpoint as the metadata of a committed offset, which Kafka keeps with it: 4096 bytes at most, here below 3000.

    forebay1 <digest> <replay from> <watermark just before that> <watermark at the offset> [<rejected by the clock>]

The offset is the head: everything before it is decided. Watermarks are ms since the Unix epoch, `-` before the first event. The
last field (see `timestamp_guard`) is left out where it is empty: offsets between `replay from` and the head, separated by
commas, each as its distance from the one before it.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from stream.eventtime.columns import NO_WATERMARK
from stream.eventtime.partition import Checkpoint

FORMAT: Final = "forebay1"
_NONE: Final = "-"


class State(NamedTuple):
    """What a committed offset says of windows. by_clock: offsets of events that the worker's clock rejected."""

    digest: str
    checkpoint: Checkpoint
    by_clock: tuple[int, ...] = ()


class NotUnderstood(ValueError):
    """Metadata that some other program wrote, or another version."""


def encode(state: State) -> str:
    """As metadata."""
    _head, replay_from, before, watermark = state.checkpoint
    said = f"{FORMAT} {state.digest} {replay_from} {_text(before)} {_text(watermark)}"
    if not state.by_clock:
        return said
    return f"{said} {','.join(str(after - before) for before, after in pairwise((replay_from, *state.by_clock)))}"


def decode(head: int, metadata: str) -> State | None:
    """What it says of windows, None where it is empty. Raises NotUnderstood."""
    if not metadata:
        return None
    parts = metadata.split(" ")
    if len(parts) not in (5, 6) or parts[0] != FORMAT:
        raise NotUnderstood(metadata[:100])
    try:
        checkpoint = Checkpoint(head, int(parts[2]), _watermark(parts[3]), _watermark(parts[4]))
        distances = map(int, parts[5].split(",")) if len(parts) == 6 else ()
        _, *by_clock = accumulate(distances, initial=checkpoint.replay_from)
    except ValueError:
        raise NotUnderstood(metadata[:100]) from None
    if not 0 <= checkpoint.replay_from <= head or checkpoint.watermark_before > checkpoint.watermark:
        raise NotUnderstood(metadata[:100])
    if not all(checkpoint.replay_from <= offset < head for offset in by_clock):
        raise NotUnderstood(metadata[:100])
    return State(parts[1], checkpoint, tuple(by_clock))


def _text(watermark: int) -> str:
    return _NONE if watermark == NO_WATERMARK else str(watermark)


def _watermark(text: str) -> int:
    return NO_WATERMARK if text == _NONE else int(text)
