"""Finished micro-batches into what a commit sends: predictions, dead letters, deltas, by output partition.

Sizes are judged here, before anything is sent: a prediction that its topic would not take is that row's failure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Protocol, cast

import numpy as np

from forebay.schemas.failures import FailureKind
from forebay.stream.core.clock import Clock, SystemClock
from forebay.stream.core.outputs import Headers, Outgoing, OutputTopic, OutputTopics
from forebay.stream.core.records import BatchResult, Chunk, RowFailure, TopicPartition
from forebay.stream.core.redaction import Redactor
from forebay.stream.output.encoder import (
    PredictionEncoder,
    dead_letter,
    prediction_bytes,
    prediction_headers,
    record_size,
)
from forebay.stream.output.ledger import Ledger, encode_delta

NO_HEADERS: Headers = []

_KEY, _TIMESTAMP, _HEADERS = attrgetter("key"), attrgetter("timestamp"), attrgetter("headers")


@dataclass(frozen=True, slots=True)
class Emission:
    """All that one commit sends, and the positions it commits (the offset of the next record to read).

    metadata: what is committed with a position, where there is something.
    """

    outgoing: dict[TopicPartition, Outgoing]
    positions: dict[TopicPartition, int]
    ledger: Ledger
    metadata: dict[TopicPartition, str] = field(default_factory=dict)


class Placer:
    """Where an event's outputs go.

    input_partitions: how many partitions each input topic has. Where the output topic has as many, they go to the partition
    with the event's number, which keeps the order per key; otherwise `hash_key` (the hash of Kafka's default partitioner)
    places them by key.
    """

    def __init__(self, input_partitions: Mapping[str, int], hash_key: Callable[[bytes], int]) -> None:
        self._input_partitions = input_partitions
        self._hash_key = hash_key

    def co_partition(self, topic: OutputTopic, source: TopicPartition) -> TopicPartition | None:
        """The partition with the event's number, where the counts agree."""
        if self._input_partitions.get(source.topic) == topic.num_partitions:
            return TopicPartition(topic.name, source.partition)
        return None

    def place(self, topic: OutputTopic, source: TopicPartition, key: bytes | None) -> TopicPartition:
        """Beside the event, else by key, else by the event's partition number."""
        partition = self.co_partition(topic, source)
        if partition is not None:
            return partition
        if key is None:
            return TopicPartition(topic.name, source.partition % topic.num_partitions)
        return self.by_key(topic, key)

    def by_key(self, topic: OutputTopic, key: bytes) -> TopicPartition:
        """Where Kafka's default partitioner would put it."""
        return TopicPartition(topic.name, self._hash_key(key) % topic.num_partitions)


EmissionSteps = Generator[None, None, Emission]
"""Builds an emission in slices: between two of them it yields, so that others may have the event loop."""
MAX_SLICE_BYTES: Final = 4 << 20


class EmissionBuilder(Protocol):
    """Finished micro-batches into an emission: of single events (`Emitter`) or of windows (`stream.eventtime.emitter`)."""

    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps: ...


def slices_of(rows: Sequence[int], output_dim: int) -> list[Sequence[int]]:
    """Cut rows into slices whose predictions take at most about `MAX_SLICE_BYTES`."""
    size = max(1, MAX_SLICE_BYTES // prediction_bytes(output_dim))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class ModelEmitter(ABC):
    """What all emitters of one model version have in common: how it is encoded, and where its outputs go.

    feature_names: kept in the messages of outcome deltas, which are otherwise without the values of events. clock: for
    the outcomes of records without a timestamp.
    """

    def __init__(
        self,
        encoder: PredictionEncoder,
        *,
        model: str,
        version: int,
        topics: OutputTopics,
        placer: Placer,
        worker: str,
        feature_names: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._redactor = Redactor((model, *feature_names))
        self._encoder = encoder
        self._model = model
        self._version = version
        self._topics = topics
        self._placer = placer
        self._worker = worker

    def emit(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> Emission:
        """Build an emission at once."""
        building = self.build(batches, delta_headers=delta_headers)
        while True:
            try:
                next(building)
            except StopIteration as done:
                return cast(Emission, done.value)

    @abstractmethod
    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps:
        """Build what to send for these micro-batches, which are in commit order. Never raises for data."""

    def _begin(self) -> Emission:
        now_ms = self._clock.wall_ms()
        return Emission(
            {}, {}, Ledger(model=self._model, version=self._version, redactor=self._redactor, now_ms=now_ms)
        )

    def _end(self, emission: Emission, delta_headers: Headers) -> Emission:
        """With the ledger's deltas, by their key: all outcomes of a minute lie in one partition."""
        topic = self._topics.outcome_deltas
        for key, delta in emission.ledger.deltas.items():
            record_key, value = encode_delta(key, delta, worker=self._worker)
            at = self._placer.by_key(topic, record_key)
            emission.outgoing.setdefault(at, Outgoing()).append(record_key, value, delta_headers)
        return emission


class Emitter(ModelEmitter):
    """Builds emissions of which each row is an event."""

    def build(self, batches: Sequence[BatchResult], *, delta_headers: Headers = NO_HEADERS) -> EmissionSteps:
        """Build what to send for these micro-batches, which are in commit order. Never raises for data."""
        emission = self._begin()
        for result in batches:
            first_row = 0
            for chunk in result.batch.chunks:
                assert isinstance(chunk, Chunk)
                yield from self._emit_chunk(result, chunk, first_row, emission)
                first_row += len(chunk.records)
            yield
        return self._end(emission, delta_headers)

    def _emit_chunk(
        self, result: BatchResult, chunk: Chunk, first_row: int, emission: Emission
    ) -> Generator[None, None, None]:
        count = len(chunk.records)
        failures = (
            {row: result.failures[first_row + row] for row in range(count) if first_row + row in result.failures}
            if result.failures
            else {}
        )
        rows = [row for row in range(count) if row not in failures] if failures else None
        values = yield from self._encode(result, chunk, first_row, rows)
        with_headers = any(map(_HEADERS, chunk.records))
        self._emit_predictions(
            chunk, rows=rows, values=values, with_headers=with_headers, failures=failures, emission=emission
        )
        ledger = emission.ledger
        records = chunk.records
        kept = [record for row, record in enumerate(records) if row not in failures] if failures else records
        ledger.add_predictions(chunk.partition, np.fromiter(map(_TIMESTAMP, kept), np.int64, len(kept)))
        if failures or chunk.rejections:
            self._emit_dead_letters(chunk, failures, emission)
        ledger.passed[chunk.partition] += chunk.num_passed
        emission.positions[chunk.partition] = chunk.next_offset

    def _encode(
        self, result: BatchResult, chunk: Chunk, first_row: int, rows: Sequence[int] | None
    ) -> Generator[None, None, list[bytes]]:
        slices = slices_of(range(len(chunk.records)) if rows is None else rows, result.values_BO.shape[1])
        if len(slices) <= 1:
            return self._encoder.encode(result, chunk, first_row, rows)
        values: list[bytes] = []
        for part in slices:
            values += self._encoder.encode(result, chunk, first_row, part)
            yield
        return values

    def _emit_predictions(
        self,
        chunk: Chunk,
        rows: Sequence[int] | None,
        values: list[bytes],
        with_headers: bool,
        failures: dict[int, RowFailure],
        emission: Emission,
    ) -> None:
        """Adds to `failures` the rows whose prediction is too large."""
        if not values:
            return
        topic = self._topics.predictions
        records = chunk.records if rows is None else [chunk.records[row] for row in rows]
        keys = list(map(_KEY, records))
        if chunk.keys:
            places = range(len(records)) if rows is None else rows
            keys = [chunk.keys.get(row, key) for row, key in zip(places, keys, strict=True)]
        headers = [prediction_headers(record) for record in records] if with_headers else [NO_HEADERS] * len(records)
        longest_key = max(map(len, filter(None, keys)), default=0)
        if with_headers or max(map(len, values)) + longest_key + 128 > topic.max_bytes:
            kept = []
            for place, (key, value, carried) in enumerate(zip(keys, values, headers, strict=True)):
                size = record_size(key, value, carried)
                if size <= topic.max_bytes:
                    kept.append(place)
                else:
                    row = place if rows is None else rows[place]
                    message = f"the prediction would take {size} bytes; {topic.name} takes {topic.max_bytes}"
                    failures[row] = RowFailure(FailureKind.PREDICTION_TOO_LARGE, message)
            if len(kept) < len(values):
                keys, values, headers = ([column[place] for place in kept] for column in (keys, values, headers))  # type: ignore[assignment]
        at = self._placer.co_partition(topic, chunk.partition)
        if at is not None:
            outgoing = emission.outgoing.setdefault(at, Outgoing())
            outgoing.keys.extend(keys)
            outgoing.values.extend(values)
            outgoing.headers.extend(headers)
            return
        for key, value, carried in zip(keys, values, headers, strict=True):
            at = self._placer.place(topic, chunk.partition, key)
            emission.outgoing.setdefault(at, Outgoing()).append(key, value, carried)

    def _emit_dead_letters(self, chunk: Chunk, failures: dict[int, RowFailure], emission: Emission) -> None:
        topic, ledger = self._topics.dead_letters, emission.ledger
        # Rejected records and failed rows, brought into offset order.
        letters = [(r.record, r.kind, r.message, None, None, False, r.count) for r in chunk.rejections]
        letters += [
            (chunk.records[row], failure.kind, failure.message, failure.stack, chunk.ids[row], True, 1)  # type: ignore[misc]
            for row, failure in failures.items()
        ]
        letters.sort(key=lambda letter: letter[0].offset)
        for record, kind, message, stack, event_id, involved, count in letters:
            key, value, headers = dead_letter(
                record,
                chunk.partition,
                kind,
                message,
                max_bytes=topic.max_bytes,
                model=self._model if involved else None,
                version=self._version if involved else None,
            )
            at = self._placer.place(topic, chunk.partition, record.key)
            emission.outgoing.setdefault(at, Outgoing()).append(key, value, headers)
            ledger.add_failure(
                chunk.partition, kind, record.timestamp, event_id=event_id, message=message, stack=stack, count=count
            )
