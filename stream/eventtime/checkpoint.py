"""A checkpoint as the metadata of a committed offset, which Kafka keeps with it: 4096 bytes at most, here below 3000.

    forebay1 <digest> <replay from> <watermark just before that> <watermark at the offset> [<rejected by the clock>]
    forebay2 … <watermark at the offset> <pending since> <emitted> <all> [<rejected by the clock>]

The offset is the head: everything before it is decided. The second form is that of windows that were closed and are given
out in slices, each with a commit of its own (see `Pending`). Watermarks are ms since the Unix epoch, `-` before the first
event. The last field (see `timestamp_guard`) is left out where it is empty: offsets between `replay from` and the head,
separated by commas, each as its distance from the one before it.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from forebay.stream.eventtime.partition_windows import Checkpoint
from forebay.stream.eventtime.types import NO_WATERMARK

FORMAT: Final = "forebay1"
PENDING_FORMAT: Final = "forebay2"
_NONE: Final = "-"


class Pending(NamedTuple):
    """Windows that are closed at the head and not all emitted yet.

    They are those that events from the offset `since` on have closed, in the order of closing, and with `all` then all others
    that were open at the head. given: how many of them are out. Their checkpoint is of before they closed, so that a replay
    makes them again.
    """

    since: int
    given: int
    all: bool


class State(NamedTuple):
    """What a committed offset says of windows. by_clock: offsets of events that the worker's clock rejected."""

    digest: str
    checkpoint: Checkpoint
    by_clock: tuple[int, ...] = ()
    pending: Pending | None = None

    def given(self, number: int) -> State:
        """Return the state after so many of the pending windows are out."""
        assert self.pending is not None
        return self._replace(pending=self.pending._replace(given=number))


class NotUnderstood(ValueError):
    """Metadata that some other program wrote, or another version."""


def encode(state: State) -> str:
    """As metadata."""
    _head, replay_from, before, watermark = state.checkpoint
    name = FORMAT if state.pending is None else PENDING_FORMAT
    said = f"{name} {state.digest} {replay_from} {_text(before)} {_text(watermark)}"
    if state.pending is not None:
        said += f" {state.pending.since} {state.pending.given} {state.pending.all:d}"
    if not state.by_clock:
        return said
    return f"{said} {','.join(str(after - before) for before, after in pairwise((replay_from, *state.by_clock)))}"


def decode(head: int, metadata: str) -> State | None:
    """What it says of windows, None where it is empty. Raises NotUnderstood."""
    if not metadata:
        return None
    name, *parts = metadata.split(" ")
    fields = {FORMAT: 4, PENDING_FORMAT: 7}.get(name)
    if fields is None or len(parts) not in (fields, fields + 1):
        raise NotUnderstood(metadata[:100])
    try:
        checkpoint = Checkpoint(head, int(parts[1]), _watermark(parts[2]), _watermark(parts[3]))
        pending = Pending(int(parts[4]), int(parts[5]), bool(int(parts[6]))) if name == PENDING_FORMAT else None
        distances = map(int, parts[fields].split(",")) if len(parts) > fields else ()
        _, *by_clock = accumulate(distances, initial=checkpoint.replay_from)
    except ValueError:
        raise NotUnderstood(metadata[:100]) from None
    replay_from = checkpoint.replay_from
    if not 0 <= replay_from <= head or checkpoint.watermark_before > checkpoint.watermark:
        raise NotUnderstood(metadata[:100])
    if not all(replay_from <= offset < head for offset in by_clock):
        raise NotUnderstood(metadata[:100])
    if pending is not None and not (replay_from <= pending.since <= head and pending.given > 0):
        raise NotUnderstood(metadata[:100])
    return State(parts[0], checkpoint, tuple(by_clock), pending)


def _text(watermark: int) -> str:
    return _NONE if watermark == NO_WATERMARK else str(watermark)


def _watermark(text: str) -> int:
    return NO_WATERMARK if text == _NONE else int(text)
