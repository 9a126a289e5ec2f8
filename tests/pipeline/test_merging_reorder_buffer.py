"""The results of several lanes come out in offset order, each row once, and never beyond an unfinished row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, MicroBatch, TopicPartition
from forebay.stream.eventtime.window_chunk import WindowChunk
from forebay.stream.pipeline.merging_reorder_buffer import MergingReorderBuffer
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from tests.core.build import EPOCH, P0, P1, chunk, finish
from tests.eventtime.build import COUNTS

A, B, C = ModelRef("a", 1), ModelRef("b", 1), ModelRef("c", 2)
ALL = {"max_records": 10**6, "max_bytes": 10**9}


class Scene:
    """A buffer with lanes whose parts wait until they are closed."""

    def __init__(self) -> None:
        self.waiting: dict[ModelRef, list[BatchPart]] = {}
        self.buffer = MergingReorderBuffer(self.parts_waiting)
        self.open: list[MicroBatch] = []
        self.seqs: Counter[ModelRef] = Counter()

    def parts_waiting(self) -> Iterator[BatchPart]:
        for parts in self.waiting.values():
            yield from parts

    def poll(self, *parts: BatchPart) -> None:
        for part in parts:
            self.waiting.setdefault(part.model, []).append(part)

    def close(self, model: ModelRef) -> MicroBatch | None:
        parts = self.waiting.pop(model, [])
        if not parts:
            return None
        batch = MicroBatch(self.seqs[model], tuple(parts), "size", 0.0)
        self.seqs[model] += 1
        self.buffer.add(batch)
        self.open.append(batch)
        return batch

    def finish(self, batch: MicroBatch) -> None:
        self.open.remove(batch)
        self.buffer.on_result(finish(batch))

    def take(self) -> list[BatchResult]:
        return self.buffer.take(**ALL)


def offsets(results: Sequence[BatchResult]) -> list[int]:
    return [
        record.offset
        for result in results
        for part in result.batch.chunks
        for record in part.records  # type: ignore[attr-defined]
    ]


def window_part(first: int, end: int, *, partition: TopicPartition = P0) -> WindowChunk:
    return WindowChunk(
        partition,
        EPOCH,
        C,
        windows=[],
        window_input=COUNTS,
        num_features=1,
        first_offset=first,
        next_offset=end,
        metadata=str(end),
        record_timestamp=0,
    )


def test_nothing_passes_a_row_that_another_lane_has_not_finished() -> None:
    scene = Scene()
    scene.poll(chunk([0, 2, 4], model=A), chunk([1, 3, 5], model=B))
    a, b = scene.close(A), scene.close(B)
    assert a is not None and b is not None
    scene.finish(b)
    assert scene.take() == []
    scene.finish(a)
    results = scene.take()
    assert {id(result.batch) for result in results} == {id(a), id(b)}, "whole micro-batches are not divided"
    assert sorted(offsets(results)) == [0, 1, 2, 3, 4, 5]


def test_a_part_is_divided_at_the_first_row_that_still_waits() -> None:
    scene = Scene()
    scene.poll(chunk([0, 1, 4, 5], model=A), chunk([2, 3], model=B))
    a = scene.close(A)
    assert a is not None
    scene.finish(a)
    (first,) = scene.take()
    assert offsets([first]) == [0, 1] and not first.is_last_part and first.batch.seq == a.seq
    assert scene.buffer.contains(a)
    b = scene.close(B)
    assert b is not None
    scene.finish(b)
    rest, other = scene.take()
    assert (offsets([rest]), rest.is_last_part) == ([4, 5], True)
    assert offsets([other]) == [2, 3] and not scene.buffer.contains(a)
    whole = finish(a)
    assert [*first.values_BO.tolist(), *rest.values_BO.tolist()] == whole.values_BO.tolist()


def test_partitions_do_not_wait_for_each_other() -> None:
    scene = Scene()
    scene.poll(chunk([0, 2], model=A), chunk([0, 1], partition=P1, model=A), chunk([1], model=B))
    a = scene.close(A)
    assert a is not None
    scene.finish(a)
    taken = scene.take()
    assert sorted((part.partition, offsets([result])) for result in taken for part in result.batch.chunks) == [
        (P0, [0]),
        (P1, [0, 1]),
    ]


def test_a_window_part_is_not_divided() -> None:
    scene = Scene()
    scene.poll(chunk([0, 3, 5], model=A), chunk([1, 4], model=B), window_part(0, 6))
    for model in (A, C):
        batch = scene.close(model)
        assert batch is not None
        scene.finish(batch)
    assert scene.take() == [], "row 1 is not finished, and a position between 0 and 6 would lose the windows' state"
    b = scene.close(B)
    assert b is not None
    scene.finish(b)
    assert len(scene.take()) == 3


def test_later_slices_of_closed_windows_hold_back_what_follows() -> None:
    scene = Scene()
    first = window_part(0, 2)
    scene.poll(chunk([0, 1], model=A), first)
    one = [scene.close(model) for model in (A, C)]
    scene.poll(replace(first, first_offset=2))
    later = scene.close(C)
    scene.poll(chunk([2, 3], model=A), window_part(2, 4))
    two = [scene.close(model) for model in (A, C)]
    for batch in (*one, *two):
        assert batch is not None
        scene.finish(batch)
    assert {part.next_offset for result in scene.take() for part in result.batch.chunks} == {2}
    assert later is not None
    scene.finish(later)
    assert [part.next_offset for result in scene.take() for part in result.batch.chunks] == [4, 2, 4]


def test_a_commit_is_limited_but_never_empty() -> None:
    scene = Scene()
    for start in range(0, 40, 4):
        scene.poll(chunk([start, start + 2], model=A), chunk([start + 1, start + 3], model=B))
    for model in (A, B):
        batch = scene.close(model)
        assert batch is not None
        scene.finish(batch)
    taken = []
    while results := scene.buffer.take(max_records=3, max_bytes=10**9):
        taken.append(sorted(offsets(results)))
        assert len(taken[-1]) <= 4
    assert [offset for commit in taken for offset in commit] == list(range(40))


_PLAN = st.lists(
    st.tuples(
        st.sampled_from(["poll", "close", "finish", "take"]), st.integers(0, 10**6), st.integers(1, 9), st.booleans()
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(_PLAN, st.integers(1, 3), st.integers(1, 12))
def test_every_row_is_taken_once_and_in_order(
    plan: list[tuple[str, int, int, bool]], num_lanes: int, max_records: int
) -> None:
    models, scene = [A, B, C][:num_lanes], Scene()
    polled = {P0: 0, P1: 0}
    decided: dict[TopicPartition, set[int]] = {P0: set(), P1: set()}

    def take() -> bool:
        results = scene.buffer.take(max_records=max_records, max_bytes=10**9)
        for result in results:
            row = 0
            whole = finish(result.batch)
            assert result.values_BO.tolist() == whole.values_BO.tolist()
            for part in result.batch.chunks:
                assert isinstance(part, Chunk)
                taken = {r.offset for r in part.records} | {r.record.offset for r in part.rejections}
                assert len(taken) == part.num_records and not taken & decided[part.partition]
                decided[part.partition] |= taken
                row += part.num_rows
        for partition in {part.partition for result in results for part in result.batch.chunks}:
            ends = [
                part.next_offset for result in results for part in result.batch.chunks if part.partition == partition
            ]
            assert decided[partition] >= set(range(max(ends))), "a position passes a row that is not decided"
        return bool(results)

    def poll(number: int, count: int) -> None:
        partition = (P0, P1)[number % 2]
        start = polled[partition]
        lanes = [models[(number >> shift) % num_lanes] for shift in range(count)]
        for model in dict.fromkeys(lanes):
            own = [start + index for index, lane in enumerate(lanes) if lane == model]
            scene.poll(chunk(own, partition=partition, model=model, rejected=own[: number % 2]))
        polled[partition] += count

    for action, number, count, _ in plan:
        if action == "poll":
            poll(number, count)
        elif action == "close":
            scene.close(models[number % num_lanes])
        elif action == "finish" and scene.open:
            scene.finish(scene.open[number % len(scene.open)])
        elif action == "take":
            take()
    for model in models:
        scene.close(model)
    for batch in list(scene.open):
        scene.finish(batch)
    while take():
        pass
    assert decided == {partition: set(range(end)) for partition, end in polled.items()}


@settings(max_examples=100, deadline=None)
@given(_PLAN)
def test_with_one_lane_it_takes_what_the_plain_buffer_takes(plan: list[tuple[str, int, int, bool]]) -> None:
    scene, plain, polled = Scene(), ReorderBuffer(), {P0: 0, P1: 0}
    for action, number, count, both in plan:
        if action == "poll":
            for partition in (P0, P1) if both else (P0,):
                scene.poll(chunk(range(polled[partition], polled[partition] + count), partition=partition, model=A))
                polled[partition] += count
        elif action == "close" and (batch := scene.close(A)) is not None:
            plain.add(batch)
        elif action == "finish" and scene.open:
            # One device returns results in order.
            batch = scene.open[0]
            scene.finish(batch)
            plain.on_result(finish(batch))
        elif action == "take":
            taken = scene.take()
            assert [result.batch for result in taken] == [result.batch for result in plain.take(**ALL)]
            assert all(result.is_last_part for result in taken), number
