"""Encode checkpoints as the metadata that Kafka stores with a committed offset: at most 4096 bytes, here below 3000.

    forebay1 <digest> <replay from> <watermark just before that> <watermark at the offset> [<rejected by the clock>]
    forebay2 … <watermark at the offset> <pending since> <emitted> <all> [<rejected by the clock>]

The offset is the head: everything before it is decided. The second form is for closed windows that are emitted in slices,
each with a commit of its own (see `Pending`); `<all>` is 0 or 1. Watermarks are ms since the Unix epoch, `-` before the first
event. The last field (see `timestamp_guard`) is omitted if it is empty: offsets between `replay from` and the head,
separated by commas, each as its distance from the one before it; `<distance>.<row>` for a row of a record with several.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from forebay.stream.eventtime.partition_windows import Checkpoint
from forebay.stream.eventtime.timestamp_guard import Place, offset_of
from forebay.stream.eventtime.types import NO_WATERMARK

FORMAT: Final = "forebay1"
PENDING_FORMAT: Final = "forebay2"
_NONE: Final = "-"


class Pending(NamedTuple):
    """Windows that are closed at the head and not all emitted yet.

    Their checkpoint is from before they closed, so that a replay rebuilds them.

    since: the offset of the first event that could close them; they are in the order of closing.
    emitted: number of these windows that are committed.
    all_open: whether the windows that were still open at the head follow them.
    """

    since: int
    emitted: int
    all_open: bool


class CommittedState(NamedTuple):
    """The state of a partition's windows at a committed offset.

    digest: identifies the configuration of windows and the model.
    clock_rejections: positions of events that were rejected by the worker's clock.
    pending: closed windows that are still to be emitted; None if there are none.
    """

    digest: str
    checkpoint: Checkpoint
    clock_rejections: tuple[Place, ...] = ()
    pending: Pending | None = None

    @property
    def has_windows(self) -> bool:
        """Whether windows are open, or closed and still to be emitted."""
        return self.checkpoint.replay_from < self.checkpoint.head

    def with_emitted(self, number: int) -> CommittedState:
        """Return the state after this number of the pending windows is emitted."""
        assert self.pending is not None
        return self._replace(pending=self.pending._replace(emitted=number))


class MetadataError(ValueError):
    """The metadata was written by another program or another version."""


def encode(state: CommittedState) -> str:
    """Return the state as the metadata of its offset."""
    _head, replay_from, before, watermark = state.checkpoint
    name = FORMAT if state.pending is None else PENDING_FORMAT
    text = f"{name} {state.digest} {replay_from} {_text(before)} {_text(watermark)}"
    if state.pending is not None:
        text += f" {state.pending.since} {state.pending.emitted} {state.pending.all_open:d}"
    if not state.clock_rejections:
        return text
    offsets = map(offset_of, state.clock_rejections)
    distances = [after - before for before, after in pairwise((replay_from, *offsets))]
    listed = map(_listed, distances, state.clock_rejections)
    return f"{text} {','.join(listed)}"


def decode(head: int, metadata: str) -> CommittedState | None:
    """Return the state that the metadata of an offset holds; None if it is empty. Raises MetadataError.

    head: the committed offset.
    """
    if not metadata:
        return None
    name, *parts = metadata.split(" ")
    fields = {FORMAT: 4, PENDING_FORMAT: 7}.get(name)
    if fields is None or len(parts) not in (fields, fields + 1):
        raise MetadataError(metadata[:100])
    try:
        checkpoint = Checkpoint(head, int(parts[1]), _watermark(parts[2]), _watermark(parts[3]))
        pending = Pending(int(parts[4]), int(parts[5]), bool(int(parts[6]))) if name == PENDING_FORMAT else None
        clock_rejections = _places(checkpoint.replay_from, parts[fields]) if len(parts) > fields else []
    except ValueError:
        raise MetadataError(metadata[:100]) from None
    replay_from = checkpoint.replay_from
    if not 0 <= replay_from <= head or checkpoint.watermark_before > checkpoint.watermark:
        raise MetadataError(metadata[:100])
    if not all(replay_from <= offset_of(place) < head for place in clock_rejections):
        raise MetadataError(metadata[:100])
    if pending is not None and not (replay_from <= pending.since <= head and pending.emitted > 0):
        raise MetadataError(metadata[:100])
    return CommittedState(parts[0], checkpoint, tuple(clock_rejections), pending)


def _listed(distance: int, place: Place) -> str:
    return str(distance) if isinstance(place, int) else f"{distance}.{place[1]}"


def _places(replay_from: int, text: str) -> list[Place]:
    """Return the positions that the last field lists. Raises ValueError."""
    entries = [entry.partition(".") for entry in text.split(",")]
    _, *offsets = accumulate((int(distance) for distance, _, _ in entries), initial=replay_from)
    return [(offset, int(row)) if is_row else offset for offset, (_, is_row, row) in zip(offsets, entries, strict=True)]


def _text(watermark: int) -> str:
    return _NONE if watermark == NO_WATERMARK else str(watermark)


def _watermark(text: str) -> int:
    return NO_WATERMARK if text == _NONE else int(text)
