"""Slices of windows in the reorder buffer of several lanes: which may be committed before the others are finished."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forebay.stream.core.records import BatchPart, BatchResult, MicroBatch
from forebay.stream.eventtime.window_chunk import WindowChunk
from forebay.stream.pipeline.merging_reorder_buffer import MergingReorderBuffer
from tests.core.build import EPOCH, P0, ManualClock
from tests.eventtime.build import TUMBLING, plan, routed_poll
from tests.eventtime.test_lane_crashes import DAILY, HOURLY, PLAIN
from tests.eventtime.test_lane_windows import LONG, PLANS, A, B, Event, committed, lanes, started

LOG: list[Event] = [(HOURLY, A, 1), (HOURLY, B, 2), (DAILY, A, 3)]


def finished(batch: MicroBatch) -> BatchResult:
    values = np.zeros((batch.num_rows, 1), dtype=np.float32)
    return BatchResult(batch, values, classes_B=None, confidences_B=None, failures={}, model_s=0.0)


def taken(buffer: MergingReorderBuffer) -> list[BatchPart]:
    return [part for result in buffer.take(max_records=1000, max_bytes=1 << 30) for part in result.batch.chunks]


def closed_by_clock() -> WindowChunk:
    """Return two windows that the clock has closed."""
    clock = ManualClock()
    windows = started(clock=clock)
    windows.take(routed_poll(0, LOG[:2]))
    clock.advance(6)
    (part,) = windows.close_idle(EPOCH, lambda partition: True)
    assert isinstance(part, WindowChunk)
    return part


def flushed() -> WindowChunk:
    """Return two windows that are closed because the configuration has changed."""
    before = started()
    state = committed(before, before.take(routed_poll(0, LOG)))
    windows = lanes([replace(plan(replace(TUMBLING, size_ms=5, hop_ms=5), model=HOURLY), flush=True), PLANS[1]])
    windows.restore({P0: state})
    windows.take(routed_poll(0, LOG))
    (part,) = windows.close_idle(EPOCH, lambda partition: True)
    assert isinstance(part, WindowChunk)
    return part


@pytest.mark.parametrize("together", [False, True])
def test_slices_are_committed_one_by_one_if_a_replay_can_continue_between_them(together: bool) -> None:
    part = flushed() if together else closed_by_clock()
    assert (part.num_rows, part.resume is None) == (2, together)
    slices = part.split(1)
    batches = [MicroBatch(seq, (piece,), "idle", 0.0) for seq, piece in enumerate(slices)]
    buffer = MergingReorderBuffer(lambda: [])
    for batch in batches:
        buffer.add(batch)
    buffer.on_result(finished(batches[0]))
    assert taken(buffer) == ([] if together else [slices[0]])
    buffer.on_result(finished(batches[1]))
    assert taken(buffer) == (list(slices) if together else [slices[1]])


def test_a_slice_that_waits_for_a_micro_batch_keeps_back_those_that_are_committed_with_it() -> None:
    first, second = flushed().split(1)
    batch = MicroBatch(0, (first,), "size", 0.0)
    waiting: list[BatchPart] = [second]
    buffer = MergingReorderBuffer(lambda: waiting)
    buffer.add(batch)
    buffer.on_result(finished(batch))
    assert taken(buffer) == []


def test_a_position_is_where_the_parts_of_all_models_end() -> None:
    windows = started([plan(model=HOURLY), plan(LONG, model=DAILY)])
    parts = windows.take(routed_poll(0, [*LOG, (PLAIN, A, 4)]))
    parts += windows.take(routed_poll(4, [(PLAIN, A, 5), (HOURLY, A, 12)]))
    batches = [MicroBatch(seq, (part,), "size", 0.0) for seq, part in enumerate(parts)]
    buffer = MergingReorderBuffer(lambda: [])
    for batch in batches:
        buffer.add(batch)
    last = next(batch for batch in batches if batch.model == DAILY and batch.chunks[0].next_offset == 6)
    for batch in batches:
        if batch is not last:
            buffer.on_result(finished(batch))
    found = taken(buffer)
    assert {part.next_offset for part in found} == {4} and {part.model for part in found} == {PLAIN, HOURLY, DAILY}
    assert committed(windows, found).metadata.startswith("forebay3 hourly 1 ")
    buffer.on_result(finished(last))
    assert max(part.next_offset for part in taken(buffer)) == 6
