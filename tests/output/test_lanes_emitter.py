"""What a commit of several models sends: the outputs of each lane, in offset order over the lanes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas import headers as names
from forebay.schemas.failures import FailureKind
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.records import BatchPart, BatchResult, Chunk, MicroBatch, RowFailure, TopicPartition
from forebay.stream.eventtime.emitter import WindowEmitter
from forebay.stream.eventtime.window_chunk import WindowChunk, window_label
from forebay.stream.output.emitter import MAX_SLICE_BYTES, Emission, Emitter, ModelEmitter, Placer
from forebay.stream.output.encoder import NUMBER_BYTES, PredictionEncoder
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.output.ledger import DeltaKey
from tests.core.build import JULY, P0, P1, FakeRecord, chunk, finish
from tests.eventtime.build import plan, stage

X, Y, Z = ModelRef("x", 1), ModelRef("x", 2), ModelRef("z", 1)
PARTITIONS = (P0, P1, TopicPartition("other", 0))
KINDS = (FailureKind.MODEL_ERROR, FailureKind.OUTPUT_NOT_FINITE)

Row = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


def lane(ref: ModelRef, *, windowed: bool = False, partitions: int = 2, max_bytes: int = 10_000) -> ModelEmitter:
    topics = OutputTopics(
        OutputTopic("predictions", partitions, max_bytes),
        OutputTopic("dead-letters", partitions, 10_000),
        OutputTopic("outcome-deltas", 1, 10_000),
        OutputTopic("late-events", partitions, 10_000),
    )
    labels = () if windowed else ("no", "yes")
    return (WindowEmitter if windowed else Emitter)(
        PredictionEncoder(model=ref.name, version=ref.version, labels=labels, num_classes=len(labels)),
        model=ref.name,
        version=ref.version,
        topics=topics,
        placer=Placer({"features": 2, "other": 1}, lambda key: key[-1]),
        worker="w",
    )


def combine(partition: TopicPartition, position: int, states: Mapping[ModelRef, str]) -> str:
    return f"{partition.partition}@{position} {dict(sorted(states.items()))}"


def emit(emitter: LanesEmitter, results: Sequence[BatchResult]) -> Emission:
    steps = emitter.build(results)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(Emission, done.value)


def batch_of(*parts: BatchPart, seq: int = 0) -> MicroBatch:
    return MicroBatch(seq, parts, "size", 0.0)


def result_of(batch: MicroBatch, failures: dict[int, RowFailure] | None = None) -> BatchResult:
    if isinstance(batch.chunks[0], WindowChunk):
        return BatchResult(
            batch,
            values_BO=batch.features()[:, :1],
            classes_B=None,
            confidences_B=None,
            failures=failures or {},
            model_s=0.001,
        )
    return finish(batch, failures)


def rows_of(emission: Emission) -> dict[TopicPartition, list[Row]]:
    return {
        place: [(key, value, tuple(own)) for key, value, own in zip(out.keys, out.values, out.headers, strict=True)]
        for place, out in emission.outgoing.items()
    }


@dataclass(frozen=True)
class Commit:
    """Results of several lanes for one commit. windowed: the lanes that take windows."""

    results: list[BatchResult]
    windowed: frozenset[ModelRef]
    partitions: int
    max_bytes: int

    def emitters(self) -> dict[ModelRef, ModelEmitter]:
        return {
            ref: lane(ref, windowed=ref in self.windowed, partitions=self.partitions, max_bytes=self.max_bytes)
            for ref in (X, Y, Z)
        }

    def of(self, ref: ModelRef) -> list[BatchResult]:
        """Return the results of a model, as they are before an emitter adds the failures that it finds."""
        return [replace(result, failures=dict(result.failures)) for result in self.results if result.model == ref]


def polled_part(
    ref: ModelRef,
    partition: TopicPartition,
    offsets: Sequence[int],
    *,
    rejected: set[int],
    large: set[int],
    next_offset: int,
) -> Chunk:
    """Return polled events. large: offsets of events with large headers, which a prediction carries."""
    part = chunk(offsets, partition=partition, rejected=sorted(rejected), model=ref)
    records = [
        replace(cast(FakeRecord, record), headers=(("large", b"x" * 3_000),)) if record.offset in large else record
        for record in part.records
    ]
    # Events go back in time now and then, so that some are late.
    times = [JULY + 4 * record.offset - 60 * (record.offset % 5 == 4) for record in part.records]
    return replace(part, records=records, timestamps=times, next_offset=next_offset)


@st.composite
def commits(draw: st.DrawFn) -> Commit:
    """Return the results of three lanes whose records are mixed in three partitions."""
    windowed = draw(st.sampled_from([frozenset(), frozenset({Z}), frozenset({Y, Z})]))
    stages = {ref: stage(replace(plan(), model=ref)) for ref in windowed}
    for windows in stages.values():
        windows.restore(dict.fromkeys(PARTITIONS))
    parts: dict[ModelRef, list[BatchPart]] = {X: [], Y: [], Z: []}
    for partition in PARTITIONS:
        lanes = draw(st.lists(st.sampled_from([X, Y, Z]), min_size=10, max_size=40) | st.just([]))
        rejected, large = (draw(st.sets(st.integers(0, 39), max_size=5)) for _ in range(2))
        cuts = sorted(draw(st.sets(st.integers(1, max(1, len(lanes) - 1)), max_size=3)) | {0, len(lanes)})
        for first, end in pairwise(cuts):
            for ref in draw(st.permutations([X, Y, Z])):
                offsets = [offset for offset in range(first, min(end, len(lanes))) if lanes[offset] == ref]
                if not offsets:
                    continue
                polled = polled_part(ref, partition, offsets, rejected=rejected, large=large, next_offset=end)
                parts[ref] += stages[ref].take(polled) if ref in stages else [polled]
    queues: dict[ModelRef, list[BatchResult]] = {}
    for ref, own in parts.items():
        queues[ref], start = [], 0
        while start < len(own):
            count = draw(st.integers(1, 3))
            batch = batch_of(*own[start : start + count], seq=len(queues[ref]))
            failing = draw(st.sets(st.integers(0, max(0, batch.num_rows - 1)), max_size=4)) if batch.num_rows else ()
            failures = {row: RowFailure(draw(st.sampled_from(KINDS)), f"no {row}", "a stack") for row in failing}
            queues[ref].append(result_of(batch, failures))
            start += count
    order = draw(st.permutations([ref for ref, queue in queues.items() for _ in queue]))
    results = [queues[ref].pop(0) for ref in order]
    return Commit(results, windowed, draw(st.sampled_from([2, 1, 5])), draw(st.sampled_from([10_000, 2_000, 330])))


class Origins:
    """Finds the lane, the partition and the offset in the input from which an output comes."""

    def __init__(self, results: Sequence[BatchResult]) -> None:
        self._records: dict[tuple[TopicPartition, int], ModelRef] = {}
        self._windows: dict[tuple[ModelRef, TopicPartition, str], int] = {}
        for result in results:
            for part in result.batch.chunks:
                if isinstance(part, WindowChunk):
                    for window in part.windows:
                        key = (part.model, part.partition, window_label(window).id)
                        self._windows[key] = part.next_offset - 1
                    for refused in part.events.refused:
                        self._records[part.partition, refused.record.offset] = part.model
                else:
                    assert isinstance(part, Chunk)
                    for record in (*part.records, *(rejection.record for rejection in part.rejections)):
                        self._records[part.partition, record.offset] = part.model

    def find(self, topic: str, row: Row) -> tuple[ModelRef, TopicPartition, int]:
        _, value, own = row
        if topic == "predictions":
            fields = orjson.loads(value or b"")
            source = TopicPartition(fields["source"]["topic"], fields["source"]["partition"])
            if "window" in fields:
                ref = ModelRef(fields["model"], fields["version"])
                return ref, source, self._windows[ref, source, fields["id"]]
            offset = fields["source"]["offset"]
            return self._records[source, offset], source, offset
        headers = dict(own)
        source = TopicPartition(headers[names.ERROR_TOPIC].decode(), int(headers[names.ERROR_PARTITION]))
        if names.ERROR_WINDOW in headers:
            ref = ModelRef(headers[names.ERROR_MODEL].decode(), int(headers[names.ERROR_VERSION]))
            return ref, source, self._windows[ref, source, orjson.loads(value or b"")["id"]]
        offset = int(headers[names.ERROR_OFFSET])
        return self._records[source, offset], source, offset


@given(commits())
def test_outputs_of_lanes_are_merged_in_offset_order(commit: Commit) -> None:
    emission = emit(LanesEmitter(commit.emitters(), combine_metadata=combine), commit.results)
    separate = [emitter.emit(commit.of(ref)) for ref, emitter in commit.emitters().items()]
    origins = Origins(commit.results)

    # The records are those of the lanes by themselves.
    expected: dict[TopicPartition, Counter[Row]] = defaultdict(Counter)
    for own in separate:
        for place, rows in rows_of(own).items():
            expected[place].update(rows)
    assert {place: Counter(rows) for place, rows in rows_of(emission).items()} == expected

    for place, rows in rows_of(emission).items():
        if place.topic == "outcome-deltas":
            continue
        # The outputs of each partition are in offset order,
        offsets: dict[TopicPartition, list[int]] = defaultdict(list)
        by_lane: dict[tuple[ModelRef, TopicPartition], list[Row]] = defaultdict(list)
        for row in rows:
            ref, source, offset = origins.find(place.topic, row)
            offsets[source].append(offset)
            by_lane[ref, source].append(row)
        assert all(found == sorted(found) for found in offsets.values())
        # and those of each lane in the order of the lane.
        by_lane_alone: dict[tuple[ModelRef, TopicPartition], list[Row]] = defaultdict(list)
        for own in separate:
            for row in rows_of(own).get(place, []):
                ref, source, _ = origins.find(place.topic, row)
                by_lane_alone[ref, source].append(row)
        assert by_lane == by_lane_alone


@given(commits())
def test_the_ledger_is_the_sum_of_the_lanes(commit: Commit) -> None:
    emission = emit(LanesEmitter(commit.emitters(), combine_metadata=combine), commit.results)
    separate = {ref: emitter.emit(commit.of(ref)) for ref, emitter in commit.emitters().items()}
    ledger = emission.ledger
    assert ledger.unbalanced() == {}
    for name in ("outcomes", "kinds", "passed", "decided", "closed", "closed_decided"):
        total: Counter[object] = Counter()
        for own in separate.values():
            total.update(getattr(own.ledger, name))
        assert getattr(ledger, name) == total
    for ref, model_ledger in ledger.models.items():
        assert model_ledger.outcomes == separate[ref].ledger.outcomes
        assert model_ledger.kinds == separate[ref].ledger.kinds
    deltas: dict[DeltaKey, object] = {}
    for own in separate.values():
        deltas |= own.ledger.deltas
    assert ledger.deltas == deltas
    assert sum(delta.count for delta in ledger.deltas.values()) == ledger.outcomes.total()
    positions: dict[TopicPartition, int] = {}
    for result in commit.results:
        for part in result.batch.chunks:
            positions[part.partition] = max(positions.get(part.partition, 0), part.next_offset)
    assert emission.positions == positions


@given(commits())
def test_one_lane_is_emitted_by_its_own_emitter(commit: Commit) -> None:
    for ref, emitter in commit.emitters().items():
        own = emitter.emit(commit.of(ref))
        alone = emit(LanesEmitter({ref: emitter}), commit.of(ref))
        assert alone.metadata == own.metadata
        # The other lanes have nothing in this commit.
        for emission in (alone, emit(LanesEmitter(commit.emitters(), combine_metadata=combine), commit.of(ref))):
            assert rows_of(emission) == rows_of(own)
            assert list(emission.outgoing) == list(own.outgoing)
            assert emission.positions == own.positions
            assert all(records.offsets is None for records in emission.outgoing.values())


@given(commits())
def test_the_parts_of_a_micro_batch_can_be_committed_separately(commit: Commit) -> None:
    """The reorder buffer restricts results to some of their parts, with slices of their arrays."""
    divided = []
    for result in commit.results:
        first = 0
        for part in result.batch.chunks:
            end = first + part.num_rows
            divided.append(
                replace(
                    result,
                    batch=batch_of(part, seq=result.batch.seq),
                    values_BO=result.values_BO[first:end],
                    classes_B=None if result.classes_B is None else result.classes_B[first:end],
                    confidences_B=None if result.confidences_B is None else result.confidences_B[first:end],
                    failures={row - first: why for row, why in result.failures.items() if first <= row < end},
                    is_last_part=end == result.batch.num_rows,
                )
            )
            first = end
    whole = emit(LanesEmitter(commit.emitters(), combine_metadata=combine), commit.results)
    parted = emit(LanesEmitter(commit.emitters(), combine_metadata=combine), divided)
    assert rows_of(parted) == rows_of(whole) and parted.positions == whole.positions
    assert parted.metadata == whole.metadata


def windows_of(ref: ModelRef, text: str) -> BatchResult:
    windows = stage(replace(plan(), model=ref))
    windows.restore({P0: None})
    (part,) = windows.take(chunk([0], model=ref))
    return result_of(batch_of(replace(part, metadata=text, next_offset=5)))


def test_the_metadata_of_window_lanes_is_combined() -> None:
    emitters = {X: lane(X), Y: lane(Y, windowed=True), Z: lane(Z, windowed=True)}
    emitter = LanesEmitter(emitters, combine_metadata=combine)
    other = finish(batch_of(chunk([1], partition=P1, model=X)))
    emission = emit(emitter, [windows_of(Z, "z1"), other, windows_of(Y, "y"), windows_of(Z, "z2")])
    assert emission.positions == {P0: 5, P1: 2}
    assert emission.metadata == {P0: combine(P0, 5, {Y: "y", Z: "z2"}), P1: combine(P1, 2, {})}
    # Windows that closed together may be committed later than those of another lane, at the same position.
    assert emit(emitter, [windows_of(Z, "z3")]).metadata == {P0: combine(P0, 5, {Z: "z3"})}


def test_models_of_windows_beside_others_need_combined_metadata() -> None:
    with pytest.raises(ValueError, match="combine_metadata"):
        LanesEmitter({X: lane(X), Z: lane(Z, windowed=True)})
    events = [finish(batch_of(chunk([offset], model=ref))) for offset, ref in enumerate((X, Y))]
    assert emit(LanesEmitter({X: lane(X), Y: lane(Y)}), events).metadata == {}


def wide(ref: ModelRef, offsets: range) -> BatchResult:
    values_BO = np.random.default_rng(1).random((len(offsets), 2000), dtype=np.float32)
    return BatchResult(
        batch_of(chunk(offsets, model=ref)),
        values_BO=values_BO,
        classes_B=values_BO.argmax(1) % 2,
        confidences_B=values_BO.max(1),
        failures={},
        model_s=0.001,
    )


def test_very_wide_outputs_of_lanes_are_encoded_in_slices() -> None:
    results = [wide(X, range(0, 600, 2)), wide(Y, range(1, 600, 2))]
    emitters = {ref: lane(ref, max_bytes=10**6) for ref in (X, Y)}
    slices = sum(1 for _ in LanesEmitter(emitters, combine_metadata=combine).build(results))
    assert slices > 600 * 2000 * NUMBER_BYTES // MAX_SLICE_BYTES
    (values,) = (
        out.values
        for place, out in emit(LanesEmitter(emitters, combine_metadata=combine), results).outgoing.items()
        if place.topic == "predictions"
    )
    assert [orjson.loads(value or b"")["source"]["offset"] for value in values] == list(range(600))
