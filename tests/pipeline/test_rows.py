"""Rows of records on their way from the poll to the commit: in any order of results, no commit ends inside a record."""

from __future__ import annotations

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, MicroBatch, RowFailure
from forebay.stream.core.rows import RowRecords, position_of
from forebay.stream.output.emitter import Emission, Emitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.pipeline.chunk_division import DividedChunk
from forebay.stream.pipeline.merging_reorder_buffer import MergingReorderBuffer
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from forebay.stream.pipeline.reorder_buffer import ReorderBuffer
from tests.core.build import MODEL, P0, FakeSource, finish, rows_chunk
from tests.core.test_rows import COUNTS, all_positions

OTHER = ModelRef(MODEL.name, MODEL.version + 1)


def emitter(model: ModelRef = MODEL) -> Emitter:
    topics = OutputTopics(*(OutputTopic(name, 1, 10_000) for name in ("predictions", "dead-letters", "deltas")))
    return Emitter(
        PredictionEncoder(model=model.name, version=model.version, labels=(), num_classes=2),
        model=model.name,
        version=model.version,
        topics=topics,
        placer=Placer({"features": 1}, len),
        worker="w",
    )


def outcomes(emission: Emission) -> list[tuple[int, int]]:
    """Return the positions of all events that an emission has an outcome for."""
    assert emission.ledger.unbalanced() == {}
    found = []
    for place, records in emission.outgoing.items():
        for value, headers in zip(records.values, records.headers, strict=True):
            if place.topic == "predictions":
                source = orjson.loads(value or b"")["source"]
                found.append((source["offset"], source.get("row", 0)))
            elif place.topic == "dead-letters":
                fields = dict(headers)
                offset, row = int(fields[names.ERROR_OFFSET]), int(fields.get(names.ERROR_ROW, b"0"))
                assert value == (b"%d/%d" % (offset, row) if names.ERROR_ROW in fields else b"x" * 10)
                found.append((offset, row))
    return found


class Run:
    """Drives chunks through micro-batchers, a reorder buffer and emitters, and checks each commit."""

    def __init__(self, models: list[ModelRef], batch_size: int) -> None:
        self.batchers = {
            model: MicroBatcher(max_batch_size=batch_size, max_batch_bytes=75, max_queue_delay_ms=0) for model in models
        }
        self.buffer: ReorderBuffer | MergingReorderBuffer = (
            ReorderBuffer() if len(models) == 1 else MergingReorderBuffer(self._waiting)
        )
        self.emitter = LanesEmitter({model: emitter(model) for model in models})
        self.open: list[MicroBatch] = []
        self.done: list[tuple[int, int]] = []
        self.position = -1

    def _waiting(self) -> list[BatchPart]:
        return [part for batcher in self.batchers.values() for part in batcher.parts]

    def add(self, chunk: Chunk) -> None:
        self._closed(self.batchers[chunk.model].add(chunk, now_s=0.0, wall_ms=0))

    def flush(self) -> None:
        for batcher in self.batchers.values():
            self._closed(batcher.flush())

    def _closed(self, batches: list[MicroBatch]) -> None:
        for batch in batches:
            self.buffer.add(batch)
            self.open.append(batch)

    def finish(self, batch: MicroBatch) -> None:
        self.open.remove(batch)
        failures = {0: RowFailure(FailureKind.MODEL_ERROR, "no")} if batch.num_rows and batch.seq % 3 == 2 else {}
        self.buffer.on_result(finish(batch, failures))

    def commit(self, limit: int, every: list[tuple[int, int]]) -> bool:
        results: list[BatchResult] = self.buffer.take(max_records=limit, max_bytes=10**9)
        if not results:
            return False
        building = self.emitter.build(results)
        try:
            while True:
                next(building)
        except StopIteration as end:
            emission: Emission = end.value
        self.done += outcomes(emission)
        (self.position,) = emission.positions.values()
        assert sorted(self.done) == [place for place in every if place[0] < self.position]
        return True


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 9), st.booleans())
def test_no_commit_ends_inside_a_record(data: st.DataObject, batch_size: int, several: bool) -> None:
    counts = data.draw(COUNTS)
    every = all_positions(counts)
    rejected = data.draw(st.lists(st.sampled_from(every), unique=True, max_size=4))
    run = Run([MODEL, OTHER] if several else [MODEL], batch_size)
    # Two polls: the records of the second follow those of the first.
    middle = data.draw(st.sampled_from(sorted(counts)))
    for poll in (
        {offset: count for offset, count in counts.items() if offset < middle},
        {offset: count for offset, count in counts.items() if offset >= middle},
    ):
        if not poll:
            continue
        chunk = rows_chunk(poll, rejected=rejected)
        parts = [chunk]
        if several:
            versions = data.draw(
                st.lists(st.sampled_from([1, 2]), min_size=chunk.num_records, max_size=chunk.num_records)
            )
            divided = DividedChunk(chunk, np.array(versions) + MODEL.version - 1)
            parts = [divided.part_of(version) for version in divided.versions()]
        for part in parts:
            run.add(part)
        while run.open and data.draw(st.booleans()):
            run.finish(data.draw(st.sampled_from(run.open)))
            run.commit(data.draw(st.integers(1, 12)), every)
    run.flush()
    while run.open:
        run.finish(data.draw(st.sampled_from(run.open)))
        run.commit(data.draw(st.integers(1, 12)), every)
    while run.commit(10**6, every):
        pass
    assert sorted(run.done) == every and run.position == max(counts) + 1


def test_rows_cut_inside_a_record_wait_for_its_last_row() -> None:
    run = Run([MODEL], batch_size=4)
    every = all_positions({5: 6, 6: 2})
    run.add(rows_chunk({5: 6, 6: 2}))
    first, second = run.open
    assert [part.can_end_commit for part in first.chunks] == [False]
    run.finish(first)
    assert not run.commit(100, every)
    run.finish(second)
    assert run.commit(100, every) and run.position == 7


def test_the_parts_of_versions_keep_rows_as_columns() -> None:
    divided = DividedChunk(rows_chunk({1: 3, 2: 2}), np.array([1, 2, 1, 2, 2]))
    first = divided.part_of(1)
    assert isinstance(first.records, RowRecords) and list(map(position_of, first.records)) == [(1, 0), (1, 2)]
    assert list(map(position_of, divided.records_of(2))) == [(1, 1), (2, 0), (2, 1)]
    assert first.next_offset == 2 and divided.part_of(2).next_offset == 3


def test_headers_of_a_record_go_to_the_predictions_of_its_rows() -> None:
    headers = [("content-type", b"application/vnd.apache.arrow.stream"), ("tenant", b"a")]
    batch = MicroBatch(0, (rows_chunk({3: 2}, headers=headers),), "size", 0.0)
    out = emitter().emit([finish(batch)]).outgoing
    records = next(records for place, records in out.items() if place == (P0._replace(topic="predictions")))
    assert records.headers == [[("tenant", b"a")]] * 2 and records.keys == [FakeSource(3, 2).key] * 2
    assert [orjson.loads(value or b"")["source"].get("row") for value in records.values] == [0, 1]


def test_a_prediction_that_is_too_large_with_its_headers_fails_its_rows() -> None:
    headers = [("content-type", b"application/vnd.apache.arrow.stream"), ("large", b"x" * 9_800)]
    batch = MicroBatch(0, (rows_chunk({3: 2, 4: 1}, headers=headers),), "size", 0.0)
    emission = emitter().emit([finish(batch)])
    assert emission.ledger.kinds == {"prediction_too_large": 3} and sorted(outcomes(emission)) == [
        (3, 0),
        (3, 1),
        (4, 0),
    ]
