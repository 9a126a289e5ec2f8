"""From polls to commits with several lanes: every output once, in offset order over lanes and commits, with all states."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas.failures import Outcome
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart, BatchResult, Committed, MicroBatch, RowFailure, TopicPartition
from forebay.stream.eventtime.lane_windows import LaneWindows
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.pipeline.merging_reorder_buffer import MergingReorderBuffer
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from tests.core.build import P0, P1, ManualClock
from tests.eventtime.build import plan
from tests.output.test_lanes_emitter import KINDS, Origins, X, Y, Z, emit, lane, polled_part, result_of, rows_of

WINDOWED = frozenset({Y, Z})


@dataclass
class Flow:
    """Three lanes over two partitions; two of them take windows. done: the results of all commits."""

    partitions: int
    max_records: int
    done: list[BatchResult] = field(default_factory=list)
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.windows = LaneWindows([plan(model=ref) for ref in sorted(WINDOWED)], clock=ManualClock())
        self.windows.restore({P0: Committed(0, ""), P1: Committed(0, "")})
        self.batchers = {
            ref: MicroBatcher(max_batch_size=size, max_batch_bytes=10**6, max_queue_delay_ms=5)
            for ref, size in ((X, 4), (Y, 2), (Z, 3))
        }
        self.buffer = MergingReorderBuffer(
            lambda: [part for batcher in self.batchers.values() for part in batcher.parts]
        )
        self.emitter = LanesEmitter(
            {ref: lane(ref, windowed=ref in WINDOWED, partitions=self.partitions) for ref in (X, Y, Z)},
            combine_metadata=self.windows.commit_metadata,
        )
        self.emitted: dict[TopicPartition, list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]]] = (
            defaultdict(list)
        )

    def poll(self, parts: list[BatchPart]) -> list[MicroBatch]:
        closed: list[MicroBatch] = []
        for part in self.windows.take(parts):  # type: ignore[arg-type]
            closed += self.close(self.batchers[part.model].add(part, now_s=0.0, wall_ms=0))
        return closed

    def close(self, batches: list[MicroBatch]) -> list[MicroBatch]:
        for batch in batches:
            self.buffer.add(batch)
        return batches

    def commit(self) -> bool:
        results = self.buffer.take(max_records=self.max_records, max_bytes=10**9)
        if not results:
            return False
        emission = emit(self.emitter, results)
        assert emission.ledger.unbalanced() == {} and emission.metadata.keys() == emission.positions.keys()
        for partition, position in emission.positions.items():
            assert position >= self.positions.get(partition, 0)
            assert emission.metadata[partition].startswith("forebay3 ")
        self.positions |= emission.positions
        self.outcomes.update(emission.ledger.outcomes)
        for place, rows in rows_of(emission).items():
            self.emitted[place] += rows
        self.done += results
        return True


@settings(max_examples=60)
@given(st.data())
def test_outputs_are_in_offset_order_over_lanes_and_commits(data: st.DataObject) -> None:
    flow = Flow(data.draw(st.sampled_from([2, 1, 5])), data.draw(st.sampled_from([3, 10, 1000])))
    waiting: list[MicroBatch] = []
    routes = {place: data.draw(st.lists(st.sampled_from([X, Y, Z]), min_size=1, max_size=40)) for place in (P0, P1)}
    polls = {}
    for place, route in routes.items():
        cuts = {0, len(route), *data.draw(st.sets(st.integers(0, len(route)), max_size=4))}
        polls[place] = list(pairwise(sorted(cuts)))
    order = data.draw(st.permutations([place for place, own in polls.items() for _ in own]))
    rejected, large = (data.draw(st.sets(st.integers(0, 39), max_size=5)) for _ in range(2))
    for place in order:
        first, end = polls[place].pop(0)
        of_lane = defaultdict[ModelRef, list[int]](list)
        for offset in range(first, end):
            of_lane[routes[place][offset]].append(offset)
        build = partial(polled_part, partition=place, rejected=rejected, large=large, next_offset=end)
        waiting += flow.poll([build(ref, offsets=offsets) for ref, offsets in of_lane.items()])
        for _ in range(data.draw(st.integers(0, 3))):
            _finish_one(flow, waiting, data)
        if data.draw(st.booleans()):
            flow.commit()
    for batcher in flow.batchers.values():
        waiting += flow.close(batcher.flush())
    while waiting:
        _finish_one(flow, waiting, data)
    while flow.commit():
        pass

    assert flow.positions == {place: len(route) for place, route in routes.items()}
    events = sum(count for outcome, count in flow.outcomes.items() if not outcome.of_window)
    assert events == sum(map(len, routes.values()))
    origins = Origins(flow.done)
    for target, rows in flow.emitted.items():
        if target.topic == "outcome-deltas":
            continue
        found = defaultdict[TopicPartition, list[int]](list)
        for row in rows:
            _, source, offset = origins.find(target.topic, row)
            found[source].append(offset)
        assert all(offsets == sorted(offsets) for offsets in found.values())


def _finish_one(flow: Flow, waiting: list[MicroBatch], data: st.DataObject) -> None:
    """Return the result of one of the micro-batches, with some rows failed; lanes finish in any order, each in its own."""
    if not waiting:
        return
    ref = data.draw(st.sampled_from(sorted({batch.model for batch in waiting})))
    batch = next(batch for batch in waiting if batch.model == ref)
    waiting.remove(batch)
    failing = data.draw(st.sets(st.integers(0, batch.num_rows - 1), max_size=2)) if batch.num_rows else set()
    failures = {row: RowFailure(data.draw(st.sampled_from(KINDS)), f"no {row}", "a stack") for row in sorted(failing)}
    flow.buffer.on_result(result_of(batch, failures))
