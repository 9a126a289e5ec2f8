"""The windows that the input must lead to, by the slow reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.stream.core.records import TopicPartition
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from tests.eventtime.reference import Event, windows

SPEC: Final = WindowSpec(
    WindowKind.TUMBLING, size_ms=800, hop_ms=800, gap_ms=0, out_of_orderness_ms=300, lateness_ms=100
)
MAX_ROWS: Final = 1_000


class WindowEvent(NamedTuple):
    """An event for a model of windows. bad: whether the model raises on a window with it."""

    model: str
    offset: int
    key: bytes
    timestamp: int
    value: float
    bad: bool


class WindowId(NamedTuple):
    """The identity of a window: keys are the same in several partitions."""

    model: str
    partition: TopicPartition
    id: str


class WindowOutcome(NamedTuple):
    """What is in the output for a window. prediction: None if it failed."""

    num_events: int
    prediction: tuple[float, ...] | None


def expected_windows(
    partition: TopicPartition, events: Sequence[WindowEvent]
) -> tuple[dict[WindowId, WindowOutcome], set[int]]:
    """Return the closed windows of a partition, and the offsets of late events."""
    by_model: dict[str, list[WindowEvent]] = defaultdict(list)
    for event in events:
        by_model[event.model].append(event)
    expected: dict[WindowId, WindowOutcome] = {}
    late: set[int] = set()
    for model, own in by_model.items():
        by_offset = {event.offset: event for event in own}
        result, _, _ = windows(
            SPEC, [Event(event.offset, event.key, event.timestamp) for event in own], max_rows=MAX_ROWS
        )
        late.update(result.late)
        for _, key, start, end, offsets, _ in result.closed:
            members = [by_offset[offset] for offset in offsets]
            prediction = (float(len(members)), float(sum(event.value for event in members)))
            failed = any(event.bad for event in members)
            window = WindowId(model, partition, f"{key.decode()}|{start}|{end}")
            expected[window] = WindowOutcome(len(members), None if failed else prediction)
    return expected, late
