"""Build polls, plans and stages for the tests of windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, Epoch, Rejection, TopicPartition
from forebay.stream.eventtime.plan import WindowLimits, WindowPlan
from forebay.stream.eventtime.spec import WindowKind, WindowSpec, digest
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.eventtime.timestamp_guard import TimestampBounds
from tests.core.build import EPOCH, JULY, MODEL, P0, FakeRecord, ManualClock

TUMBLING = WindowSpec(WindowKind.TUMBLING, size_ms=10, hop_ms=10, gap_ms=0, out_of_orderness_ms=0, lateness_ms=0)
COUNTS = WindowInput(aggregates=(Aggregate("count"), Aggregate("sum", 0)))


def plan(
    spec: WindowSpec = TUMBLING, window: WindowInput = COUNTS, *, model: ModelRef = MODEL, **limits: Any
) -> WindowPlan:
    defaults = WindowLimits(
        max_open_windows=1000,
        max_buffered_rows=1000,
        max_buffered_bytes=10**7,
        max_replay_records=1000,
        max_rows_per_window=100,
        idle_timeout_s=5.0,
        timestamps=TimestampBounds(ahead_ms=1000, behind_ms=1_000_000),
    )
    bounds = replace(defaults, **limits)
    times = bounds.timestamps
    plan_digest = digest(
        spec,
        window,
        1,
        max_rows_per_window=bounds.max_rows_per_window,
        ahead_ms=times.ahead_ms,
        behind_ms=times.behind_ms,
    )
    return WindowPlan(spec=spec, model=model, window_input=window, num_features=1, digest=plan_digest, limits=bounds)


def stage(of: WindowPlan | None = None, clock: ManualClock | None = None) -> WindowStage:
    return WindowStage(of or plan(), clock=clock or ManualClock())


def poll(
    first_offset: int,
    events: Sequence[tuple[bytes | None, int] | None],
    *,
    partition: TopicPartition = P0,
    epoch: Epoch = EPOCH,
    next_offset: int | None = None,
    model: ModelRef = MODEL,
) -> Chunk:
    """Return a poll of events, each (key, event time after JULY), or None for garbage. An event's feature is its offset."""
    good, times, rejections, offsets = [], [], [], []
    for index, event in enumerate(events):
        offset = first_offset + index
        if event is None:
            rejections.append(Rejection(index, FakeRecord(offset, b"{", JULY), FailureKind.NOT_JSON, "no JSON"))
            continue
        good.append(FakeRecord(offset, b"x", JULY, event[0]))
        times.append(JULY + event[1])
        offsets.append(offset)
    return Chunk(
        partition,
        epoch,
        model,
        records=good,
        ids=[f"e{offset}" for offset in offsets],
        timestamps=times,
        x_BF=np.array([[offset] for offset in offsets], dtype=np.float32).reshape(len(offsets), 1),
        rejections=rejections,
        num_records=len(events),
        num_bytes=10 * len(events),
        next_offset=first_offset + len(events) if next_offset is None else next_offset,
    )


def routed_poll(
    first_offset: int,
    events: Sequence[tuple[ModelRef, bytes | None, int]],
    *,
    partition: TopicPartition = P0,
    epoch: Epoch = EPOCH,
) -> list[Chunk]:
    """Return the chunks of a poll of events, each (model, key, event time after JULY): one chunk for each model that occurs."""
    chunks = []
    for model in dict.fromkeys(event[0] for event in events):
        own = [index for index, event in enumerate(events) if event[0] == model]
        parts = [poll(first_offset + index, [events[index][1:]], partition=partition, model=model) for index in own]
        chunks.append(
            Chunk(
                partition,
                epoch,
                model,
                records=[part.records[0] for part in parts],
                ids=[part.ids[0] for part in parts],
                timestamps=[part.timestamps[0] for part in parts],
                x_BF=np.concatenate([part.x_BF for part in parts]),
                rejections=[],
                num_records=len(own),
                num_bytes=10 * len(own),
                next_offset=parts[-1].next_offset,
            )
        )
    return chunks


def spans(windows: Sequence[Any]) -> list[tuple[bytes, int, int, int]]:
    """Return the key, the start and end after JULY, and the number of events of each window."""
    return [(window.key, window.start - JULY, window.end - JULY, window.num_events) for window in windows]
