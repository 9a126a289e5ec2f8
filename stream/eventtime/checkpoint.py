"""A checkpoint as the metadata of a committed offset, which Kafka keeps with it: 4096 bytes at most, here below 120.

    forebay1 <digest> <replay from> <watermark just before that> <watermark at the offset>

The offset is the head: everything before it is decided. Watermarks are ms since the Unix epoch, `-` before the first event.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stream.eventtime.columns import NO_WATERMARK
from stream.eventtime.partition import Checkpoint

FORMAT: Final = "forebay1"
_NONE: Final = "-"


class State(NamedTuple):
    """What a committed offset says of windows."""

    digest: str
    checkpoint: Checkpoint


class NotUnderstood(ValueError):
    """Metadata that some other program wrote, or another version."""


def encode(state: State) -> str:
    """As metadata."""
    _head, replay_from, before, watermark = state.checkpoint
    return f"{FORMAT} {state.digest} {replay_from} {_text(before)} {_text(watermark)}"


def decode(head: int, metadata: str) -> State | None:
    """What it says of windows, None where it is empty. Raises NotUnderstood."""
    if not metadata:
        return None
    parts = metadata.split(" ")
    if len(parts) != 5 or parts[0] != FORMAT:
        raise NotUnderstood(metadata[:100])
    try:
        checkpoint = Checkpoint(head, int(parts[2]), _watermark(parts[3]), _watermark(parts[4]))
    except ValueError:
        raise NotUnderstood(metadata[:100]) from None
    if not 0 <= checkpoint.replay_from <= head or checkpoint.watermark_before > checkpoint.watermark:
        raise NotUnderstood(metadata[:100])
    return State(parts[1], checkpoint)


def _text(watermark: int) -> str:
    return _NONE if watermark == NO_WATERMARK else str(watermark)


def _watermark(text: str) -> int:
    return NO_WATERMARK if text == _NONE else int(text)
