"""Finished micro-batches into what a commit sends: predictions, dead letters, deltas, by output partition.

Sizes are judged here, before anything is sent: a prediction that its topic would not take is that row's failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np

from schemas.failures import FailureKind
from stream.encode import Headers, PredictionEncoder, dead_letter, prediction_headers, record_size
from stream.outcomes import Ledger, encode_delta
from stream.records import Chunk, Finished, Partition, RowFailure

NO_HEADERS: Headers = []

_KEY, _TIMESTAMP, _HEADERS = attrgetter("key"), attrgetter("timestamp"), attrgetter("headers")


@dataclass(slots=True)
class Outgoing:
    """Records for one output partition, in order: keys, values and headers side by side."""

    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)

    def append(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        self.keys.append(key)
        self.values.append(value)
        self.headers.append(headers)


@dataclass(frozen=True, slots=True)
class Emission:
    """All that one commit sends, and the positions it commits (the offset of the next record to read)."""

    outgoing: dict[Partition, Outgoing]
    positions: dict[Partition, int]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class OutputTopic:
    """An output topic as the cluster has it. max_bytes: the largest record that is sent to it."""

    name: str
    num_partitions: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class OutputTopics:
    predictions: OutputTopic
    dead_letters: OutputTopic
    outcome_deltas: OutputTopic


class Emitter:
    """Builds emissions for one model version.

    input_partitions: how many partitions each input topic has. Where the output topic has as many, an event's outputs
    go to the partition with its number, which keeps the order per key; otherwise `hash_key` (the hash of Kafka's
    default partitioner) places them by key.
    """

    def __init__(
        self,
        encoder: PredictionEncoder,
        *,
        model: str,
        version: int,
        topics: OutputTopics,
        input_partitions: Mapping[str, int],
        hash_key: Callable[[bytes], int],
        worker: str,
    ) -> None:
        self._encoder = encoder
        self._model = model
        self._version = version
        self._topics = topics
        self._input_partitions = input_partitions
        self._hash_key = hash_key
        self._worker = worker

    def emit(self, batches: Sequence[Finished], *, delta_headers: Headers = NO_HEADERS) -> Emission:
        """What to send for these micro-batches, which are in commit order. Never raises for data."""
        emission = Emission({}, {}, Ledger(model=self._model, version=self._version))
        for finished in batches:
            first_row = 0
            for chunk in finished.batch.chunks:
                self._emit_chunk(finished, chunk, first_row, emission)
                first_row += len(chunk.records)
        topic = self._topics.outcome_deltas
        for key, delta in emission.ledger.deltas.items():
            record_key, value = encode_delta(key, delta, worker=self._worker)
            at = Partition(topic.name, self._hash_key(record_key) % topic.num_partitions)
            emission.outgoing.setdefault(at, Outgoing()).append(record_key, value, delta_headers)
        return emission

    def _emit_chunk(self, finished: Finished, chunk: Chunk, first_row: int, emission: Emission) -> None:
        count = len(chunk.records)
        failures = (
            {row: finished.failures[first_row + row] for row in range(count) if first_row + row in finished.failures}
            if finished.failures
            else {}
        )
        rows = [row for row in range(count) if row not in failures] if failures else None
        values = self._encoder.encode(finished, chunk, first_row, rows)
        with_headers = any(map(_HEADERS, chunk.records))
        self._emit_predictions(chunk, rows, values, with_headers, failures, emission)
        ledger = emission.ledger
        records = chunk.records
        kept = [record for row, record in enumerate(records) if row not in failures] if failures else records
        ledger.predicted(chunk.partition, np.fromiter(map(_TIMESTAMP, kept), np.int64, len(kept)))
        if failures or chunk.rejections:
            self._emit_dead_letters(chunk, failures, emission)
        ledger.passed[chunk.partition] += chunk.num_records
        emission.positions[chunk.partition] = chunk.next_offset

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
        same_count = self._input_partitions.get(chunk.partition.topic) == topic.num_partitions
        if same_count:
            at = Partition(topic.name, chunk.partition.partition)
            outgoing = emission.outgoing.setdefault(at, Outgoing())
            outgoing.keys.extend(keys)
            outgoing.values.extend(values)
            outgoing.headers.extend(headers)
            return
        for key, value, carried in zip(keys, values, headers, strict=True):
            self._place(topic, chunk.partition, key, emission).append(key, value, carried)

    def _emit_dead_letters(self, chunk: Chunk, failures: dict[int, RowFailure], emission: Emission) -> None:
        topic, ledger = self._topics.dead_letters, emission.ledger
        # Rejected records and failed rows, brought into offset order.
        letters = [(r.record, r.kind, r.message, None, None, False) for r in chunk.rejections]
        letters += [
            (chunk.records[row], failure.kind, failure.message, failure.stack, chunk.ids[row], True)  # type: ignore[misc]
            for row, failure in failures.items()
        ]
        letters.sort(key=lambda letter: letter[0].offset)
        for record, kind, message, stack, event_id, involved in letters:
            key, value, headers = dead_letter(
                record,
                chunk.partition,
                kind,
                message,
                max_bytes=topic.max_bytes,
                model=self._model if involved else None,
                version=self._version if involved else None,
            )
            self._place(topic, chunk.partition, record.key, emission).append(key, value, headers)
            ledger.failed(chunk.partition, kind, record.timestamp, event_id=event_id, message=message, stack=stack)

    def _place(self, topic: OutputTopic, source: Partition, key: bytes | None, emission: Emission) -> Outgoing:
        """To its event's partition where the counts agree, else by key, else by its event's partition number."""
        if self._input_partitions.get(source.topic) == topic.num_partitions:
            partition = source.partition
        elif key is not None:
            partition = self._hash_key(key) % topic.num_partitions
        else:
            partition = source.partition % topic.num_partitions
        return emission.outgoing.setdefault(Partition(topic.name, partition), Outgoing())
